#include "inputs.h"

#include "gmvae/log.h"
#include "gmvae/mem.h"

#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static int compare_paths(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Ranks are sent paths line by line. */
static gmv_status add(gmv_names *found, const char *path, bool *is_new)
{
    return strchr(path, '\n') != NULL
               ? GMV_FAIL(GMV_ERR_CONFIG, "%s: a line break in the name of a file; give it another name", path)
               : gmv_names_add(found, path, NULL, is_new);
}

/* Adds what one pattern stands for, in byte order of the names: glob's own order depends on the locale. */
static gmv_status expand_one(gmv_names *found, const char *pattern)
{
    struct stat info;
    bool is_new = true;
    if (stat(pattern, &info) == 0 || strpbrk(pattern, "*?[") == NULL) {
        GMV_TRY(add(found, pattern, &is_new));
    } else {
        glob_t matches;
        int result = glob(pattern, GLOB_NOSORT, NULL, &matches);
        if (result != 0) {
            return GMV_FAIL(GMV_ERR_DATA, "%s: no file matches this pattern", pattern);
        }
        qsort(matches.gl_pathv, matches.gl_pathc, sizeof *matches.gl_pathv, compare_paths);
        gmv_status status = GMV_OK;
        for (size_t i = 0; i < matches.gl_pathc && status == GMV_OK; i++) {
            bool added = true;
            status = add(found, matches.gl_pathv[i], &added);
            is_new = is_new && added;
        }
        globfree(&matches);
        GMV_TRY(status);
    }
    return is_new ? GMV_OK
                  : GMV_FAIL(GMV_ERR_CONFIG, "%s: names a file that was already listed; list every file once", pattern);
}

static gmv_status join(const gmv_names *found, char **text)
{
    size_t length = 1;
    for (int64_t i = 0; i < found->n; i++) {
        length += strlen(found->at[i]) + 1;
    }
    GMV_TRY(GMV_NEW(*text, length, "paths"));
    char *at = *text;
    for (int64_t i = 0; i < found->n; i++) {
        size_t n = strlen(found->at[i]);
        memcpy(at, found->at[i], n);
        at[n] = '\n';
        at += n + 1;
    }
    return GMV_OK;
}

static gmv_status split(gmv_texts *files, char *text)
{
    int n = 0;
    for (const char *at = text; *at != '\0'; at++) {
        n += *at == '\n';
    }
    GMV_TRY(GMV_NEW(files->at, n, "paths"));
    char *rest = text;
    for (char *line = strtok_r(rest, "\n", &rest); line != NULL && files->n < n; line = strtok_r(NULL, "\n", &rest)) {
        GMV_TRY(gmv_copy_text(&files->at[files->n], line));
        files->n++;
    }
    return GMV_OK;
}

gmv_status gmv_paths_expand(gmv_texts *files, const gmv_comm *comm, const gmv_texts *paths)
{
    gmv_names found = {0};
    char *text = NULL;
    gmv_status status = GMV_OK;
    memset(files, 0, sizeof *files);
    if (comm->rank == 0) {
        for (int i = 0; i < paths->n && status == GMV_OK; i++) {
            status = expand_one(&found, paths->at[i]);
        }
        if (status == GMV_OK && found.n == 0) {
            status = GMV_FAIL(GMV_ERR_CONFIG, "no input file is named (data.train)");
        }
        if (status == GMV_OK) {
            status = join(&found, &text);
        }
    }
    GMV_GO(gmv_comm_agree(comm, status));
    GMV_GO(gmv_comm_broadcast_text(comm, &text, 0));
    GMV_GO(gmv_comm_agree(comm, split(files, text)));
done:
    gmv_free(text);
    gmv_names_fini(&found);
    return status;
}
