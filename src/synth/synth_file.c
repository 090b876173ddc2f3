#include "synth_file.h"

#include "../io/h5ad_file.h"

#include "../data/h5/h5.h"

#include "gmvae/mem.h"

#include <inttypes.h>
#include <stdio.h>

enum { name_bytes = 32, names_at_once = 4096 };

static const int64_t metadata_bytes = 1 << 20; /* more than HDF5 needs for itself between two reservations */
static const double largest_factors = 1 << 26; /* bytes of the factors of batches that are written */

/* Digits of the largest number of n, so that names sort as their numbers do. */
static int digits_of(int64_t n)
{
    int digits = 1;
    for (int64_t rest = n - 1; rest >= 10; rest /= 10) {
        digits++;
    }
    return digits;
}

/* Names "PREFIXnumber" of [first, first + n) out of `total`, into a dataset of strings. */
static gmv_status write_names(gmv_synth_file *f, const char *path, const char *prefix, int64_t total, int64_t first,
                              int64_t n)
{
    int digits = digits_of(total);
    for (int64_t at = 0; at < n; at += names_at_once) {
        int64_t piece = n - at < names_at_once ? n - at : names_at_once;
        for (int64_t i = 0; i < piece; i++) {
            snprintf(f->name[i], name_bytes, "%s%0*" PRId64, prefix, digits, first + at + i);
        }
        GMV_TRY(gmv_h5ad_write_strings(&f->out, path, first + at, piece, f->name));
    }
    return GMV_OK;
}

static gmv_status write_categorical(gmv_synth_file *f, const char *path, const char *prefix, int64_t levels)
{
    char part[80];
    GMV_TRY(gmv_h5ad_group(&f->out, path, "categorical", "0.2.0"));
    GMV_TRY(gmv_h5ad_attribute_bool(&f->out, path, "ordered", false));
    snprintf(part, sizeof part, "%s/categories", path);
    GMV_TRY(gmv_h5ad_strings(&f->out, part, levels));
    GMV_TRY(write_names(f, part, prefix, levels, 0, levels));
    snprintf(part, sizeof part, "%s/codes", path);
    return gmv_h5ad_array(&f->out, part, gmv_h5ad_code_type(levels), 1, &f->model->cells);
}

static gmv_status write_obs(gmv_synth_file *f)
{
    static char *const columns[] = {"cell_type", "batch", "library"};
    const gmv_h5ad *out = &f->out;
    GMV_TRY(gmv_h5ad_group(out, "obs", "dataframe", "0.2.0"));
    GMV_TRY(gmv_h5ad_attribute_text(out, "obs", "_index", "_index"));
    GMV_TRY(gmv_h5ad_attribute_texts(out, "obs", "column-order", 3, columns));
    GMV_TRY(gmv_h5ad_strings(out, "obs/_index", f->model->cells));
    GMV_TRY(write_categorical(f, "obs/cell_type", "type_", f->model->types));
    GMV_TRY(write_categorical(f, "obs/batch", "batch_", f->model->batches));
    return gmv_h5ad_array(out, "obs/library", H5T_IEEE_F32LE, 1, &f->model->cells);
}

static gmv_status write_var(gmv_synth_file *f)
{
    const gmv_h5ad *out = &f->out;
    GMV_TRY(gmv_h5ad_group(out, "var", "dataframe", "0.2.0"));
    GMV_TRY(gmv_h5ad_attribute_text(out, "var", "_index", "_index"));
    GMV_TRY(gmv_h5ad_attribute_texts(out, "var", "column-order", 0, NULL));
    GMV_TRY(gmv_h5ad_strings(out, "var/_index", f->model->genes));
    return write_names(f, "var/_index", "gene_", f->model->genes, 0, f->model->genes);
}

/* What the counts were drawn from. Keys that change no value (path, block) stay out. */
static gmv_status write_uns(gmv_synth_file *f, const gmv_config *config)
{
    const gmv_h5ad *out = &f->out;
    const gmv_synth_model *m = f->model;
    const struct {
        const char *path;
        int64_t value;
    } whole[] = {{"uns/synth/seed", config->seed},  {"uns/synth/cells", m->cells},
                 {"uns/synth/genes", m->genes},     {"uns/synth/types", m->types},
                 {"uns/synth/batches", m->batches}, {"uns/synth/compression", config->synth_compression}};
    const struct {
        const char *path;
        double value;
    } real[] = {{"uns/synth/density", config->synth_density},
                {"uns/synth/expected_density", m->density},
                {"uns/synth/mean_library", m->library},
                {"uns/synth/library_spread", m->spread},
                {"uns/synth/gene_spread", config->synth_gene_spread},
                {"uns/synth/separation", config->synth_separation},
                {"uns/synth/batch_effect", config->synth_batch_effect},
                {"uns/synth/dispersion", m->dispersion}};
    GMV_TRY(gmv_h5ad_group(out, "uns", "dict", "0.1.0"));
    GMV_TRY(gmv_h5ad_group(out, "uns/synth", "dict", "0.1.0"));
    for (size_t i = 0; i < sizeof whole / sizeof whole[0]; i++) {
        GMV_TRY(gmv_h5ad_scalar_i64(out, whole[i].path, whole[i].value));
    }
    for (size_t i = 0; i < sizeof real / sizeof real[0]; i++) {
        GMV_TRY(gmv_h5ad_scalar_f64(out, real[i].path, real[i].value));
    }
    GMV_TRY(gmv_h5ad_scalar_text(out, "uns/synth/sort", gmv_config_choice("synth.sort", config->synth_sort)));
    GMV_TRY(gmv_h5ad_scalar_text(out, "uns/synth/version", "gmvae_dist " GMVAE_VERSION));
    GMV_TRY(gmv_h5ad_matrix(out, "uns/synth/rates", H5T_IEEE_F32LE, m->types, m->genes, m->rate));
    if (4.0 * m->batches * m->genes > largest_factors) {
        return GMV_OK;
    }
    return gmv_h5ad_matrix(out, "uns/synth/batch_factors", H5T_IEEE_F32LE, m->batches, m->genes, m->factor);
}

/* Indices or data: of a size that grows, in chunks that come ready made. */
static gmv_status create_chunked(const gmv_synth_file *f, const char *path, hid_t type, int level, hid_t *dataset)
{
    hsize_t none = 0, unlimited = H5S_UNLIMITED, chunk = gmv_synth_chunk;
    hid_t space = H5Screate_simple(1, &none, &unlimited), properties = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_chunk(properties, 1, &chunk);
    if (level > 0) {
        H5Pset_shuffle(properties);
        H5Pset_deflate(properties, (unsigned)level);
    }
    *dataset = H5Dcreate2(f->out.id, path, type, space, H5P_DEFAULT, properties, H5P_DEFAULT);
    H5Pclose(properties);
    H5Sclose(space);
    return *dataset >= 0 ? GMV_OK : gmv_h5ad_fail(&f->out, path);
}

/* Starts of rows are int32 like the genes while they fit, because scikit-learn wants both of one type; the number of
 * elements is not known yet, but near its expectation. */
static gmv_status create_matrix(gmv_synth_file *f, int level)
{
    double expected = f->model->density * (double)f->model->cells * (double)f->model->genes;
    bool narrow = expected < 0.9 * INT32_MAX;
    f->most_elements = narrow ? INT32_MAX : INT64_MAX;
    int64_t shape[2] = {f->model->cells, f->model->genes}, ends = f->model->cells + 1, zero = 0;
    GMV_TRY(gmv_h5ad_group(&f->out, "X", "csr_matrix", "0.1.0"));
    GMV_TRY(gmv_h5ad_attribute_i64s(&f->out, "X", "shape", 2, shape));
    GMV_TRY(gmv_h5ad_array(&f->out, "X/indptr", narrow ? H5T_STD_I32LE : H5T_STD_I64LE, 1, &ends));
    GMV_TRY(gmv_h5ad_write(&f->out, "X/indptr", H5T_NATIVE_INT64, 0, 1, &zero));
    GMV_TRY(create_chunked(f, "X/indices", H5T_STD_I32LE, level, &f->indices));
    return create_chunked(f, "X/data", H5T_IEEE_F32LE, level, &f->data);
}

static gmv_status reserve_names(gmv_synth_file *f)
{
    GMV_TRY(GMV_NEW(f->name, names_at_once, "names"));
    f->name_room = names_at_once;
    for (int64_t i = 0; i < f->name_room; i++) {
        GMV_TRY(GMV_NEW(f->name[i], name_bytes, "names"));
    }
    return GMV_OK;
}

gmv_status gmv_synth_file_create(gmv_synth_file *file, const gmv_output *output, const gmv_synth_model *model,
                                 const gmv_config *config)
{
    *file = (gmv_synth_file){.out = {-1, output->path}, .model = model, .indices = -1, .data = -1};
    gmv_h5_prepare();
    GMV_TRY(reserve_names(file));
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    gmv_h5_lock_if_possible(access, output->temporary);
    file->out.id = H5Fcreate(output->temporary, H5F_ACC_TRUNC, H5P_DEFAULT, access);
    H5Pclose(access);
    if (file->out.id < 0) {
        return gmv_h5ad_fail(&file->out, "the file");
    }
    GMV_TRY(gmv_h5ad_reserve(&file->out, (int64_t)gmv_synth_file_other_bytes(model) + metadata_bytes));
    GMV_TRY(gmv_h5ad_group(&file->out, "/", "anndata", "0.1.0"));
    GMV_TRY(write_obs(file));
    GMV_TRY(write_var(file));
    GMV_TRY(write_uns(file, config));
    return create_matrix(file, (int)config->synth_compression);
}

static gmv_status append_cells(gmv_synth_file *f, const gmv_synth_part *part)
{
    int64_t n = part->cells;
    if (part->end[n - 1] > f->most_elements) {
        return GMV_FAIL(GMV_ERR_CONFIG,
                        "%s: more than 2^31 non-zeros, far from the expected number; lower "
                        "synth.library_spread or synth.cells",
                        f->out.path);
    }
    if (n > f->room) {
        GMV_FREE(f->column);
        f->room = 0;
        GMV_TRY(gmv_alloc_bytes(&f->column, n, sizeof(int32_t), "a column of obs"));
        f->room = n;
    }
    int32_t *code = f->column;
    for (int64_t i = 0; i < n; i++) {
        code[i] = part->cell[i].type;
    }
    GMV_TRY(gmv_h5ad_write(&f->out, "obs/cell_type/codes", H5T_NATIVE_INT32, part->first, n, code));
    for (int64_t i = 0; i < n; i++) {
        code[i] = part->cell[i].batch;
    }
    GMV_TRY(gmv_h5ad_write(&f->out, "obs/batch/codes", H5T_NATIVE_INT32, part->first, n, code));
    float *library = f->column;
    for (int64_t i = 0; i < n; i++) {
        library[i] = part->cell[i].library;
    }
    GMV_TRY(gmv_h5ad_write(&f->out, "obs/library", H5T_NATIVE_FLOAT, part->first, n, library));
    GMV_TRY(gmv_h5ad_write(&f->out, "X/indptr", H5T_NATIVE_INT64, part->first + 1, n, part->end));
    return write_names(f, "obs/_index", "cell_", f->model->cells, part->first, n);
}

static gmv_status append_chunk(const gmv_synth_file *f, hid_t dataset, int64_t chunk, int64_t bytes, const void *packed)
{
    hsize_t at = (hsize_t)chunk * gmv_synth_chunk;
    return H5Dwrite_chunk(dataset, H5P_DEFAULT, 0, &at, (size_t)bytes, packed) >= 0 ? GMV_OK
                                                                                    : gmv_h5ad_fail(&f->out, "X");
}

gmv_status gmv_synth_file_append(gmv_synth_file *file, const gmv_synth_part *part)
{
    GMV_TRY(gmv_h5ad_reserve(&file->out, part->bytes + part->cells * 2 * name_bytes + metadata_bytes));
    GMV_TRY(append_cells(file, part));
    if (part->elements > file->elements) {
        hsize_t size = (hsize_t)part->elements;
        if (H5Dset_extent(file->indices, &size) < 0 || H5Dset_extent(file->data, &size) < 0) {
            return gmv_h5ad_fail(&file->out, "X");
        }
        file->elements = part->elements;
    }
    const unsigned char *packed = part->packed;
    for (int64_t c = 0; c < part->chunks; c++) {
        const int64_t *size = &part->size[2 * c];
        GMV_TRY(append_chunk(file, file->indices, part->chunk + c, size[0], packed));
        GMV_TRY(append_chunk(file, file->data, part->chunk + c, size[1], packed + size[0]));
        packed += size[0] + size[1];
    }
    return GMV_OK;
}

static gmv_status close_datasets(gmv_synth_file *f, gmv_status status)
{
    hid_t dataset[] = {f->indices, f->data};
    for (int i = 0; i < 2; i++) {
        if (dataset[i] >= 0 && H5Dclose(dataset[i]) < 0 && status == GMV_OK) {
            status = gmv_h5ad_fail(&f->out, "X");
        }
    }
    f->indices = f->data = -1;
    return status;
}

gmv_status gmv_synth_file_close(gmv_synth_file *file, gmv_status status)
{
    if (status == GMV_OK) {
        status = close_datasets(file, status);
    }
    if (file->out.id >= 0) {
        status = gmv_h5ad_finish(&file->out, status);
    }
    close_datasets(file, status); /* of a file that has failed, only now: what they still write goes nowhere */
    for (int64_t i = 0; i < file->name_room; i++) {
        gmv_free(file->name[i]);
    }
    GMV_FREE(file->name);
    GMV_FREE(file->column);
    return status;
}

double gmv_synth_file_other_bytes(const gmv_synth_model *m)
{
    double cells = (double)m->cells, genes = (double)m->genes;
    double name = 16.0 + 16.0 + 8.0 * ((5 + digits_of(m->cells) + 8) / 8); /* its place, and the string with a head */
    double codes = (double)(H5Tget_size(gmv_h5ad_code_type(m->types)) + H5Tget_size(gmv_h5ad_code_type(m->batches)));
    double factors = 4.0 * m->batches * genes;
    return cells * (8.0 + 4.0 + codes + name) + genes * (48.0 + 4.0 * m->types) +
           (factors <= largest_factors ? factors : 0.0);
}
