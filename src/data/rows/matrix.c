#include "matrix.h"

#include "gmvae/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { probed_values = 1 << 22, probed_blocks = 1024, tiles = 64, tile_values = 1 << 14, tile_step = 7919 };

/* The declared shape must be that of obs and var. */
static gmv_status check_shape(const gmv_matrix *m)
{
    if (m->rows != m->obs.rows || m->stored_cols != m->var.rows) {
        return GMV_FAIL(GMV_ERR_DATA,
                        "%s: %s has shape %" PRId64 " x %" PRId64 ", but %s has %" PRId64 " cells and %s %" PRId64
                        " genes; write the file again",
                        m->file->path, gmv_shown(m->name).at, m->rows, m->stored_cols, gmv_shown(m->obs.path).at,
                        m->obs.rows, gmv_shown(m->var.path).at, m->var.rows);
    }
    if (m->stored_cols > INT32_MAX) {
        return GMV_FAIL(GMV_ERR_DATA, "%s: %" PRId64 " genes, more than 2^31", m->file->path, m->stored_cols);
    }
    return GMV_OK;
}

static gmv_status check_ends(const gmv_matrix *m, int64_t pointers, int64_t indices)
{
    const char *path = m->file->path;
    int64_t major = m->kind == GMV_MATRIX_CSR ? m->rows : m->stored_cols, first = 0, last = 0;
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
        status = GMV_FAIL(GMV_ERR_DATA, "%s: %s is a group of type '%s', expected csr_matrix, csc_matrix or an array",
                          m->file->path, m->name, format != NULL ? gmv_shown(format).at : "none");
    }
    GMV_FREE(format);
    return status;
}

static gmv_status bad_shape(const gmv_matrix *m)
{
    return GMV_FAIL(GMV_ERR_DATA, "%s: %s has no valid attribute 'shape'", m->file->path, m->name);
}

static gmv_status read_shape(gmv_matrix *m, const char *at)
{
    int64_t shape[2];
    bool found = false;
    GMV_TRY(gmv_h5_attribute_i64(m->file, at, "shape", 2, shape, &found));
    if (!found) {
        GMV_TRY(gmv_h5_attribute_i64(m->file, at, "h5sparse_shape", 2, shape, &found));
    }
    if (!found || shape[0] < 0 || shape[1] < 0) {
        return bad_shape(m);
    }
    m->rows = shape[0];
    m->stored_cols = shape[1];
    return GMV_OK;
}

/* A dataset of features and barcodes; some tools leave it out, then the names tell. */
static gmv_status read_shape_10x(gmv_matrix *m, const char *at)
{
    char path[340];
    hid_t dataset;
    int64_t n = 0, shape[2] = {0, 0};
    m->rows = m->obs.rows;
    m->stored_cols = m->var.rows;
    snprintf(path, sizeof path, "%s/shape", at);
    if (!gmv_h5_has(m->file, path)) {
        return GMV_OK;
    }
    GMV_TRY(gmv_h5_open_dataset(m->file, path, 1, &dataset, &n));
    gmv_status status = n == 2 ? gmv_h5_read_i64(m->file, dataset, 0, 2, shape) : bad_shape(m);
    H5Dclose(dataset);
    m->rows = shape[1];
    m->stored_cols = shape[0];
    return status;
}

static gmv_status open_sparse(gmv_matrix *m, const gmv_place *place)
{
    char part[340];
    int64_t indices = 0, pointers = 0;
    if (place->storage == GMV_STORED_10X) {
        m->kind = GMV_MATRIX_CSR;
        GMV_TRY(read_shape_10x(m, place->at));
    } else {
        GMV_TRY(find_sparse_kind(m, place->at));
        GMV_TRY(read_shape(m, place->at));
    }
    snprintf(part, sizeof part, "%s/data", place->at);
    GMV_TRY(gmv_h5_open_dataset(m->file, part, 1, &m->data, &m->nnz));
    snprintf(part, sizeof part, "%s/indices", place->at);
    GMV_TRY(gmv_h5_open_dataset(m->file, part, 1, &m->indices, &indices));
    snprintf(part, sizeof part, "%s/indptr", place->at);
    GMV_TRY(gmv_h5_open_dataset(m->file, part, 1, &m->indptr, &pointers));
    GMV_TRY(check_type(m, m->data, "/data", false));
    GMV_TRY(check_type(m, m->indices, "/indices", true));
    GMV_TRY(check_type(m, m->indptr, "/indptr", true));
    GMV_TRY(check_shape(m));
    return check_ends(m, pointers, indices);
}

static void read_chunk(gmv_matrix *m)
{
    hsize_t chunk[2] = {1, (hsize_t)m->stored_cols};
    hid_t properties = H5Dget_create_plist(m->data);
    if (H5Pget_layout(properties) == H5D_CHUNKED) {
        H5Pget_chunk(properties, 2, chunk);
    }
    H5Pclose(properties);
    m->chunk_rows = (int64_t)chunk[0];
    m->chunk_cols = (int64_t)chunk[1];
}

static gmv_status open_dense(gmv_matrix *m, const char *at)
{
    int64_t dims[2];
    m->kind = GMV_MATRIX_DENSE;
    GMV_TRY(gmv_h5_open_dataset(m->file, at, 2, &m->data, dims));
    m->rows = dims[0];
    m->stored_cols = dims[1];
    m->nnz = dims[0] * dims[1];
    read_chunk(m);
    GMV_TRY(check_type(m, m->data, "", false));
    return check_shape(m);
}

/* Features of other types are left out: the columns of the matrix are those of its own type. */
static gmv_status select_features(gmv_matrix *m, const gmv_place *place)
{
    gmv_texts kinds = {NULL, 0};
    gmv_status status = GMV_OK;
    m->cols = m->stored_cols;
    if (place->kinds[0] == '\0') {
        return GMV_OK;
    }
    GMV_GO(gmv_h5_texts_at(m->file, place->kinds, NULL, &kinds));
    if (kinds.n != m->stored_cols) {
        GMV_GO(GMV_FAIL(GMV_ERR_DATA, "%s: %s has %d entries for %" PRId64 " features; the file is damaged",
                        m->file->path, gmv_shown(place->kinds).at, kinds.n, m->stored_cols));
    }
    GMV_GO(GMV_NEW(m->select, m->stored_cols, "the choice of features"));
    m->cols = 0;
    for (int i = 0; i < kinds.n; i++) {
        m->select[i] = strncmp(kinds.at[i], place->kind, sizeof place->kind - 1) == 0 ? (int32_t)m->cols++ : -1;
    }
    if (m->cols == m->stored_cols) {
        GMV_FREE(m->select);
    }
done:
    gmv_texts_free(&kinds);
    return status;
}

gmv_status gmv_matrix_open(gmv_matrix *matrix, const gmv_h5 *file, const gmv_place *place)
{
    memset(matrix, 0, sizeof *matrix);
    matrix->file = file;
    matrix->place = *place;
    matrix->data = matrix->indices = matrix->indptr = -1;
    memcpy(matrix->name, place->name, sizeof matrix->name);
    gmv_make_printable(matrix->name); /* it may come from the file */
    gmv_status status = GMV_OK;
    GMV_GO(gmv_table_open(&matrix->obs, file, place->obs));
    GMV_GO(gmv_table_open(&matrix->var, file, place->var));
    bool sparse = place->storage == GMV_STORED_10X || gmv_h5_is_group(file, place->at);
    GMV_GO(sparse ? open_sparse(matrix, place) : open_dense(matrix, place->at));
    GMV_GO(select_features(matrix, place));
done:
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
    GMV_FREE(matrix->select);
}

gmv_status gmv_matrix_probe(const gmv_matrix *m, bool *is_count, double *culprit)
{
    bool dense = m->kind == GMV_MATRIX_DENSE;
    int64_t units = dense ? m->rows : m->nnz, width = dense ? m->stored_cols : 1;
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
            if (!gmv_is_count(gmv_whole(value[i], m->round))) {
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

gmv_status gmv_matrix_guess_values(const gmv_matrix *m, int64_t first, int64_t end, int64_t *values)
{
    *values = (int64_t)((double)m->nnz * (double)(end - first) / (double)(m->rows > 0 ? m->rows : 1));
    if (m->kind != GMV_MATRIX_DENSE || *values == 0) {
        return GMV_OK;
    }
    int64_t width = m->chunk_cols < tile_values ? m->chunk_cols : tile_values, height = tile_values / width;
    height = height < m->chunk_rows ? height : m->chunk_rows;
    int64_t across = (m->stored_cols + width - 1) / width, filled = 0, seen = 0;
    double *value = NULL;
    GMV_TRY(GMV_NEW(value, width * height, "a sample of counts"));
    gmv_status status = GMV_OK;
    for (int64_t t = 0; t < tiles; t++) { /* evenly down, and all over the genes */
        int64_t at[2] = {first + (end - first) * t / tiles, t * tile_step % across * width};
        int64_t n[2] = {end - at[0] < height ? end - at[0] : height,
                        m->stored_cols - at[1] < width ? m->stored_cols - at[1] : width};
        GMV_GO(gmv_h5_read_f64(m->file, m->data, 2, at, n, value));
        for (int64_t i = 0; i < n[0] * n[1]; i++) {
            filled += value[i] != 0.0;
        }
        seen += n[0] * n[1];
    }
    *values = (int64_t)((double)*values * (double)filled / (double)seen);
done:
    GMV_FREE(value);
    return status;
}

/* Opens the matrix at a place and looks at its values: closed again unless they are counts.
 * @param[out] culprit  the first value that is none */
static gmv_status open_counts(gmv_matrix *matrix, const gmv_h5 *file, const gmv_place *place, double round,
                              bool *is_count, double *culprit)
{
    *is_count = false;
    GMV_TRY(gmv_matrix_open(matrix, file, place));
    matrix->round = round;
    gmv_status status = gmv_matrix_probe(matrix, is_count, culprit);
    if (status != GMV_OK || !*is_count) {
        gmv_matrix_close(matrix);
    }
    return status;
}

/* Appends to a text of `size` bytes. */
static void append(char *text, size_t size, const char *before, const char *name)
{
    size_t used = strlen(text);
    snprintf(text + used, size - used, "%s%s", before, gmv_shown(name).at);
}

/* Names the matrices beside those of `tried` that hold counts: layers that nobody asked for.
 * @param[out] n  how many */
static gmv_status find_other_counts(const gmv_layout *layout, const gmv_place *const *tried, int tries, double round,
                                    char *names, size_t size, int *n)
{
    *n = 0;
    for (int i = 0; i < layout->n; i++) {
        const gmv_place *place = &layout->place[i];
        gmv_matrix matrix;
        bool is_count = false, known = place->part != tried[0]->part;
        double culprit = 0;
        for (int t = 0; t < tries; t++) {
            known = known || place == tried[t];
        }
        gmv_status status = known ? GMV_OK : open_counts(&matrix, layout->file, place, round, &is_count, &culprit);
        if (status == GMV_ERR_DATA) {
            gmv_error_clear(); /* another layer, which cannot be read, is not what is wrong */
        } else {
            GMV_TRY(status);
        }
        if (is_count) {
            gmv_matrix_close(&matrix);
            append(names, size, *n > 0 ? ", " : "", place->name);
            (*n)++;
        }
    }
    return GMV_OK;
}

/* The first of several matrices whose values are counts. Of one alone: that one, whatever its values, unless another one
 * holds counts: a value that is none is found, with its place, while reading. */
static gmv_status choose_counts(gmv_matrix *matrix, const gmv_layout *layout, const gmv_place *const *place, int n,
                                double round)
{
    char reasons[512] = "", others[600] = "";
    int more = 0;
    const char *path = layout->file->path;
    for (int i = 0; i < n; i++) {
        char value[40];
        bool is_count = false;
        double culprit = 0;
        GMV_TRY(open_counts(matrix, layout->file, place[i], round, &is_count, &culprit));
        if (is_count) {
            return GMV_OK;
        }
        append(reasons, sizeof reasons, i > 0 ? ", " : "", place[i]->name);
        snprintf(value, sizeof value, " has %.9g", culprit);
        append(reasons, sizeof reasons, "", value);
    }
    GMV_TRY(find_other_counts(layout, place, n, round, others, sizeof others, &more));
    if (more > 0) {
        return GMV_FAIL(GMV_ERR_DATA,
                        "%s: %s, which is no count (a whole number from 0 to 2^24 - 1), but %s hold%s counts; set "
                        "data.matrix%s%s",
                        path, reasons, others, more > 1 ? "" : "s", more > 1 ? " to one of them" : ": ",
                        more > 1 ? "" : others);
    }
    if (n == 1) {
        GMV_TRY(gmv_matrix_open(matrix, layout->file, place[0]));
        matrix->round = round;
        return GMV_OK;
    }
    return GMV_FAIL(
        GMV_ERR_DATA,
        "%s: no matrix holds counts (whole numbers from 0 to 2^24 - 1): %s; give a file with the raw counts", path,
        reasons);
}

/* Whether a part has more matrices than the one that was taken without being asked for by its name. */
static bool has_others(const gmv_layout *layout, const gmv_place *place, const char *wanted)
{
    if (strcmp(wanted, place->name) == 0 || strcmp(wanted, place->name + strlen(place->root)) == 0) {
        return false;
    }
    for (int i = 0; i < layout->n; i++) {
        if (&layout->place[i] != place && layout->place[i].part == place->part) {
            return true;
        }
    }
    return false;
}

gmv_status gmv_matrix_choose(gmv_matrix *matrix, const gmv_h5 *file, const char *wanted, double round)
{
    gmv_layout layout;
    const gmv_place *found[3];
    int n = 0;
    gmv_status status = GMV_OK;
    GMV_GO(gmv_layout_read(&layout, file));
    GMV_GO(gmv_layout_find(&layout, wanted, found, &n));
    if (n > 1 || has_others(&layout, found[0], wanted)) {
        GMV_GO(choose_counts(matrix, &layout, found, n, round));
    } else {
        GMV_GO(gmv_matrix_open(matrix, file, found[0]));
        matrix->round = round;
    }
done:
    gmv_layout_free(&layout);
    return status;
}
