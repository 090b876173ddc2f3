#define _GNU_SOURCE
#include "h5ad_file.h"

#include "gmvae/files.h"

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
    errno = posix_fallocate(fd, 0, (off_t)size + (off_t)more);
    return errno == 0 ? GMV_OK : gmv_file_unwritable(out->path);
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
    int fd = dup(descriptor_of(out->id));
    if (status == GMV_OK) {
        status = gmv_h5ad_reserve(out, 0);
    }
    if (status != GMV_OK) {
        divert_to_memory(out->id);
    }
    status = gmv_h5ad_flush(out, status);
    H5Fget_filesize(out->id, &size);
    status = gmv_h5ad_close(out, status);
    if (status == GMV_OK && ftruncate(fd, (off_t)size) != 0) { /* what was reserved and not used */
        status = gmv_file_unwritable(out->path);
    }
    if (fd >= 0) {
        close(fd);
    }
    return status;
}
