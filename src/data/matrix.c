#include "matrix.h"

#include "gmvae/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { probed_values = 1 << 22, probed_blocks = 1024 };

/* anndata before 0.7 kept raw counts in a top-level group "raw.X". */
static const char *stored_name(const gmv_h5 *file, const char *name)
{
    return strcmp(name, "raw/X") == 0 && !gmv_h5_has(file, "raw/X") && gmv_h5_has(file, "raw.X") ? "raw.X" : name;
}

const char *gmv_matrix_var(const gmv_matrix *matrix)
{
    if (strcmp(matrix->name, "raw/X") != 0) {
        return "var";
    }
    return gmv_h5_has(matrix->file, "raw/var") ? "raw/var" : "raw.var";
}

gmv_status gmv_matrix_list(const gmv_h5 *file, gmv_texts *names)
{
    gmv_texts layers = {NULL, 0};
    memset(names, 0, sizeof *names);
    gmv_status status = GMV_OK;
    if (gmv_h5_is_group(file, "layers")) {
        GMV_GO(gmv_h5_children(file, "layers", &layers));
    }
    GMV_GO(GMV_NEW(names->at, layers.n + 2, "names of matrices"));
    const char *fixed[] = {"X", "raw/X"};
    for (int i = 0; i < 2; i++) {
        if (gmv_h5_has(file, stored_name(file, fixed[i]))) {
            GMV_GO(gmv_copy_text(&names->at[names->n], fixed[i]));
            names->n++;
        }
    }
    for (int i = 0; i < layers.n; i++) {
        char name[256];
        snprintf(name, sizeof name, "layers/%s", layers.at[i]);
        GMV_GO(gmv_copy_text(&names->at[names->n], name));
        names->n++;
    }
done:
    gmv_texts_free(&layers);
    if (status != GMV_OK) {
        gmv_texts_free(names);
    }
    return status;
}

/* The format of a file without obs and var, with its remedy; NULL when it is none that is known. */
static const char *foreign_format(const gmv_h5 *file, const gmv_texts *names)
{
    if (gmv_h5_has(file, "row_attrs")) {
        return "a Loom file; convert it: anndata.io.read_loom(path).write_h5ad('cells.h5ad')";
    }
    if (gmv_h5_has(file, "mod")) {
        return "a MuData file; write one of its modalities as .h5ad";
    }
    for (int i = 0; i < names->n; i++) { /* "matrix", or in older files the name of the genome */
        char path[600];
        snprintf(path, sizeof path, "%.500s/barcodes", names->at[i]);
        if (gmv_h5_has(file, path)) {
            return "a 10x file; convert it: scanpy.read_10x_h5(path).write_h5ad('cells.h5ad')";
        }
    }
    return NULL;
}

static gmv_status no_matrix(const gmv_h5 *file, const char *wanted)
{
    gmv_texts names;
    char hint[700];
    bool automatic = strcmp(wanted, "auto") == 0;
    if (!gmv_h5_has(file, "obs") || !gmv_h5_has(file, "var")) {
        GMV_TRY(gmv_h5_children(file, "/", &names));
        const char *format = foreign_format(file, &names);
        gmv_names_hint(&names, "obs", hint, sizeof hint);
        gmv_texts_free(&names);
        if (format != NULL) {
            return GMV_FAIL(GMV_ERR_DATA, "%s: not an h5ad but %s", file->path, format);
        }
        return GMV_FAIL(GMV_ERR_DATA, "%s: not an h5ad: %s is missing; %s", file->path,
                        gmv_h5_has(file, "obs") ? "var" : "obs", hint);
    }
    GMV_TRY(gmv_matrix_list(file, &names));
    gmv_names_hint(&names, wanted, hint, sizeof hint);
    gmv_texts_free(&names);
    return GMV_FAIL(automatic ? GMV_ERR_DATA : GMV_ERR_CONFIG, "%s: no matrix '%s' in the file (data.matrix); %s",
                    file->path, automatic ? "X" : gmv_shown(wanted).at, hint);
}

gmv_status gmv_frame_index(const gmv_h5 *file, const char *frame, char **path, int64_t *length)
{
    char full[512];
    char *name = NULL;
    *path = NULL;
    if (!gmv_h5_has(file, frame)) {
        return GMV_FAIL(GMV_ERR_DATA, "%s: %s is missing; an h5ad file has obs and var", file->path, frame);
    }
    if (gmv_h5_is_group(file, frame)) {
        GMV_TRY(gmv_h5_attribute_text(file, frame, "_index", &name));
        snprintf(full, sizeof full, "%s/%s", frame, name != NULL ? name : "_index");
        GMV_FREE(name);
        if (!gmv_h5_has(file, full)) {
            return GMV_FAIL(GMV_ERR_DATA, "%s: the index %s of %s is missing", file->path, gmv_shown(full).at, frame);
        }
    } else {
        snprintf(full, sizeof full, "%s", frame);
    }
    char values[600];
    snprintf(values, sizeof values, "%s%s", full, gmv_h5_is_group(file, full) ? "/values" : "");
    hid_t dataset;
    GMV_TRY(gmv_h5_open_dataset(file, values, 1, &dataset, length));
    H5Dclose(dataset);
    return gmv_copy_text(path, full);
}

/* The declared shape must be that of obs and var. */
static gmv_status check_shape(const gmv_matrix *m)
{
    char *index = NULL;
    int64_t cells = 0, genes = 0;
    GMV_TRY(gmv_frame_index(m->file, "obs", &index, &cells));
    GMV_FREE(index);
    GMV_TRY(gmv_frame_index(m->file, gmv_matrix_var(m), &index, &genes));
    GMV_FREE(index);
    if (m->rows != cells || m->cols != genes) {
        return GMV_FAIL(GMV_ERR_DATA,
                        "%s: %s has shape %" PRId64 " x %" PRId64 ", but obs has %" PRId64 " cells and %s %" PRId64
                        " genes; write the file again",
                        m->file->path, m->name, m->rows, m->cols, cells, gmv_matrix_var(m), genes);
    }
    if (genes > INT32_MAX) {
        return GMV_FAIL(GMV_ERR_DATA, "%s: %" PRId64 " genes, more than 2^31", m->file->path, genes);
    }
    return GMV_OK;
}

static gmv_status check_ends(const gmv_matrix *m, int64_t pointers, int64_t indices)
{
    const char *path = m->file->path;
    int64_t major = m->kind == GMV_MATRIX_CSR ? m->rows : m->cols, first = 0, last = 0;
    if (pointers != major + 1) {
        return GMV_FAIL(GMV_ERR_DATA,
                        "%s: %s/indptr has %" PRId64 " entries, but shape asks for %" PRId64 "; the file is damaged",
                        path, m->name, pointers, major + 1);
    }
    if (indices != m->nnz) {
        return GMV_FAIL(GMV_ERR_DATA, "%s: %s has %" PRId64 " indices but %" PRId64 " values; the file is damaged",
                        path, m->name, indices, m->nnz);
    }
    GMV_TRY(gmv_h5_read_i64(m->file, m->indptr, 0, 1, &first));
    GMV_TRY(gmv_h5_read_i64(m->file, m->indptr, major, 1, &last));
    if (first != 0 || last != m->nnz) {
        return GMV_FAIL(GMV_ERR_DATA,
                        "%s: %s/indptr runs from %" PRId64 " to %" PRId64 ", expected 0 to %" PRId64
                        "; the file is damaged",
                        path, m->name, first, last, m->nnz);
    }
    return GMV_OK;
}

static gmv_status check_type(const gmv_matrix *m, hid_t dataset, const char *part, bool whole)
{
    hid_t type = H5Dget_type(dataset);
    H5T_class_t kind = H5Tget_class(type);
    size_t size = H5Tget_size(type);
    H5Tclose(type);
    bool fine = kind == H5T_INTEGER || (!whole && (kind == H5T_FLOAT || (kind == H5T_ENUM && size == 1)));
    if (!fine) {
        return GMV_FAIL(GMV_ERR_DATA, "%s: %s%s does not hold %s", m->file->path, m->name, part,
                        whole ? "integers" : "numbers");
    }
    return GMV_OK;
}

/* encoding-type of anndata 0.7 and later, h5sparse_format before. */
static gmv_status find_sparse_kind(gmv_matrix *m, const char *at)
{
    char *format = NULL;
    GMV_TRY(gmv_h5_attribute_text(m->file, at, "encoding-type", &format));
    if (format == NULL) {
        GMV_TRY(gmv_h5_attribute_text(m->file, at, "h5sparse_format", &format));
    }
    gmv_status status = GMV_OK;
    if (format != NULL && strncmp(format, "csr", 3) == 0) {
        m->kind = GMV_MATRIX_CSR;
    } else if (format != NULL && strncmp(format, "csc", 3) == 0) {
        m->kind = GMV_MATRIX_CSC;
    } else {
        status = GMV_FAIL(GMV_ERR_DATA, "%s: %s is a group of type '%s', expected csr_matrix or an array",
                          m->file->path, m->name, format != NULL ? gmv_shown(format).at : "none");
    }
    GMV_FREE(format);
    return status;
}

static gmv_status open_sparse(gmv_matrix *m, const char *at)
{
    char part[300];
    int64_t shape[2], indices = 0, pointers = 0;
    bool found = false;
    GMV_TRY(find_sparse_kind(m, at));
    GMV_TRY(gmv_h5_attribute_i64(m->file, at, "shape", 2, shape, &found));
    if (!found) {
        GMV_TRY(gmv_h5_attribute_i64(m->file, at, "h5sparse_shape", 2, shape, &found));
    }
    if (!found || shape[0] < 0 || shape[1] < 0) {
        return GMV_FAIL(GMV_ERR_DATA, "%s: %s has no valid attribute 'shape'", m->file->path, m->name);
    }
    m->rows = shape[0];
    m->cols = shape[1];
    snprintf(part, sizeof part, "%s/data", at);
    GMV_TRY(gmv_h5_open_dataset(m->file, part, 1, &m->data, &m->nnz));
    snprintf(part, sizeof part, "%s/indices", at);
    GMV_TRY(gmv_h5_open_dataset(m->file, part, 1, &m->indices, &indices));
    snprintf(part, sizeof part, "%s/indptr", at);
    GMV_TRY(gmv_h5_open_dataset(m->file, part, 1, &m->indptr, &pointers));
    GMV_TRY(check_type(m, m->data, "/data", false));
    GMV_TRY(check_type(m, m->indices, "/indices", true));
    GMV_TRY(check_type(m, m->indptr, "/indptr", true));
    GMV_TRY(check_shape(m));
    return check_ends(m, pointers, indices);
}

static gmv_status open_dense(gmv_matrix *m, const char *at)
{
    int64_t dims[2];
    m->kind = GMV_MATRIX_DENSE;
    GMV_TRY(gmv_h5_open_dataset(m->file, at, 2, &m->data, dims));
    m->rows = dims[0];
    m->cols = dims[1];
    m->nnz = dims[0] * dims[1];
    GMV_TRY(check_type(m, m->data, "", false));
    return check_shape(m);
}

gmv_status gmv_matrix_open(gmv_matrix *matrix, const gmv_h5 *file, const char *name)
{
    memset(matrix, 0, sizeof *matrix);
    matrix->file = file;
    matrix->data = matrix->indices = matrix->indptr = -1;
    snprintf(matrix->name, sizeof matrix->name, "%s", name);
    const char *at = stored_name(file, name);
    if (!gmv_h5_has(file, "obs") || !gmv_h5_has(file, "var") || !gmv_h5_has(file, at)) {
        return no_matrix(file, name);
    }
    gmv_status status = gmv_h5_is_group(file, at) ? open_sparse(matrix, at) : open_dense(matrix, at);
    if (status != GMV_OK) {
        gmv_matrix_close(matrix);
    }
    return status;
}

void gmv_matrix_close(gmv_matrix *matrix)
{
    hid_t *open[] = {&matrix->data, &matrix->indices, &matrix->indptr};
    for (int i = 0; i < 3; i++) {
        if (*open[i] > 0) {
            H5Dclose(*open[i]);
        }
        *open[i] = -1;
    }
}

gmv_status gmv_matrix_probe(const gmv_matrix *m, bool *is_count, double *culprit)
{
    bool dense = m->kind == GMV_MATRIX_DENSE;
    int64_t units = dense ? m->rows : m->nnz, width = dense ? m->cols : 1;
    int64_t all = probed_values / (width > 0 ? width : 1), piece = units;
    int64_t blocks = 1;
    if (units > all) { /* even sample */
        blocks = dense ? (all > 0 ? all : 1) : probed_blocks;
        piece = dense ? 1 : probed_values / probed_blocks;
    }
    double *value = NULL;
    GMV_TRY(GMV_NEW(value, piece * width, "a sample of counts"));
    *is_count = true;
    gmv_status status = GMV_OK;
    for (int64_t b = 0; b < blocks && *is_count; b++) {
        int64_t first[2] = {blocks > 1 ? (int64_t)((double)b / (double)blocks * (double)(units - piece)) : 0, 0};
        int64_t count[2] = {piece, width};
        GMV_GO(gmv_h5_read_f64(m->file, m->data, dense ? 2 : 1, first, count, value));
        for (int64_t i = 0; i < piece * width; i++) {
            if (!gmv_is_count(value[i])) {
                *is_count = false;
                *culprit = value[i];
                break;
            }
        }
    }
done:
    GMV_FREE(value);
    return status;
}

gmv_status gmv_matrix_choose(gmv_matrix *matrix, const gmv_h5 *file, const char *wanted)
{
    static const char *const order[] = {"layers/counts", "raw/X", "X"};
    if (strcmp(wanted, "auto") != 0) {
        return gmv_matrix_open(matrix, file, wanted);
    }
    const char *found[3];
    char reasons[512] = "";
    int n = 0;
    for (int i = 0; i < 3; i++) {
        if (gmv_h5_has(file, stored_name(file, order[i]))) {
            found[n++] = order[i];
        }
    }
    if (n == 0) {
        return no_matrix(file, wanted);
    }
    if (n == 1) { /* nothing to choose from: a value that is no count is found, with its place, while reading */
        return gmv_matrix_open(matrix, file, found[0]);
    }
    for (int i = 0; i < n; i++) {
        bool is_count = false;
        double culprit = 0;
        GMV_TRY(gmv_matrix_open(matrix, file, found[i]));
        gmv_status status = gmv_matrix_probe(matrix, &is_count, &culprit);
        if (status != GMV_OK || is_count) {
            return status;
        }
        size_t used = strlen(reasons);
        snprintf(reasons + used, sizeof reasons - used, "%s%s has %.6g", used > 0 ? ", " : "", found[i], culprit);
        gmv_matrix_close(matrix);
    }
    return GMV_FAIL(GMV_ERR_DATA,
                    "%s: no matrix holds counts (whole numbers from 0 to 2^24): %s; name the one with raw counts in "
                    "data.matrix",
                    file->path, reasons);
}
