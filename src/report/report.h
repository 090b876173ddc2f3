/* What a run's folder holds, for its page. Private to src/report; rank 0. */
#pragma once

#include "gmvae/config.h"
#include "gmvae/history.h"
#include "gmvae/pictures.h"

/* ---- embedding.h5ad ---- */

/* A categorical column of obs. */
typedef struct gmv_column {
    char *key;
    int levels;
    char **level;
    int32_t *code; /* [cells]; -1: missing */
} gmv_column;

typedef struct gmv_result_cells {
    bool there; /* whether there is an embedding */
    int64_t cells;
    gmv_column cluster, component, label; /* levels 0 where there are none */
    int batches;
    gmv_column *batch; /* [batches] */
    float *layout;     /* [cells, 2]; NULL: there is none */
    float *by_counts;  /* [cells, 2] by counts alone; NULL likewise */
    float *certainty;  /* [cells]; NULL likewise */
    float *counts;     /* [cells]; NULL likewise */
    double *tree, cut; /* [components - 1, 4] */
    int *cluster_of;   /* [components] */
} gmv_result_cells;

/* Errors: GMV_ERR_DATA for a file that is not what gmvae_dist writes. Ownership: gmv_result_cells_fini. */
gmv_status gmv_result_cells_read(gmv_result_cells *result, const gmv_config *config, const gmv_texts *batch_keys);
void gmv_result_cells_fini(gmv_result_cells *result);

/* Cells of each pair of levels. @param[out] count  [rows->levels, columns->levels] */
gmv_status gmv_count_pairs(int64_t cells, const gmv_column *rows, const gmv_column *columns, int64_t **count);

/* ---- markers.h5ad ---- */

enum { GMV_SHOWN_MARKERS = 8 };

/* A gene that a cluster has more of than the rest. */
typedef struct gmv_marker {
    char *gene; /* NULL: the cluster has no more */
    float change, probability;
} gmv_marker;

typedef struct gmv_result_markers {
    int clusters;     /* 0: there are none */
    int64_t *cells;   /* [clusters] */
    gmv_marker *gene; /* [clusters, GMV_SHOWN_MARKERS] the largest fold changes first */
    char why[1200];   /* there are none; "": nothing is to be said of it */
} gmv_result_markers;

/* Markers of the clusters that the embedding has. A file that is not there, damaged, or of other clusters says so in `why`.
 * Ownership: gmv_result_markers_fini, also after an error. Errors: GMV_STOPPED. */
gmv_status gmv_result_markers_read(gmv_result_markers *markers, const gmv_config *config,
                                   const gmv_result_cells *result);
void gmv_result_markers_fini(gmv_result_markers *markers);

/* "CD3D, CD7, ..." of a cluster. @param[in] most  genes. @return text */
const char *gmv_marker_names(const gmv_result_markers *markers, int cluster, int most, char *text, size_t size);

/* A table of the clusters with their genes, or why there is none. */
void gmv_write_marker_table(FILE *page, const gmv_result_markers *markers);

/* ---- the page ---- */

/* The numbers of a key over the epochs of a split ("train", "validation"); NaN for null. @param[out] curve  points and
 * arrays, which the caller frees with gmv_curve_fini */
gmv_status gmv_history_curve(const gmv_history *history, const char *split, const char *key, gmv_curve *curve);
void gmv_curve_fini(gmv_curve *curve);

/* Everything of a run that its page tells. */
typedef struct gmv_run_files {
    const gmv_config *config; /* at hand: where the run is, and which column has labels */
    gmv_config trained;       /* config.resolved.yaml of the run; the one at hand where there is none */
    bool has_trained;         /* it is to be freed */
    char *config_text;        /* of that */
    gmv_history history;
    gmv_result_cells result;
    gmv_result_markers markers;
    cJSON *evaluation;                      /* NULL: there is none */
    cJSON *record;                          /* run.json; NULL likewise */
    cJSON *predictive;                      /* predictive.json; NULL likewise */
    cJSON *heat_map;                        /* heatmap.json; NULL likewise */
    bool earlier_cells, earlier_evaluation; /* there is one, of another training: it is left out */
} gmv_run_files;

/* Sentences on top: what was trained, whether it converged, clusters, batches, what to do. */
gmv_status gmv_write_verdicts(FILE *page, const gmv_run_files *run);

/* Time, hardware and versions, as far as run.json has them. @param[in] record  NULL: nothing is written */
void gmv_write_record(FILE *page, const cJSON *record);

/* Shares of components over epochs, those of a cluster in its color; nothing with fewer than two components or epochs. */
gmv_status gmv_draw_mass(gmv_gallery *gallery, const gmv_history *history, const gmv_result_cells *result);
/* Counts of the cells beside those that the model draws. @param[in] predictive  NULL: nothing is drawn
 * Errors: GMV_ERR_DATA for a file that is not what gmvae_dist writes. */
gmv_status gmv_draw_checks(gmv_gallery *gallery, const cJSON *predictive);

/* Counts of cells in the genes that vary most, by cluster, or by label where there are no clusters. @param[in] file  NULL, or
 * cells in no groups: nothing is drawn. Errors: as gmv_draw_checks. */
gmv_status gmv_draw_heat_map(gmv_gallery *gallery, const gmv_result_cells *result, const cJSON *file);

/* All pictures that the files allow. */
gmv_status gmv_write_figures(gmv_gallery *gallery, const gmv_run_files *run);
