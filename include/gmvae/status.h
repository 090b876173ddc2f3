/* Status codes and the error message they carry.
 *
 * Every function that can fail returns gmv_status. The origin records one line (what is wrong, where,
 * what to do) with GMV_FAIL; callers pass the code on with GMV_TRY. No function below main exits.
 */
#pragma once

#define GMV_STATUS(name, exit_code, sentence) GMV_##name,
typedef enum gmv_status {
#include "gmvae/status.def"
    GMV_STATUS_COUNT
} gmv_status;
#undef GMV_STATUS

#if defined(__cplusplus) /* kernels of the CUDA backend are C++ */
extern "C" {
#endif

/* Replaces control characters, line breaks and escapes among them, by question marks, in place. */
void gmv_make_printable(char *text);

/* Records the message of an error, made printable, and returns `code`. The first message since the last
 * gmv_error_clear wins, so that a failing clean-up cannot hide the cause. Thread-safe.
 * @param[in] file,line  source position of the origin, shown only for internal errors
 */
gmv_status gmv_fail_at(const char *file, int line, gmv_status code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* The recorded message, "" when there is none. Owned by the library. */
const char *gmv_error_message(void);

/* Replaces the recorded message (used when another rank's message is the one to show). */
void gmv_error_set(const char *message);

/* Forgets the recorded message: the next failure records its own. */
void gmv_error_clear(void);

/* Process exit code of a status, and its sentence. */
int gmv_exit_code(gmv_status status);
const char *gmv_status_sentence(gmv_status status);

#if defined(__cplusplus)
}
#endif

#define GMV_FAIL(code, ...) gmv_fail_at(__FILE__, __LINE__, (code), __VA_ARGS__)

/* Returns from the calling function when `call` fails. */
#define GMV_TRY(call)                                                                                                  \
    do {                                                                                                               \
        gmv_status gmv_try_status_ = (call);                                                                           \
        if (gmv_try_status_ != GMV_OK) {                                                                               \
            return gmv_try_status_;                                                                                    \
        }                                                                                                              \
    } while (0)

/* For functions that own something: sets `status` and jumps to the label `done` when `call` fails. */
#define GMV_GO(call)                                                                                                   \
    do {                                                                                                               \
        status = (call);                                                                                               \
        if (status != GMV_OK) {                                                                                        \
            goto done;                                                                                                 \
        }                                                                                                              \
    } while (0)

/* A condition that only a bug can make false. Never compiled out. */
#define GMV_CHECK(condition)                                                                                           \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            return GMV_FAIL(GMV_ERR_INTERNAL, "check failed: %s; please report this", #condition);                     \
        }                                                                                                              \
    } while (0)
