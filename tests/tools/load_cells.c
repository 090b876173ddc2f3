/* Loads cells as the trainer does, by its config, and prints what it holds as one JSON object, with sums that do not
 * depend on the number of ranks. Errors are one line on stderr and the exit code of the program.
 *
 *   load_cells [KEY=VALUE ...] [--OPTION ...] [-- [KEY=VALUE ...] [--OPTION ...]]...
 *
 * Keys are those of the config, which has no file. Requests behind "--" are served by the same processes, whatever became
 * of those before; all must end alike. Options:
 *   --known_from=FILE  loads this file first, whose genes and levels must be matched, as from a checkpoint
 *   --embed=FILE       writes an embedding of the cells there; --gaps: without some of them
 *   --usage            prints, too, the memory that rank 0 had at most, and what it read
 *   --spent            prints instead what loading took on the rank where it took most
 *   --epoch=N          prints instead what the batches of an epoch hold; --first_batch=N: from there on */
#include "gmvae/checker.h"
#include "gmvae/data.h"
#include "gmvae/embedding.h"
#include "gmvae/log.h"
#include "gmvae/mem.h"
#include "gmvae/packed.h"
#include "gmvae/text.h"
#include "gmvae/train.h"

#include <inttypes.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum { most_remembered = 1 << 28 };

typedef struct request {
    gmv_config config;
    char *known_from, *embed;
    bool gaps, usage, spent;
    int64_t epoch, first_batch; /* epoch -1: not its batches */
} request;

/* What "--NAME=VALUE" gives; NULL when the word is another. */
static char *option_value(char *word, const char *name)
{
    size_t n = strlen(name);
    return strncmp(word, name, n) == 0 && word[n] == '=' ? word + n + 1 : NULL;
}

static bool take_option(request *r, char *word)
{
    char *value;
    if (strcmp(word, "--gaps") == 0) {
        r->gaps = true;
    } else if (strcmp(word, "--usage") == 0) {
        r->usage = true;
    } else if (strcmp(word, "--spent") == 0) {
        r->spent = true;
    } else if ((value = option_value(word, "--known_from")) != NULL) {
        r->known_from = value;
    } else if ((value = option_value(word, "--embed")) != NULL) {
        r->embed = value;
    } else if ((value = option_value(word, "--epoch")) != NULL) {
        r->epoch = atoll(value);
    } else if ((value = option_value(word, "--first_batch")) != NULL) {
        r->first_batch = atoll(value);
    } else {
        return false;
    }
    return true;
}

/* The config as the program makes it of a command line. Its overrides belong to argv, whose order changes. */
static gmv_status parse(request *r, int argc, char **argv)
{
    int overrides = 0;
    *r = (request){.epoch = -1};
    for (int i = 0; i < argc; i++) {
        if (!take_option(r, argv[i])) {
            argv[overrides++] = argv[i];
        }
    }
    GMV_TRY(gmv_config_parse(&r->config, "defaults", "", 0, overrides, (const char *const *)argv));
    GMV_TRY(gmv_config_expand_paths(&r->config));
    return gmv_config_check(&r->config);
}

enum { SUM, NNZ, PRESENT, PRESENT_SUM, ROW_SUM, COLUMN_SUM, LARGEST, LEVELS_SUM, LABEL_SUM, HASH, SUMS };

/* Adds what is at a place of a packed matrix: row `row`. */
static void add_row(const gmv_cells *cells, const gmv_packed *packed, int64_t place, gmv_gidx row, int64_t *sums)
{
    for (gmv_nnz at = packed->indptr[place]; at < packed->indptr[place + 1]; at++) {
        int64_t gene = packed->gene16 != NULL ? (int64_t)packed->gene16[at] : (int64_t)packed->gene32[at];
        int64_t count = gmv_packed_count(packed, at), triple[3] = {row, gene, count};
        bool ordered = at == packed->indptr[place] || gene > (packed->gene16 != NULL ? (int64_t)packed->gene16[at - 1]
                                                                                     : (int64_t)packed->gene32[at - 1]);
        sums[SUM] += count;
        sums[NNZ] += ordered && count > 0 ? 1 : 1000000;
        sums[ROW_SUM] += (row + 1) * count;
        sums[COLUMN_SUM] += (gene + 1) * count;
        sums[LARGEST] = count > sums[LARGEST] ? count : sums[LARGEST];
        sums[HASH] = (int64_t)((uint64_t)sums[HASH] + XXH3_64bits(triple, sizeof triple));
    }
    sums[PRESENT] += gmv_cells_present(cells, row - cells->first);
    for (int32_t g = 0; g < packed->genes && packed->set != NULL; g++) {
        sums[PRESENT_SUM] += (row + 1) * (g + 1) * packed->present[packed->set[place] * packed->genes + g];
    }
    for (int c = 0; c < cells->covariates; c++) {
        sums[LEVELS_SUM] += (row + 1) * (packed->level[place * cells->covariates + c] + 1);
    }
    sums[LABEL_SUM] += cells->label != NULL ? (row + 1) * (gmv_factor_code(cells->label, row - cells->first) + 1) : 0;
}

static bool wants_all(const void *context, gmv_gidx row)
{
    (void)context;
    (void)row;
    return true;
}

enum { together = 4 }; /* blocks that are read at once */

/* The next blocks of a shard from `row` on. @return how many */
static int next_spans(const gmv_cells *cells, int shard, gmv_gidx row, gmv_span *span)
{
    gmv_gidx end = cells->shard_start[shard + 1];
    int n = 0;
    for (; n < together && row < end; n++, row = span[n - 1].end) {
        gmv_gidx last = row + cells->stream->block_rows;
        span[n] = (gmv_span){row, last < end ? last : end};
    }
    return n;
}

/* Streamed rows, some blocks at a time, through both slots. */
static gmv_status sum_up_stream(const gmv_cells *cells, int64_t *sums)
{
    const gmv_stream *stream = cells->stream;
    gmv_slots slots = {0};
    gmv_status status = GMV_OK;
    int64_t values = 0, large = 0, blocks = stream->block_start[cells->end_shard - cells->first_shard];
    for (int64_t b = 0; b < blocks; b++) {
        values = stream->values[b] > values ? stream->values[b] : values;
        large = stream->large[b] > large ? stream->large[b] : large;
    }
    GMV_GO(gmv_slots_init(&slots, cells, together * stream->block_rows, together * values, together * large));
    int half = 0;
    for (int s = cells->first_shard; s < cells->end_shard; s++) {
        for (gmv_gidx row = cells->shard_start[s]; row < cells->shard_start[s + 1]; half = 1 - half) {
            gmv_span span[together];
            int spans = next_spans(cells, s, row, span);
            gmv_gidx failed = gmv_stream_read(cells, span, spans, (gmv_row_filter){wants_all, NULL},
                                              omp_get_max_threads(), &slots, half);
            GMV_GO(failed >= 0 ? gmv_stream_fail(cells, failed) : GMV_OK);
            for (; row < span[spans - 1].end; row++) {
                int64_t place = half * (slots.rows + 1) + row - span[0].first;
                GMV_CHECK(slots.cell[place] == row);
                add_row(cells, &slots.view, place, row, sums);
            }
        }
    }
done:
    gmv_slots_fini(&slots);
    return status;
}

/* Checksums over local rows; all but LARGEST add up over ranks (HASH modulo 2^64). */
static gmv_status sum_up(const gmv_cells *cells, int64_t *sums)
{
    if (cells->stream != NULL) {
        return sum_up_stream(cells, sums);
    }
    for (gmv_gidx i = 0; i < cells->count; i++) {
        add_row(cells, &cells->packed, i, cells->first + i, sums);
    }
    return GMV_OK;
}

/* What the batches of an epoch hold. */
typedef struct epoch_trace {
    int64_t *hash;     /* [batches] one number from all that the cells of a batch hold */
    int64_t *of_label; /* [batches, labels] cells of each label */
    uint8_t *seen;     /* bits of the local rows */
    int64_t *batch;    /* [local rows] batch of each, + 1; 0: none; NULL where that is too much to remember */
    int64_t once, more, pairs, together; /* cells that came once and more often; neighbours in a file, and in a batch */
} epoch_trace;

/* How well an order mixes, as a full shuffle does on average when it is 1: the spread of labels over batches, which is
 * chi-square per degree of freedom; and how often cells that are neighbours in the files are in one batch. */
static void print_mixing(const gmv_cells *cells, const gmv_sampler *sampler, const epoch_trace *trace)
{
    int labels = cells->label != NULL ? cells->label->levels : 0;
    double sum = 0.0, n = (double)sampler->total, rate = 0.0;
    for (int64_t t = 0; t < sampler->batches; t++) {
        double size = (double)gmv_sampler_batch_cells(sampler, t), spread = 0.0;
        for (int k = 0; k < labels; k++) {
            double whole = 0.0;
            for (int64_t u = 0; u < sampler->batches; u++) {
                whole += (double)trace->of_label[u * labels + k];
            }
            double expected = size * whole / n, off = (double)trace->of_label[t * labels + k] - expected;
            spread += expected > 0.0 ? off * off / expected : 0.0;
        }
        sum += spread * (n - 1.0) / (n - size + 1e-9) / (labels > 1 ? labels - 1 : 1); /* drawn without replacement */
        rate += size / n * (size - 1.0) / (n - 1.0);
    }
    printf(", \"labels\": %.6f, \"neighbours\": %.6f", sum / (double)sampler->batches,
           (double)trace->together / (double)(trace->pairs > 0 ? trace->pairs : 1) / rate);
}

static gmv_status take_batches(const request *r, const gmv_cells *cells, const gmv_sampler *sampler, gmv_order *order,
                               epoch_trace *trace)
{
    int labels = cells->label != NULL ? cells->label->levels : 0;
    for (int64_t t = r->first_batch; t < sampler->batches; t++) {
        if (order->epoch != r->epoch || t < order->first || t >= order->end) {
            GMV_TRY(gmv_order_take(order, r->epoch, t));
        } else if (t == order->first + 1) {
            gmv_order_prepare(order);
        }
        const gmv_packed *packed = cells->stream != NULL ? &order->slots.view : &cells->packed;
        for (int64_t i = order->start[t - order->first]; i < order->start[t - order->first + 1]; i++) {
            int64_t sums[SUMS] = {0};
            gmv_gidx row = gmv_packed_cell(packed, order->row[i]), local = row - cells->first;
            add_row(cells, packed, order->row[i], row, sums);
            trace->hash[t] = (int64_t)((uint64_t)trace->hash[t] + XXH3_64bits(sums, sizeof sums));
            bool again = (trace->seen[local / 8] & 1u << local % 8) != 0;
            trace->once += !again;
            trace->more += again;
            trace->seen[local / 8] |= (uint8_t)(1u << local % 8);
            if (trace->batch != NULL) {
                trace->batch[local] = t + 1;
            }
            int label = labels > 0 ? gmv_factor_code(cells->label, local) : -1;
            if (label >= 0) {
                trace->of_label[t * labels + label]++;
            }
        }
    }
    for (gmv_gidx i = 0; trace->batch != NULL && i + 1 < cells->count; i++) {
        bool both = trace->batch[i] > 0 && trace->batch[i + 1] > 0;
        trace->pairs += both;
        trace->together += both && trace->batch[i] == trace->batch[i + 1];
    }
    return GMV_OK;
}

static gmv_status trace_epoch(const request *r, const gmv_cells *cells, const gmv_comm *comm)
{
    gmv_sampler sampler = {0};
    gmv_order order = {0};
    epoch_trace trace = {0};
    gmv_status status;
    int64_t labels = cells->label != NULL ? cells->label->levels : 0;
    GMV_GO(gmv_sampler_init(&sampler, comm, cells, (uint64_t)r->config.seed, r->config.train_batch_size,
                            r->config.data_window));
    int shard[2] = {sampler.first_shard, sampler.end_shard};
    GMV_GO(gmv_order_init(&order, &sampler, shard, 1, gmv_stream_threads(true)));
    GMV_GO(GMV_NEW(trace.hash, sampler.batches, "batches"));
    GMV_GO(GMV_NEW(trace.of_label, sampler.batches * labels, "batches"));
    GMV_GO(GMV_NEW(trace.seen, cells->count / 8 + 1, "cells"));
    if (cells->count < most_remembered) {
        GMV_GO(GMV_NEW(trace.batch, cells->count, "cells"));
    }
    GMV_GO(take_batches(r, cells, &sampler, &order, &trace));
    int64_t count[4] = {trace.once, trace.more, trace.pairs, trace.together};
    gmv_comm_sum_i64(comm, count, 4);
    gmv_comm_sum_i64(comm, trace.hash, sampler.batches);
    gmv_comm_sum_i64(comm, trace.of_label, sampler.batches * labels);
    trace.once = count[0];
    trace.more = count[1];
    trace.pairs = count[2];
    trace.together = count[3];
    if (comm->rank == 0) {
        printf("{\"once\": %" PRId64 ", \"more\": %" PRId64 ", \"windows\": %" PRId64, trace.once, trace.more,
               sampler.windows);
        print_mixing(cells, &sampler, &trace);
        printf(", \"batches\": [");
        for (int64_t t = 0; t < sampler.batches; t++) {
            printf("%s\"%016" PRIx64 "\"", t > 0 ? ", " : "", (uint64_t)trace.hash[t]);
        }
        printf("]}\n");
    }
done:
    gmv_order_fini(&order);
    gmv_sampler_fini(&sampler);
    GMV_FREE(trace.hash);
    GMV_FREE(trace.of_label);
    GMV_FREE(trace.seen);
    GMV_FREE(trace.batch);
    return status;
}

static void print_names(const char *key, char *const *name, int64_t n)
{
    printf(", ");
    gmv_print_json_text(stdout, key);
    printf(": [");
    for (int64_t i = 0; i < n; i++) {
        printf("%s", i > 0 ? ", " : "");
        gmv_print_json_text(stdout, name[i]);
    }
    printf("]");
}

/* The number behind a name in a file of /proc/self. */
static long long usage_of(const char *path, const char *name)
{
    char line[256];
    long long value = -1;
    FILE *in = fopen(path, "r");
    while (in != NULL && fgets(line, sizeof line, in) != NULL) {
        value = strncmp(line, name, strlen(name)) == 0 ? atoll(line + strlen(name)) : value;
    }
    if (in != NULL) {
        fclose(in);
    }
    return value;
}

static void print_fingerprint(const gmv_cells *cells)
{
    const gmv_fingerprint *print = &cells->fingerprint;
    const char *const name[] = {"counts", "order", "held_out", "measured", "genes"};
    const uint64_t value[] = {print->counts, print->order, print->held_out, print->measured, print->genes};
    printf(", \"fingerprint\": {\"cells\": %" PRId64, print->cells);
    for (int i = 0; i < 5; i++) {
        printf(", \"%s\": \"%016" PRIx64 "\"", name[i], value[i]);
    }
    for (int c = 0; c < cells->covariates; c++) {
        fputs(", ", stdout);
        gmv_print_json_text(stdout, cells->covariate[c].key);
        printf(": \"%016" PRIx64 "\"", cells->covariate[c].fingerprint);
    }
    printf(", \"samples\": %" PRId64 "}", cells->samples);
}

static void print_cells(const request *r, const gmv_cells *cells, const int64_t *sums, double mean, double std)
{
    printf("{\"cells\": %" PRId64 ", \"genes\": %d, \"nnz\": %" PRId64 ", \"sum\": %" PRId64 ", \"max\": %" PRId64,
           cells->total, (int)cells->genes, sums[NNZ], sums[SUM], sums[LARGEST]);
    printf(", \"row_checksum\": %" PRId64 ", \"column_checksum\": %" PRId64 ", \"hash\": \"%016" PRIx64 "\"",
           sums[ROW_SUM], sums[COLUMN_SUM], (uint64_t)sums[HASH]);
    printf(", \"level_checksum\": %" PRId64 ", \"label_checksum\": %" PRId64, sums[LEVELS_SUM], sums[LABEL_SUM]);
    printf(", \"sets\": %d, \"present\": %" PRId64 ", \"present_checksum\": %" PRId64, cells->packed.sets,
           sums[PRESENT], sums[PRESENT_SUM]);
    printf(", \"mean\": \"%a\", \"std\": \"%a\", \"matrix\": ", mean, std);
    gmv_print_json_text(stdout, cells->matrix);
    print_fingerprint(cells);
    print_names("gene", cells->gene, cells->genes);
    print_names("file", cells->file, cells->files);
    for (int c = 0; c < cells->covariates; c++) {
        print_names(cells->covariate[c].key, cells->covariate[c].level, cells->covariate[c].levels);
    }
    if (cells->label != NULL) {
        print_names("label", cells->label->level, cells->label->levels);
    }
    if (r->usage) {
        printf(", \"peak_kb\": %lld, \"read\": %lld", usage_of("/proc/self/status", "VmHWM:"),
               usage_of("/proc/self/io", "rchar:"));
    }
    printf("}\n");
}

/* An embedding with values that a test can compute from the row number alone. */
static gmv_status embed(const request *r, const gmv_cells *cells, const gmv_comm *comm)
{
    enum { dim = 3, clusters = 4 };
    static const gmv_cell_outputs outputs = {
        3,
        {{.name = "X_gmvae", .kind = GMV_OUTPUT_LATENT, .cols = dim},
         {"gmvae_cluster_prob", GMV_OUTPUT_CLUSTERS, "gmvae_cluster", "gmvae_certainty", .cols = clusters},
         {.name = "gmvae_twice", .kind = GMV_OUTPUT_NUMBERS, .cols = 1}}};
    gmv_embedding embedding = {.outputs = &outputs, .config = "seed: 1\n", .checkpoint = "out/run/best.h5", .epoch = 7};
    gmv_embedding_file *file = NULL;
    gmv_status status = gmv_embedding_begin(&file, r->embed, cells, comm, &embedding);
    for (gmv_gidx row = cells->first; row < cells->first + cells->count && status == GMV_OK; row++) {
        float latent[dim], probability[clusters], twice = 2.0f * (float)row, neg_elbo = (float)row + 0.5f;
        const float *const output[] = {latent, probability, &twice};
        for (int d = 0; d < dim; d++) {
            latent[d] = (float)(row * 10 + d);
        }
        for (int k = 0; k < clusters; k++) {
            probability[k] = k == row % 3 ? 0.7f : 0.1f;
        }
        if (!r->gaps || row % 11 != 4) {
            status = gmv_embedding_put(file, 1, &row, output);
        }
        if (status == GMV_OK && row % 7 != 5) { /* some are left out */
            const float counts = 2.0f * neg_elbo;
            status = gmv_embedding_put_figures(file, 1, &row, &neg_elbo, &counts);
        }
    }
    return gmv_embedding_end(&file, comm, status);
}

/* Allocations, blocks of them at a time, bytes read from files. */
static void print_spent(const gmv_comm *comm)
{
    int64_t spent[3] = {gmv_alloc_count(), gmv_alloc_most_live(), 0};
    FILE *in = fopen("/proc/self/io", "r");
    if (in != NULL) {
        if (fscanf(in, "rchar: %" SCNd64, &spent[2]) != 1) {
            spent[2] = 0;
        }
        fclose(in);
    }
    gmv_comm_max_i64(comm, spent, 3);
    if (comm->rank == 0) {
        printf("{\"allocations\": %" PRId64 ", \"blocks\": %" PRId64 ", \"read\": %" PRId64 "}\n", spent[0], spent[1],
               spent[2]);
    }
}

static gmv_status run(request *r, const gmv_comm *comm)
{
    gmv_cells *cells = NULL, *known = NULL;
    int64_t sums[SUMS] = {0};
    double mean = 0, std = 0;
    gmv_status status = GMV_OK;
    gmv_known like;
    gmv_reading how = {.paths = &r->config.data_train, .held_out = &r->config.data_validation, .training = true};
    if (r->known_from != NULL) { /* as a checkpoint of it would say */
        gmv_texts path = {&r->known_from, 1};
        how.paths = &path;
        GMV_GO(gmv_cells_load(&known, comm, &r->config, &how));
        like = gmv_cells_known(known);
        how.paths = &r->config.data_train;
        how.known = &like;
        how.training = false;
    }
    GMV_GO(gmv_cells_load(&cells, comm, &r->config, &how));
    if (r->spent) {
        print_spent(comm);
        goto done;
    }
    if (r->epoch < 0) {
        GMV_GO(gmv_comm_agree(comm, sum_up(cells, sums)));
    }
    int64_t largest = sums[LARGEST];
    gmv_comm_sum_i64(comm, sums, SUMS);
    gmv_comm_max_i64(comm, &largest, 1);
    sums[LARGEST] = largest;
    GMV_GO(gmv_cells_scalar_statistics(cells, comm, &mean, &std));
    if (r->embed != NULL) {
        GMV_GO(embed(r, cells, comm));
    }
    if (r->epoch >= 0) {
        GMV_GO(trace_epoch(r, cells, comm));
    } else if (comm->rank == 0) {
        print_cells(r, cells, sums, mean, std);
    }
done:
    gmv_cells_destroy(&cells);
    gmv_cells_destroy(&known);
    return status;
}

/* One request: its line of JSON, or of an error. */
static gmv_status serve(int argc, char **argv, const gmv_comm *comm)
{
    request r;
    gmv_error_clear();
    gmv_status status = parse(&r, argc, argv);
    status = status == GMV_OK ? run(&r, comm) : status;
    if (status != GMV_OK && comm->rank == 0) {
        fprintf(stderr, "gmvae_dist: error: %s\n", gmv_error_message());
    }
    gmv_config_fini(&r.config);
    if (gmv_alloc_live() != 0 && status == GMV_OK) {
        fprintf(stderr, "rank %d leaves %" PRId64 " blocks\n", comm->rank, gmv_alloc_live());
        status = GMV_ERR_INTERNAL;
    }
    return status;
}

int main(int argc, char **argv)
{
    gmv_checker_main(argc, argv, (gmv_checker_readers){NULL, NULL});
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
