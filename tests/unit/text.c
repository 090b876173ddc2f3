/* Strings of JSON. */
#include "harness.h"

#include "gmvae/text.h"

static void check(const char *text, const char *wanted)
{
    char *written = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&written, &size);
    assert_non_null(out);
    gmv_print_json_text(out, text);
    fclose(out);
    assert_string_equal(written, wanted);
    free(written);
}

static void characters_of_every_length(void **state)
{
    (void)state;
    check("", "\"\"");
    check("a \"b\" c\\d", "\"a \\\"b\\\" c\\\\d\"");
    check("\n\x1f\x7f", "\"\\u000a\\u001f\x7f\"");
    check("\xc2\x80\xdf\xbf \xe0\xa0\x80\xed\x9f\xbf\xef\xbf\xbf \xf0\x90\x80\x80\xf4\x8f\xbf\xbf",
          "\"\xc2\x80\xdf\xbf \xe0\xa0\x80\xed\x9f\xbf\xef\xbf\xbf \xf0\x90\x80\x80\xf4\x8f\xbf\xbf\"");
}

/* Latin 1, a continuation alone, long forms, half of a pair, beyond the last, and one that ends too early. */
static void bytes_that_are_no_utf8(void **state)
{
    (void)state;
    check("caf\xe9", "\"caf\\udce9\"");
    check("\x80z", "\"\\udc80z\"");
    check("\xc1\xbf", "\"\\udcc1\\udcbf\"");
    check("\xe0\x9f\xbf", "\"\\udce0\\udc9f\\udcbf\"");
    check("\xf0\x8f\xbf\xbf", "\"\\udcf0\\udc8f\\udcbf\\udcbf\"");
    check("\xed\xa0\x80", "\"\\udced\\udca0\\udc80\"");
    check("\xf4\x90\x80\x80", "\"\\udcf4\\udc90\\udc80\\udc80\"");
    check("\xf5\x80\x80\x80", "\"\\udcf5\\udc80\\udc80\\udc80\"");
    check("\xe2\x82", "\"\\udce2\\udc82\"");
    check("\xe2\"", "\"\\udce2\\\"\"");
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        T_TEST(characters_of_every_length),
        T_TEST(bytes_that_are_no_utf8),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
