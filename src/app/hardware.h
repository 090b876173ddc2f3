/* What this rank's host is made of. */
#pragma once

#include <stdint.h>
#include <stdio.h>

/* First line of a small file, "" when it cannot be read. */
void gmv_read_line(const char *file, char *line, int size);

/* A row of /proc/meminfo, such as MemTotal, in bytes; 0 where there is none. */
int64_t gmv_meminfo_bytes(const char *name);

/* As the processor calls itself; "" when it does not. */
void gmv_processor_name(char *text, size_t size);

/* The most memory that this process has held, in bytes. */
int64_t gmv_peak_memory(void);
