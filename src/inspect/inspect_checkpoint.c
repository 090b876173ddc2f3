#include "inspect.h"

#include "gmvae/inspect.h"
#include "gmvae/mem.h"
#include "gmvae/text.h"

#include <inttypes.h>
#include <string.h>

enum { most_dimensions = 8, counters = 4, prints = 5 };

static const char *const counter[counters] = {"version", "epoch", "step", "seed"};
static const char *const print[prints] = {"counts", "order", "held_out", "measured", "genes"}; /* of the data */

typedef struct tensor {
    int ndims;
    hsize_t dims[most_dimensions];
    int64_t elements;
} tensor;

typedef struct checkpoint {
    const gmv_h5 *file;
    int64_t value[counters];
    bool known[counters];
    gmv_texts name; /* of the tensors */
    tensor *tensor; /* [name.n] */
    int64_t parameters, genes;
    gmv_texts covariate;
    int64_t *levels; /* [covariate.n] */
    bool has_data;   /* what it was trained on, as far as it says so */
    int64_t cells;
    uint64_t print[prints];
} checkpoint;

/* Shape of a dataset of any number of dimensions. */
static gmv_status shape_of(const gmv_h5 *file, const char *path, tensor *shape)
{
    hid_t dataset = H5Dopen2(file->id, path, H5P_DEFAULT);
    if (dataset < 0) {
        return gmv_h5_fail(file, path);
    }
    hid_t space = H5Dget_space(dataset);
    shape->ndims = H5Sget_simple_extent_ndims(space);
    if (shape->ndims >= 0 && shape->ndims <= most_dimensions) {
        H5Sget_simple_extent_dims(space, shape->dims, NULL);
    }
    shape->elements = (int64_t)H5Sget_simple_extent_npoints(space);
    H5Sclose(space);
    H5Dclose(dataset);
    if (shape->ndims < 0 || shape->ndims > most_dimensions) {
        return GMV_FAIL(GMV_ERR_DATA, "%s: %s has %d dimensions", file->path, path, shape->ndims);
    }
    return GMV_OK;
}

static gmv_status read_tensors(checkpoint *c)
{
    if (!gmv_h5_is_group(c->file, "params")) {
        return GMV_FAIL(GMV_ERR_DATA, "%s: a checkpoint without params; it is damaged", c->file->path);
    }
    GMV_TRY(gmv_h5_children(c->file, "params", &c->name));
    GMV_TRY(GMV_NEW(c->tensor, c->name.n, "tensors"));
    for (int i = 0; i < c->name.n; i++) {
        char path[1200];
        snprintf(path, sizeof path, "params/%s", c->name.at[i]);
        GMV_TRY(shape_of(c->file, path, &c->tensor[i]));
        c->parameters += c->tensor[i].elements;
    }
    return GMV_OK;
}

static gmv_status read_covariates(checkpoint *c)
{
    if (!gmv_h5_is_group(c->file, "covariates")) {
        return GMV_OK;
    }
    if (H5Aexists_by_name(c->file->id, "covariates", "order", H5P_DEFAULT) > 0) {
        GMV_TRY(gmv_h5_attribute_texts(c->file, "covariates", "order", &c->covariate));
    } else {
        GMV_TRY(gmv_h5_children(c->file, "covariates", &c->covariate));
    }
    GMV_TRY(GMV_NEW(c->levels, c->covariate.n, "covariates"));
    for (int i = 0; i < c->covariate.n; i++) {
        char path[1200];
        tensor shape;
        snprintf(path, sizeof path, "covariates/%s", c->covariate.at[i]);
        GMV_TRY(shape_of(c->file, path, &shape));
        c->levels[i] = shape.elements;
    }
    return GMV_OK;
}

static bool read_print(const gmv_h5 *file, const char *name, uint64_t *value)
{
    hid_t attribute = H5Aopen_by_name(file->id, "data", name, H5P_DEFAULT, H5P_DEFAULT);
    hid_t space = attribute >= 0 ? H5Aget_space(attribute) : -1;
    bool found =
        space >= 0 && H5Sget_simple_extent_npoints(space) == 1 && H5Aread(attribute, H5T_NATIVE_UINT64, value) >= 0;
    if (space >= 0) {
        H5Sclose(space);
    }
    if (attribute >= 0) {
        H5Aclose(attribute);
    }
    return found;
}

static gmv_status read_data(checkpoint *c)
{
    if (!gmv_h5_is_group(c->file, "data")) {
        return GMV_OK;
    }
    GMV_TRY(gmv_h5_attribute_i64(c->file, "data", "cells", 1, &c->cells, &c->has_data));
    for (int i = 0; i < prints; i++) {
        c->has_data = c->has_data && read_print(c->file, print[i], &c->print[i]);
    }
    return GMV_OK;
}

static gmv_status read_checkpoint(checkpoint *c)
{
    for (int i = 0; i < counters; i++) {
        GMV_TRY(gmv_h5_attribute_i64(c->file, "/", counter[i], 1, &c->value[i], &c->known[i]));
    }
    tensor shape = {0};
    if (gmv_h5_has(c->file, "genes")) {
        GMV_TRY(shape_of(c->file, "genes", &shape));
        c->genes = shape.elements;
    }
    GMV_TRY(read_data(c));
    GMV_TRY(read_tensors(c));
    return read_covariates(c);
}

static void print_shape(const tensor *shape, FILE *out)
{
    fputc('[', out);
    for (int d = 0; d < shape->ndims; d++) {
        fprintf(out, "%s%" PRIu64, d > 0 ? ", " : "", (uint64_t)shape->dims[d]);
    }
    fputc(']', out);
}

static void print_json(const checkpoint *c, FILE *out)
{
    fputs("{\"file\": ", out);
    gmv_print_json_text(out, c->file->path);
    fputs(", \"format\": \"gmvae_dist checkpoint\"", out);
    for (int i = 0; i < counters; i++) {
        if (c->known[i]) {
            fprintf(out, ", \"%s\": %" PRId64, counter[i], c->value[i]);
        }
    }
    fprintf(out, ", \"parameters\": %" PRId64 ", \"genes\": %" PRId64 ", \"covariates\": {", c->parameters, c->genes);
    for (int i = 0; i < c->covariate.n; i++) {
        fputs(i > 0 ? ", " : "", out);
        gmv_print_json_text(out, c->covariate.at[i]);
        fprintf(out, ": %" PRId64, c->levels[i]);
    }
    fputs("}", out);
    if (c->has_data) {
        fprintf(out, ", \"data\": {\"cells\": %" PRId64, c->cells);
        for (int i = 0; i < prints; i++) {
            fprintf(out, ", \"%s\": \"%016" PRIx64 "\"", print[i], c->print[i]);
        }
        fputs("}", out);
    }
    fputs(", \"tensors\": {", out);
    for (int i = 0; i < c->name.n; i++) {
        fputs(i > 0 ? ", " : "", out);
        gmv_print_json_text(out, c->name.at[i]);
        fputs(": ", out);
        print_shape(&c->tensor[i], out);
    }
    fputs("}}\n", out);
}

static void print_text(const checkpoint *c, FILE *out)
{
    gmv_print_path(c->file->path, out);
    fputs(": gmvae_dist checkpoint", out);
    for (int i = 0; i < counters; i++) {
        if (c->known[i]) {
            fprintf(out, ", %s %" PRId64, counter[i], c->value[i]);
        }
    }
    fprintf(out, "\n%" PRId64 " parameters, %" PRId64 " genes\n", c->parameters, c->genes);
    for (int i = 0; i < c->covariate.n; i++) {
        fprintf(out, "covariate %s: %" PRId64 " levels\n", gmv_shown(c->covariate.at[i]).at, c->levels[i]);
    }
    if (c->has_data) {
        fprintf(out, "trained on %" PRId64 " cells; fingerprints", c->cells);
        for (int i = 0; i < prints; i++) {
            fprintf(out, "%s %s %016" PRIx64, i > 0 ? "," : " of", print[i], c->print[i]);
        }
        fputc('\n', out);
    }
    fputs("tensors\n", out);
    for (int i = 0; i < c->name.n; i++) {
        fprintf(out, "  %-36s ", gmv_shown(c->name.at[i]).at);
        print_shape(&c->tensor[i], out);
        fputc('\n', out);
    }
}

gmv_status gmv_inspect_checkpoint(const gmv_h5 *file, bool json, FILE *out)
{
    checkpoint c = {.file = file};
    gmv_status status = read_checkpoint(&c);
    if (status == GMV_OK && json) {
        print_json(&c, out);
    } else if (status == GMV_OK) {
        print_text(&c, out);
    }
    gmv_texts_free(&c.name);
    gmv_texts_free(&c.covariate);
    GMV_FREE(c.tensor);
    GMV_FREE(c.levels);
    return status;
}

bool gmv_inspect_look(const gmv_h5 *file)
{
    bool ours = false;
    FILE *nowhere = fopen("/dev/null", "w");
    gmv_h5_attribute_is(file, "/", "format", "gmvae_dist checkpoint", &ours);
    ours = ours && nowhere != NULL;
    if (ours) {
        gmv_inspect_checkpoint(file, false, nowhere);
    }
    if (nowhere != NULL) {
        fclose(nowhere);
    }
    return ours;
}
