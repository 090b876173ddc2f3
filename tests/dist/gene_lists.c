/* Lists of genes that ranks have read from different files: each once, in the order of the files, the same on every
 * rank; and blocks of different lengths from all ranks, by which they are told of each other. */
#include "harness.h"

#include "../../src/data/genes/gene_lists.h"

#include "gmvae/mem.h"

enum { FILES = 23, GENES = 200, LISTS = 4 };

/* Name j of list l, as files have it: 0 as it is, 1 in another order, 2 with two names for the third time, 3 shorter. */
static char *name_of(int l, int j)
{
    char *name = t_alloc(32, 1);
    int gene = l == 1 ? (j * 7 + 3) % GENES : l == 2 && j % 50 > 47 ? 5 : j;
    snprintf(name, 32, l == 2 && j == 7 ? "gene5-1" : "gene%d", gene);
    return name;
}

static gmv_texts read_list(int l)
{
    gmv_texts names = {t_alloc(GENES, sizeof(char *)), l == 3 ? GENES - 9 : GENES};
    for (int j = 0; j < names.n; j++) {
        names.at[j] = name_of(l, j);
    }
    return names;
}

/* Ids beside the names of list 1; gene 7 has none. */
static gmv_texts read_ids(int l)
{
    gmv_texts ids = {t_alloc(GENES, sizeof(char *)), l == 1 ? GENES : 0};
    for (int j = 0; j < ids.n; j++) {
        ids.at[j] = t_alloc(32, 1);
        snprintf(ids.at[j], 32, "%s%.0d", j == 7 ? "" : "ENSG0", j == 7 ? 0 : j + 1);
    }
    return ids;
}

/* The list of each file: 2 comes last, and every stretch of three files has a repetition. */
static int list_of(int f)
{
    return f < 3 ? 0 : f % 5 == 4 ? 2 : f % 3 == 1 ? 1 : f % 2 == 0 ? 3 : 0;
}

/* This rank's stretch of the files. @return  its first */
static int read_files(gmv_gene_lists *mine, int *local, int *end)
{
    int first = FILES * t_comm.rank / t_comm.size;
    *end = FILES * (t_comm.rank + 1) / t_comm.size;
    for (int f = first; f < *end; f++) {
        gmv_texts names = read_list(list_of(f));
        gmv_texts ids = read_ids(list_of(f));
        t_ok(gmv_gene_lists_add(mine, &names, &ids, &local[f]), "gmv_gene_lists_add");
    }
    return first;
}

static void lists_are_shared(void **state)
{
    (void)state;
    gmv_gene_lists mine = {0}, all;
    int local[FILES], end, *number = NULL, order[LISTS] = {-1, -1, -1, -1}, seen = 0;
    for (int f = 0; f < FILES; f++) {
        seen += order[list_of(f)] < 0;
        order[list_of(f)] = order[list_of(f)] < 0 ? seen - 1 : order[list_of(f)];
    }
    int first = read_files(&mine, local, &end);
    assert_true(mine.n <= LISTS);
    t_ok(gmv_gene_lists_share(&all, &mine, &t_comm, &number), "gmv_gene_lists_share");
    assert_int_equal(mine.n, 0);
    assert_int_equal(all.n, LISTS);
    for (int f = first; f < end; f++) {
        assert_int_equal(number[local[f]], order[list_of(f)]);
    }
    for (int l = 0; l < LISTS; l++) {
        gmv_texts names = read_list(l);
        const gmv_gene_list *list = &all.list[order[l]];
        assert_int_equal(list->n, names.n);
        assert_int_equal(list->repeated, l == 2 ? 8 : 0);
        for (int j = 0, suffix = 2; j < names.n; j++) { /* "gene5-1" is taken */
            char want[32];
            bool again = l == 2 && j % 50 > 47;
            snprintf(want, sizeof want, "gene5-%d", suffix);
            suffix += again;
            assert_string_equal(all.name.at[list->gene[j]], again ? want : names.at[j]);
        }
    }
    assert_string_equal(all.name.at[all.list[order[2]].first_repeated], "gene5");
    const gmv_gene_list *with_ids = &all.list[order[1]];
    assert_null(all.list[order[0]].id);
    assert_true(with_ids->by_place == NULL && all.list[order[2]].by_place[5] && !all.list[order[2]].by_place[6]);
    for (int j = 0; j < GENES; j++) {
        gmv_texts ids = read_ids(1);
        assert_string_equal(with_ids->id[j] < 0 ? "" : all.id.at[with_ids->id[j]], ids.at[j]);
    }
    gmv_free(number);
    gmv_gene_lists_fini(&all);
    t_end_test(NULL);
}

static void blocks_of_any_length(void **state)
{
    (void)state;
    for (int most = 0; most < 3; most++) {
        int64_t bytes = t_comm.rank % (most + 1) * 1000 + most, total = 0, at = 0;
        char *block = t_alloc((size_t)bytes, 1), *all = NULL;
        memset(block, 'a' + t_comm.rank, (size_t)bytes);
        t_ok(gmv_comm_concatenate(&t_comm, bytes > 0 ? block : NULL, bytes, (void **)&all, &total), "concatenate");
        for (int r = 0; r < t_comm.size; r++) {
            for (int64_t i = 0; i < r % (most + 1) * 1000 + most; i++, at++) {
                assert_int_equal(all[at], 'a' + r);
            }
        }
        assert_int_equal(total, at);
        gmv_free(all);
        t_end_test(NULL);
    }
}

static const struct CMUnitTest tests[] = {
    T_TEST(lists_are_shared),
    T_TEST(blocks_of_any_length),
};
T_MAIN_ON_BACKEND(tests)
