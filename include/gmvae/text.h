/* Texts as files of ours hold them. */
#pragma once

#include <stdio.h>

/* A string of JSON, with its quotes. A byte that is no UTF-8, as a file's name may have, is written as
 * Python reads it back: \udc80 to \udcff (PEP 383). */
void gmv_print_json_text(FILE *out, const char *text);

/* A field of CSV, in quotes where it needs them. */
void gmv_print_csv_text(FILE *out, const char *text);

/* Text of HTML, or a value of an attribute in double quotes; without its quotes. */
void gmv_print_html_text(FILE *out, const char *text);
