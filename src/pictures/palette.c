#include "palette.h"

#include <math.h>

static const gmv_color distinct[] = {{0.000, 0.447, 0.698, 1.0}, {0.902, 0.624, 0.000, 1.0}, {0.000, 0.620, 0.451, 1.0},
                                     {0.800, 0.475, 0.655, 1.0}, {0.835, 0.369, 0.000, 1.0}, {0.337, 0.706, 0.914, 1.0},
                                     {0.580, 0.560, 0.180, 1.0}, {0.450, 0.450, 0.450, 1.0}};
enum { distinct_count = sizeof distinct / sizeof distinct[0] };

static double to_srgb(double linear)
{
    double x = fmin(fmax(linear, 0.0), 1.0);
    return x <= 0.0031308 ? 12.92 * x : 1.055 * pow(x, 1.0 / 2.4) - 0.055;
}

/* From lightness, chroma and hue of Oklab (Ottosson 2020, bottosson.github.io/posts/oklab), where equal steps look equal. */
static gmv_color from_oklch(double lightness, double chroma, double hue)
{
    double a = chroma * cos(hue), b = chroma * sin(hue);
    double l = pow(lightness + 0.3963377774 * a + 0.2158037573 * b, 3.0);
    double m = pow(lightness - 0.1055613458 * a - 0.0638541728 * b, 3.0);
    double s = pow(lightness - 0.0894841775 * a - 1.2914855480 * b, 3.0);
    return (gmv_color){to_srgb(4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s),
                       to_srgb(-1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s),
                       to_srgb(-0.0041960863 * l - 0.7034186147 * m + 1.7076147010 * s), 1.0};
}

gmv_color gmv_category_color(int i)
{
    static const double lightness[] = {0.55, 0.75, 0.42}, golden_angle = 2.399963229728653;
    if (i < distinct_count) {
        return distinct[i];
    }
    return from_oklch(lightness[i % 3], 0.12, 0.5 + golden_angle * (i - distinct_count));
}

gmv_color gmv_share_color(double share)
{
    return (gmv_color){0.03, 0.27, 0.58, 0.03 + 0.97 * fmin(fmax(share, 0.0), 1.0)};
}

gmv_color gmv_value_color(double fraction)
{
    double t = fmin(fmax(fraction, 0.0), 1.0);
    return from_oklch(0.30 + 0.60 * t, 0.09 + 0.06 * t, 4.9 - 3.1 * t);
}
