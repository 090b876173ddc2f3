#include "cluster_cells.h"

#include "gmvae/math/latent_gaussian.h"
#include "gmvae/mem.h"
#include "gmvae/rng.h"
#include "gmvae/signals.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- counting ---- */

typedef struct counting {
    gmv_cluster_cells *found;
    const gmv_clustering *clustering;
    const gmv_cells *cells;
    gmv_feed *feed;
    int output;    /* of the model: the components */
    float *merged; /* [GMV_EVAL_CELLS, C] */
    int32_t start[GMV_EVAL_CELLS + 1];
    float library[GMV_EVAL_CELLS];
    int32_t *gene; /* [room] of the batch's non-zeros */
    int64_t room;
} counting;

/* What the batch at hand is made of, in host memory. */
static gmv_status take_batch(counting *c, int n)
{
    gmv_backend *b = c->feed->backend;
    const gmv_batch *batch = &c->feed->batch;
    GMV_TRY(b->op->download(b, c->start, batch->indptr, (n + 1) * (int64_t)sizeof *c->start));
    GMV_TRY(b->op->download(b, c->library, batch->library, n * (int64_t)sizeof *c->library));
    if (c->start[n] > c->room) {
        GMV_TRY(GMV_GROW(c->gene, c->room, c->start[n], "genes of cells"));
        c->room = c->start[n];
    }
    return b->op->download(b, c->gene, batch->gene, c->start[n] * (int64_t)sizeof *c->gene);
}

static gmv_status count_rows(void *context, const gmv_row_results *results)
{
    counting *c = context;
    gmv_cluster_cells *found = c->found;
    GMV_TRY(take_batch(c, results->n));
    gmv_clustering_merge(c->clustering, results->n, results->output[c->output], c->merged);
    for (int i = 0; i < results->n; i++) {
        int cluster = gmv_largest_of(c->merged + (int64_t)i * found->clusters, found->clusters);
        int file = gmv_cells_file(c->cells, results->row[i]);
        int set = c->cells->file_set != NULL && found->sets > 1 ? c->cells->file_set[file] : 0;
        found->of[results->row[i] - c->cells->first] = (int16_t)cluster;
        found->here[cluster]++;
        found->of_set[(int64_t)cluster * found->sets + set]++;
        found->counts += (int64_t)c->library[i];
        for (int32_t at = c->start[i]; at < c->start[i + 1]; at++) {
            found->with_count[(int64_t)cluster * found->genes + c->gene[at]]++;
        }
    }
    return GMV_OK;
}

static gmv_status make_room(gmv_cluster_cells *found, const gmv_cells *cells)
{
    int64_t clusters = found->clusters;
    GMV_TRY(GMV_ROOM(found->of, cells->count, "clusters of cells"));
    GMV_TRY(GMV_NEW(found->here, clusters, "cells of clusters"));
    GMV_TRY(GMV_NEW(found->before, clusters, "cells of clusters"));
    GMV_TRY(GMV_NEW(found->cells, clusters, "cells of clusters"));
    GMV_TRY(GMV_NEW(found->of_set, clusters * found->sets, "cells of clusters"));
    GMV_TRY(GMV_NEW(found->with_count, clusters * found->genes, "genes of clusters"));
    for (int64_t i = 0; i < cells->count; i++) {
        found->of[i] = -1;
    }
    return GMV_OK;
}

/* From the rank's own cells to those of all. Collective. */
static gmv_status add_ranks(gmv_cluster_cells *found, const gmv_comm *comm)
{
    int64_t *of_ranks = NULL, n = found->clusters;
    GMV_TRY(gmv_comm_agree(comm, GMV_NEW(of_ranks, n * comm->size, "cells of clusters")));
    gmv_comm_allgather(comm, found->here, of_ranks, n * (int64_t)sizeof *found->here);
    for (int rank = 0; rank < comm->size; rank++) {
        for (int64_t c = 0; c < n; c++) {
            found->before[c] += rank < comm->rank ? of_ranks[rank * n + c] : 0;
            found->cells[c] += of_ranks[rank * n + c];
        }
    }
    GMV_FREE(of_ranks);
    gmv_comm_sum_i64(comm, found->of_set, n * found->sets);
    gmv_comm_sum_i64(comm, found->with_count, n * found->genes);
    gmv_comm_sum_i64(comm, &found->counts, 1);
    return GMV_OK;
}

gmv_status gmv_count_cluster_cells(gmv_cluster_cells *found, const gmv_clustering *clustering, gmv_model *model,
                                   gmv_feed *feed, const gmv_cells *cells, const gmv_comm *comm)
{
    int sets = cells->packed.sets > 0 ? cells->packed.sets : 1;
    *found = (gmv_cluster_cells){.clusters = clustering->clusters, .genes = cells->genes, .sets = sets};
    counting c = {.found = found, .clustering = clustering, .cells = cells, .feed = feed};
    gmv_row_sink sink = {count_rows, &c};
    c.output = (int)(gmv_components_of(&model->outputs) - model->outputs.at);
    gmv_status status;
    GMV_GO(make_room(found, cells));
    GMV_GO(GMV_NEW(c.merged, (int64_t)GMV_EVAL_CELLS * found->clusters, "probabilities of clusters"));
    GMV_GO(gmv_embed_rows(model, feed, cells, GMV_CELLS_ALL, &sink));
done:
    status = gmv_comm_agree(comm, status);
    GMV_FREE(c.merged);
    GMV_FREE(c.gene);
    return status == GMV_OK ? add_ranks(found, comm) : status;
}

void gmv_cluster_cells_fini(gmv_cluster_cells *found)
{
    GMV_FREE(found->of);
    GMV_FREE(found->here);
    GMV_FREE(found->before);
    GMV_FREE(found->cells);
    GMV_FREE(found->of_set);
    GMV_FREE(found->with_count);
}

int64_t gmv_cells_measured(const gmv_cluster_cells *found, const gmv_cells *cells, int cluster, int32_t gene)
{
    int64_t measured = 0;
    for (int set = 0; set < found->sets; set++) {
        bool has = cells->packed.sets == 0 || cells->packed.present[(int64_t)set * found->genes + gene] != 0;
        measured += has ? found->of_set[(int64_t)cluster * found->sets + set] : 0;
    }
    return measured;
}

/* ---- drawing ---- */

/* Draw `draw` of a cluster is its `member`-th cell, in the order of rows. */
typedef struct pick {
    int64_t member;
    int draw;
} pick;

static int by_member(const void *a, const void *b)
{
    const pick *x = a, *y = b;
    return x->member != y->member ? (x->member < y->member ? -1 : 1) : (x->draw > y->draw) - (x->draw < y->draw);
}

/* The rank's draws of all clusters, cluster after cluster and ascending by member, and how far they are taken. */
typedef struct picks {
    int64_t *start; /* [C + 1] */
    pick *at;
    int64_t *next;   /* [C] */
    int64_t *passed; /* [C] members before the row at hand */
    uint8_t *wanted; /* [local rows] 1: a draw is of it */
} picks;

static int64_t member_of(uint64_t seed, int cluster, int draw, int64_t cells)
{
    gmv_philox block = gmv_random_block(seed, GMV_STREAM_MARKER_CELL, 0, draw, (uint32_t)cluster, 0);
    double unit = (double)(((uint64_t)block.word[0] << 32 | block.word[1]) >> 11) * 0x1p-53;
    int64_t member = (int64_t)(unit * (double)cells);
    return member < cells ? member : cells - 1;
}

static gmv_status make_picks(picks *p, const gmv_cluster_cells *found, int draws, uint64_t seed, int64_t rows)
{
    int clusters = found->clusters;
    int64_t n = 0;
    GMV_TRY(GMV_NEW(p->start, clusters + 1, "draws of cells"));
    GMV_TRY(GMV_NEW(p->next, clusters, "draws of cells"));
    GMV_TRY(GMV_NEW(p->passed, clusters, "draws of cells"));
    GMV_TRY(GMV_NEW(p->wanted, rows, "draws of cells"));
    GMV_TRY(GMV_NEW(p->at, (int64_t)clusters * draws, "draws of cells"));
    for (int c = 0; c < clusters; c++) {
        p->start[c] = p->next[c] = n;
        p->passed[c] = found->before[c];
        for (int d = 0; d < draws && found->cells[c] > 0; d++) {
            int64_t member = member_of(seed, c, d, found->cells[c]);
            if (member >= found->before[c] && member < found->before[c] + found->here[c]) {
                p->at[n++] = (pick){member, d};
            }
        }
        if (n > p->start[c]) {
            qsort(p->at + p->start[c], (size_t)(n - p->start[c]), sizeof *p->at, by_member);
        }
    }
    p->start[clusters] = n;
    return GMV_OK;
}

static void free_picks(picks *p)
{
    GMV_FREE(p->start);
    GMV_FREE(p->at);
    GMV_FREE(p->next);
    GMV_FREE(p->passed);
    GMV_FREE(p->wanted);
}

/* The draws of a row, which comes behind those before it: [*first, returned end). Every row of a cluster is to be asked
 * for. */
static int64_t picks_of(picks *p, int cluster, int64_t *first)
{
    int64_t member = p->passed[cluster]++, at = p->next[cluster];
    *first = at;
    while (at < p->start[cluster + 1] && p->at[at].member == member) {
        at++;
    }
    p->next[cluster] = at;
    return at;
}

/* Finds out which rows are wanted, and begins again. */
static void mark_rows(picks *p, const gmv_cluster_cells *found, int64_t rows)
{
    for (int64_t i = 0; i < rows; i++) {
        int64_t first;
        p->wanted[i] = found->of[i] >= 0 && picks_of(p, found->of[i], &first) > first;
    }
    for (int c = 0; c < found->clusters; c++) {
        p->next[c] = p->start[c];
        p->passed[c] = found->before[c];
    }
}

typedef struct drawing {
    const gmv_cluster_cells *found;
    const gmv_cells *cells;
    picks of;
    gmv_gidx row;     /* next to be asked for draws */
    float *posterior; /* [GMV_EVAL_CELLS, 2 D] */
} drawing;

static bool is_wanted(const void *context, gmv_gidx row)
{
    const drawing *d = context;
    return d->of.wanted[row - d->cells->first] != 0;
}

/* x = mean + sd * normal */
static void draw_latent(uint64_t seed, int cluster, int draw, int dim, const float *posterior, float *x)
{
    for (int j = 0; j < dim; j += 4) {
        float normal[4];
        gmv_normals(gmv_random_block(seed, GMV_STREAM_MARKER_X, 0, draw, (uint32_t)cluster, (uint32_t)(j / 4)), normal);
        for (int k = 0; k < 4 && j + k < dim; k++) {
            x[j + k] = posterior[j + k] + sqrtf(gmv_variance(posterior[dim + j + k])) * normal[k];
        }
    }
}

static gmv_status draw_batch(drawing *d, gmv_model *model, const gmv_visit *visit, float *latent)
{
    gmv_backend *b = model->backend;
    const gmv_cluster_cells *found = d->found;
    int dim = model->latent_dim;
    gmv_pass pass = {.batch = &visit->feed->batch, .draws = 1, .encode_only = true};
    GMV_TRY(gmv_model_run(model, &pass));
    GMV_TRY(b->op->download(b, d->posterior, *model->posterior, visit->n * 2 * dim * (int64_t)sizeof(float)));
    for (int i = 0; i < visit->n; i++) {
        int64_t first = 0, end = 0;
        int cluster = -1;
        for (; d->row <= visit->row[i]; d->row++) {
            cluster = found->of[d->row - d->cells->first];
            end = cluster >= 0 ? picks_of(&d->of, cluster, &first) : 0;
        }
        for (int64_t at = first; at < end; at++) {
            int draw = d->of.at[at].draw;
            draw_latent(model->seed, cluster, draw, dim, d->posterior + (int64_t)i * 2 * dim,
                        latent + ((int64_t)draw * found->clusters + cluster) * dim);
        }
    }
    return GMV_OK;
}

gmv_status gmv_draw_cluster_latents(const gmv_cluster_cells *found, int draws, gmv_model *model, gmv_feed *feed,
                                    const gmv_cells *cells, const gmv_comm *comm, float *latent)
{
    drawing d = {.found = found, .cells = cells, .row = cells->first};
    gmv_visit visit = {0};
    gmv_status status;
    GMV_GO(make_picks(&d.of, found, draws, model->seed, cells->count));
    mark_rows(&d.of, found, cells->count);
    GMV_GO(GMV_NEW(d.posterior, (int64_t)GMV_EVAL_CELLS * 2 * model->latent_dim, "latents of cells"));
    GMV_GO(gmv_model_reserve(model, GMV_EVAL_CELLS, 1, model->gradients));
    GMV_GO(gmv_visit_begin(&visit, feed, cells, (gmv_row_filter){is_wanted, &d}));
    for (;;) {
        GMV_GO(gmv_stop_check());
        GMV_GO(gmv_visit_next(&visit, model->input));
        if (visit.n == 0) {
            break;
        }
        GMV_GO(draw_batch(&d, model, &visit, latent));
    }
done:
    gmv_visit_end(&visit);
    free_picks(&d.of);
    GMV_FREE(d.posterior);
    GMV_TRY(gmv_comm_agree(comm, status));
    gmv_comm_sum_f32(comm, latent, (int64_t)draws * found->clusters * model->latent_dim);
    return GMV_OK;
}
