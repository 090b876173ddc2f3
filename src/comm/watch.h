/* A thread that watches what this rank cannot watch itself: waiting inside a library. It calls no MPI. */
#pragma once

/* Not collective. Signals are not for this thread. Without a thread nothing is watched. */
void gmv_watch_start(void);
void gmv_watch_stop(void);

/* Between these the run ends with 75 when `seconds` have passed, or gmv_grace since a signal was seen. `what` is shown, and
 * kept, not copied; `rank` is shown, -1: not known. */
void gmv_watch_begin(const char *what, int rank, double seconds);
void gmv_watch_end(void);

/* Seconds that a rank waits for others when the run is to stop. */
enum { gmv_grace = 30 };
