#define _XOPEN_SOURCE 700 /* realpath */
#include "result_files.h"

#include "gmvae/embedding.h"
#include "gmvae/files.h"
#include "gmvae/signals.h"
#include "gmvae/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The name of a file without its folders and the kind it is of. */
static void stem_of(const char *path, char *stem, size_t size)
{
    static const char *const kinds[] = {".h5ad", ".h5mu", ".hdf5", ".h5"};
    const char *slash = strrchr(path, '/'), *file = slash != NULL ? slash + 1 : path;
    size_t length = strlen(file);
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        size_t end = strlen(kinds[i]);
        if (length > end && strcmp(file + length - end, kinds[i]) == 0) {
            length -= end;
            break;
        }
    }
    length = length < size ? length : size - 1;
    memcpy(stem, file, length);
    stem[length] = '\0';
}

void gmv_result_name(const gmv_config *config, const gmv_cells *cells, char *name)
{
    char stem[GMV_RESULT_NAME - 16];
    name[0] = '\0';
    if (config->output_name[0] != '\0') {
        snprintf(name, GMV_RESULT_NAME, "%s", config->output_name);
    } else if (config->data_predict.n > 0) {
        stem_of(cells->file[0], stem, sizeof stem);
        snprintf(name, GMV_RESULT_NAME, cells->files > 1 ? "%s+%d" : "%s", stem, cells->files - 1);
    }
}

void gmv_result_path(const gmv_config *config, const char *kind, const char *name, const char *end, char *path)
{
    snprintf(path, GMV_RESULT_ROOM, "%.4000s/%s%s%s.%s", config->output_dir, kind, name[0] != '\0' ? "-" : "", name,
             end);
}

void gmv_put_files(FILE *out, const gmv_cells *cells)
{
    fputs("  \"files\": [", out);
    for (int f = 0; f < cells->files; f++) {
        char *whole = realpath(cells->file[f], NULL);
        fputs(f > 0 ? ", " : "", out);
        gmv_print_json_text(out, whole != NULL ? whole : cells->file[f]);
        free(whole);
    }
    fputs("],\n", out);
}

/* All that is left of a text file, NULL when there is no memory. */
static char *read_text(FILE *in)
{
    char *text = NULL, buffer[4096];
    size_t size = 0, n;
    FILE *out = open_memstream(&text, &size);
    while (out != NULL && (n = fread(buffer, 1, sizeof buffer, in)) > 0) {
        fwrite(buffer, 1, n, out);
    }
    if (out != NULL) {
        fclose(out);
    }
    return text;
}

/* By its line of files, which is written in one way. */
static bool evaluation_is_of(FILE *in, const gmv_cells *cells)
{
    char *line = NULL, *text = read_text(in);
    size_t size = 0;
    FILE *out = open_memstream(&line, &size);
    if (out != NULL) {
        gmv_put_files(out, cells);
        fclose(out);
    }
    bool same = text != NULL && line != NULL && strstr(text, line) != NULL;
    free(text);
    free(line);
    return same;
}

gmv_status gmv_result_check(const gmv_config *config, const gmv_cells *cells, const char *name, const char *path)
{
    if (name[0] == '\0' || config->output_name[0] != '\0' || access(path, F_OK) != 0) {
        return GMV_OK;
    }
    FILE *in;
    const char *reason = gmv_file_open(path, &in);
    if (reason != NULL) {
        return GMV_FAIL(GMV_ERR_ENVIRONMENT, "%s: %s; remove it, or set output.name to another name", path, reason);
    }
    bool json = strcmp(path + strlen(path) - 5, ".json") == 0;
    bool same = json ? evaluation_is_of(in, cells) : gmv_embedding_is_of(path, cells, config->data_check_seconds);
    fclose(in);
    if (same) {
        return GMV_OK;
    }
    GMV_TRY(gmv_stop_check()); /* then it was not looked at */
    return GMV_FAIL(
        GMV_ERR_CONFIG,
        "%s is the result of other files than %s; set output.name to a name of its own, or output.name=%s to "
        "replace it",
        path, cells->file[0], name);
}
