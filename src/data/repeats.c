/* The same cells twice: among those to be trained on, and among these and others. */
#include "fingerprint.h"

#include "gmvae/log.h"
#include "gmvae/mem.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { most_named = 3 };

/* ---- files ---- */

typedef struct stamped {
    gmv_file_stamp stamp;
    int file;
} stamped;

static int by_stamp(const void *a, const void *b)
{
    const stamped *x = a, *y = b;
    int order = memcmp(&x->stamp, &y->stamp, sizeof x->stamp);
    return order != 0 ? order : x->file - y->file;
}

gmv_status gmv_refuse_repeated_files(const gmv_cells *cells)
{
    stamped *list = NULL;
    gmv_status status = GMV_OK;
    GMV_TRY(GMV_NEW(list, cells->files, "input files"));
    for (int f = 0; f < cells->files; f++) {
        list[f] = (stamped){cells->stamp[f], f};
    }
    qsort(list, (size_t)cells->files, sizeof *list, by_stamp);
    for (int i = 1; i < cells->files && status == GMV_OK; i++) {
        const char *first = cells->file[list[i - 1].file], *again = cells->file[list[i].file];
        if (memcmp(&list[i].stamp, &list[i - 1].stamp, sizeof list[i].stamp) == 0) {
            status =
                GMV_FAIL(GMV_ERR_DATA, "%s: is %s by another name, so its cells would count twice; name one of them",
                         again, first);
        }
    }
    GMV_FREE(list);
    return status;
}

/* ---- cells ---- */

/* How many cells of one file are in another, too, of those in the sample. */
typedef struct file_pair {
    int first, second;
    int64_t cells;
} file_pair;

typedef struct repeats {
    file_pair *pair;
    int64_t n, room;
} repeats;

static gmv_status note(repeats *found, int first, int second)
{
    if (found->n == found->room) {
        int64_t room = 2 * found->room + 256;
        GMV_TRY(GMV_GROW(found->pair, found->room, room, "repeated cells"));
        found->room = room;
    }
    found->pair[found->n++] = (file_pair){first, second, 1};
    return GMV_OK;
}

static int by_files(const void *a, const void *b)
{
    const file_pair *x = a, *y = b;
    return x->first != y->first ? x->first - y->first : x->second - y->second;
}

static int most_cells_first(const void *a, const void *b)
{
    const file_pair *x = a, *y = b;
    return x->cells != y->cells ? (x->cells < y->cells) - (x->cells > y->cells) : by_files(a, b);
}

/* Each pair of files once, those with the most cells first. */
static void add_up(repeats *found)
{
    int64_t kept = 0;
    if (found->n == 0) {
        return;
    }
    qsort(found->pair, (size_t)found->n, sizeof *found->pair, by_files);
    for (int64_t i = 1; i < found->n; i++) {
        if (by_files(&found->pair[kept], &found->pair[i]) == 0) {
            found->pair[kept].cells++;
        } else {
            found->pair[++kept] = found->pair[i];
        }
    }
    found->n = kept + 1;
    qsort(found->pair, (size_t)found->n, sizeof *found->pair, most_cells_first);
}

/* "300 of the 300 cells of b.h5ad are in a.h5ad, too": of a sample, as far as it tells. */
static void describe(const file_pair *pair, const gmv_cells *firsts, const gmv_cells *seconds, uint64_t below,
                     char *text, size_t size)
{
    bool all = below == UINT64_MAX;
    const char *second = seconds->file[pair->second];
    int64_t of = seconds->file_start[pair->second + 1] - seconds->file_start[pair->second], cells = pair->cells;
    if (!all) {
        double estimate = (double)pair->cells * (18446744073709551616.0 / (double)below);
        cells = estimate < (double)of ? (int64_t)llround(estimate) : of;
    }
    if (firsts == seconds && pair->first == pair->second) {
        snprintf(text, size, "%s%" PRId64 " of the %" PRId64 " cells of %s are there before", all ? "" : "about ",
                 cells, of, second);
    } else {
        snprintf(text, size, "%s%" PRId64 " of the %" PRId64 " cells of %s are also in %s", all ? "" : "about ", cells,
                 of, second, firsts->file[pair->first]);
    }
}

static void warn(repeats *found, const gmv_cells *firsts, const gmv_cells *seconds, uint64_t below, const char *before,
                 const char *behind)
{
    char text[most_named * 400] = "", more[80] = "";
    size_t used = 0;
    add_up(found);
    for (int64_t i = 0; i < found->n && i < most_named; i++) {
        char one[400];
        describe(&found->pair[i], firsts, seconds, below, one, sizeof one);
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%s", i > 0 ? "; " : "", one);
        used = used < sizeof text ? used : sizeof text - 1;
    }
    if (found->n > most_named) {
        snprintf(more, sizeof more, "; and so on in %" PRId64 " pairs of files", found->n);
    }
    if (found->n > 0) {
        gmv_warn("%s%s%s, with the same counts; %s", before, text, more, behind);
    }
}

gmv_status gmv_cells_warn_of_repeats(const gmv_cells *cells)
{
    repeats found = {0};
    const gmv_sampled_cell *sample = cells->sample;
    gmv_status status = GMV_OK;
    for (int64_t i = 1, first = 0; i < cells->samples && status == GMV_OK; i++) {
        first = sample[i].hash == sample[i - 1].hash ? first : i;
        if (first < i) {
            status = note(&found, gmv_cells_file(cells, sample[first].row), gmv_cells_file(cells, sample[i].row));
        }
    }
    if (status == GMV_OK) {
        warn(&found, cells, cells, cells->sample_below, "data.train: ",
             "they count twice, and a cell that is held out may be trained on as its copy: leave one of them out");
    }
    GMV_FREE(found.pair);
    return status;
}

gmv_status gmv_cells_warn_of_shared(const gmv_cells *training, const gmv_cells *others, const char *key)
{
    repeats found = {0};
    char before[100];
    uint64_t below = training->sample_below < others->sample_below ? training->sample_below : others->sample_below;
    gmv_status status = GMV_OK;
    for (int64_t i = 0, j = 0; i < others->samples && others->sample[i].hash <= below && status == GMV_OK; i++) {
        while (j < training->samples && training->sample[j].hash < others->sample[i].hash) {
            j++;
        }
        if (j < training->samples && training->sample[j].hash == others->sample[i].hash) {
            status = note(&found, gmv_cells_file(training, training->sample[j].row),
                          gmv_cells_file(others, others->sample[i].row));
        }
    }
    if (status == GMV_OK) {
        snprintf(before, sizeof before, "%s: ", key);
        warn(&found, training, others, below, before,
             "they are trained on, so they are not held out: leave them out of "
             "one of the two");
    }
    GMV_FREE(found.pair);
    return status;
}
