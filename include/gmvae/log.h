/* Messages to the person at the terminal. Rank 0 alone speaks; errors of any rank reach it first. */
#pragma once

#include "gmvae/status.h"

#include <stdbool.h>

/* Chosen once, at start-up. @param[in] speaks  true on rank 0 only */
void gmv_log_init(bool speaks);

/* Control characters in what is printed become question marks. */

/* One line on stdout; nothing on ranks that do not speak. No trailing newline in `format`. */
void gmv_log(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* One line "gmvae_dist: warning: ..." on stderr, from the speaking rank only. */
void gmv_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Whether all that was printed on stdout has arrived, for commands whose result it is; a reader that left early is no
 * error. Errors: GMV_ERR_ENVIRONMENT. */
gmv_status gmv_output_check(void);

/* Redraws a line on a terminal; on anything else prints a plain line when `milestone` is true. */
void gmv_log_progress(bool milestone, const char *format, ...) __attribute__((format(printf, 2, 3)));
