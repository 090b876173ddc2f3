/* Components to clusters: their overlaps over all cells, the tree, and the names of clusters. */
#include "gmvae/clusters.h"
#include "gmvae/comm.h"
#include "gmvae/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Overlaps are sums of whole numbers of 2^-30, which are the same in any order; smaller probabilities add nothing. */
static const double unit = 1 << 30;
static const float least = 1e-5f;

void gmv_clustering_fini(gmv_clustering *clustering)
{
    GMV_FREE(clustering->overlap);
    GMV_FREE(clustering->tree);
    GMV_FREE(clustering->cluster);
    memset(clustering, 0, sizeof *clustering);
}

/* ---- overlaps ---- */

typedef struct overlaps {
    int output, components; /* of the model; K */
    int64_t cells;
    int64_t *sum; /* [K, K]: a <= b */
    int *some;    /* [K]: components that a cell has something of */
} overlaps;

static gmv_status add_overlaps(void *context, const gmv_row_results *results)
{
    overlaps *o = context;
    for (int i = 0; i < results->n; i++) {
        const float *p = results->output[o->output] + (int64_t)i * o->components;
        int n = 0;
        for (int k = 0; k < o->components; k++) {
            if (p[k] >= least) {
                o->some[n++] = k;
            }
        }
        for (int a = 0; a < n; a++) {
            int64_t *row = o->sum + (int64_t)o->some[a] * o->components;
            for (int b = a; b < n; b++) {
                row[o->some[b]] += llrint((double)p[o->some[a]] * (double)p[o->some[b]] * unit);
            }
        }
    }
    o->cells += results->n;
    return GMV_OK;
}

static void finish_overlaps(const overlaps *o, gmv_clustering *clustering)
{
    int64_t components = o->components;
    for (int64_t a = 0; a < components; a++) {
        for (int64_t b = a; b < components; b++) {
            double sum = (double)(float)((double)o->sum[a * components + b] / unit); /* as checkpoints have it */
            clustering->overlap[a * components + b] = clustering->overlap[b * components + a] = sum;
        }
    }
}

static gmv_status find_overlaps(gmv_clustering *clustering, gmv_model *model, gmv_feed *feed, const gmv_cells *cells,
                                const gmv_comm *comm)
{
    const gmv_cell_output *output = gmv_components_of(&model->outputs);
    int64_t components = output->cols;
    overlaps o = {.output = (int)(output - model->outputs.at), .components = output->cols};
    gmv_row_sink sink = {add_overlaps, &o};
    gmv_status status;
    GMV_GO(GMV_NEW(clustering->overlap, components * components, "overlaps of components"));
    GMV_GO(GMV_NEW(o.sum, components * components, "overlaps of components"));
    GMV_GO(GMV_NEW(o.some, components, "components of a cell"));
    GMV_GO(gmv_embed_rows(model, feed, cells, GMV_CELLS_ALL, &sink));
done:
    status = gmv_comm_agree(comm, status);
    if (status == GMV_OK) {
        gmv_comm_sum_i64(comm, o.sum, components * components);
        gmv_comm_sum_i64(comm, &o.cells, 1);
        finish_overlaps(&o, clustering);
        clustering->cells = o.cells;
    }
    GMV_FREE(o.sum);
    GMV_FREE(o.some);
    return status;
}

/* ---- the cut ---- */

static gmv_status merges_for(const gmv_clustering *clustering, const char *wanted, int *merges)
{
    int components = clustering->components;
    if (strcmp(wanted, "auto") == 0) {
        *merges = gmv_widest_gap(components, clustering->tree);
        return GMV_OK;
    }
    if (strcmp(wanted, "components") == 0) {
        *merges = 0;
        return GMV_OK;
    }
    long clusters = strtol(wanted, NULL, 10);
    if (clusters < 1 || clusters > components) {
        return GMV_FAIL(GMV_ERR_CONFIG, "output.clusters: %s of %d component%s; take 1 to %d, or auto", wanted,
                        components, components == 1 ? "" : "s", components);
    }
    *merges = components - (int)clusters;
    return GMV_OK;
}

/* Larger ones first, the order of equal ones kept.
 * @param[in]  size    [C] of each cluster; changed
 * @param[out] number  [C] that it gets */
static void number_by_size(int clusters, double *size, int *number)
{
    for (int i = 0; i < clusters; i++) {
        int largest = 0;
        for (int c = 1; c < clusters; c++) {
            largest = size[c] > size[largest] ? c : largest;
        }
        number[largest] = i;
        size[largest] = -1.0;
    }
}

static gmv_status renumber(gmv_clustering *clustering, double *size, int factors, gmv_census *census)
{
    int clusters = clustering->clusters, *number = NULL;
    gmv_status status;
    GMV_GO(GMV_NEW(number, clusters, "numbers of clusters"));
    number_by_size(clusters, size, number);
    for (int k = 0; k < clustering->components; k++) {
        clustering->cluster[k] = number[clustering->cluster[k]];
    }
    for (int f = 0; f < factors; f++) {
        GMV_GO(gmv_census_renumber(&census[f], number));
    }
done:
    GMV_FREE(number);
    return status;
}

/* Expected cells: sums of probabilities. */
static gmv_status number_by_mass(gmv_clustering *clustering)
{
    double *mass = NULL;
    int components = clustering->components;
    GMV_TRY(GMV_NEW(mass, clustering->clusters, "mass of clusters"));
    for (int a = 0; a < components; a++) {
        for (int b = 0; b < components; b++) {
            mass[clustering->cluster[a]] += clustering->overlap[(int64_t)a * components + b];
        }
    }
    gmv_status status = renumber(clustering, mass, 0, NULL);
    GMV_FREE(mass);
    return status;
}

static gmv_status make_tree(gmv_clustering *clustering)
{
    int64_t rows = (int64_t)clustering->components - 1;
    GMV_FREE(clustering->tree);
    GMV_TRY(GMV_NEW(clustering->tree, 4 * rows, "the tree of components"));
    return gmv_merge_tree(clustering->components, clustering->overlap, clustering->tree);
}

gmv_status gmv_clustering_cut(gmv_clustering *clustering, const char *wanted)
{
    int merges = 0, components = clustering->components;
    if (components == 0) {
        return GMV_OK;
    }
    GMV_TRY(make_tree(clustering));
    if (clustering->cluster == NULL) {
        GMV_TRY(GMV_NEW(clustering->cluster, components, "clusters of components"));
    }
    GMV_TRY(merges_for(clustering, wanted, &merges));
    clustering->cut = gmv_cut_height(components, clustering->tree, merges);
    clustering->clusters = gmv_cut_tree(components, clustering->tree, merges, clustering->cluster);
    return number_by_mass(clustering);
}

gmv_status gmv_clustering_restore(gmv_clustering *clustering)
{
    GMV_TRY(make_tree(clustering));
    clustering->clusters = 0;
    for (int k = 0; k < clustering->components; k++) {
        bool more = clustering->cluster[k] >= clustering->clusters;
        clustering->clusters = more ? clustering->cluster[k] + 1 : clustering->clusters;
    }
    clustering->cut =
        gmv_cut_height(clustering->components, clustering->tree, clustering->components - clustering->clusters);
    return GMV_OK;
}

/* The cells that have been counted. */
static gmv_status number_by_cells(gmv_clustering *clustering, int factors, gmv_census *census)
{
    double *size = NULL;
    GMV_TRY(GMV_NEW(size, clustering->clusters, "sizes of clusters"));
    for (int c = 0; c < clustering->clusters; c++) {
        size[c] = (double)census->of_cluster[c];
    }
    gmv_status status = renumber(clustering, size, factors, census);
    GMV_FREE(size);
    return status;
}

gmv_status gmv_clustering_find(gmv_clustering *clustering, gmv_model *model, gmv_feed *feed, const gmv_cells *cells,
                               const gmv_comm *comm, const char *wanted, int factors, const gmv_factor *const *factor,
                               gmv_census *census)
{
    memset(clustering, 0, sizeof *clustering);
    memset(census, 0, (size_t)factors * sizeof *census);
    clustering->components = gmv_components_of(&model->outputs)->cols;
    if (clustering->components == 0) {
        return GMV_OK;
    }
    GMV_TRY(find_overlaps(clustering, model, feed, cells, comm));
    GMV_TRY(gmv_comm_agree(comm, gmv_clustering_cut(clustering, wanted)));
    GMV_TRY(gmv_take_census(census, factors, factor, clustering, model, feed, cells, comm, GMV_CELLS_ALL));
    return gmv_comm_agree(comm, number_by_cells(clustering, factors, census));
}

/* ---- cells ---- */

void gmv_clustering_merge(const gmv_clustering *clustering, int n, const float *component, float *cluster)
{
    int components = clustering->components, clusters = clustering->clusters;
    memset(cluster, 0, (size_t)n * (size_t)clusters * sizeof *cluster);
    for (int i = 0; i < n; i++) {
        for (int k = 0; k < components; k++) {
            cluster[(int64_t)i * clusters + clustering->cluster[k]] += component[(int64_t)i * components + k];
        }
    }
}

gmv_cell_outputs gmv_clustering_outputs(const gmv_clustering *clustering, const gmv_cell_outputs *of_model)
{
    gmv_cell_outputs outputs = {0};
    for (int o = 0; o < of_model->n; o++) {
        if (of_model->at[o].kind == GMV_OUTPUT_COMPONENTS && clustering->clusters > 0) {
            outputs.at[outputs.n++] = (gmv_cell_output){.name = "gmvae_cluster_prob",
                                                        .kind = GMV_OUTPUT_CLUSTERS,
                                                        .column = "gmvae_cluster",
                                                        .largest = "gmvae_certainty",
                                                        .cols = clustering->clusters};
        }
        outputs.at[outputs.n++] = of_model->at[o];
    }
    return outputs;
}

gmv_status gmv_cluster_sink_init(gmv_cluster_sink *sink, const gmv_clustering *clustering,
                                 const gmv_cell_outputs *of_model, const gmv_row_sink *next)
{
    *sink = (gmv_cluster_sink){clustering, of_model, next, NULL};
    return GMV_NEW(sink->merged, (int64_t)GMV_EVAL_CELLS * clustering->clusters, "probabilities of clusters");
}

void gmv_cluster_sink_fini(gmv_cluster_sink *sink)
{
    GMV_FREE(sink->merged);
}

gmv_status gmv_cluster_sink_take(void *context, const gmv_row_results *results)
{
    gmv_cluster_sink *sink = context;
    const float *output[GMV_MAX_OUTPUTS];
    gmv_row_results all = *results;
    int n = 0;
    for (int o = 0; o < sink->of_model->n; o++) {
        if (sink->of_model->at[o].kind == GMV_OUTPUT_COMPONENTS && sink->clustering->clusters > 0) {
            gmv_clustering_merge(sink->clustering, results->n, results->output[o], sink->merged);
            output[n++] = sink->merged;
        }
        output[n++] = results->output[o];
    }
    all.output = output;
    return sink->next->take(sink->next->context, &all);
}
