/* Time that passes. */
#pragma once

/* Of the monotonic clock, in seconds. */
double gmv_clock(void);
