/* Where a piece of configuration comes from: messages that point at it, and the check of its bytes. */
#include "config_impl.h"

#include <stdarg.h>
#include <string.h>

gmv_status gmv_yaml_text_fail(const gmv_yaml_text *source, int line, int column, const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    char where[800];
    if (source->is_override) {
        snprintf(where, sizeof where, "override \"%.200s\"", source->name);
    } else if (line > 0) {
        snprintf(where, sizeof where, "%.700s:%d:%d", source->name, line, column);
    } else {
        snprintf(where, sizeof where, "%.700s", source->name);
    }
    return GMV_FAIL(GMV_ERR_CONFIG, "%s: %s", where, text);
}

/* Decodes one UTF-8 sequence. Returns its length, 0 when it is not one (too short, overlong, surrogate). */
static int decode(const unsigned char *at, size_t left, uint32_t *code)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    int length = at[0] < 0x80 ? 1 : at[0] < 0xc2 ? 0 : at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : at[0] < 0xf5 ? 4 : 0;
    if (length == 0 || (size_t)length > left) {
        return 0;
    }
    *code = length == 1 ? at[0] : (uint32_t)(at[0] & (0x7f >> length));
    for (int i = 1; i < length; i++) {
        if ((at[i] & 0xc0) != 0x80) {
            return 0;
        }
        *code = *code << 6 | (uint32_t)(at[i] & 0x3f);
    }
    bool surrogate = *code >= 0xd800 && *code < 0xe000;
    return *code < least[length] || *code > 0x10ffff || surrogate ? 0 : length;
}

/* The characters YAML allows outside of escapes. */
static bool allowed(uint32_t code)
{
    return code == '\t' || code == '\n' || code == '\r' || (code >= 0x20 && code < 0x7f) || code == 0x85 ||
           (code >= 0xa0 && code < 0xfffe && code != 0xfeff) || code >= 0x10000;
}

gmv_status gmv_yaml_text_check(const gmv_yaml_text *source)
{
    const unsigned char *text = (const unsigned char *)source->text;
    if (source->length >= 4 && memcmp(text, "\x89HDF", 4) == 0) {
        return gmv_yaml_text_fail(source, 0, 0, "this is an HDF5 file, not a YAML config; name it under data.train");
    }
    int line = 1, column = 1;
    for (size_t i = 0; i < source->length;) {
        uint32_t code = 0;
        int length = decode(text + i, source->length - i, &code);
        if (length == 0) {
            return gmv_yaml_text_fail(source, line, column, "byte 0x%02x is not UTF-8; save the file as UTF-8",
                                      text[i]);
        }
        if (!allowed(code)) {
            return gmv_yaml_text_fail(source, line, column, "character U+%04X cannot stand in YAML; remove it",
                                      (unsigned)code);
        }
        bool line_feed_follows = i + 1 < source->length && text[i + 1] == '\n';
        if (code == '\n' || (code == '\r' && !line_feed_follows)) {
            line++;
            column = 1;
        } else {
            column++;
        }
        i += (size_t)length;
    }
    return GMV_OK;
}
