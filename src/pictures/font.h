/* The font of all pictures. */
#pragma once

#include <cairo.h>

/* NULL where there is no memory for it. Ownership: none; it stays. Not for several threads at once. */
cairo_font_face_t *gmv_font_face(void);
