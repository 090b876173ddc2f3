/* Pictures of a run, as SVG and PNG, and on a page. All draw what they are given: host memory, rank 0, not collective. */
#pragma once

#include "gmvae/status.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* Where pictures go. */
typedef struct gmv_gallery {
    const char *folder; /* which is there */
    FILE *page;         /* HTML that each figure is written into, too; NULL: none */
    int figures;        /* on the page so far */
} gmv_gallery;

/* A line of a chart: y over x; what is not finite is left out. */
typedef struct gmv_curve {
    const char *name;
    int points;
    const double *x, *y; /* [points] */
} gmv_curve;

/* Curves, each named at its end.
 * Errors here and below: GMV_ERR_ENVIRONMENT. */
gmv_status gmv_draw_curves(gmv_gallery *gallery, const char *name, const char *title, const char *x, const char *y,
                           int curves, const gmv_curve *curve);

/* A part of a whole over x. Bands of one color are a group, and follow one another. */
typedef struct gmv_band {
    const char *group;  /* its name */
    int color;          /* of the categories; -1: of none */
    const float *share; /* [points] 0 to 1 */
} gmv_band;

/* Bands on top of each other, the first at the bottom, from 0 to 1; groups are named at their ends.
 * @param[in] x  [points] ascending; two points at least */
gmv_status gmv_draw_areas(gmv_gallery *gallery, const char *name, const char *title, const char *of_x, const char *of_y,
                          int points, const double *x, int bands, const gmv_band *band);

/* A figure of several runs at several places. */
typedef struct gmv_panel {
    const char *title;
    const double *value; /* [places, repeats]; what is not finite is left out */
} gmv_panel;

/* Charts beside each other: every run a dot, the mean of those of a place with one standard deviation up and down.
 * @param[in] place  [places] names, in the order of the axis */
gmv_status gmv_draw_panels(gmv_gallery *gallery, const char *name, const char *title, int places, char *const *place,
                           int repeats, int panels, const gmv_panel *panel);

/* Shares of rows in columns as a map of colors, largest on the diagonal as far as that goes.
 * @param[in] count  [rows, cols]; a cell's color is its share of its row */
gmv_status gmv_draw_shares(gmv_gallery *gallery, const char *name, const char *title, const char *of_rows,
                           const char *of_columns, int rows, char *const *row, int columns, char *const *column,
                           const int64_t *count);

/* A linkage matrix as a tree, its leaves in the colors of their clusters, and where it was cut.
 * @param[in] tree     [leaves - 1, 4]
 * @param[in] cluster  [leaves]
 * @param[in] size     [leaves] cells of each, shown beside it
 * @param[in] beside   [clusters] a list of each cluster ("a, b"), as much of it as fits; NULL: none */
gmv_status gmv_draw_tree(gmv_gallery *gallery, const char *name, const char *title, int leaves, const double *tree,
                         double cut, const int *cluster, const int64_t *size, char *const *beside);

/* Dots of a chart, of one color. */
typedef struct gmv_dots {
    const char *name;
    int n;
    const double *x, *y; /* [n]; what is not finite is left out */
    char *const *label;  /* [n] what each is; NULL: nothing is said of them */
} gmv_dots;

typedef enum gmv_scales {
    GMV_SCALES_EQUAL,      /* both the same, with the line where y is x */
    GMV_SCALES_LOGARITHMIC /* of both; what is not positive is left out */
} gmv_scales;

/* Dots by two numbers. Of equal scales those that lie farthest from the line tell what they are. */
gmv_status gmv_draw_scatter(gmv_gallery *gallery, const char *name, const char *title, const char *x, const char *y,
                            gmv_scales scales, int sets, const gmv_dots *set);

/* Numbers of rows, which are in groups, in columns; at least 0, not finite: not known. */
typedef struct gmv_heat {
    int rows, columns;
    char *const *column; /* [columns] names */
    const float *value;  /* [rows, columns] */
    int groups;
    const char *of_groups; /* what they are */
    char *const *group;    /* [groups] names */
    const int32_t *of_row; /* [rows] group of each, -1: none; rows of one follow each other */
} gmv_heat;

/* A map of colors, with the groups at its side. */
gmv_status gmv_draw_heat(gmv_gallery *gallery, const char *name, const char *title, const gmv_heat *heat);

/* What gives points their colors: levels, or numbers. */
typedef struct gmv_point_colors {
    const int32_t *code; /* [n] level of each, -1: none; NULL: by number */
    int levels;
    char *const *level; /* [levels] names */
    const float *value; /* [n]; not finite: none */
    double low, high;   /* of the scale */
} gmv_point_colors;

/* Points in the plane; those whose place is not finite are left out. Levels that some point has are named.
 * @param[in] at  [n, 2] */
gmv_status gmv_draw_points(gmv_gallery *gallery, const char *name, const char *title, int64_t n, const float *at,
                           const gmv_point_colors *colors);
