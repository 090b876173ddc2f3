#define _GNU_SOURCE
#include "h5ad_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

gmv_status gmv_h5ad_flush(const gmv_h5ad *out, gmv_status status)
{
    if (status == GMV_OK && H5Fflush(out->id, H5F_SCOPE_GLOBAL) < 0) {
        status = gmv_h5ad_fail(out, "the file");
    }
    return status;
}

gmv_status gmv_h5ad_close(const gmv_h5ad *out, gmv_status status)
{
    if (H5Fclose(out->id) < 0 && status == GMV_OK) {
        status = gmv_h5ad_fail(out, "the file");
    }
    return status;
}

/* File descriptor behind a file that is open without MPI-IO. */
static int descriptor_of(hid_t file)
{
    void *handle = NULL;
    return H5Fget_vfd_handle(file, H5P_DEFAULT, &handle) >= 0 ? *(int *)handle : -1;
}

gmv_status gmv_h5ad_reserve(const gmv_h5ad *out, int64_t more)
{
    hsize_t size = 0;
    int fd = descriptor_of(out->id);
    if (fd < 0 || H5Fget_filesize(out->id, &size) < 0) {
        return gmv_h5ad_fail(out, "the file");
    }
    int error = posix_fallocate(fd, 0, (off_t)size + (off_t)more);
    return error == 0 ? GMV_OK : GMV_FAIL(GMV_ERR_ENVIRONMENT, "%s: cannot be written: %s", out->path, strerror(error));
}

/* What is left of a file that has failed goes into memory, where closing succeeds. */
static void divert_to_memory(hid_t file)
{
    int memory = memfd_create("gmvae_dist", MFD_CLOEXEC), fd = descriptor_of(file);
    if (memory >= 0 && fd >= 0) {
        dup2(memory, fd);
    }
    if (memory >= 0) {
        close(memory);
    }
}

gmv_status gmv_h5ad_finish(const gmv_h5ad *out, gmv_status status)
{
    hsize_t size = 0;
    if (status == GMV_OK) {
        status = gmv_h5ad_reserve(out, 0);
    }
    if (status != GMV_OK) {
        divert_to_memory(out->id);
    }
    status = gmv_h5ad_flush(out, status);
    H5Fget_filesize(out->id, &size);
    status = gmv_h5ad_close(out, status);
    if (status == GMV_OK && truncate(out->path, (off_t)size) != 0) { /* what was reserved and not used */
        status = GMV_FAIL(GMV_ERR_ENVIRONMENT, "%s: cannot be written: %s", out->path, strerror(errno));
    }
    return status;
}

static gmv_status sync_path(const char *path)
{
    int fd = open(path, O_RDONLY);
    if (fd < 0 || fsync(fd) != 0) {
        gmv_status status = GMV_FAIL(GMV_ERR_ENVIRONMENT, "%s: cannot be synced to disk: %s", path, strerror(errno));
        if (fd >= 0) {
            close(fd);
        }
        return status;
    }
    close(fd);
    return GMV_OK;
}

gmv_status gmv_h5ad_publish(const char *temporary, const char *path)
{
    GMV_TRY(sync_path(temporary));
    if (rename(temporary, path) != 0) {
        return GMV_FAIL(GMV_ERR_ENVIRONMENT, "%s: cannot be renamed from %s: %s", path, temporary, strerror(errno));
    }
    char folder[4096];
    snprintf(folder, sizeof folder, "%s", path);
    char *slash = strrchr(folder, '/');
    if (slash == NULL) {
        return sync_path(".");
    }
    slash[slash == folder] = '\0';
    return sync_path(folder);
}
