/* Steps of training: after the first nothing allocates, and everything is given back at the end. */
#include "ref/dataset.h"

#include "gmvae/mem.h"
#include "gmvae/train.h"

enum { CELLS = 103, GENES = 60, SHARDS = 8, EPOCHS = 5 };

static const char config_text[] =
    "data: {train: x.h5ad, shards: 8, validation: 0.1}\n"
    "model: {latent_dim: 3, w_dim: 2, clusters: 4, encoder: [8], decoder: [8, 6], beta: [8],\n"
    "  dropout: 0.1, objective: mc}\n"
    "train: {epochs: 5, batch_size: 32, mc_samples: 2, micro_batches: 4}\n";

/* The packed matrix in host memory, as it is after loading. */
static gmv_packed pack_on_host(const t_dataset *data)
{
    size_t most = (size_t)data->rows * (size_t)data->genes, n = 0, over = 0;
    gmv_nnz *indptr = t_alloc((size_t)data->rows + 1, sizeof *indptr), *at = t_alloc(most, sizeof *at);
    uint16_t *gene = t_alloc(most, sizeof *gene);
    uint8_t *count = t_alloc(most, 1);
    uint32_t *large = t_alloc(most, sizeof *large);
    for (size_t i = 0; i < most; i++) {
        double y = data->count[i];
        if (y > 0.0) {
            if (y >= 255.0) {
                at[over] = (gmv_nnz)n;
                large[over++] = (uint32_t)y;
            }
            gene[n] = (uint16_t)(i % (size_t)data->genes);
            count[n++] = (uint8_t)(y >= 255.0 ? 255.0 : y);
        }
        indptr[i / (size_t)data->genes + 1] = (gmv_nnz)n;
    }
    return (gmv_packed){.rows = data->rows,
                        .genes = data->genes,
                        .indptr = indptr,
                        .gene16 = gene,
                        .count8 = count,
                        .overflows = (int64_t)over,
                        .overflow_at = at,
                        .overflow_count = large,
                        .covariates = data->covariates,
                        .level = data->level};
}

static gmv_cells make_cells(const t_dataset *data)
{
    gmv_cells cells = {.total = CELLS,
                       .count = CELLS,
                       .shards = SHARDS,
                       .end_shard = SHARDS,
                       .genes = GENES,
                       .split = {.seed = 1, .fraction = 0.1},
                       .packed = pack_on_host(data),
                       .covariates = data->covariates,
                       .levels = data->levels};
    cells.shard_start = t_alloc(SHARDS + 1, sizeof *cells.shard_start);
    for (int s = 0; s <= SHARDS; s++) {
        cells.shard_start[s] = CELLS * s / SHARDS;
    }
    return cells;
}

/* Calls of batch_fetch: those that a device runs again from a record are none. */
static const gmv_ops *counted_ops;
static int fetches;

static gmv_status count_fetch(gmv_backend *b, const gmv_packed *shard, const int64_t *rows, const int64_t *first,
                              const int32_t *filled, int n, gmv_input input, gmv_batch *batch)
{
    fetches++;
    return counted_ops->batch_fetch(b, shard, rows, first, filled, n, input, batch);
}

/* Batches and pieces differ in size, but a device records one sequence for all pieces; of whole steps six: the first of
 * an epoch, the last, and those between, each with the next batch in one of two places. It calls each twice. */
static void check_records(const gmv_trainer *trainer, int all, int of_last_epoch)
{
    int pieces = (int)trainer->sampler.batches * (trainer->end_piece - trainer->first_piece);
    if (strcmp(trainer->backend->name, "cuda") == 0) {
        assert_int_equal(of_last_epoch, 0);
        assert_true(all <= (trainer->fixed != NULL ? 2 : 2 * 6));
    } else {
        assert_int_equal(of_last_epoch, pieces);
        assert_int_equal(all, EPOCHS * pieces);
    }
}

/* All steps of all epochs; allocations of each but the very first are counted. */
static void take_steps(gmv_trainer *trainer)
{
    int64_t before = 0;
    int before_last = fetches = 0;
    for (int epoch = 0; epoch < EPOCHS; epoch++) {
        before_last = fetches;
        for (int64_t t = 0; t < trainer->sampler.batches; t++) {
            t_ok(gmv_train_step(trainer), "gmv_train_step");
            before = before == 0 ? gmv_alloc_count() : before;
            if (gmv_alloc_count() != before) {
                fail_msg("step %lld allocates", (long long)trainer->progress.step);
            }
        }
        t_ok(gmv_train_settle(trainer), "gmv_train_settle");
        trainer->progress.epoch++;
        trainer->progress.batch = 0;
    }
    check_records(trainer, fetches, fetches - before_last);
}

static void train(const char *reduction)
{
    t_dataset data = t_counts(3, CELLS, GENES, 0.4, 2);
    gmv_cells cells = make_cells(&data);
    gmv_config config;
    gmv_model *model = NULL;
    gmv_trainer trainer;
    gmv_input input = {GMV_INPUT_LOG1P, 0.0f, 1.0f};
    gmv_backend *backend;
    int64_t live = gmv_alloc_live();
    t_ok(t_open_backend(&backend, t_backend->name), "gmv_backend_open"); /* it keeps scratch memory */
    gmv_ops ops = *backend->op;
    counted_ops = backend->op;
    ops.batch_fetch = count_fetch;
    backend->op = &ops;
    t_ok(gmv_config_parse(&config, "steps", config_text, (int64_t)strlen(config_text), 1, &reduction), "config");
    t_ok(gmv_model_create(&model, &config, backend, GENES, data.levels, input), "gmv_model_create");
    t_ok(gmv_trainer_init(&trainer, &config, &t_comm, model, &cells), "gmv_trainer_init");
    int64_t last = gmv_sampler_batch_cells(&trainer.sampler, trainer.sampler.batches - 1);
    assert_true(trainer.sampler.batches > 1 && last < trainer.sampler.batch_size);
    take_steps(&trainer);

    /* neither does evaluation change what a step finds ready */
    gmv_evaluation evaluation;
    t_ok(gmv_evaluate(model, &trainer.feed, &cells, &t_comm, GMV_CELLS_HELD_OUT, (gmv_draws){3, true}, NULL,
                      &evaluation),
         "gmv_evaluate");
    assert_true(evaluation.cells > 0 && isfinite(evaluation.neg_elbo) && isfinite(evaluation.neg_log_p));
    int64_t before = gmv_alloc_count();
    t_ok(gmv_train_step(&trainer), "gmv_train_step");
    t_ok(gmv_train_settle(&trainer), "gmv_train_settle");
    assert_int_equal(gmv_alloc_count(), before);

    gmv_trainer_fini(&trainer);
    gmv_model_destroy(&model);
    gmv_backend_close(&backend);
    gmv_config_fini(&config);
    assert_int_equal(gmv_alloc_live(), live);
}

static void fast_steps_do_not_allocate(void **state)
{
    (void)state;
    train("train.reduction=fast");
}

static void exact_steps_do_not_allocate(void **state)
{
    (void)state;
    train("train.reduction=exact");
}

/* What fails half-way gives back what it had. */
static void a_refused_trainer_leaves_nothing(void **state)
{
    (void)state;
    static const char *const overrides[] = {"train.reduction=exact", "train.micro_batches=3"};
    t_dataset data = t_counts(3, CELLS, GENES, 0.4, 2);
    gmv_cells cells = make_cells(&data);
    gmv_config config;
    gmv_model *model = NULL;
    gmv_trainer trainer;
    gmv_input input = {GMV_INPUT_LOG1P, 0.0f, 1.0f};
    gmv_backend *backend;
    int64_t live = gmv_alloc_live();
    t_ok(t_open_backend(&backend, t_backend->name), "gmv_backend_open"); /* it keeps scratch memory */
    t_ok(gmv_config_parse(&config, "steps", config_text, (int64_t)strlen(config_text), 2, overrides), "config");
    t_ok(gmv_model_create(&model, &config, backend, GENES, data.levels, input), "gmv_model_create");
    assert_int_equal(gmv_trainer_init(&trainer, &config, &t_comm, model, &cells), GMV_ERR_CONFIG);
    gmv_error_clear();
    gmv_trainer_fini(&trainer);
    gmv_model_destroy(&model);
    gmv_backend_close(&backend);
    gmv_config_fini(&config);
    assert_int_equal(gmv_alloc_live(), live);
}

static const struct CMUnitTest tests[] = {
    T_TEST(fast_steps_do_not_allocate),
    T_TEST(exact_steps_do_not_allocate),
    T_TEST(a_refused_trainer_leaves_nothing),
};
T_MAIN_ON_BACKEND(tests)
