#include "gmvae/status.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>

static pthread_mutex_t message_lock = PTHREAD_MUTEX_INITIALIZER;
static char message[2048];

void gmv_make_printable(char *text)
{
    for (unsigned char *c = (unsigned char *)text; *c != '\0'; c++) {
        bool c1_control = c[0] == 0xc2 && c[1] >= 0x80 && c[1] < 0xa0;
        if (*c < 0x20 || *c == 0x7f || c1_control) {
            c[c1_control ? 1 : 0] = '?'; /* the second byte alone is a control character to some terminals */
            *c = '?';
        }
    }
}

gmv_status gmv_fail_at(const char *file, int line, gmv_status code, const char *format, ...)
{
    pthread_mutex_lock(&message_lock);
    if (message[0] == '\0') {
        va_list args;
        va_start(args, format);
        int used = vsnprintf(message, sizeof message, format, args);
        va_end(args);
        if (code == GMV_ERR_INTERNAL && used >= 0 && (size_t)used < sizeof message) {
            snprintf(message + used, sizeof message - (size_t)used, " (%s:%d)", file, line);
        }
        gmv_make_printable(message);
    }
    pthread_mutex_unlock(&message_lock);
    return code;
}

const char *gmv_error_message(void)
{
    return message;
}

void gmv_error_set(const char *text)
{
    pthread_mutex_lock(&message_lock);
    snprintf(message, sizeof message, "%s", text);
    gmv_make_printable(message);
    pthread_mutex_unlock(&message_lock);
}

void gmv_error_clear(void)
{
    gmv_error_set("");
}

#define GMV_STATUS(name, exit_code, sentence) {exit_code, sentence},
static const struct {
    int exit_code;
    const char *sentence;
} table[] = {
#include "gmvae/status.def"
};
#undef GMV_STATUS

int gmv_exit_code(gmv_status status)
{
    return table[status].exit_code;
}

const char *gmv_status_sentence(gmv_status status)
{
    return table[status].sentence;
}
