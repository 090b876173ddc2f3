/* Threads that this process may have. */
#pragma once

#include <stdint.h>

/* How many of `most` threads can be started beside those that run, all at once, so that `rest` bytes of address space stay;
 * they are gone again afterwards. libgomp ends the program where it cannot start one. */
int gmv_threads_startable(int most, int64_t rest);
