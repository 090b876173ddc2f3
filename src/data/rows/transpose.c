#include "transpose.h"

#include "scratch.h"

#include "gmvae/mem.h"

#include <inttypes.h>
#include <string.h>
#include <xxhash.h>

enum {
    gene_follows = UINT16_MAX,       /* in place of a row */
    escape = UINT8_MAX,              /* a count of 32 bits follows */
    entry_bytes = 2 + 4 + 2 + 1 + 4, /* at most: a gene and a row with a large count */
    most_rows = 1 << 15,             /* of a bucket */
    many_buckets = 1 << 14,
    least_piece = 1 << 12,
    most_piece = 1 << 18,
    block_values = 1 << 16 /* handed out at a time */
};

/* What is written at once, all of the same size: entries of one bucket behind this. */
typedef struct piece_head {
    uint64_t hash; /* of the entries */
    uint32_t bytes, unused;
} piece_head;

typedef struct bucket {
    unsigned char *piece; /* being filled */
    int64_t used, gene;   /* gene: of the last entry in it, -1: none */
    int64_t *written;     /* [pieces] which ones of the file */
    int64_t pieces, room;
} bucket;

struct gmv_transpose {
    gmv_scratch file;
    const gmv_matrix *matrix; /* while something is put or read: for messages */
    int64_t first, rows;      /* row 0, and how many */
    int64_t width, piece;     /* rows of a bucket; bytes of a piece */
    int64_t buckets, values, rounded;
    bucket *bucket;
    unsigned char *pieces;     /* [buckets, piece] while they are filled, then one to read into */
    int64_t bad_row, bad_gene; /* the first value that is no count, in the order of rows; -1: none */
    double bad_value;
    /* rows in memory */
    int64_t counted;  /* bucket whose rows `start` has, -1: none */
    int64_t *start;   /* [width + 1] */
    int64_t *next;    /* [width] */
    int64_t from, to; /* rows that are sorted, counted from `first` */
    int64_t capacity;
    int32_t *column; /* [capacity] */
    uint32_t *count; /* [capacity] */
    int64_t bad_at;  /* place of the bad value among them, -1: none */
};

/* ---- putting ---- */

static int64_t power_of_two(int64_t least, int64_t wanted, int64_t most)
{
    int64_t power = least;
    while (power < most && 2 * power <= wanted) {
        power *= 2;
    }
    return power;
}

gmv_status gmv_transpose_create(gmv_transpose **buckets, const gmv_matrix *matrix, int64_t first, int64_t end,
                                int64_t values, const char *directory, int ranks, gmv_transpose_limits limits)
{
    GMV_TRY(GMV_NEW(*buckets, 1, "rows put together"));
    gmv_transpose *b = *buckets;
    b->matrix = matrix;
    b->first = first;
    b->rows = end - first;
    int64_t of_row = values / (b->rows + 1) + 1, least = b->rows / many_buckets + 1;
    b->width = power_of_two(1, least > limits.values / of_row ? 2 * least : limits.values / of_row, most_rows);
    b->buckets = (b->rows + b->width - 1) / b->width;
    b->piece = power_of_two(least_piece, limits.bytes / (b->buckets + 1), most_piece);
    b->bad_row = b->counted = b->bad_at = -1;
    b->capacity = limits.values > matrix->stored_cols ? limits.values : matrix->stored_cols;
    GMV_TRY(gmv_scratch_open(&b->file, directory));
    GMV_TRY(gmv_scratch_expect(&b->file, 3 * values, 0, ranks));
    GMV_TRY(GMV_NEW(b->bucket, b->buckets, "rows put together"));
    GMV_TRY(GMV_NEW(b->pieces, b->buckets * b->piece, "rows put together"));
    for (int64_t i = 0; i < b->buckets; i++) {
        b->bucket[i] = (bucket){.piece = b->pieces + i * b->piece, .used = sizeof(piece_head), .gene = -1};
    }
    return GMV_OK;
}

void gmv_transpose_destroy(gmv_transpose **buckets)
{
    gmv_transpose *b = *buckets;
    if (b == NULL) {
        return;
    }
    for (int64_t i = 0; b->bucket != NULL && i < b->buckets; i++) {
        GMV_FREE(b->bucket[i].written);
    }
    gmv_scratch_close(&b->file);
    GMV_FREE(b->bucket);
    GMV_FREE(b->pieces);
    GMV_FREE(b->start);
    GMV_FREE(b->next);
    GMV_FREE(b->column);
    GMV_FREE(b->count);
    GMV_FREE(*buckets);
}

/* What is unused of a piece is written too: places of pieces need no more than a number. */
static gmv_status write_piece(gmv_transpose *b, bucket *to)
{
    int64_t bytes = to->used - (int64_t)sizeof(piece_head);
    piece_head head = {XXH3_64bits(to->piece + sizeof head, (size_t)bytes), (uint32_t)bytes, 0};
    memcpy(to->piece, &head, sizeof head);
    if (to->pieces == to->room) {
        int64_t room = 2 * to->room + 16;
        GMV_TRY(GMV_GROW(to->written, to->pieces, room, "rows put together"));
        to->room = room;
    }
    to->written[to->pieces++] = b->file.bytes / b->piece;
    to->used = sizeof head;
    to->gene = -1;
    return gmv_scratch_append(&b->file, to->piece, b->piece);
}

static void put_bytes(bucket *to, const void *from, size_t bytes)
{
    memcpy(to->piece + to->used, from, bytes);
    to->used += (int64_t)bytes;
}

gmv_status gmv_transpose_put(void *buckets, int64_t row, int64_t gene, double value)
{
    gmv_transpose *b = buckets;
    bucket *to = &b->bucket[row / b->width];
    double whole = gmv_whole(value, b->matrix->round);
    bool is_count = gmv_is_count(whole);
    uint32_t count = is_count ? (uint32_t)whole : 0;
    b->rounded += whole != value;
    if (!is_count && (b->bad_row < 0 || row < b->bad_row || (row == b->bad_row && gene < b->bad_gene))) {
        b->bad_row = row;
        b->bad_gene = gene;
        b->bad_value = value;
    }
    if (to->used + entry_bytes > b->piece) {
        GMV_TRY(write_piece(b, to));
    }
    if (to->gene != gene) {
        put_bytes(to, &(uint16_t){gene_follows}, sizeof(uint16_t));
        put_bytes(to, &(int32_t){(int32_t)gene}, sizeof(int32_t));
        to->gene = gene;
    }
    put_bytes(to, &(uint16_t){(uint16_t)(row % b->width)}, sizeof(uint16_t));
    put_bytes(to, &(uint8_t){(uint8_t)(count < escape ? count : escape)}, sizeof(uint8_t));
    if (count >= escape) {
        put_bytes(to, &count, sizeof count);
    }
    b->values++;
    return GMV_OK;
}

gmv_status gmv_transpose_finish(gmv_transpose *b)
{
    for (int64_t i = 0; i < b->buckets; i++) {
        if (b->bucket[i].used > (int64_t)sizeof(piece_head)) {
            GMV_TRY(write_piece(b, &b->bucket[i]));
        }
        b->bucket[i].piece = NULL;
    }
    GMV_FREE(b->pieces);
    return GMV_OK;
}

int64_t gmv_transpose_values(const gmv_transpose *buckets)
{
    return buckets->values;
}

int64_t gmv_transpose_rounded(const gmv_transpose *buckets)
{
    return buckets->rounded;
}

int64_t gmv_transpose_bytes(const gmv_transpose *buckets)
{
    return buckets->file.bytes;
}

/* ---- rows ---- */

/* Reads a piece of the file. @param[out] at, end  its entries */
static gmv_status read_piece(gmv_transpose *b, int64_t piece, const unsigned char **at, const unsigned char **end)
{
    piece_head head = {0};
    bool good = gmv_scratch_read(&b->file, piece * b->piece, b->piece, b->pieces);
    memcpy(&head, b->pieces, sizeof head);
    *at = b->pieces + sizeof head;
    *end = *at + head.bytes;
    good = good && head.bytes <= b->piece - (int64_t)sizeof head && XXH3_64bits(*at, head.bytes) == head.hash;
    return good ? GMV_OK
                : GMV_FAIL(GMV_ERR_ENVIRONMENT,
                           "%s: the rows of %s that were put together there do not come back as they were written; set "
                           "data.cache_dir to a folder on another disk",
                           b->file.directory != NULL ? b->file.directory : "memory", b->matrix->file->path);
}

/* Goes through the values of a bucket: those of rows [b->from, b->to) are put into their places, or, to count them, all
 * add to `start`. */
static gmv_status pass_over(gmv_transpose *b, int64_t which, bool count_only)
{
    const unsigned char *at, *end;
    int64_t base = which * b->width;
    for (int64_t p = 0; p < b->bucket[which].pieces; p++) {
        GMV_TRY(read_piece(b, b->bucket[which].written[p], &at, &end));
        for (int32_t gene = 0; at < end;) {
            uint16_t local;
            memcpy(&local, at, sizeof local);
            at += sizeof local;
            if (local == gene_follows) {
                memcpy(&gene, at, sizeof gene);
                at += sizeof gene;
                continue;
            }
            uint32_t count = *at++;
            if (count == escape) {
                memcpy(&count, at, sizeof count);
                at += sizeof count;
            }
            int64_t row = base + local;
            if (count_only) {
                b->start[local + 1]++;
            } else if (row >= b->from && row < b->to) {
                int64_t place = b->next[local]++ - b->start[b->from - base];
                b->column[place] = gene;
                b->count[place] = count;
                b->bad_at = row == b->bad_row && gene == b->bad_gene ? place : b->bad_at;
            }
        }
    }
    return GMV_OK;
}

static gmv_status make_room(gmv_transpose *b)
{
    if (b->start != NULL) {
        return GMV_OK;
    }
    GMV_TRY(GMV_NEW(b->pieces, b->piece, "rows put together"));
    GMV_TRY(GMV_NEW(b->column, b->capacity, "rows put together"));
    GMV_TRY(GMV_NEW(b->count, b->capacity, "rows put together"));
    GMV_TRY(GMV_NEW(b->next, b->width, "rows put together"));
    return GMV_NEW(b->start, b->width + 1, "rows put together");
}

static gmv_status count_bucket(gmv_transpose *b, int64_t which)
{
    b->counted = -1;
    memset(b->start, 0, ((size_t)b->width + 1) * sizeof *b->start);
    GMV_TRY(pass_over(b, which, true));
    for (int64_t i = 0; i < b->width; i++) {
        if (b->start[i + 1] > b->matrix->stored_cols) {
            return gmv_row_too_long(b->matrix, b->first + which * b->width + i, b->start[i + 1]);
        }
        b->start[i + 1] += b->start[i];
    }
    b->counted = which;
    return GMV_OK;
}

/* Sorts rows from `row` on, as many of its bucket as there is room for. */
static gmv_status sort_rows(gmv_transpose *b, int64_t row)
{
    int64_t which = row / b->width, base = which * b->width;
    int64_t end = base + b->width < b->rows ? base + b->width : b->rows;
    GMV_TRY(make_room(b));
    if (which != b->counted) {
        GMV_TRY(count_bucket(b, which));
    }
    b->from = b->to = row;
    while (b->to < end && b->start[b->to + 1 - base] - b->start[row - base] <= b->capacity) {
        b->to++;
    }
    memcpy(b->next, b->start, (size_t)b->width * sizeof *b->next);
    b->bad_at = -1;
    return b->start[b->to - base] > b->start[row - base] ? pass_over(b, which, false) : GMV_OK;
}

gmv_status gmv_transpose_read(gmv_transpose *b, const gmv_matrix *matrix, int64_t row, int64_t end, gmv_block *block)
{
    b->matrix = matrix; /* it was closed and opened since */
    int64_t first = row - b->first, rows = 1;
    if (first < b->from || first >= b->to) {
        GMV_TRY(sort_rows(b, first));
    }
    const int64_t *start = b->start + first % b->width, before = b->start[b->from % b->width];
    while (first + rows < b->to && row + rows < end && start[rows + 1] - start[0] <= block_values) {
        rows++;
    }
    int64_t values = start[rows] - start[0], at = start[0] - before;
    GMV_TRY(gmv_block_reserve(block, rows, values));
    block->first = row;
    block->rows = rows;
    for (int64_t i = 0; i <= rows; i++) {
        block->start[i] = start[i] - start[0];
    }
    for (int64_t i = 0; i < values; i++) {
        block->column[i] = b->column[at + i];
        block->value[i] = at + i == b->bad_at ? b->bad_value : (double)b->count[at + i];
    }
    return GMV_OK;
}
