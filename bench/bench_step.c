/* Training steps on a synthetic matrix that is resident: cells a second, and the time of a step.
 *
 *   [mpirun -np N] bench_step [genes=13431] [cells=16384] [nonzeros=1209] [levels=13] [warmup=5] [steps=30] [KEY=VALUE ...]
 *
 * Keys of the config (train.batch_size=1024, backend=cuda, train.precision=bf16, ...) may follow. Rank 0 prints one
 * JSON line. Steps are timed one by one, with the device idle at both ends of each: `median` is of those; `cells_per_s`
 * is over all of them in one go, as training takes them. */
#include "gmvae/backend.h"
#include "gmvae/mem.h"
#include "gmvae/train.h"
#include "synthetic.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct plan {
    long genes, cells, nonzeros, levels, warmup, steps;
} plan;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Takes what is the plan's out of the arguments; the rest are overrides of the config. */
static int read_plan(plan *p, int argc, char **argv, const char **override)
{
    const char *const names[] = {"genes", "cells", "nonzeros", "levels", "warmup", "steps"};
    long *const values[] = {&p->genes, &p->cells, &p->nonzeros, &p->levels, &p->warmup, &p->steps};
    int overrides = 0;
    for (int i = 1; i < argc; i++) {
        bool mine = false;
        for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
            size_t length = strlen(names[k]);
            if (strncmp(argv[i], names[k], length) == 0 && argv[i][length] == '=') {
                *values[k] = strtol(argv[i] + length + 1, NULL, 10);
                mine = true;
            }
        }
        if (!mine) {
            override[overrides++] = argv[i];
        }
    }
    return overrides;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static gmv_status next_step(gmv_trainer *trainer)
{
    if (trainer->progress.batch == trainer->sampler.batches) {
        trainer->progress.epoch++;
        trainer->progress.batch = 0;
    }
    return gmv_train_step(trainer);
}

static gmv_status measure(gmv_trainer *trainer, const plan *p, double *seconds, double *total)
{
    for (long i = 0; i < p->warmup; i++) {
        GMV_TRY(next_step(trainer));
    }
    for (long i = 0; i < p->steps; i++) {
        GMV_TRY(gmv_train_settle(trainer));
        double start = now();
        GMV_TRY(next_step(trainer));
        GMV_TRY(gmv_train_settle(trainer));
        seconds[i] = now() - start;
    }
    double start = now();
    for (long i = 0; i < p->steps; i++) {
        GMV_TRY(next_step(trainer));
    }
    GMV_TRY(gmv_train_settle(trainer));
    *total = now() - start;
    qsort(seconds, (size_t)p->steps, sizeof *seconds, by_size);
    return GMV_OK;
}

static void print_result(const gmv_config *config, const gmv_trainer *trainer, const plan *p, const double *seconds,
                         double total)
{
    char backend[512];
    gmv_backend_describe(trainer->backend, backend, sizeof backend);
    double batch = (double)config->train_batch_size;
    printf(
        "{\"bench\": \"step\", \"program\": \"gmvae_dist\", \"version\": \"%s\", \"backend\": \"%s\", \"ranks\": %d, "
        "\"genes\": %ld, \"nonzeros\": %.1f, \"batch\": %lld, \"draws\": %lld, \"precision\": \"%s\", \"reduction\": "
        "\"%s\", \"steps\": %ld, \"step_ms_median\": %.4f, \"step_ms_min\": %.4f, \"step_ms_max\": %.4f, "
        "\"cells_per_s\": %.1f, \"reconstruction\": %.3f}\n",
        GMVAE_VERSION, backend, trainer->comm->size, p->genes,
        (double)trainer->cells->packed.indptr[trainer->cells->packed.rows] / (double)trainer->cells->packed.rows,
        (long long)config->train_batch_size, (long long)config->train_mc_samples,
        gmv_config_choice("train.precision", config->train_precision),
        gmv_config_choice("train.reduction", config->train_reduction), p->steps, 1e3 * seconds[p->steps / 2],
        1e3 * seconds[0], 1e3 * seconds[p->steps - 1], batch * (double)p->steps / total, trainer->last[0]);
}

static gmv_status run(const gmv_comm *comm, const plan *p, int overrides, const char **override)
{
    static const char text[] = "data: {train: synthetic, validation: 0}\n";
    gmv_cells cells = {0};
    gmv_config config = {0};
    gmv_model *model = NULL;
    gmv_backend *backend = NULL;
    gmv_trainer trainer = {0};
    double *seconds = NULL, total = 0.0;
    gmv_input input = {GMV_INPUT_LOG1P, 0.0f, 1.0f};
    gmv_status status;
    GMV_GO(gmv_config_parse(&config, "bench_step", text, (int64_t)strlen(text), overrides, override));
    GMV_GO(GMV_NEW(seconds, p->steps, "times"));
    gmv_backend_options options = {.name = gmv_config_choice("backend", config.backend),
                                   .precision = (gmv_precision)config.train_precision,
                                   .share_gpu = config.runtime_share_gpu,
                                   .timeout = config.runtime_timeout};
    GMV_GO(gmv_bench_cells_init(&cells, comm, p->cells, (int32_t)p->genes, (int)p->nonzeros, (int)p->levels,
                                (int)config.data_shards));
    GMV_GO(gmv_backend_open(&backend, &options, comm));
    GMV_GO(gmv_model_create(&model, &config, backend, (int32_t)p->genes, (int)p->levels, input));
    GMV_GO(gmv_trainer_init(&trainer, &config, comm, model, &cells));
    GMV_GO(measure(&trainer, p, seconds, &total));
    if (comm->rank == 0) {
        print_result(&config, &trainer, p, seconds, total);
    }
done:
    gmv_trainer_fini(&trainer);
    gmv_model_destroy(&model);
    gmv_backend_close(&backend);
    gmv_bench_cells_fini(&cells);
    gmv_config_fini(&config);
    gmv_free(seconds);
    return status;
}

int main(int argc, char **argv)
{
    plan p = {.genes = 13431, .cells = 16384, .nonzeros = 1209, .levels = 13, .warmup = 5, .steps = 30};
    const char **override = calloc((size_t)argc + 1, sizeof *override);
    int overrides = override != NULL ? read_plan(&p, argc, argv, override) : 0;
    gmv_comm comm;
    gmv_status status = gmv_comm_init(&comm, &argc, &argv);
    if (status == GMV_OK) {
        status = run(&comm, &p, overrides, override);
        if (status != GMV_OK) {
            fprintf(stderr, "bench_step: %s\n", gmv_error_message());
        }
        gmv_comm_fini(&comm);
    }
    free(override);
    return gmv_exit_code(status);
}
