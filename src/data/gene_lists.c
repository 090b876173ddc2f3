#include "gene_lists.h"

#include "genes.h"

#include "gmvae/mem.h"

#include <string.h>
#include <xxhash.h>

/* A rank's list, for the others. */
typedef struct offered_list {
    uint64_t hash;
    int64_t bytes; /* of its text: the names with a zero byte behind each */
    int rank, number;
} offered_list;

static const char *name_at(const gmv_gene_lists *lists, int l, int32_t j)
{
    return lists->name.at[lists->list[l].gene[j]];
}

static uint64_t hash_of(const gmv_gene_lists *lists, int l)
{
    uint64_t hash = 0;
    for (int32_t j = 0; j < lists->list[l].n; j++) {
        const char *name = name_at(lists, l, j);
        hash = XXH3_64bits_withSeed(name, strlen(name) + 1, hash);
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

/* A new list, whatever lists there are. */
static gmv_status append(gmv_gene_lists *lists, const gmv_texts *names)
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
    return place_names(lists, names, list->gene);
}

gmv_status gmv_gene_lists_add(gmv_gene_lists *lists, const gmv_texts *names, int *which)
{
    GMV_TRY(append(lists, names));
    int l = 0, last = lists->n - 1;
    gmv_gene_list *list = &lists->list[last];
    size_t bytes = (size_t)list->n * sizeof *list->gene;
    while (lists->list[l].n != list->n || (bytes > 0 && memcmp(lists->list[l].gene, list->gene, bytes) != 0)) {
        l++;
    }
    if (l < last) {
        GMV_FREE(list->gene);
        lists->n = last;
    } else {
        list->hash = hash_of(lists, last);
    }
    *which = l;
    return GMV_OK;
}

/* Gives repeated names of the newest list their suffixes. */
static gmv_status make_unique(gmv_gene_lists *lists, const gmv_texts *names)
{
    gmv_gene_list *list = &lists->list[lists->n - 1];
    gmv_names unique = {0};
    bool *seen = NULL;
    gmv_status status = GMV_OK;
    GMV_GO(GMV_NEW(seen, lists->name.n, "names of genes"));
    for (int32_t j = 0; j < list->n; j++) {
        if (seen[list->gene[j]] && list->repeated++ == 0) {
            list->first_repeated = list->gene[j];
        }
        seen[list->gene[j]] = true;
    }
    if (list->repeated > 0) {
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
    for (int32_t j = 0; j < lists->list[l].n; j++) {
        bytes += (int64_t)strlen(name_at(lists, l, j)) + 1;
    }
    return bytes;
}

static void write_text(const gmv_gene_lists *lists, int l, char *text)
{
    for (int32_t j = 0; j < lists->list[l].n; j++) {
        size_t n = strlen(name_at(lists, l, j)) + 1;
        memcpy(text, name_at(lists, l, j), n);
        text += n;
    }
}

static bool is_text(const gmv_gene_lists *lists, int l, const char *text, int64_t bytes)
{
    const char *end = text + bytes;
    for (int32_t j = 0; j < lists->list[l].n; j++) {
        if (text == end || strcmp(text, name_at(lists, l, j)) != 0) {
            return false;
        }
        text += strlen(text) + 1;
    }
    return text == end;
}

static bool same_offer(const offered_list *a, const offered_list *b)
{
    return a->hash == b->hash && a->bytes == b->bytes;
}

/* Adds the list of a text. */
static gmv_status take_text(gmv_gene_lists *all, char *text, int64_t bytes)
{
    gmv_texts names = {NULL, 0};
    for (int64_t i = 0; i < bytes; i++) {
        names.n += text[i] == '\0';
    }
    GMV_TRY(GMV_NEW(names.at, names.n, "names of genes"));
    char *at = text;
    for (int j = 0; j < names.n; j++) {
        names.at[j] = at;
        at += strlen(at) + 1;
    }
    gmv_status status = append(all, &names);
    if (status == GMV_OK) {
        status = make_unique(all, &names);
    }
    GMV_FREE(names.at);
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
        if (mine->list[l].hash == offer->hash && is_text(mine, l, text, offer->bytes)) {
            number[l] = all->n;
        }
    }
    return take_text(all, text, offer->bytes);
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
        own[l] = (offered_list){mine->list[l].hash, text_bytes(mine, l), comm->rank, l};
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
        GMV_FREE(lists->list[l].map);
    }
    GMV_FREE(lists->list);
    gmv_names_fini(&lists->name);
    memset(lists, 0, sizeof *lists);
}
