/* Threads take slabs of rows in turn: chunks are decoded into a cache-sized buffer and packed from there, and the packed
 * slabs are joined in order. Whatever is not as it should be is read again through HDF5, one slab by one thread, which
 * says what it is. */
#include "read_rows.h"

#include "matrix_blocks.h"

#include "gmvae/log.h"
#include "gmvae/mem.h"
#include "gmvae/signals.h"

#include <string.h>

/* A slab is many chunks long, as those at its ends are decoded twice; and rows have a bound, as some are empty. */
enum { slab_values = 1 << 20, slab_rows = 1 << 15 };

/* ---- slabs ---- */

/* What all threads read. */
typedef struct row_range {
    const gmv_row_source *source;
    const gmv_csr_arrays *store;
    const int64_t *indptr; /* [end - first + 1] */
    int32_t *map;          /* [stored columns] gene in use or -1; NULL: the same */
    int64_t first, end;
    int64_t *slab; /* [slabs + 1] first rows */
    int slabs;
    const gmv_packer *into; /* where slabs are packed in place, from `base` on; NULL: each in room of its own */
    gmv_nnz base;
} row_range;

typedef struct slab_reader {
    gmv_csr_reader row;
    gmv_packer packed;
} slab_reader;

static gmv_status reader_init(slab_reader *reader, const row_range *range, int32_t genes)
{
    memset(reader, 0, sizeof *reader);
    bool own = range->into == NULL;
    GMV_TRY(gmv_packer_init(&reader->packed, genes, slab_rows, own ? slab_values : 0));
    return gmv_csr_reader_init(&reader->row, range->store, range->source->matrix->stored_cols, range->map);
}

static void reader_fini(slab_reader *reader)
{
    gmv_csr_reader_fini(&reader->row);
    gmv_packer_fini(&reader->packed);
}

/* Rows of one slab into reader->packed. @return false when something is not as it should be */
static bool read_slab(slab_reader *reader, const row_range *range, int s)
{
    int64_t last = range->indptr[range->slab[s + 1] - range->first];
    gmv_packer_reset(&reader->packed);
    if (range->into != NULL) {
        int64_t from = range->indptr[range->slab[s] - range->first];
        gmv_packer_lend(range->into, range->base + from - range->indptr[0], last - from, &reader->packed);
    }
    for (int64_t row = range->slab[s]; row < range->slab[s + 1]; row++) {
        int64_t at = range->indptr[row - range->first], n = range->indptr[row - range->first + 1] - at;
        if (!gmv_csr_reader_add(&reader->row, &reader->packed, at, n, last)) {
            return false;
        }
    }
    return true;
}

static gmv_status cut_into_slabs(row_range *range)
{
    int64_t rows = range->end - range->first,
            most = (range->indptr[rows] - range->indptr[0]) / slab_values + rows / slab_rows + 2;
    GMV_TRY(GMV_NEW(range->slab, most + 1, "slabs of rows"));
    int64_t row = 0;
    for (range->slab[0] = range->first; row < rows; range->slab[++range->slabs] = range->first + row) {
        int64_t from = row++;
        while (row < rows && row - from < slab_rows && range->indptr[row + 1] - range->indptr[from] <= slab_values) {
            row++;
        }
    }
    return GMV_OK;
}

static void show(gmv_work *work, const gmv_packer *packer)
{
    if (work != NULL) {
        gmv_work_at(work, (double)packer->rows);
    }
}

/* Slabs from *next on by all threads, up to the first that is not as it should be, where *next then stands. */
static gmv_status read_in_parallel(gmv_packer *packer, const row_range *range, gmv_work *work, int *next)
{
    gmv_status status = GMV_OK;
    bool stop = false;
    int first = *next;
#pragma omp parallel
    {
        slab_reader reader;
        bool ready = reader_init(&reader, range, packer->genes) == GMV_OK;
#pragma omp for ordered schedule(dynamic, 1)
        for (int s = first; s < range->slabs; s++) {
            bool skip, good;
#pragma omp atomic read
            skip = stop;
            good = ready && !skip && !gmv_stop_asked() && read_slab(&reader, range, s);
#pragma omp ordered
            {
                if (!stop && good) {
                    status = gmv_packer_append(packer, &reader.packed);
                    *next = s + 1;
                    show(work, packer);
                }
                if (!good || status != GMV_OK) {
#pragma omp atomic write
                    stop = true;
                }
            }
        }
        reader_fini(&reader);
    }
    return status;
}

/* ---- rows ---- */

static gmv_status read_through_hdf5(gmv_packer *packer, const gmv_row_source *source, int64_t first, int64_t end,
                                    gmv_work *work)
{
    gmv_block_reader reader;
    gmv_status status = gmv_block_reader_init(&reader, source->matrix, source->by_rows, first, end);
    if (status == GMV_OK) {
        status = gmv_packer_reserve(packer, reader.values);
    }
    while (status == GMV_OK && reader.next < reader.end) {
        status = gmv_stop_check();
        status = status == GMV_OK ? gmv_block_reader_next(&reader) : status;
        if (status == GMV_OK) {
            status = gmv_packer_add(packer, source, &reader.block);
        }
        show(work, packer);
    }
    gmv_block_reader_fini(&reader);
    return status;
}

gmv_status gmv_read_rows(gmv_packer *packer, const gmv_row_source *source, const gmv_csr_arrays *store, int64_t first,
                         int64_t end, gmv_work *work)
{
    if (!store->is_open || end <= first) {
        return read_through_hdf5(packer, source, first, end, work);
    }
    int64_t *indptr = NULL;
    row_range range = {.source = source, .store = store, .first = first, .end = end};
    gmv_status status = GMV_OK;
    int next = 0;
    GMV_GO(gmv_matrix_pointers(source->matrix, first, end, &indptr));
    range.indptr = indptr;
    GMV_GO(cut_into_slabs(&range));
    GMV_GO(gmv_csr_reader_map(source, &range.map));
    if (range.map == NULL && packer->nnz + indptr[end - first] - indptr[0] <= packer->capacity) {
        range.into = packer;
        range.base = packer->nnz;
    }
    while (next < range.slabs) {
        GMV_GO(read_in_parallel(packer, &range, work, &next));
        GMV_GO(gmv_stop_check());
        if (next < range.slabs) {
            GMV_GO(read_through_hdf5(packer, source, range.slab[next], range.slab[next + 1], work));
            next++;
        }
    }
done:
    GMV_FREE(range.map);
    GMV_FREE(range.slab);
    GMV_FREE(indptr);
    return status;
}
