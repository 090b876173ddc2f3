/* Gathering the rows of a batch from the packed shard: CSR with encoder input, and its transpose. */
#include "cpu.h"

#include "gmvae/packed.h"

enum { transpose_parts = 8, escape = 255 /* 8-bit counts stand for themselves below it */ };

/* Counts beyond 8 bits: what fetch_row took for 255. */
static int64_t fetch_large(const gmv_packed *shard, gmv_nnz from, int32_t n, gmv_input input, float *x, float *count)
{
    int64_t more = 0;
    for (int32_t k = 0; k < n; k++) {
        if (shard->count8[from + k] == escape) {
            uint32_t y = gmv_packed_count(shard, from + k);
            count[k] = (float)y;
            x[k] = gmv_input_value((float)y, input);
            more += (int64_t)y - escape;
        }
    }
    return more;
}

/* Row i of the batch from row `row` of the shard; `count` gets the counts in CSR order.
 * @param[in] input_of  [256] what the encoder sees of 8-bit counts */
static void fetch_row(const gmv_packed *shard, int64_t row, gmv_input input, const float *input_of, int i,
                      const gmv_batch *batch, float *count)
{
    gmv_nnz from = shard->indptr[row];
    int32_t at = batch->indptr[i], n = batch->indptr[i + 1] - at, largest = 0;
    int64_t library = 0;
    const uint8_t *count8 = shard->count8 + from;
    int32_t *restrict gene = batch->gene + at;
    float *restrict x = batch->x + at;
    count += at;
    for (int32_t k = 0; k < n; k++) {
        gene[k] = shard->gene16 != NULL ? (int32_t)shard->gene16[from + k] : (int32_t)shard->gene32[from + k];
    }
    for (int32_t k = 0; k < n; k++) {
        int32_t y = count8[k];
        count[k] = (float)y;
        library += y;
        largest = y > largest ? y : largest;
    }
    for (int32_t k = 0; k < n; k++) {
        x[k] = input_of[count8[k]];
    }
    if (largest == escape) {
        library += fetch_large(shard, from, n, input, x, count);
    }
    float norm = 0.0f;
    for (int32_t k = 0; k < n && input.kind == GMV_INPUT_UNIT_SPHERE; k++) {
        norm += x[k] * x[k];
    }
    if (norm > 0.0f) {
        float scale = 1.0f / sqrtf(norm);
        for (int32_t k = 0; k < n; k++) {
            x[k] *= scale;
        }
    }
    batch->library[i] = (float)library;
    batch->cell_id[i] = gmv_packed_cell(shard, row);
    if (shard->set != NULL) {
        batch->set[i] = shard->set[row];
    }
    for (int c = 0; c < shard->covariates; c++) {
        batch->level[i * shard->covariates + c] = shard->level[row * shard->covariates + c];
    }
}

/* Counting sort by gene, in parts of whole rows so that cells ascend within a gene whoever sorts them.
 * `start` [parts, G] is scratch. */
static void transpose(const gmv_batch *batch, const float *count, int32_t *start)
{
    int genes = batch->genes, parts = transpose_parts, cells = batch->cells;
#pragma omp parallel for schedule(static)
    for (int p = 0; p < parts; p++) {
        int32_t *mine = start + (size_t)p * (size_t)genes;
        for (int g = 0; g < genes; g++) {
            mine[g] = 0;
        }
        int32_t end = batch->indptr[(int64_t)cells * (p + 1) / parts];
        for (int32_t at = batch->indptr[(int64_t)cells * p / parts]; at < end; at++) {
            mine[batch->gene[at]]++;
        }
    }
    int32_t running = 0;
    for (int g = 0; g < genes; g++) {
        batch->colptr[g] = running;
        for (int p = 0; p < parts; p++) {
            int32_t n = start[(size_t)p * (size_t)genes + (size_t)g];
            start[(size_t)p * (size_t)genes + (size_t)g] = running;
            running += n;
        }
    }
    batch->colptr[genes] = running;
#pragma omp parallel for schedule(static)
    for (int p = 0; p < parts; p++) {
        int32_t *next = start + (size_t)p * (size_t)genes;
        for (int i = (int)((int64_t)cells * p / parts); i < (int)((int64_t)cells * (p + 1) / parts); i++) {
            for (int32_t at = batch->indptr[i]; at < batch->indptr[i + 1]; at++) {
                int32_t to = next[batch->gene[at]]++;
                batch->cell[to] = i;
                batch->col_x[to] = batch->x[at];
                batch->col_count[to] = count[at];
            }
        }
    }
}

/* A row that fills the batch up. */
static void leave_empty(const gmv_packed *shard, const gmv_batch *batch, int i)
{
    batch->library[i] = 0.0f;
    batch->cell_id[i] = 0;
    if (shard->set != NULL) {
        batch->set[i] = 0;
    }
    for (int c = 0; c < batch->covariates; c++) {
        batch->level[i * batch->covariates + c] = 0;
    }
}

gmv_status GMV_CPU(batch_fetch)(gmv_backend *b, const gmv_packed *shard, const int64_t *rows, const int64_t *first,
                                const int32_t *filled, int n, gmv_input input, gmv_batch *batch)
{
    int cells = gmv_cpu_filled(filled, n);
    rows += *first;
    batch->cells = n;
    batch->genes = shard->genes;
    batch->covariates = shard->covariates;
    batch->present = shard->present;
    batch->indptr[0] = 0;
    for (int i = 0; i < n; i++) {
        int64_t counts = i < cells ? shard->indptr[rows[i] + 1] - shard->indptr[rows[i]] : 0;
        batch->indptr[i + 1] = batch->indptr[i] + (int32_t)counts;
    }
    int64_t start_bytes = (int64_t)transpose_parts * shard->genes * (int64_t)sizeof(int32_t);
    start_bytes = (start_bytes + 63) / 64 * 64;
    char *scratch;
    GMV_TRY(GMV_CPU(scratch)(b, start_bytes + (int64_t)batch->indptr[n] * (int64_t)sizeof(float), (void **)&scratch));
    float *count = (float *)(void *)(scratch + start_bytes);
    float input_of[escape + 1];
    for (int y = 0; y <= escape; y++) {
        input_of[y] = gmv_input_value((float)y, input);
    }
#pragma omp parallel for schedule(dynamic, 16)
    for (int i = 0; i < n; i++) {
        if (i < cells) {
            gmv_packed_prefetch(shard, rows[i + 1 < cells ? i + 1 : i]);
            fetch_row(shard, rows[i], input, input_of, i, batch, count);
        } else {
            leave_empty(shard, batch, i);
        }
    }
    transpose(batch, count, (int32_t *)(void *)scratch);
    return GMV_OK;
}
