/* generated.h5ad: rank 0 writes it, one rank's cells after the other's. */
#include "../io/embedding_obs.h"
#include "../io/embedding_skeleton.h"
#include "../io/h5ad_file.h"

#include "../data/file_levels.h"
#include "../data/h5/h5.h"

#include "gmvae/files.h"
#include "gmvae/generate.h"
#include "gmvae/mem.h"
#include "gmvae/signals.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const int64_t other_bytes = 1 << 20;

enum { path_room = 1120, name_room = 32, names_at_once = 4096 };

typedef struct writing {
    gmv_h5ad out;
    const gmv_cells *cells;
    const gmv_comm *comm;
    int64_t total, nonzeros; /* of all ranks */
    int components, covariates;
} writing;

/* A covariate's column; that of the files has a name that anndata takes. */
static const char *column_of(const gmv_factor *factor)
{
    return strcmp(factor->key, GMV_FILE_KEY) == 0 ? "gmvae_file" : factor->key;
}

static gmv_status make_categorical(const writing *w, const char *column, int64_t n, char *const *name)
{
    char path[path_room], part[path_room + 16];
    gmv_embedding_column_at(column, path, sizeof path);
    GMV_TRY(gmv_h5ad_group(&w->out, path, "categorical", "0.2.0"));
    GMV_TRY(gmv_h5ad_attribute_bool(&w->out, path, "ordered", false));
    snprintf(part, sizeof part, "%s/categories", path);
    GMV_TRY(gmv_h5ad_strings(&w->out, part, n));
    for (int64_t k = 0; k < n; k++) {
        char number[name_room], *text = number;
        snprintf(number, sizeof number, "%" PRId64, k);
        GMV_TRY(gmv_h5ad_write_strings(&w->out, part, k, 1, name != NULL ? name + k : &text));
    }
    gmv_embedding_codes_at(column, part, sizeof part);
    return gmv_h5ad_array(&w->out, part, gmv_h5ad_code_type(n), 1, &w->total);
}

static gmv_status write_names(const writing *w)
{
    char(*name)[name_room] = NULL, **text = NULL;
    gmv_status status;
    GMV_GO(GMV_NEW(name, names_at_once, "names of cells"));
    GMV_GO(GMV_NEW(text, names_at_once, "names of cells"));
    GMV_GO(gmv_h5ad_strings(&w->out, "obs/_index", w->total));
    for (int64_t at = 0; at < w->total; at += names_at_once) {
        int64_t n = w->total - at < names_at_once ? w->total - at : names_at_once;
        GMV_GO(gmv_stop_check());
        for (int64_t i = 0; i < n; i++) {
            snprintf(name[i], name_room, "generated_%" PRId64, at + i);
            text[i] = name[i];
        }
        GMV_GO(gmv_h5ad_write_strings(&w->out, "obs/_index", at, n, text));
    }
done:
    GMV_FREE(name);
    gmv_free((void *)text);
    return status;
}

static gmv_status make_obs(const writing *w)
{
    const gmv_h5ad *out = &w->out;
    const char **order = NULL;
    int n = 0;
    GMV_TRY(GMV_NEW(order, w->covariates + 3, "columns of obs"));
    gmv_status status;
    GMV_GO(gmv_h5ad_group(out, "obs", "dataframe", "0.2.0"));
    GMV_GO(gmv_h5ad_attribute_text(out, "obs", "_index", "_index"));
    GMV_GO(write_names(w));
    for (int c = 0; c < w->covariates; c++) {
        const gmv_factor *factor = &w->cells->covariate[c];
        order[n++] = column_of(factor);
        GMV_GO(make_categorical(w, column_of(factor), factor->levels, factor->level));
    }
    if (w->components > 0) {
        order[n++] = "gmvae_component";
        GMV_GO(make_categorical(w, "gmvae_component", w->components, NULL));
    }
    order[n++] = "gmvae_library";
    GMV_GO(gmv_h5ad_array(out, "obs/gmvae_library", H5T_IEEE_F32LE, 1, &w->total));
    order[n++] = "gmvae_source";
    GMV_GO(gmv_h5ad_array(out, "obs/gmvae_source", H5T_STD_I64LE, 1, &w->total));
    GMV_GO(gmv_h5ad_attribute_texts(out, "obs", "column-order", n, (char *const *)(const void *)order));
done:
    gmv_free((void *)order);
    return status;
}

static gmv_status make_matrix(const writing *w)
{
    const gmv_h5ad *out = &w->out;
    int64_t shape[2] = {w->total, w->cells->genes}, ends = w->total + 1, zero = 0;
    GMV_TRY(gmv_h5ad_group(out, "X", "csr_matrix", "0.1.0"));
    GMV_TRY(gmv_h5ad_attribute_i64s(out, "X", "shape", 2, shape));
    GMV_TRY(gmv_h5ad_array(out, "X/indptr", w->nonzeros > INT32_MAX ? H5T_STD_I64LE : H5T_STD_I32LE, 1, &ends));
    GMV_TRY(gmv_h5ad_write(out, "X/indptr", H5T_NATIVE_INT64, 0, 1, &zero));
    GMV_TRY(gmv_h5ad_array(out, "X/indices", H5T_STD_I32LE, 1, &w->nonzeros));
    return gmv_h5ad_array(out, "X/data", H5T_STD_I32LE, 1, &w->nonzeros);
}

static gmv_status make_file(const writing *w, const gmv_embedding *from)
{
    int64_t bytes =
        other_bytes + 8 * w->nonzeros + w->total * (int64_t)(80 + 4 * w->covariates) + 128 * (int64_t)w->cells->genes;
    GMV_TRY(gmv_h5ad_reserve(&w->out, bytes));
    GMV_TRY(gmv_h5ad_group(&w->out, "/", "anndata", "0.1.0"));
    GMV_TRY(make_obs(w));
    GMV_TRY(gmv_h5ad_genes(&w->out, w->cells->genes, w->cells->gene, w->cells->gene_id));
    GMV_TRY(gmv_embedding_uns(&w->out, w->cells, from));
    return make_matrix(w);
}

/* ---- cells ---- */

/* Puts the levels of a rank's cells, and their components, where they belong. */
static gmv_status put_codes(const writing *w, const gmv_generated *part)
{
    char path[path_room];
    int32_t *code = NULL, first = 0;
    gmv_status status = GMV_OK;
    GMV_TRY(GMV_NEW(code, part->count, "levels of cells"));
    for (int c = 0; c < w->covariates; c++) {
        const gmv_factor *factor = &w->cells->covariate[c];
        for (int64_t i = 0; i < part->count; i++) {
            code[i] = part->level[i * w->covariates + c] - first;
        }
        first += factor->levels;
        gmv_embedding_codes_at(column_of(factor), path, sizeof path);
        GMV_GO(gmv_h5ad_write(&w->out, path, H5T_NATIVE_INT32, part->first, part->count, code));
    }
    if (w->components > 0) {
        gmv_embedding_codes_at("gmvae_component", path, sizeof path);
        GMV_GO(gmv_h5ad_write(&w->out, path, H5T_NATIVE_INT32, part->first, part->count, part->component));
    }
done:
    GMV_FREE(code);
    return status;
}

/* @param[in] before  non-zeros of the ranks before */
static gmv_status put_cells(const writing *w, const gmv_generated *part, int64_t before)
{
    const gmv_h5ad *out = &w->out;
    for (int64_t i = 0; i < part->count; i++) {
        part->end[i] += before;
    }
    GMV_TRY(put_codes(w, part));
    GMV_TRY(gmv_h5ad_write(out, "obs/gmvae_library", H5T_NATIVE_FLOAT, part->first, part->count, part->library));
    GMV_TRY(gmv_h5ad_write(out, "obs/gmvae_source", H5T_NATIVE_INT64, part->first, part->count, part->source));
    GMV_TRY(gmv_h5ad_write(out, "X/indptr", H5T_NATIVE_INT64, part->first + 1, part->count, part->end));
    GMV_TRY(gmv_h5ad_write(out, "X/indices", H5T_NATIVE_INT32, before, part->nonzeros, part->gene));
    return gmv_h5ad_write(out, "X/data", H5T_NATIVE_INT32, before, part->nonzeros, part->value);
}

/* The arrays of a part, each with its bytes, for sending and receiving. */
typedef struct part_array {
    void **at;
    int64_t bytes;
} part_array;

enum { part_arrays = 7 };

static void list_arrays(gmv_generated *part, part_array *array)
{
    int64_t n = part->count;
    array[0] = (part_array){(void **)&part->level, n * part->covariates * (int64_t)sizeof *part->level};
    array[1] = (part_array){(void **)&part->library, n * (int64_t)sizeof *part->library};
    array[2] = (part_array){(void **)&part->component, n * (int64_t)sizeof *part->component};
    array[3] = (part_array){(void **)&part->source, n * (int64_t)sizeof *part->source};
    array[4] = (part_array){(void **)&part->end, n * (int64_t)sizeof *part->end};
    array[5] = (part_array){(void **)&part->gene, part->nonzeros * (int64_t)sizeof *part->gene};
    array[6] = (part_array){(void **)&part->value, part->nonzeros * (int64_t)sizeof *part->value};
}

static void send_part(const gmv_comm *comm, const gmv_generated *mine)
{
    gmv_generated part = *mine;
    part_array array[part_arrays];
    list_arrays(&part, array);
    for (int a = 0; a < part_arrays; a++) {
        gmv_comm_send(comm, *array[a].at, array[a].bytes, 0);
    }
}

/* Room for a part, whose numbers are there. */
static gmv_status make_part(gmv_generated *part)
{
    part_array array[part_arrays];
    list_arrays(part, array);
    for (int a = 0; a < part_arrays; a++) {
        GMV_TRY(gmv_alloc_bytes(array[a].at, array[a].bytes, 1, "generated cells"));
    }
    return GMV_OK;
}

/* The cells of rank `from`, on rank 0. Collective. */
static gmv_status put_part(const writing *w, const gmv_generated *mine, int from, int64_t *before)
{
    gmv_generated part = *mine;
    bool root = w->comm->rank == 0;
    gmv_status status = GMV_OK;
    gmv_comm_broadcast(w->comm, &part, sizeof part, from); /* its numbers; pointers are of another process */
    if (root && from != 0) {
        part.level = part.component = part.gene = part.value = NULL;
        part.library = NULL;
        part.source = part.end = NULL;
        status = make_part(&part);
    }
    GMV_GO(gmv_comm_agree(w->comm, status));
    if (from != 0 && w->comm->rank == from) {
        send_part(w->comm, mine);
    }
    if (root && from != 0) {
        part_array array[part_arrays];
        list_arrays(&part, array);
        for (int a = 0; a < part_arrays; a++) {
            gmv_comm_receive(w->comm, *array[a].at, array[a].bytes, from);
        }
    }
    status = gmv_comm_agree(w->comm, root ? put_cells(w, from == 0 ? mine : &part, *before) : GMV_OK);
    *before += part.nonzeros;
done:
    if (root && from != 0) {
        gmv_generated_fini(&part);
    }
    return status;
}

gmv_status gmv_write_generated(const char *path, const gmv_generated *generated, const gmv_cells *cells,
                               const gmv_comm *comm, const gmv_embedding *from)
{
    gmv_output output = {.stream = NULL};
    writing w = {.cells = cells,
                 .comm = comm,
                 .total = generated->total,
                 .nonzeros = generated->nonzeros,
                 .components = generated->components,
                 .covariates = generated->covariates};
    bool root = comm->rank == 0;
    int64_t before = 0;
    gmv_status status = GMV_OK;
    gmv_comm_sum_i64(comm, &w.nonzeros, 1);
    gmv_h5_prepare();
    if (root) {
        status = gmv_output_begin(&output, path);
    }
    if (root && status == GMV_OK) {
        gmv_signals_unlink(output.temporary);
        hid_t access = H5Pcreate(H5P_FILE_ACCESS);
        gmv_h5_lock_if_possible(access, output.temporary);
        w.out = (gmv_h5ad){H5Fcreate(output.temporary, H5F_ACC_TRUNC, H5P_DEFAULT, access), output.path};
        H5Pclose(access);
        status = w.out.id < 0 ? gmv_h5ad_fail(&w.out, "the file") : make_file(&w, from);
    }
    status = gmv_comm_agree(comm, status);
    for (int rank = 0; rank < comm->size && status == GMV_OK; rank++) {
        status = put_part(&w, generated, rank, &before);
    }
    if (root) {
        status = w.out.path != NULL && w.out.id >= 0 ? gmv_h5ad_finish(&w.out, status) : status;
        status = gmv_output_end(&output, status);
        gmv_signals_unlink(NULL);
    }
    return gmv_comm_agree(comm, status);
}
