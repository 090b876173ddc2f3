/* Runs one training pass and one evaluation pass of a model on made-up cells, and writes everything that an
 * independent implementation needs to repeat them to an HDF5 file: parameters, cells, noise, results.
 *
 *   dump_step CONFIG.yaml OUT.h5 CELLS GENES[/SETS] KEYS KL_WEIGHT [KEY=VALUE ...]
 *
 * With SETS, cells have one of so many sets of genes, each of about two thirds of them.
 */
#include "gmvae/config.h"
#include "gmvae/model.h"
#include "gmvae/rng.h"

#include "../../src/model/part.h"

#include <hdf5.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_KEYS = 4, LEVELS_PER_KEY = 3, EPOCH = 7, FIRST_DRAW = 2 };

/* The cells, on the host, and the file. */
typedef struct dump {
    hid_t file;
    int cells, genes, sets, keys, draws;
    float kl_weight;
    float *count;     /* [B, G] */
    int32_t *level;   /* [B, C] */
    int64_t *cell_id; /* [B] */
    int32_t *set;     /* [B] */
    uint8_t *present; /* [sets, G] */
} dump;

static void must(int ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "dump_step: %s: %s\n", what, gmv_error_message());
        exit(1);
    }
}

static void *get(size_t count, size_t size)
{
    void *block = calloc(count + 1, size);
    must(block != NULL, "memory");
    return block;
}

static double uniform(uint32_t what, int64_t i)
{
    return (double)gmv_uniform(gmv_random_block(99, 1, 0, i, what, 0).word[0]);
}

static void write_array(const dump *d, const char *name, int rank, const hsize_t *shape, hid_t type, const void *data)
{
    hid_t links = H5Pcreate(H5P_LINK_CREATE), space = H5Screate_simple(rank, shape, NULL);
    H5Pset_create_intermediate_group(links, 1);
    hid_t set = H5Dcreate2(d->file, name, type, space, links, H5P_DEFAULT, H5P_DEFAULT);
    must(set >= 0 && H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0, name);
    H5Dclose(set);
    H5Sclose(space);
    H5Pclose(links);
}

static void write_floats(const dump *d, const char *name, hsize_t a, hsize_t b, hsize_t c, const float *data)
{
    const hsize_t shape[] = {a, b, c};
    write_array(d, name, c > 0 ? 3 : 2, shape, H5T_NATIVE_FLOAT, data);
}

static void write_number(const dump *d, const char *name, double value)
{
    hid_t space = H5Screate(H5S_SCALAR);
    hid_t attribute = H5Acreate2(d->file, name, H5T_NATIVE_DOUBLE, space, H5P_DEFAULT, H5P_DEFAULT);
    must(attribute >= 0 && H5Awrite(attribute, H5T_NATIVE_DOUBLE, &value) >= 0, name);
    H5Aclose(attribute);
    H5Sclose(space);
}

/* ---- cells ---- */

/* Sets of genes, no count of what a cell lacks, and [B, G] what it has. */
static void make_sets(dump *d)
{
    const hsize_t shape[] = {(hsize_t)d->cells, (hsize_t)d->genes};
    uint8_t *has = get((size_t)d->cells * (size_t)d->genes, 1);
    d->set = get((size_t)d->cells, sizeof *d->set);
    d->present = get((size_t)d->sets * (size_t)d->genes, 1);
    for (int j = 0; j < d->sets * d->genes; j++) {
        d->present[j] = uniform(4, j) < 0.67 || j % d->genes == 0;
    }
    for (int i = 0; i < d->cells; i++) {
        d->set[i] = (int32_t)(uniform(5, i) * d->sets);
        for (int g = 0; g < d->genes; g++) {
            has[i * d->genes + g] = d->present[d->set[i] * d->genes + g];
            d->count[i * d->genes + g] *= has[i * d->genes + g];
        }
    }
    write_array(d, "present", 2, shape, H5T_NATIVE_UINT8, has);
    free(has);
}

static void make_cells(dump *d)
{
    size_t n = (size_t)d->cells;
    d->count = get(n * (size_t)d->genes, sizeof *d->count);
    d->level = get(n * (size_t)d->keys, sizeof *d->level);
    d->cell_id = get(n, sizeof *d->cell_id);
    for (int64_t i = 0; i < (int64_t)d->cells * d->genes; i++) {
        double u = uniform(1, i);
        d->count[i] = uniform(0, i) < 0.4 ? (float)floor(1.0 + 3.0 / (u + 0.01)) : 0.0f;
    }
    for (int i = 0; i < d->cells; i++) {
        d->cell_id[i] = (int64_t)1 << (i % 40) | i;
        for (int c = 0; c < d->keys; c++) {
            d->level[i * d->keys + c] = c * LEVELS_PER_KEY + (int)(uniform(2, i * 8 + c) * LEVELS_PER_KEY);
        }
    }
    if (d->sets > 0) {
        make_sets(d);
    }
    const hsize_t counts[] = {n, (hsize_t)d->genes}, levels[] = {n, (hsize_t)d->keys};
    write_array(d, "counts", 2, counts, H5T_NATIVE_FLOAT, d->count);
    write_array(d, "level", 2, levels, H5T_NATIVE_INT32, d->level);
    write_number(d, "levels", d->keys * LEVELS_PER_KEY);
}

static void *upload(gmv_backend *b, const void *host, int64_t bytes)
{
    void *block = NULL;
    must(b->op->allocate(b, &block, bytes, "cells") == GMV_OK, "cells");
    must(b->op->upload(b, block, host, bytes) == GMV_OK, "cells");
    return block;
}

/* Mean and standard deviation over all entries. */
static gmv_input input_of(const dump *d, int kind)
{
    double sum = 0.0, square = 0.0, n = (double)d->cells * d->genes;
    for (int64_t i = 0; i < (int64_t)n; i++) {
        sum += (double)d->count[i];
        square += (double)d->count[i] * (double)d->count[i];
    }
    gmv_input input = {(gmv_input_kind)kind, (float)(sum / n), (float)sqrt(square / n - sum / n * (sum / n))};
    return input;
}

static gmv_batch make_batch(const dump *d, gmv_backend *b, gmv_input input)
{
    size_t most = (size_t)d->cells * (size_t)d->genes;
    gmv_nnz *indptr = get((size_t)d->cells + 1, sizeof *indptr);
    int64_t *row = get((size_t)d->cells, sizeof *row), *ids = get((size_t)d->cells, sizeof *ids);
    uint16_t *gene = get(most, sizeof *gene);
    uint8_t *count = get(most, sizeof *count);
    gmv_nnz n = 0, *over = get(most, sizeof *over);
    uint32_t *large = get(most, sizeof *large);
    gmv_packed packed = {.rows = d->cells, .genes = d->genes, .covariates = d->keys, .sets = d->sets};
    for (int i = 0; i < d->cells; i++) {
        for (int g = 0; g < d->genes; g++) {
            float y = d->count[i * d->genes + g];
            if (y == 0.0f) {
                continue;
            }
            if (y >= 255.0f) {
                over[packed.overflows] = n;
                large[packed.overflows++] = (uint32_t)y;
            }
            gene[n] = (uint16_t)g;
            count[n++] = y >= 255.0f ? 255 : (uint8_t)y;
        }
        indptr[i + 1] = n;
        row[i] = i;
    }
    packed.indptr = upload(b, indptr, (d->cells + 1) * 8);
    packed.gene16 = upload(b, gene, n * 2);
    packed.count8 = upload(b, count, n);
    packed.overflow_at = upload(b, over, packed.overflows * 8);
    packed.overflow_count = upload(b, large, packed.overflows * 4);
    packed.level = upload(b, d->level, (int64_t)d->cells * d->keys * 4);
    if (d->sets > 0) {
        packed.set = upload(b, d->set, d->cells * 4);
        packed.present = upload(b, d->present, d->sets * d->genes); /* the batch refers to it */
    }
    gmv_batch batch = {0};
    void **array[] = {(void **)&batch.indptr,    (void **)&batch.gene,    (void **)&batch.x,
                      (void **)&batch.colptr,    (void **)&batch.cell,    (void **)&batch.col_x,
                      (void **)&batch.col_count, (void **)&batch.library, (void **)&batch.level,
                      (void **)&batch.cell_id,   (void **)&batch.set};
    for (size_t k = 0; k < sizeof array / sizeof *array; k++) {
        int64_t room = (n + d->cells * (d->keys + 2) + d->genes + 2) * 8;
        must(b->op->allocate(b, array[k], room, "batch") == GMV_OK, "batch");
    }
    int64_t *rows = upload(b, row, d->cells * 8);
    static const int64_t zero = 0;
    int64_t *first = upload(b, &zero, sizeof zero);
    must(b->op->batch_fetch(b, &packed, rows, first, NULL, d->cells, input, &batch) == GMV_OK, "batch_fetch");
    /* ids that use more than 32 bits */
    must(b->op->upload(b, batch.cell_id, d->cell_id, d->cells * 8) == GMV_OK, "ids");
    void *done[] = {(void *)(uintptr_t)packed.indptr,
                    (void *)(uintptr_t)packed.gene16,
                    (void *)(uintptr_t)packed.count8,
                    (void *)(uintptr_t)packed.overflow_at,
                    (void *)(uintptr_t)packed.overflow_count,
                    (void *)(uintptr_t)packed.level,
                    (void *)(uintptr_t)packed.set,
                    rows,
                    first};
    for (size_t k = 0; k < sizeof done / sizeof *done; k++) {
        b->op->release(b, done[k]);
    }
    free(indptr);
    free(row);
    free(ids);
    free(gene);
    free(count);
    free(over);
    free(large);
    return batch;
}

static void release_batch(gmv_backend *b, gmv_batch *batch)
{
    void *array[] = {batch->indptr, batch->gene,    batch->x,         batch->colptr,
                     batch->cell,   batch->col_x,   batch->col_count, batch->library,
                     batch->level,  batch->cell_id, batch->set,       (void *)(uintptr_t)batch->present};
    for (size_t k = 0; k < sizeof array / sizeof *array; k++) {
        b->op->release(b, array[k]);
    }
}

/* ---- noise ---- */

static gmv_philox block_of(const gmv_model *model, const dump *d, uint32_t stream, int i, int m, int j)
{
    return gmv_random_block(model->seed, stream, EPOCH, d->cell_id[i], (uint32_t)(FIRST_DRAW + m), (uint32_t)(j / 4));
}

static void write_normals(const gmv_model *model, const dump *d, const char *name, uint32_t stream, int width)
{
    float *noise = get((size_t)(d->cells * d->draws * width), sizeof *noise), normal[4];
    for (int r = 0; r < d->cells * d->draws; r++) {
        for (int j = 0; j < width; j++) {
            gmv_normals(block_of(model, d, stream, r / d->draws, r % d->draws, j), normal);
            noise[r * width + j] = normal[j % 4];
        }
    }
    write_floats(d, name, (hsize_t)d->cells, (hsize_t)d->draws, (hsize_t)width, noise);
    free(noise);
}

/* 1 where an element is kept. */
static void write_masks(const gmv_model *model, const dump *d, const gmv_part *part)
{
    const gmv_trunk *trunk = &part->of.trunk;
    int draws = model->assembly->array[part->out].drawn ? d->draws : 1;
    for (int l = 0; l < trunk->layers; l++) {
        int width = trunk->layer[l].width;
        float *mask = get((size_t)(d->cells * draws * width), sizeof *mask);
        for (int r = 0; r < d->cells * draws; r++) {
            for (int j = 0; j < width; j++) {
                gmv_philox block = block_of(model, d, trunk->layer[l].stream, r / draws, r % draws, j);
                mask[r * width + j] = gmv_uniform(block.word[j % 4]) >= model->dropout ? 1.0f : 0.0f;
            }
        }
        char path[64];
        snprintf(path, sizeof path, "mask/%s.%d", part->name, l);
        write_floats(d, path, (hsize_t)d->cells, (hsize_t)draws, (hsize_t)width, mask);
        free(mask);
    }
}

/* ---- parameters and results ---- */

static void write_tensors(const gmv_model *model, const dump *d, const char *group, const float *buffer)
{
    for (int t = 0; t < model->params.tensors; t++) {
        const gmv_tensor *tensor = &model->params.tensor[t];
        float *host = get((size_t)tensor->n, sizeof *host);
        must(gmv_params_download(&model->params, buffer, t, host) == GMV_OK, tensor->name);
        char path[2 * GMV_MAX_NAME];
        snprintf(path, sizeof path, "%s/%s", group, tensor->name);
        const hsize_t shape[] = {(hsize_t)tensor->shape[0], (hsize_t)tensor->shape[1]};
        write_array(d, path, tensor->dims, shape, H5T_NATIVE_FLOAT, host);
        free(host);
    }
}

/* Away from the initial values, where norms are 1 and dispersions equal. */
static void disturb(gmv_model *model)
{
    for (int t = 0; t < model->params.tensors; t++) {
        const gmv_tensor *tensor = &model->params.tensor[t];
        float *host = get((size_t)tensor->n, sizeof *host);
        must(gmv_params_download(&model->params, model->params.value, t, host) == GMV_OK, tensor->name);
        for (int64_t i = 0; i < tensor->n; i++) {
            host[i] += (float)(0.6 * uniform(3, t * 1000003 + i) - 0.3);
        }
        must(gmv_params_upload(&model->params, model->params.value, t, host) == GMV_OK, tensor->name);
        free(host);
    }
}

/* Runs a pass and writes its terms and cluster probabilities under `group`. */
static void run_pass(gmv_model *model, const dump *d, const gmv_batch *batch, bool training, const char *group)
{
    gmv_pass pass = {
        .batch = batch, .draws = d->draws, .first_draw = FIRST_DRAW, .training = training, .probability = true};
    float scale = 1.0f / (float)d->cells;
    gmv_step step = {.filled = d->cells, .epoch = EPOCH, .scale = scale, .kl_scale = d->kl_weight * scale};
    must(gmv_model_set_step(model, &step) == GMV_OK, "gmv_model_set_step");
    must(gmv_model_run(model, &pass) == GMV_OK, "gmv_model_run");
    int width[] = {model->terms.n, model->clusters};
    const float *from[] = {model->loss, model->probability};
    static const char *const name[] = {"terms", "probability"};
    for (int k = 0; k < (model->clusters > 0 ? 2 : 1); k++) {
        float *host = get((size_t)(d->cells * width[k]), sizeof *host);
        must(model->backend->op->download(model->backend, host, from[k], (int64_t)d->cells * width[k] * 4) == GMV_OK,
             "download");
        char path[64];
        snprintf(path, sizeof path, "%s/%s", group, name[k]);
        write_floats(d, path, (hsize_t)d->cells, (hsize_t)width[k], 0, host);
        free(host);
    }
}

static void run_and_write(gmv_model *model, const dump *d, const gmv_batch *batch)
{
    must(gmv_model_reserve(model, d->cells, d->draws, true) == GMV_OK, "gmv_model_reserve");
    disturb(model);
    write_tensors(model, d, "params", model->params.value);
    run_pass(model, d, batch, true, "train");
    write_tensors(model, d, "grads", model->params.grad);
    run_pass(model, d, batch, false, "eval");
    write_normals(model, d, "train/eps_x", GMV_STREAM_LATENT_X, model->latent_dim);
    write_normals(model, d, "eval/eps_x", GMV_STREAM_EVAL_X, model->latent_dim);
    if (model->w_dim > 0) {
        write_normals(model, d, "train/eps_w", GMV_STREAM_LATENT_W, model->w_dim);
        write_normals(model, d, "eval/eps_w", GMV_STREAM_EVAL_W, model->w_dim);
    }
    for (int p = 0; p < model->assembly->parts; p++) {
        if (gmv_is_trunk(&model->assembly->part[p])) {
            write_masks(model, d, &model->assembly->part[p]);
        }
    }
    write_number(d, "kl_weight", (double)d->kl_weight);
    write_number(d, "mean", (double)model->input.mean);
    write_number(d, "std", (double)model->input.std);
}

int main(int argc, char **argv)
{
    gmv_comm comm;
    gmv_config config;
    gmv_backend *backend;
    gmv_model *model;
    const char *name = getenv("GMVAE_TEST_BACKEND");
    must(gmv_comm_init(&comm, &argc, &argv) == GMV_OK, "MPI");
    if (argc < 7) {
        fprintf(stderr, "usage: dump_step CONFIG.yaml OUT.h5 CELLS GENES[/SETS] KEYS KL_WEIGHT [KEY=VALUE ...]\n");
        return 2;
    }
    dump d = {.cells = atoi(argv[3]), .genes = atoi(argv[4]), .keys = atoi(argv[5]), .kl_weight = (float)atof(argv[6])};
    const char *slash = strchr(argv[4], '/');
    d.sets = slash != NULL ? atoi(slash + 1) : 0;
    must(d.keys <= MAX_KEYS, "too many keys");
    must(gmv_config_load(&config, &comm, argv[1], argc - 7, (const char *const *)argv + 7) == GMV_OK, argv[1]);
    d.draws = (int)config.train_mc_samples;
    d.file = H5Fcreate(argv[2], H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    must(d.file >= 0, argv[2]);
    gmv_backend_options options = {.name = name != NULL ? name : "cpu", .timeout = 60.0};
    must(gmv_backend_open(&backend, &options, &comm) == GMV_OK, "backend");
    make_cells(&d);
    gmv_input input = input_of(&d, config.model_input);
    gmv_batch batch = make_batch(&d, backend, input);
    must(gmv_model_create(&model, &config, backend, d.genes, d.keys * LEVELS_PER_KEY, input) == GMV_OK, "model");
    run_and_write(model, &d, &batch);
    gmv_model_destroy(&model);
    release_batch(backend, &batch);
    gmv_backend_close(&backend);
    gmv_config_fini(&config);
    must(H5Fclose(d.file) >= 0, "closing");
    free(d.count);
    free(d.level);
    free(d.cell_id);
    free(d.set);
    free(d.present);
    gmv_comm_fini(&comm);
    return 0;
}
