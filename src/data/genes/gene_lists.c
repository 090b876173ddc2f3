#include "gene_lists.h"

#include "genes.h"

#include "gmvae/mem.h"

#include <string.h>
#include <xxhash.h>

/* A rank's list, for the others. */
typedef struct offered_list {
    uint64_t hash;
    int64_t bytes; /* of its text: the names, then the ids, with a zero byte behind each */
    int rank, number;
    int n, unused; /* names */
} offered_list;

/* Texts of a list: its names, then its ids if it has any. */
static int64_t texts_of(const gmv_gene_list *list)
{
    return list->id != NULL ? 2 * (int64_t)list->n : list->n;
}

static const char *text_at(const gmv_gene_lists *lists, int l, int64_t j)
{
    const gmv_gene_list *list = &lists->list[l];
    if (j < list->n) {
        return lists->name.at[list->gene[j]];
    }
    int32_t id = list->id[j - list->n];
    return id < 0 ? "" : lists->id.at[id];
}

static uint64_t hash_of(const gmv_gene_lists *lists, int l)
{
    uint64_t hash = 0;
    for (int64_t j = 0; j < texts_of(&lists->list[l]); j++) {
        const char *text = text_at(lists, l, j);
        hash = XXH3_64bits_withSeed(text, strlen(text) + 1, hash);
    }
    return hash;
}

static gmv_status place_names(gmv_gene_lists *lists, const gmv_texts *names, int32_t *gene)
{
    for (int j = 0; j < names->n; j++) {
        int64_t at;
        GMV_TRY(gmv_names_add(&lists->name, names->at[j], &at, NULL));
        gene[j] = (int32_t)at;
    }
    return GMV_OK;
}

static gmv_status place_ids(gmv_gene_lists *lists, const gmv_texts *ids, int32_t *place)
{
    for (int j = 0; j < ids->n; j++) {
        int64_t at = -1;
        if (ids->at[j][0] != '\0') {
            GMV_TRY(gmv_names_add(&lists->id, ids->at[j], &at, NULL));
        }
        place[j] = (int32_t)at;
    }
    return GMV_OK;
}

/* A new list, whatever lists there are. */
static gmv_status append(gmv_gene_lists *lists, const gmv_texts *names, const gmv_texts *ids)
{
    if (lists->n == lists->room) {
        int room = 2 * lists->room + 8;
        GMV_TRY(GMV_GROW(lists->list, lists->room, room, "lists of genes"));
        lists->room = room;
    }
    gmv_gene_list *list = &lists->list[lists->n];
    *list = (gmv_gene_list){.n = names->n};
    GMV_TRY(GMV_NEW(list->gene, names->n, "a list of genes"));
    lists->n++;
    GMV_TRY(place_names(lists, names, list->gene));
    if (ids->n == 0) {
        return GMV_OK;
    }
    GMV_TRY(GMV_NEW(list->id, ids->n, "a list of genes"));
    return place_ids(lists, ids, list->id);
}

static bool same_list(const gmv_gene_list *a, const gmv_gene_list *b)
{
    size_t bytes = (size_t)a->n * sizeof *a->gene;
    return a->n == b->n && (a->id == NULL) == (b->id == NULL) &&
           (bytes == 0 ||
            (memcmp(a->gene, b->gene, bytes) == 0 && (a->id == NULL || memcmp(a->id, b->id, bytes) == 0)));
}

gmv_status gmv_gene_lists_add(gmv_gene_lists *lists, const gmv_texts *names, const gmv_texts *ids, int *which)
{
    GMV_TRY(append(lists, names, ids));
    int l = 0, last = lists->n - 1;
    gmv_gene_list *list = &lists->list[last];
    while (!same_list(&lists->list[l], list)) {
        l++;
    }
    if (l < last) {
        GMV_FREE(list->gene);
        GMV_FREE(list->id);
        lists->n = last;
    } else {
        list->hash = hash_of(lists, last);
    }
    *which = l;
    return GMV_OK;
}

/* The genes of the newest list whose names are there more than once. @param[in] seen  [lists->name.n] room */
static gmv_status mark_repeated(gmv_gene_lists *lists, int32_t *seen)
{
    gmv_gene_list *list = &lists->list[lists->n - 1];
    GMV_TRY(GMV_NEW(list->by_place, list->n, "names of genes"));
    for (int32_t j = 0; j < list->n; j++) {
        seen[list->gene[j]]++;
    }
    for (int32_t j = 0; j < list->n; j++) {
        list->by_place[j] = seen[list->gene[j]] > 1;
    }
    return GMV_OK;
}

/* Gives repeated names of the newest list their suffixes. */
static gmv_status make_unique(gmv_gene_lists *lists, const gmv_texts *names)
{
    gmv_gene_list *list = &lists->list[lists->n - 1];
    gmv_names unique = {0};
    int32_t *seen = NULL;
    gmv_status status = GMV_OK;
    GMV_GO(GMV_NEW(seen, lists->name.n, "names of genes"));
    for (int32_t j = 0; j < list->n; j++) {
        if (seen[list->gene[j]]++ > 0 && list->repeated++ == 0) {
            list->first_repeated = list->gene[j];
        }
    }
    if (list->repeated > 0) {
        memset(seen, 0, (size_t)lists->name.n * sizeof *seen);
        GMV_GO(mark_repeated(lists, seen));
        GMV_GO(gmv_genes_make_unique(&unique, names));
        GMV_GO(place_names(lists, &(gmv_texts){unique.at, (int)unique.n}, list->gene));
    }
done:
    gmv_names_fini(&unique);
    GMV_FREE(seen);
    return status;
}

/* ---- lists of all ranks ---- */

static int64_t text_bytes(const gmv_gene_lists *lists, int l)
{
    int64_t bytes = 0;
    for (int64_t j = 0; j < texts_of(&lists->list[l]); j++) {
        bytes += (int64_t)strlen(text_at(lists, l, j)) + 1;
    }
    return bytes;
}

static void write_text(const gmv_gene_lists *lists, int l, char *text)
{
    for (int64_t j = 0; j < texts_of(&lists->list[l]); j++) {
        size_t n = strlen(text_at(lists, l, j)) + 1;
        memcpy(text, text_at(lists, l, j), n);
        text += n;
    }
}

static bool is_text(const gmv_gene_lists *lists, int l, const char *text, int64_t bytes)
{
    const char *end = text + bytes;
    for (int64_t j = 0; j < texts_of(&lists->list[l]); j++) {
        if (text == end || strcmp(text, text_at(lists, l, j)) != 0) {
            return false;
        }
        text += strlen(text) + 1;
    }
    return text == end;
}

static bool same_offer(const offered_list *a, const offered_list *b)
{
    return a->hash == b->hash && a->bytes == b->bytes && a->n == b->n;
}

/* Adds the list of a text of `n` names, which ids may follow. */
static gmv_status take_text(gmv_gene_lists *all, char *text, int64_t bytes, int n)
{
    gmv_texts texts = {NULL, 0};
    for (int64_t i = 0; i < bytes; i++) {
        texts.n += text[i] == '\0';
    }
    GMV_TRY(GMV_NEW(texts.at, texts.n, "names of genes"));
    char *at = text;
    for (int j = 0; j < texts.n; j++) {
        texts.at[j] = at;
        at += strlen(at) + 1;
    }
    gmv_texts names = {texts.at, n}, ids = {texts.at + n, texts.n - n};
    gmv_status status = append(all, &names, &ids);
    if (status == GMV_OK) {
        status = make_unique(all, &names);
    }
    GMV_FREE(texts.at);
    return status;
}

/* Sends the list of the first rank that offers it; the others that have one of this hash look whether it is the same. */
static gmv_status send_list(gmv_gene_lists *all, const gmv_gene_lists *mine, const gmv_comm *comm,
                            const offered_list *offer, int *number, char *text)
{
    if (comm->rank == offer->rank) {
        write_text(mine, offer->number, text);
    }
    gmv_comm_broadcast(comm, text, offer->bytes, offer->rank);
    for (int l = 0; l < mine->n; l++) {
        if (mine->list[l].hash == offer->hash && mine->list[l].n == offer->n && is_text(mine, l, text, offer->bytes)) {
            number[l] = all->n;
        }
    }
    return take_text(all, text, offer->bytes, offer->n);
}

static gmv_status share_offered(gmv_gene_lists *all, const gmv_gene_lists *mine, const gmv_comm *comm,
                                const offered_list *offer, int64_t offers, int *number)
{
    int64_t most = 0;
    char *text = NULL;
    for (int64_t i = 0; i < offers; i++) {
        most = offer[i].bytes > most ? offer[i].bytes : most;
    }
    gmv_status status = gmv_comm_agree(comm, GMV_NEW(text, most, "names of genes"));
    for (int64_t i = 0; i < offers && status == GMV_OK; i++) {
        int64_t before = 0;
        while (before < i && !same_offer(&offer[before], &offer[i])) {
            before++;
        }
        if (before == i) {
            status = gmv_comm_agree(comm, send_list(all, mine, comm, &offer[i], number, text));
        }
    }
    GMV_FREE(text);
    return status;
}

static gmv_status check_found(const int *number, int n)
{
    for (int l = 0; l < n; l++) {
        GMV_CHECK(number[l] >= 0); /* -1: two lists with one hash */
    }
    return GMV_OK;
}

gmv_status gmv_gene_lists_share(gmv_gene_lists *all, gmv_gene_lists *mine, const gmv_comm *comm, int **number)
{
    offered_list *own = NULL;
    void *offered = NULL;
    int64_t bytes = 0;
    memset(all, 0, sizeof *all);
    gmv_status status = GMV_NEW(own, mine->n, "lists of genes");
    if (status == GMV_OK) {
        status = GMV_NEW(*number, mine->n, "lists of genes");
    }
    GMV_GO(gmv_comm_agree(comm, status));
    for (int l = 0; l < mine->n; l++) {
        own[l] = (offered_list){mine->list[l].hash, text_bytes(mine, l), comm->rank, l, mine->list[l].n, 0};
        (*number)[l] = -1;
    }
    GMV_GO(gmv_comm_concatenate(comm, own, mine->n * (int64_t)sizeof *own, &offered, &bytes));
    GMV_GO(share_offered(all, mine, comm, offered, bytes / (int64_t)sizeof *own, *number));
    GMV_GO(gmv_comm_agree(comm, check_found(*number, mine->n)));
done:
    gmv_gene_lists_fini(mine);
    GMV_FREE(own);
    gmv_free(offered);
    return status;
}

void gmv_gene_lists_fini(gmv_gene_lists *lists)
{
    for (int l = 0; l < lists->n; l++) {
        GMV_FREE(lists->list[l].gene);
        GMV_FREE(lists->list[l].id);
        GMV_FREE(lists->list[l].by_place);
        GMV_FREE(lists->list[l].map);
    }
    GMV_FREE(lists->list);
    gmv_names_fini(&lists->id);
    gmv_names_fini(&lists->name);
    memset(lists, 0, sizeof *lists);
}
