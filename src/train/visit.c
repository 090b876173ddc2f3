/* Going through the local rows in order. Streamed rows come in spans of a shard, the next of which is read in a thread
 * while the batches of one are worked on; a span holds whole batches, but for the last of a shard. */
#include "visit.h"

#include "gmvae/mem.h"

#include <pthread.h>
#include <string.h>

enum { batch_rows = GMV_EVAL_CELLS, most_batches = 32, span_values = 1 << 23 };

/* Wanted rows of [first, end), which lie in one shard. */
typedef struct run_of_rows {
    int shard;
    gmv_gidx first, end;
    int64_t rows; /* wanted; 0: there is nothing more */
} run_of_rows;

struct gmv_span_reader {
    gmv_visit *visit;
    run_of_rows at_hand, next;
    int64_t taken; /* rows of the one at hand that were given */
    int half;      /* slot of the one at hand */
    int threads;
    gmv_span *piece; /* [pieces] of the next one */
    int64_t pieces;
    gmv_gidx failed; /* row that could not be read, -1: none */
    pthread_t thread;
    bool running;
};

/* As many batches as have room in any case. */
gmv_status gmv_visit_reserve(gmv_slots *slots, const gmv_cells *cells)
{
    int64_t longest = gmv_stream_fullest(cells->stream, cells->genes, 1) + 1;
    int64_t batches = span_values / (batch_rows * longest);
    batches = batches > most_batches ? most_batches : batches < 1 ? 1 : batches;
    return gmv_slots_init(slots, cells, batches * batch_rows, batches * batch_rows * longest,
                          batches * batch_rows * cells->stream->most_large);
}

/* ---- spans ---- */

/* The wanted rows from `row` of a shard on, as many as fit into a slot. */
static run_of_rows next_run(const gmv_visit *visit, int shard, gmv_gidx row)
{
    const gmv_cells *cells = visit->cells;
    run_of_rows run = {shard, row, row, 0};
    for (; run.shard < cells->end_shard; run.shard++) {
        gmv_gidx end = cells->shard_start[run.shard + 1];
        run.first = run.end > cells->shard_start[run.shard] ? run.end : cells->shard_start[run.shard];
        for (run.end = run.first; run.end < end && run.rows < visit->feed->slots.rows; run.end++) {
            run.rows += visit->filter.wants(visit->filter.context, run.end);
        }
        if (run.rows > 0) {
            return run;
        }
    }
    return run;
}

static void *read_span(void *context)
{
    struct gmv_span_reader *reader = context;
    const gmv_visit *visit = reader->visit;
    reader->pieces = 0;
    for (gmv_gidx row = reader->next.first, end; row < reader->next.end; row = end) {
        gmv_stream_block(visit->cells, row, &end);
        end = end < reader->next.end ? end : reader->next.end;
        reader->piece[reader->pieces++] = (gmv_span){row, end};
    }
    reader->failed = gmv_stream_read(visit->cells, reader->piece, reader->pieces, visit->filter, reader->threads,
                                     &visit->feed->slots, 1 - reader->half);
    return NULL;
}

static void begin_reading(struct gmv_span_reader *reader, int shard, gmv_gidx row)
{
    reader->next = next_run(reader->visit, shard, row);
    if (reader->next.rows > 0) {
        reader->running = pthread_create(&reader->thread, NULL, read_span, reader) == 0;
        if (!reader->running) {
            read_span(reader);
        }
    }
}

static gmv_status begin_spans(gmv_visit *visit)
{
    const gmv_cells *cells = visit->cells;
    int64_t most = 0;
    for (int s = cells->first_shard; s < cells->end_shard; s++) {
        int64_t rows = cells->shard_start[s + 1] - cells->shard_start[s];
        most = rows > most ? rows : most;
    }
    GMV_TRY(GMV_NEW(visit->reader, 1, "a span of cells"));
    struct gmv_span_reader *reader = visit->reader;
    *reader = (struct gmv_span_reader){
        .visit = visit, .failed = -1, .threads = gmv_stream_threads(visit->feed->backend->host_memory)};
    GMV_TRY(GMV_NEW(reader->piece, most / cells->stream->block_rows + 2, "a span of cells"));
    begin_reading(reader, cells->first_shard, cells->first);
    return GMV_OK;
}

/* Turns to the span that was being read, and begins with the one behind it. */
static gmv_status turn(struct gmv_span_reader *reader)
{
    if (reader->running) {
        pthread_join(reader->thread, NULL);
        reader->running = false;
    }
    if (reader->next.rows > 0 && reader->failed >= 0) {
        return gmv_stream_fail(reader->visit->cells, reader->failed);
    }
    reader->at_hand = reader->next;
    reader->taken = 0;
    reader->half = 1 - reader->half;
    if (reader->at_hand.rows > 0) {
        begin_reading(reader, reader->at_hand.shard, reader->at_hand.end);
    }
    return GMV_OK;
}

/* ---- batches ---- */

/* Rows of the batch: the wanted ones from next_row on, up to `end`. */
static void collect(gmv_visit *visit, gmv_gidx end)
{
    visit->n = 0;
    for (; visit->next_row < end && visit->n < batch_rows; visit->next_row++) {
        if (visit->filter.wants(visit->filter.context, visit->next_row)) {
            visit->place[visit->n] = visit->next_row - visit->cells->first;
            visit->row[visit->n++] = visit->next_row;
        }
    }
}

static gmv_status collect_from_span(gmv_visit *visit)
{
    struct gmv_span_reader *reader = visit->reader;
    if (reader->taken == reader->at_hand.rows) {
        GMV_TRY(turn(reader));
        visit->next_row = reader->at_hand.first;
    }
    visit->shard = reader->at_hand.shard;
    collect(visit, reader->at_hand.rows > 0 ? reader->at_hand.end : visit->next_row);
    for (int i = 0; i < visit->n; i++) {
        visit->place[i] = reader->half * (visit->feed->slots.rows + 1) + reader->taken + i;
    }
    reader->taken += visit->n;
    return GMV_OK;
}

static void collect_from_memory(gmv_visit *visit)
{
    const gmv_cells *cells = visit->cells;
    for (visit->n = 0; visit->n == 0 && visit->next_shard < cells->end_shard;) {
        visit->shard = visit->next_shard;
        collect(visit, cells->shard_start[visit->shard + 1]);
        visit->next_shard += visit->next_row == cells->shard_start[visit->shard + 1];
    }
}

gmv_status gmv_visit_begin(gmv_visit *visit, gmv_feed *feed, const gmv_cells *cells, gmv_row_filter filter)
{
    *visit = (gmv_visit){.feed = feed, .cells = cells, .filter = filter};
    visit->next_shard = cells->first_shard;
    visit->next_row = cells->first;
    GMV_TRY(GMV_NEW(visit->row, batch_rows, "rows of a batch"));
    GMV_TRY(GMV_NEW(visit->place, batch_rows, "rows of a batch"));
    return cells->stream != NULL ? begin_spans(visit) : GMV_OK;
}

gmv_status gmv_visit_next(gmv_visit *visit, gmv_input input)
{
    if (visit->reader != NULL) {
        GMV_TRY(collect_from_span(visit));
    } else {
        collect_from_memory(visit);
    }
    return visit->n > 0 ? gmv_feed_fetch(visit->feed, visit->place, visit->n, input) : GMV_OK;
}

void gmv_visit_end(gmv_visit *visit)
{
    if (visit->reader != NULL) {
        if (visit->reader->running) {
            pthread_join(visit->reader->thread, NULL);
        }
        GMV_FREE(visit->reader->piece);
        GMV_FREE(visit->reader);
    }
    GMV_FREE(visit->row);
    GMV_FREE(visit->place);
}
