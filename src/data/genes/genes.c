#include "genes.h"

#include "../h5/h5.h"

#include "gmvae/files.h"
#include "gmvae/mem.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

gmv_status gmv_genes_make_unique(gmv_names *genes, const gmv_texts *raw)
{
    gmv_names all = {0};
    gmv_status status = GMV_OK;
    memset(genes, 0, sizeof *genes);
    for (int i = 0; i < raw->n; i++) {
        GMV_GO(gmv_names_add(&all, raw->at[i], NULL, NULL));
    }
    for (int i = 0; i < raw->n; i++) {
        bool is_new = true;
        GMV_GO(gmv_names_add(genes, raw->at[i], NULL, &is_new));
        for (int k = 1; !is_new; k++) {
            char name[600];
            snprintf(name, sizeof name, "%.500s-%d", raw->at[i], k);
            if (gmv_names_find(&all, name) < 0) {
                GMV_GO(gmv_names_add(genes, name, NULL, &is_new));
            }
        }
    }
done:
    gmv_names_fini(&all);
    return status;
}

static gmv_status read_text(const char *path, const char *key, char **text)
{
    const int64_t most = (int64_t)64 << 20; /* bytes, far more than names of genes take */
    int64_t length = 0;
    const char *why = gmv_file_read_text(path, most, text, &length);
    if (why != NULL || length > most) {
        GMV_FREE(*text);
        return GMV_FAIL(GMV_ERR_CONFIG, "%s: cannot be opened: %s (%s)", path,
                        why != NULL ? why : "larger than 64 MiB, which no list of genes is", key);
    }
    return GMV_OK;
}

/* Adds a name that must be new. */
static gmv_status add_once(gmv_names *wanted, const char *name)
{
    bool is_new = true;
    GMV_TRY(gmv_names_add(wanted, name, NULL, &is_new));
    if (!is_new) {
        return GMV_FAIL(GMV_ERR_CONFIG, "gene '%s' is named twice", gmv_shown(name).at);
    }
    return GMV_OK;
}

static gmv_status parse_genes(gmv_names *wanted, char *text, const char *genes_file, const char *key)
{
    char *rest = text;
    if (strncmp(rest, "\xEF\xBB\xBF", 3) == 0) {
        rest += 3;
    }
    for (char *line = strtok_r(rest, "\r\n", &rest); line != NULL; line = strtok_r(NULL, "\r\n", &rest)) {
        while (isspace((unsigned char)*line)) {
            line++;
        }
        size_t length = strlen(line);
        while (length > 0 && isspace((unsigned char)line[length - 1])) {
            line[--length] = '\0';
        }
        if (length > 0) {
            GMV_TRY(add_once(wanted, line));
        }
    }
    if (wanted->n == 0) {
        return GMV_FAIL(GMV_ERR_CONFIG, "%s: names no gene (%s)", genes_file, key);
    }
    return GMV_OK;
}

gmv_status gmv_genes_from_file(gmv_names *wanted, const gmv_comm *comm, const char *genes_file, const char *key)
{
    char *text = NULL;
    memset(wanted, 0, sizeof *wanted);
    gmv_status status = comm->rank == 0 ? read_text(genes_file, key, &text) : GMV_OK;
    status = gmv_comm_agree(comm, status);
    if (status == GMV_OK) {
        status = gmv_comm_broadcast_text(comm, &text, 0);
    }
    if (status == GMV_OK) {
        status = parse_genes(wanted, text, genes_file, key);
    }
    gmv_free(text);
    return gmv_comm_agree(comm, status);
}

gmv_status gmv_genes_known(gmv_names *wanted, const gmv_known *known)
{
    memset(wanted, 0, sizeof *wanted);
    for (int i = 0; i < known->genes; i++) {
        GMV_TRY(add_once(wanted, known->gene[i]));
    }
    return GMV_OK;
}
