/* Runs in the process of h5_check.h: what HDF5 does here, and survives, it will survive in the run too. Errors are left
 * to those who read the file for its contents. */
#include "h5_check.h"

#include "../h5/column.h"
#include "../rows/matrix.h"

#include "gmvae/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    most_depth = 32,        /* of groups */
    piece_values = 1 << 16, /* read at a time */
    most_values = 1 << 20,  /* texts of a dataset that are read whole */
    most_whole = 1 << 24,
    samples = 64, /* of a large dataset */
    sample_values = 1024
};
static const hsize_t small_bytes = (hsize_t)4 << 20; /* in the file, of datasets that are read whole */

typedef struct walk {
    gmv_h5 file;
    void (*at)(const char *object);
    bool (*inspect)(const gmv_h5 *file);
    haddr_t *seen; /* [seen_n] addresses of objects with several hard links, which may form circles */
    int64_t seen_n, seen_room;
    int depth;
} walk;

/* ---- memory ---- */

static herr_t take_no_space(unsigned n, const H5E_error2_t *error, void *none)
{
    (void)n;
    bool *found = none;
    *found = *found || error->min_num == H5E_NOSPACE || error->min_num == H5E_CANTALLOC;
    return 0;
}

/* A damaged size may be refused here for want of memory alone: where the run gets so much, HDF5 goes on to copy what is not
 * there. Called whenever HDF5 reports an error. */
static herr_t end_without_memory(hid_t stack, void *unused)
{
    bool found = false;
    (void)unused;
    H5Ewalk2(stack, H5E_WALK_UPWARD, take_no_space, &found);
    if (found) {
        _exit(GMV_WALK_NO_MEMORY);
    }
    return 0;
}

/* Of numbers even an honest chunk may be too large for this process. */
static void watch_memory(bool on)
{
    H5Eset_auto2(H5E_DEFAULT, on ? end_without_memory : NULL, NULL);
}

/* ---- attributes ---- */

/* anndata 0.7 refers to categories: where to, and under which name. */
static void follow_reference(hid_t attribute)
{
    hobj_ref_t reference;
    char name[1024];
    hid_t target = -1;
    if (H5Aread(attribute, H5T_STD_REF_OBJ, &reference) >= 0) {
        target = H5Rdereference2(attribute, H5P_DEFAULT, H5R_OBJECT, &reference);
    }
    if (target >= 0) {
        H5Iget_name(target, name, sizeof name);
        H5Oclose(target);
    }
}

static void read_numbers(const walk *w, hid_t attribute, const char *object, const char *name, hssize_t points)
{
    bool found = false;
    int64_t *values = NULL;
    if (points > 0 && points <= most_values && GMV_NEW(values, points, "an attribute") == GMV_OK) {
        gmv_h5_attribute_i64(&w->file, object, name, (int)points, values, &found);
        H5Aread(attribute, H5T_NATIVE_DOUBLE, values);
    }
    GMV_FREE(values);
}

static void look_at_attribute(const walk *w, hid_t attribute, const char *object, const char *name)
{
    hid_t type = H5Aget_type(attribute), space = H5Aget_space(attribute);
    hssize_t points = space >= 0 ? H5Sget_simple_extent_npoints(space) : 0;
    H5T_class_t class = type >= 0 ? H5Tget_class(type) : H5T_NO_CLASS;
    gmv_texts texts;
    int8_t flag;
    if (class == H5T_STRING && gmv_h5_attribute_texts(&w->file, object, name, &texts) == GMV_OK) {
        gmv_texts_free(&texts);
    } else if (class == H5T_INTEGER || class == H5T_FLOAT) {
        read_numbers(w, attribute, object, name, points);
    } else if (class == H5T_REFERENCE && points == 1 && H5Tequal(type, H5T_STD_REF_OBJ) > 0) {
        follow_reference(attribute);
    } else if (class == H5T_ENUM && points == 1 && H5Tget_size(type) == 1) {
        H5Aread(attribute, type, &flag);
    }
    if (space >= 0) {
        H5Sclose(space);
    }
    if (type >= 0) {
        H5Tclose(type);
    }
}

typedef struct attribute_walk {
    const walk *w;
    const char *object;
} attribute_walk;

static herr_t visit_attribute(hid_t object, const char *name, const H5A_info_t *info, void *data)
{
    const attribute_walk *a = data;
    (void)info;
    hid_t attribute = H5Aopen(object, name, H5P_DEFAULT);
    if (attribute >= 0) {
        look_at_attribute(a->w, attribute, a->object, name);
        H5Aclose(attribute);
    }
    gmv_error_clear();
    return 0;
}

/* ---- values ---- */

static void read_texts(const walk *w, hid_t dataset, const char *field, int64_t first, int64_t count)
{
    char **text = NULL;
    if (GMV_NEW(text, count, "names") == GMV_OK) {
        gmv_h5_read_texts(&w->file, dataset, field, first, count, text);
        for (int64_t i = 0; i < count; i++) {
            gmv_free(text[i]);
        }
    }
    GMV_FREE(text);
}

/* All fields of compounds, as text: tables of old files. */
static void read_fields(const walk *w, hid_t dataset, hid_t type, int64_t first, int64_t count)
{
    for (int i = 0; i < H5Tget_nmembers(type); i++) {
        char *field = H5Tget_member_name(type, (unsigned)i);
        if (field != NULL) {
            read_texts(w, dataset, field, first, count);
            H5free_memory(field);
        }
    }
}

/* Numbers are read as counts, and where the conversion has not been seen yet as indices and as codes. */
static void read_box(const walk *w, hid_t dataset, hid_t type, int ndims, const int64_t *first, const int64_t *count)
{
    double *value = NULL;
    int64_t n = count[0] * (ndims == 2 ? count[1] : 1);
    watch_memory(false);
    if (GMV_NEW(value, n, "values") == GMV_OK) {
        gmv_h5_read_f64(&w->file, dataset, ndims, first, count, value);
        if (H5Tget_class(type) == H5T_INTEGER && first[0] == 0) {
            gmv_h5_read(&w->file, dataset, ndims, first, count, H5T_NATIVE_INT64, value);
            gmv_h5_read(&w->file, dataset, ndims, first, count, H5T_NATIVE_INT32, value);
        }
    }
    watch_memory(true);
    GMV_FREE(value);
}

/* Elements (or rows) [at, at + n); of long rows the beginning. */
static void read_part(const walk *w, hid_t dataset, hid_t type, int ndims, const int64_t *dims, int64_t at, int64_t n)
{
    int64_t first[2] = {at, 0}, count[2] = {n, dims[1] < most_values ? dims[1] : most_values};
    H5T_class_t class = H5Tget_class(type);
    if (class == H5T_INTEGER || class == H5T_FLOAT || class == H5T_ENUM) {
        read_box(w, dataset, type, ndims, first, count);
    } else if (ndims == 1 && class == H5T_COMPOUND) {
        read_fields(w, dataset, type, at, n);
    } else if (ndims == 1 && class == H5T_STRING) {
        read_texts(w, dataset, NULL, at, n);
    }
    gmv_error_clear();
}

static void read_values(const walk *w, hid_t dataset, int ndims, const int64_t *dims)
{
    hid_t type = H5Dget_type(dataset);
    if (type < 0) {
        return;
    }
    int64_t width = ndims == 2 ? dims[1] : 1, piece = width > 0 ? piece_values / width : piece_values;
    bool names = H5Tget_class(type) == H5T_STRING && dims[0] <= most_values;
    piece = piece < 1 ? 1 : piece;
    bool small = H5Dget_storage_size(dataset) <= small_bytes && dims[0] <= most_whole / (width > 0 ? width : 1);
    if (names || small) {
        for (int64_t at = 0; at < dims[0]; at += piece) {
            read_part(w, dataset, type, ndims, dims, at, dims[0] - at < piece ? dims[0] - at : piece);
        }
    } else {
        piece = piece < sample_values ? piece : sample_values;
        piece = piece < dims[0] ? piece : dims[0];
        for (int64_t s = 0; s < samples; s++) {
            int64_t at = (int64_t)((double)(dims[0] - piece) * (double)s / (samples - 1));
            read_part(w, dataset, type, ndims, dims, at, piece);
        }
    }
    H5Tclose(type);
}

/* What gmv_h5_open_dataset refuses is read by nobody. */
static void look_at_dataset(const walk *w, hid_t object, const char *path)
{
    unsigned char fill[8];
    int64_t dims[2] = {0, 1};
    hid_t properties = H5Dget_create_plist(object), type = H5Dget_type(object), dataset = -1;
    bool plain = properties >= 0 && type >= 0 && H5Pget_layout(properties) != H5D_VIRTUAL;
    hid_t space = plain ? H5Dget_space(object) : -1;
    int ndims = space >= 0 ? H5Sget_simple_extent_ndims(space) : 0;
    if (plain && H5Tget_class(type) <= H5T_FLOAT && H5Tget_size(type) <= sizeof fill) {
        H5Pget_fill_value(properties, type, fill);
    }
    if ((ndims == 1 || ndims == 2) && gmv_h5_open_dataset(&w->file, path, ndims, &dataset, dims) == GMV_OK) {
        read_values(w, dataset, ndims, dims);
        H5Dclose(dataset);
    }
    gmv_error_clear();
    if (space >= 0) {
        H5Sclose(space);
    }
    if (type >= 0) {
        H5Tclose(type);
    }
    if (properties >= 0) {
        H5Pclose(properties);
    }
}

/* ---- objects ---- */

static bool is_new(walk *w, haddr_t address)
{
    for (int64_t i = 0; i < w->seen_n; i++) {
        if (w->seen[i] == address) {
            return false;
        }
    }
    if (w->seen_n == w->seen_room) {
        int64_t room = 2 * w->seen_room + 64;
        if (GMV_GROW(w->seen, w->seen_room, room, "objects of a file") != GMV_OK) {
            return false;
        }
        w->seen_room = room;
    }
    w->seen[w->seen_n++] = address;
    return true;
}

/* Path without a slash before it; "" is the root. */
static void look_at_object(walk *w, const char *path);

static void look_at_children(walk *w, const char *group)
{
    gmv_texts names;
    if (w->depth == most_depth || gmv_h5_children(&w->file, group[0] != '\0' ? group : "/", &names) != GMV_OK) {
        gmv_error_clear();
        return;
    }
    w->depth++;
    for (int i = 0; i < names.n; i++) {
        char *path = NULL;
        size_t room = strlen(group) + strlen(names.at[i]) + 2;
        H5L_info_t link;
        if (GMV_NEW(path, room, "a path") == GMV_OK) {
            snprintf(path, room, "%s%s%s", group, group[0] != '\0' ? "/" : "", names.at[i]);
            w->at(path);
            /* what a soft link leads to is met where it lies */
            if (H5Lget_info(w->file.id, path, &link, H5P_DEFAULT) >= 0 && gmv_h5_has(&w->file, path) &&
                link.type == H5L_TYPE_HARD) {
                look_at_object(w, path);
            }
        }
        GMV_FREE(path);
    }
    w->depth--;
    gmv_texts_free(&names);
}

static void look_at_object(walk *w, const char *path)
{
    H5O_info_t info;
    const char *name = path[0] != '\0' ? path : "/";
    attribute_walk attributes = {w, name};
    hsize_t from = 0;
    hid_t object = H5Oopen(w->file.id, name, H5P_DEFAULT);
    if (object < 0) {
        return;
    }
    bool again = H5Oget_info(object, &info) >= 0 && info.rc > 1 && !is_new(w, info.addr);
    if (!again) {
        H5Aiterate2(object, H5_INDEX_NAME, H5_ITER_NATIVE, &from, visit_attribute, &attributes);
    }
    if (!again && H5Iget_type(object) == H5I_DATASET) {
        look_at_dataset(w, object, path);
    } else if (!again && H5Iget_type(object) == H5I_GROUP) {
        look_at_children(w, path);
    }
    H5Oclose(object);
}

/* ---- what the run itself will do ---- */

static void open_columns(const gmv_h5 *file, const char *path)
{
    gmv_table table;
    gmv_texts names = {NULL, 0};
    if (gmv_table_open(&table, file, path) == GMV_OK && gmv_column_names(&table, &names) == GMV_OK) {
        for (int i = 0; i < names.n; i++) {
            gmv_column column;
            gmv_column_open(&column, &table, names.at[i], "");
            gmv_column_close(&column);
            gmv_error_clear();
        }
    }
    gmv_texts_free(&names);
    gmv_error_clear();
}

static void open_matrix(const gmv_h5 *file, const gmv_place *place)
{
    gmv_matrix matrix;
    gmv_texts genes = {NULL, 0};
    if (gmv_matrix_open(&matrix, file, place) == GMV_OK) {
        if (matrix.stored_cols > most_values) { /* else they are read with all other names */
            gmv_matrix_genes(&matrix, NULL, &genes);
            gmv_texts_free(&genes);
        }
        gmv_matrix_close(&matrix);
    }
    gmv_error_clear();
    open_columns(file, place->obs);
    open_columns(file, place->var);
}

/* The same calls in the same order, since the walk may stop where these would go on. */
static void open_all(walk *w)
{
    gmv_layout layout = {0};
    bool inspected = w->inspect != NULL && w->inspect(&w->file);
    if (!inspected && gmv_layout_read(&layout, &w->file) == GMV_OK) {
        for (int i = 0; i < layout.n; i++) {
            w->at(layout.place[i].name);
            open_matrix(&w->file, &layout.place[i]);
        }
    }
    gmv_layout_free(&layout);
    gmv_error_clear();
}

void gmv_h5_walk(const char *path, void (*at)(const char *object), bool (*inspect)(const gmv_h5 *file))
{
    walk w = {.at = at, .inspect = inspect};
    at("its header");
    if (gmv_h5_open(&w.file, path, NULL) == GMV_OK) {
        at("/");
        watch_memory(true);
        open_all(&w);
        at("/");
        look_at_object(&w, "");
        gmv_h5_close(&w.file);
    } else {
        end_without_memory(H5E_DEFAULT, NULL);
    }
    GMV_FREE(w.seen);
    gmv_error_clear();
}
