#include "not_hdf5.h"

#include "gmvae/mem.h"

#include <glob.h>
#include <libdeflate.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { looked_at = 1 << 16, unpacked = 1 << 15 };

static bool ends_with(const char *path, const char *ending)
{
    size_t n = strlen(path), m = strlen(ending);
    return n >= m && strcasecmp(path + n - m, ending) == 0;
}

/* ---- folders ---- */

static bool has(const char *folder, const char *pattern)
{
    char path[4200];
    glob_t found;
    snprintf(path, sizeof path, "%.4000s/%s", folder, pattern);
    bool any = glob(path, GLOB_NOSORT, NULL, &found) == 0;
    globfree(&found);
    return any;
}

gmv_status gmv_refuse_folder(const char *path)
{
    static const char *const kind[] = {"*.h5ad", "*.h5mu", "*.h5"};
    for (int i = 0; i < 3; i++) {
        if (has(path, kind[i])) {
            return GMV_FAIL(GMV_ERR_DATA, "%s: a folder; name its files: %s%s%s", path, path,
                            ends_with(path, "/") ? "" : "/", kind[i]);
        }
    }
    if (has(path, "*matrix.mtx*")) {
        return GMV_FAIL(GMV_ERR_DATA,
                        "%s: a folder with a Matrix Market file; convert it: python -c \"import scanpy; "
                        "scanpy.read_10x_mtx('%s').write_h5ad('cells.h5ad')\"",
                        path, path);
    }
    return GMV_FAIL(GMV_ERR_DATA,
                    "%s: a directory, not a file; if it is a Zarr store, convert it: python -c \"import anndata; "
                    "anndata.read_zarr('%s').write_h5ad('cells.h5ad')\"",
                    path, path);
}

/* ---- files ---- */

typedef struct content {
    unsigned char at[unpacked + 1]; /* ends with a zero byte */
    size_t n;
    const char *packed; /* the program that it was packed with, NULL for none */
} content;

static bool begins(const content *c, const char *bytes, size_t n)
{
    return c->n >= n && memcmp(c->at, bytes, n) == 0;
}

/* The beginning is what libdeflate has written when its room is full, or its input over. */
static void unpack_gzip(content *c, const unsigned char *from, size_t n)
{
    struct libdeflate_decompressor *inflate = libdeflate_alloc_decompressor();
    if (inflate != NULL) {
        memset(c->at, 0, sizeof c->at);
        libdeflate_gzip_decompress(inflate, from, n, c->at, unpacked, NULL);
        libdeflate_free_decompressor(inflate);
    }
}

/* The first bytes of a file, of a gzip file those inside. */
static void read_start(const char *path, content *c)
{
    unsigned char *raw = NULL;
    FILE *in = fopen(path, "rb");
    memset(c, 0, sizeof *c);
    if (in != NULL && GMV_NEW(raw, looked_at, "the start of a file") == GMV_OK) {
        size_t n = fread(raw, 1, looked_at, in);
        c->n = n < unpacked ? n : unpacked;
        memcpy(c->at, raw, c->n);
        if (begins(c, "\x1f\x8b", 2)) {
            unpack_gzip(c, raw, n);
            for (c->n = unpacked; c->n > 0 && c->at[c->n - 1] == 0; c->n--) {
            }
            c->packed = "gzip";
        } else if (begins(c, "BZh", 3)) {
            c->packed = "bzip2";
        } else if (begins(c,
                          "\xFD"
                          "7zXZ",
                          6)) {
            c->packed = "xz";
        }
    }
    GMV_FREE(raw);
    if (in != NULL) {
        fclose(in);
    }
}

/* saveRDS, and save() of several objects; in R's binary or text forms. */
static bool is_rds(const content *c)
{
    return begins(c, "X\n\0\0\0", 5) || begins(c, "B\n\2\0\0", 5) || begins(c, "B\n\3\0\0", 5) ||
           begins(c, "A\n2\n", 4) || begins(c, "A\n3\n", 4);
}

static bool is_rdata(const content *c)
{
    return begins(c, "RDX", 3) || begins(c, "RDA", 3) || begins(c, "RDB", 3);
}

static gmv_status refuse_r_object(const char *path, bool several)
{
    return GMV_FAIL(GMV_ERR_DATA,
                    "%s: an R object (Seurat, SingleCellExperiment?); convert it: Rscript -e \"x <- %s'%s'%s; if "
                    "(inherits(x, 'Seurat')) x <- Seurat::as.SingleCellExperiment(x); zellkonverter::writeH5AD(x, "
                    "'cells.h5ad')\"",
                    path, several ? "get(load(" : "readRDS(", path, several ? ")[1])" : ")");
}

static bool is_text(const content *c)
{
    size_t n = c->n < 512 ? c->n : 512;
    for (size_t i = 0; i < n; i++) {
        unsigned char byte = c->at[i];
        if (byte < 0x20 && byte != '\t' && byte != '\r' && byte != '\n') {
            return false;
        }
    }
    return n > 0;
}

static gmv_status refuse_text(const char *path, const content *c)
{
    const char *text = (const char *)c->at;
    if (strncasecmp(text, "<!DOCTYPE html", 14) == 0 || strncasecmp(text, "<html", 5) == 0) {
        return GMV_FAIL(GMV_ERR_DATA, "%s: a web page instead of the file; download it again, with a link to the file",
                        path);
    }
    if (strncmp(text, "version https://git-lfs", 23) == 0) {
        return GMV_FAIL(GMV_ERR_DATA, "%s: a pointer of Git LFS instead of the file; get that: git lfs pull", path);
    }
    if (strncmp(text, "%%MatrixMarket", 14) == 0) {
        const char *slash = strrchr(path, '/');
        int folder = slash != NULL ? (int)(slash - path) : 1;
        return GMV_FAIL(GMV_ERR_DATA,
                        "%s: a Matrix Market file; convert its folder: python -c \"import scanpy; "
                        "scanpy.read_10x_mtx('%.*s').write_h5ad('cells.h5ad')\"",
                        path, folder, slash != NULL ? path : ".");
    }
    size_t line = strcspn(text, "\n");
    bool comma = memchr(text, ',', line) != NULL, tab = memchr(text, '\t', line) != NULL;
    if ((comma || tab) && !ends_with(path, ".yaml") && !ends_with(path, ".yml")) {
        return GMV_FAIL(GMV_ERR_DATA,
                        "%s: not an HDF5 file but a table as text; convert it (cells in rows; else .T behind "
                        "read_csv(...)): python -c "
                        "\"import anndata, pandas; anndata.AnnData(pandas.read_csv('%s', index_col=0, "
                        "sep='%s')).write_h5ad('cells.h5ad')\"",
                        path, path, tab ? "\\t" : ",");
    }
    return GMV_FAIL(GMV_ERR_DATA, "%s: a text, not an HDF5 file; give .h5ad, .h5mu or 10x .h5 files", path);
}

static gmv_status refuse_content(const char *path, const content *c)
{
    static const char *const rds[] = {".rds", ".robj"}, *const rdata[] = {".rdata", ".rda"};
    bool opaque = c->packed != NULL && strcmp(c->packed, "gzip") != 0;
    for (int i = 0; i < 2 && opaque; i++) { /* the name must say what is inside */
        if (ends_with(path, rds[i]) || ends_with(path, rdata[i])) {
            return refuse_r_object(path, ends_with(path, rdata[i]));
        }
    }
    if (is_rds(c) || is_rdata(c)) {
        return refuse_r_object(path, is_rdata(c));
    }
    if (c->n == 0 && c->packed == NULL) {
        return GMV_FAIL(GMV_ERR_DATA, "%s: an empty file", path);
    }
    if (!opaque && c->n > 262 && memcmp(c->at + 257, "ustar", 5) == 0) {
        return GMV_FAIL(GMV_ERR_DATA, "%s: a tar archive; unpack it: tar xf %s", path, path);
    }
    if (c->packed != NULL && (opaque || begins(c, "\x89HDF", 4) || !is_text(c))) {
        return GMV_FAIL(GMV_ERR_DATA, "%s: packed with %s, which HDF5 does not read; unpack it: %s -dc %s > cells.h5ad",
                        path, c->packed, c->packed, path);
    }
    if (begins(c, "PK\3\4", 4)) {
        return GMV_FAIL(GMV_ERR_DATA, "%s: a zip archive; unpack it: unzip %s", path, path);
    }
    return is_text(c) ? refuse_text(path, c)
                      : GMV_FAIL(GMV_ERR_DATA, "%s: not an HDF5 file; give .h5ad, .h5mu or 10x .h5 files", path);
}

gmv_status gmv_refuse_other_format(const char *path)
{
    content *c = NULL;
    GMV_TRY(GMV_NEW(c, 1, "the start of a file"));
    read_start(path, c);
    gmv_status status = refuse_content(path, c);
    GMV_FREE(c);
    return status;
}
