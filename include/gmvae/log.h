/* Messages to the person at the terminal. Rank 0 alone speaks; errors of any rank reach it first. */
#pragma once

#include "gmvae/status.h"

#include <stdbool.h>
#include <stdio.h>

/* Chosen once, at start-up. @param[in] speaks  true on rank 0 only */
void gmv_log_init(bool speaks);

/* Control characters in what is printed become question marks. */

/* Sends all messages of this rank, whether it speaks or not, to a stream, which stays the caller's; NULL: no longer. */
void gmv_log_to(FILE *stream);

/* One line on stdout; nothing on ranks that do not speak. No trailing newline in `format`. */
void gmv_log(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* One line "gmvae_dist: warning: ..." on stderr, from the speaking rank only. */
void gmv_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Whether all that was printed on stdout has arrived, for commands whose result it is; a reader that left early is no
 * error. Errors: GMV_ERR_ENVIRONMENT. */
gmv_status gmv_output_check(void);

/* ---- a line that is redrawn on a terminal; see work.h for what is not one ---- */

/* On the speaking rank, where stdout is a terminal. */
bool gmv_log_on_terminal(void);

/* Whether it is time to draw one there: some times a second. */
bool gmv_log_redraws(void);

/* Draws it, cut to the width that the terminal has now. It is gone when anything else is said. */
void gmv_log_redraw(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* What stands before the text of every such line; "": nothing. */
void gmv_log_prefix(const char *text);

/* Takes the line away; for what is printed past this. Any thread may call it. */
void gmv_log_clear(void);
