/* Colors that people tell apart, also those who see fewer of them. */
#pragma once

#include "canvas.h"

/* Of category i: the eight of Okabe and Ito (2008, jfly.uni-koeln.de/color), then hues by the golden angle, lighter and
 * darker in turn. */
gmv_color gmv_category_color(int i);

/* Of a number from 0 to 1: dark blue to yellow, lighter all the way, so that it can be read without colors. */
gmv_color gmv_value_color(double fraction);

/* Of a share from 0 to 1: from the paper to a dark blue. */
gmv_color gmv_share_color(double share);
