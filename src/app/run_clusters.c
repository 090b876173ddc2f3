/* Clusters of a run: found when training ends and kept in its checkpoint, taken from there later; and what is said of them. */
#include "run_clusters.h"

#include "gmvae/log.h"
#include "gmvae/mem.h"
#include "gmvae/stage.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* A cluster that has so much of one level, which has not so much of all cells, is named, if it has so many cells. */
static const double mostly = 0.9, not_mostly = 0.6;
static const int64_t few_cells = 20;

enum { line_room = 800 };

/* Number of the level that has most of a cluster's cells. */
static int main_level(const gmv_census *census, int cluster)
{
    int best = 0;
    for (int l = 1; l < census->levels; l++) {
        bool more = census->table[(int64_t)l * census->clusters + cluster] >
                    census->table[(int64_t)best * census->clusters + cluster];
        best = more ? l : best;
    }
    return best;
}

static double share_of_all(const gmv_census *census, int level)
{
    int64_t sum = 0;
    for (int c = 0; c < census->clusters; c++) {
        sum += census->table[(int64_t)level * census->clusters + c];
    }
    return census->cells > 0 ? (double)sum / (double)census->cells : 1.0;
}

static void warn_of_levels(const gmv_census *census, const gmv_factor *factor)
{
    char named[line_room] = "";
    size_t used = 0;
    int clusters = 0;
    for (int c = 0; c < census->clusters; c++) {
        int level = main_level(census, c);
        int64_t cells = census->of_cluster[c], of_level = census->table[(int64_t)level * census->clusters + c];
        double share = cells > 0 ? (double)of_level / (double)cells : 0.0;
        if (cells < few_cells || share < mostly || share_of_all(census, level) >= not_mostly) {
            continue;
        }
        clusters++;
        if (used + 80 < sizeof named) {
            used += (size_t)snprintf(named + used, sizeof named - used, "%s%d (%.0f %% %.40s)", used > 0 ? ", " : "", c,
                                     100.0 * share, factor->level[level]);
        }
    }
    if (clusters > 0) {
        gmv_warn("cluster%s %s %s nearly all of one level of %s: cells that only it has, or a difference that was not "
                 "removed; see whether it has its like among the others",
                 clusters == 1 ? "" : "s", named, clusters == 1 ? "is" : "are", factor->key);
    }
}

/* The cluster of the first component below a node of the tree. */
static int cluster_of_node(const gmv_clustering *clustering, int node)
{
    while (node >= clustering->components) {
        node = (int)clustering->tree[4 * (node - clustering->components)];
    }
    return clustering->cluster[node];
}

static double lift_of(const gmv_clustering *clustering, int merge)
{
    return 1.0 / clustering->tree[4 * (int64_t)merge + 2] - 1.0;
}

static void show_border(const gmv_clustering *clustering)
{
    int merges = clustering->components - clustering->clusters;
    char text[200] = "";
    size_t used = 0;
    if (merges > 0) {
        const double *last = clustering->tree + 4 * ((int64_t)merges - 1);
        used = (size_t)snprintf(text, sizeof text, "; the last merge was in cluster %d (lift %.2f)",
                                cluster_of_node(clustering, (int)last[0]), lift_of(clustering, merges - 1));
    }
    if (clustering->clusters > 1) {
        const double *next = clustering->tree + 4 * (int64_t)merges;
        int one = cluster_of_node(clustering, (int)next[0]), other = cluster_of_node(clustering, (int)next[1]);
        snprintf(text + used, sizeof text - used, "; the next would be %d with %d (lift %.2f)",
                 one < other ? one : other, one < other ? other : one, lift_of(clustering, merges));
    }
    gmv_log("clusters %d component%s, %d cluster%s%s", clustering->components, clustering->components == 1 ? "" : "s",
            clustering->clusters, clustering->clusters == 1 ? "" : "s", text);
}

/* What cells are counted by: the label first, then the covariates. */
static int factors_of(const gmv_cells *cells, const gmv_factor **factor)
{
    int n = 0;
    factor[n++] = cells->label;
    for (int c = 0; c < cells->covariates; c++) {
        factor[n++] = &cells->covariate[c];
    }
    return n;
}

static gmv_status find_clusters(const gmv_config *config, const gmv_comm *comm, gmv_model *model, gmv_feed *feed,
                                const gmv_cells *cells, gmv_clustering *clustering, gmv_agreement *agreement)
{
    const gmv_factor **factor = NULL;
    gmv_census *census = NULL;
    int factors = 1 + cells->covariates;
    gmv_status status;
    GMV_GO(GMV_NEW(factor, factors, "columns of cells"));
    GMV_GO(GMV_NEW(census, factors, "cells of clusters"));
    factors = factors_of(cells, factor);
    GMV_GO(gmv_clustering_find(clustering, model, feed, cells, comm, config->output_clusters, factors, factor, census));
    GMV_GO(gmv_agreement_of(&census[0], agreement));
    if (clustering->clusters > 0) {
        show_border(clustering);
    }
    for (int f = 1; f < factors && clustering->clusters > 1 && comm->rank == 0; f++) {
        warn_of_levels(&census[f], factor[f]);
    }
done:
    for (int f = 0; census != NULL && f < factors; f++) {
        gmv_census_fini(&census[f]);
    }
    GMV_FREE(census);
    gmv_free((void *)factor);
    return gmv_comm_agree(comm, status);
}

gmv_status gmv_find_clusters(const gmv_config *config, const gmv_comm *comm, gmv_model *model, gmv_feed *feed,
                             const gmv_cells *cells, gmv_clustering *clustering, gmv_agreement *agreement)
{
    gmv_stage before = gmv_stage_enter(GMV_STAGE_CLUSTERS);
    gmv_status status = find_clusters(config, comm, model, feed, cells, clustering, agreement);
    gmv_stage_enter(before);
    return status;
}

gmv_status gmv_compare_clusters(const gmv_clustering *clustering, gmv_model *model, gmv_feed *feed,
                                const gmv_cells *cells, const gmv_comm *comm, gmv_which_cells which,
                                gmv_agreement *agreement)
{
    gmv_census census = {.clusters = clustering->clusters};
    const gmv_factor *label = cells->label;
    gmv_status status = GMV_OK;
    if (label != NULL && label->levels > 0) {
        status = gmv_take_census(&census, 1, &label, clustering, model, feed, cells, comm, which);
    }
    status = status == GMV_OK ? gmv_agreement_of(&census, agreement) : status;
    gmv_census_fini(&census);
    return gmv_comm_agree(comm, status);
}

gmv_status gmv_take_clusters(gmv_session *session, const gmv_run *run)
{
    const gmv_config *config = &run->config;
    gmv_checkpoint *checkpoint = &session->checkpoint;
    gmv_agreement agreement;
    if (session->model->clusters == 0) {
        return GMV_OK;
    }
    if (checkpoint->clustering.components != session->model->clusters) {
        gmv_log("note    %s has no clusters, which it gets when training ends; they are made of the cells at hand",
                session->path);
        return gmv_find_clusters(config, &run->comm, session->model, &session->feed, session->cells,
                                 &session->clustering, &agreement);
    }
    session->clustering = checkpoint->clustering; /* whose owner is the session now */
    checkpoint->clustering = (gmv_clustering){0};
    bool same = strcmp(checkpoint->clusters_wanted, config->output_clusters) == 0;
    return gmv_comm_agree(&run->comm, same ? gmv_clustering_restore(&session->clustering)
                                           : gmv_clustering_cut(&session->clustering, config->output_clusters));
}

const char *gmv_clusters_text(const gmv_clustering *clustering, char *text, size_t size)
{
    text[0] = '\0';
    if (clustering->components > 0) {
        snprintf(text, size, ", %d component%s, %d cluster%s", clustering->components,
                 clustering->components == 1 ? "" : "s", clustering->clusters, clustering->clusters == 1 ? "" : "s");
    }
    return text;
}
