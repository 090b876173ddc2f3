#include "gmvae/status.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>

static pthread_mutex_t message_lock = PTHREAD_MUTEX_INITIALIZER;
static char message[2048];

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
