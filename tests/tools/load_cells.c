/* Loads cells as the trainer does and prints what it holds as one JSON object, with sums that do not depend on
 * the number of ranks. Errors are one line on stderr and the exit code of the program.
 *
 *   load_cells [OPTION=VALUE ...] PATH ... [-- [OPTION=VALUE ...] PATH ... ]...
 * Requests behind "--" are served by the same processes, whatever became of those before; all must end alike.
 * Options: matrix, batch and gene_column (comma-separated), label, n_top, genes_file, known_from (a file whose genes and levels
 * must be matched, as from a checkpoint), driver (auto, mpio, posix), shards, held_out, embed (a path to write). */
#include "gmvae/data.h"
#include "gmvae/log.h"
#include "gmvae/mem.h"
#include "gmvae/packed.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum { most = 64 };

typedef struct options {
    gmv_cells_request request;
    gmv_texts paths, batch, columns;
    char *path[most], *key[most], *column[most];
    char *known_from, *embed;
} options;

static void set_option(options *o, const char *name, char *value)
{
    if (strcmp(name, "matrix") == 0) {
        o->request.matrix = value;
    } else if (strcmp(name, "batch") == 0) {
        for (char *rest = value, *key = strtok_r(value, ",", &rest); key != NULL; key = strtok_r(NULL, ",", &rest)) {
            o->key[o->batch.n++] = key;
        }
    } else if (strcmp(name, "gene_column") == 0) {
        for (char *rest = value, *key = strtok_r(value, ",", &rest); key != NULL; key = strtok_r(NULL, ",", &rest)) {
            o->column[o->columns.n++] = key;
        }
    } else if (strcmp(name, "label") == 0) {
        o->request.label_key = value;
    } else if (strcmp(name, "n_top") == 0) {
        o->request.genes_mode = GMV_GENES_N_TOP;
        o->request.n_top = atoll(value);
    } else if (strcmp(name, "genes_file") == 0) {
        o->request.genes_mode = GMV_GENES_FILE;
        o->request.genes_file = value;
    } else if (strcmp(name, "known_from") == 0) {
        o->known_from = value;
    } else if (strcmp(name, "embed") == 0) {
        o->embed = value;
    } else if (strcmp(name, "shards") == 0) {
        o->request.shards = atoi(value);
    } else if (strcmp(name, "held_out") == 0) {
        o->request.held_out = atof(value);
    } else if (strcmp(name, "driver") == 0) {
        o->request.driver = strcmp(value, "mpio") == 0    ? GMV_DRIVER_MPIO
                            : strcmp(value, "posix") == 0 ? GMV_DRIVER_POSIX
                                                          : GMV_DRIVER_AUTO;
    }
}

static void parse(options *o, int argc, char **argv)
{
    memset(o, 0, sizeof *o);
    o->request = (gmv_cells_request){.matrix = "auto", .label_key = "", .shards = 16, .seed = 1};
    for (int i = 0; i < argc; i++) {
        char *equals = strchr(argv[i], '=');
        if (equals == NULL) {
            o->path[o->paths.n++] = argv[i];
        } else {
            *equals = '\0';
            set_option(o, argv[i], equals + 1);
        }
    }
    o->paths.at = o->path;
    o->batch.at = o->key;
    o->request.paths = &o->paths;
    o->columns.at = o->column;
    o->request.batch_keys = &o->batch;
    o->request.gene_column = &o->columns;
}

static void print_text(const char *text)
{
    putchar('"');
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\') {
            putchar('\\');
        }
        putchar(*text);
    }
    putchar('"');
}

enum { SUM, NNZ, PRESENT, PRESENT_SUM, ROW_SUM, COLUMN_SUM, LARGEST, LEVELS_SUM, LABEL_SUM, HASH, SUMS };

/* Checksums over local rows; all but LARGEST add up over ranks (HASH modulo 2^64). */
static void sum_up(const gmv_cells *cells, int64_t *sums)
{
    for (gmv_gidx i = 0; i < cells->count; i++) {
        const gmv_packed *packed = &cells->packed;
        gmv_gidx row = cells->first + i;
        for (gmv_nnz at = packed->indptr[i]; at < packed->indptr[i + 1]; at++) {
            int64_t gene = packed->gene16 != NULL ? (int64_t)packed->gene16[at] : (int64_t)packed->gene32[at];
            int64_t count = gmv_packed_count(packed, at), triple[3] = {row, gene, count};
            bool ordered = at == packed->indptr[i] || gene > (packed->gene16 != NULL ? (int64_t)packed->gene16[at - 1]
                                                                                     : (int64_t)packed->gene32[at - 1]);
            sums[SUM] += count;
            sums[NNZ] += ordered && count > 0 ? 1 : 1000000;
            sums[ROW_SUM] += (row + 1) * count;
            sums[COLUMN_SUM] += (gene + 1) * count;
            sums[LARGEST] = count > sums[LARGEST] ? count : sums[LARGEST];
            sums[HASH] = (int64_t)((uint64_t)sums[HASH] + XXH3_64bits(triple, sizeof triple));
        }
        sums[PRESENT] += gmv_cells_present(cells, i);
        for (int32_t g = 0; g < packed->genes && packed->set != NULL; g++) {
            sums[PRESENT_SUM] += (row + 1) * (g + 1) * packed->present[packed->set[i] * packed->genes + g];
        }
        for (int c = 0; c < cells->covariates; c++) {
            sums[LEVELS_SUM] += (row + 1) * (packed->level[i * cells->covariates + c] + 1);
        }
        sums[LABEL_SUM] += cells->label != NULL ? (row + 1) * (cells->label->code[i] + 1) : 0;
    }
}

static void print_names(const char *key, char *const *name, int64_t n)
{
    printf(", \"%s\": [", key);
    for (int64_t i = 0; i < n; i++) {
        printf("%s", i > 0 ? ", " : "");
        print_text(name[i]);
    }
    printf("]");
}

static void print_cells(const gmv_cells *cells, const int64_t *sums, double mean, double std)
{
    printf("{\"cells\": %" PRId64 ", \"genes\": %d, \"nnz\": %" PRId64 ", \"sum\": %" PRId64 ", \"max\": %" PRId64,
           cells->total, (int)cells->genes, sums[NNZ], sums[SUM], sums[LARGEST]);
    printf(", \"row_checksum\": %" PRId64 ", \"column_checksum\": %" PRId64 ", \"hash\": \"%016" PRIx64 "\"",
           sums[ROW_SUM], sums[COLUMN_SUM], (uint64_t)sums[HASH]);
    printf(", \"level_checksum\": %" PRId64 ", \"label_checksum\": %" PRId64, sums[LEVELS_SUM], sums[LABEL_SUM]);
    printf(", \"sets\": %d, \"present\": %" PRId64 ", \"present_checksum\": %" PRId64, cells->packed.sets,
           sums[PRESENT], sums[PRESENT_SUM]);
    printf(", \"mean\": \"%a\", \"std\": \"%a\", \"matrix\": ", mean, std);
    print_text(cells->matrix);
    print_names("gene", cells->gene, cells->genes);
    print_names("file", cells->file, cells->files);
    for (int c = 0; c < cells->covariates; c++) {
        print_names(cells->covariate[c].key, cells->covariate[c].level, cells->covariate[c].levels);
    }
    if (cells->label != NULL) {
        print_names("label", cells->label->level, cells->label->levels);
    }
    printf("}\n");
}

/* An embedding with values that a test can compute from the row number alone. */
static gmv_status embed(const options *o, const gmv_cells *cells, const gmv_comm *comm)
{
    enum { dim = 3, clusters = 4 };
    float *latent = NULL, *probability = NULL, *neg_elbo = NULL;
    gmv_status status = GMV_OK;
    GMV_GO(GMV_NEW(latent, cells->count * dim, "latents"));
    GMV_GO(GMV_NEW(probability, cells->count * clusters, "probabilities"));
    GMV_GO(GMV_NEW(neg_elbo, cells->count, "losses"));
    for (gmv_gidx i = 0; i < cells->count; i++) {
        gmv_gidx row = cells->first + i;
        for (int d = 0; d < dim; d++) {
            latent[i * dim + d] = (float)(row * 10 + d);
        }
        for (int k = 0; k < clusters; k++) {
            probability[i * clusters + k] = k == row % 3 ? 0.7f : 0.1f;
        }
        neg_elbo[i] = (float)row + 0.5f;
    }
    gmv_embedding embedding = {dim, latent, clusters, probability, neg_elbo, "seed: 1\n", "out/run/best.h5", 7};
    status = gmv_embedding_write(o->embed, cells, comm, &embedding);
done:
    GMV_FREE(latent);
    GMV_FREE(probability);
    GMV_FREE(neg_elbo);
    return gmv_comm_agree(comm, status);
}

static gmv_status run(options *o, const gmv_comm *comm)
{
    gmv_cells *cells = NULL, *known = NULL;
    int64_t sums[SUMS] = {0};
    double mean = 0, std = 0;
    gmv_status status = GMV_OK;
    if (o->known_from != NULL) {
        gmv_texts path = {&o->known_from, 1};
        gmv_cells_request request = o->request;
        request.paths = &path;
        GMV_GO(gmv_cells_load(&known, comm, &request));
        o->request.known_genes = known->genes;
        o->request.known_gene = known->gene;
        o->request.known_factors = known->covariates;
        o->request.known_factor = known->covariate;
    }
    GMV_GO(gmv_cells_load(&cells, comm, &o->request));
    sum_up(cells, sums);
    int64_t largest = sums[LARGEST];
    gmv_comm_sum_i64(comm, sums, SUMS);
    gmv_comm_max_i64(comm, &largest, 1);
    sums[LARGEST] = largest;
    GMV_GO(gmv_cells_scalar_statistics(cells, comm, o->request.seed, o->request.held_out, &mean, &std));
    if (o->embed != NULL) {
        GMV_GO(embed(o, cells, comm));
    }
    if (comm->rank == 0) {
        print_cells(cells, sums, mean, std);
    }
done:
    gmv_cells_destroy(&cells);
    gmv_cells_destroy(&known);
    return status;
}

/* One request: its line of JSON, or of an error. */
static gmv_status serve(int argc, char **argv, const gmv_comm *comm)
{
    options o;
    parse(&o, argc, argv);
    gmv_error_clear();
    gmv_status status = run(&o, comm);
    if (status != GMV_OK && comm->rank == 0) {
        fprintf(stderr, "gmvae_dist: error: %s\n", gmv_error_message());
    }
    if (gmv_alloc_live() != 0 && status == GMV_OK) {
        fprintf(stderr, "rank %d leaves %" PRId64 " blocks\n", comm->rank, gmv_alloc_live());
        status = GMV_ERR_INTERNAL;
    }
    return status;
}

int main(int argc, char **argv)
{
    gmv_comm comm;
    gmv_status status = GMV_OK;
    if (gmv_comm_init(&comm, &argc, &argv) != GMV_OK) {
        return 1;
    }
    gmv_log_init(comm.rank == 0);
    for (int from = 1, to = 1; to < argc; from = to + 1) {
        for (to = from; to < argc && strcmp(argv[to], "--") != 0; to++) {
        }
        gmv_status last = serve(to - from, argv + from, &comm);
        status = from == 1 || last == status ? last : GMV_ERR_INTERNAL;
    }
    gmv_comm_fini(&comm);
    return gmv_exit_code(status);
}
