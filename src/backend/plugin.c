#include "plugin.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef GMVAE_CUDA_REMEDY
#define GMVAE_CUDA_REMEDY "install NVIDIA's libraries (cuBLAS, NCCL)"
#endif

enum { path_room = 4200 };

/* Folder of the running program, without a slash at its end. */
static void program_folder(char *folder)
{
    ssize_t length = readlink("/proc/self/exe", folder, path_room - 1);
    folder[length > 0 ? length : 0] = '\0';
    char *slash = strrchr(folder, '/');
    if (slash != NULL) {
        *slash = '\0';
    }
}

/* The first of: $GMVAE_CUDA_PLUGIN, beside the program, where it is installed. False when there is none. */
static bool find_file(char *path)
{
    static const char *const places[] = {"libgmvae_cuda.so", "../lib/gmvae_dist/libgmvae_cuda.so",
                                         "../" GMVAE_LIBDIR "/gmvae_dist/libgmvae_cuda.so"};
    const char *named = getenv("GMVAE_CUDA_PLUGIN");
    if (named != NULL && named[0] != '\0') {
        snprintf(path, path_room, "%s", named);
        return true;
    }
    char folder[path_room];
    program_folder(folder);
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        snprintf(path, path_room, "%.4000s/%s", folder, places[i]);
        if (access(path, F_OK) == 0) {
            return true;
        }
    }
    return false;
}

static gmv_status load(const gmv_plugin **plugin)
{
    char path[path_room];
    if (!find_file(path)) {
        return GMV_FAIL(GMV_ERR_ENVIRONMENT,
                        "the CUDA backend (libgmvae_cuda.so) was not built or not installed; build "
                        "with -DGMVAE_CUDA=ON, or use backend: cpu");
    }
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        return GMV_FAIL(GMV_ERR_ENVIRONMENT,
                        "the CUDA backend cannot be loaded: %s; " GMVAE_CUDA_REMEDY
                        ", or put their folders into LD_LIBRARY_PATH",
                        dlerror());
    }
    const gmv_plugin *found = dlsym(library, "gmv_cuda_plugin");
    if (found == NULL || strcmp(found->version, GMVAE_VERSION) != 0 || found->table_bytes != sizeof(gmv_ops)) {
        return GMV_FAIL(GMV_ERR_ENVIRONMENT,
                        "%s belongs to %s of gmvae_dist, this is %s; build and install both together", path,
                        found == NULL ? "another version" : found->version, GMVAE_VERSION);
    }
    *plugin = found;
    return GMV_OK;
}

gmv_status gmv_plugin_cuda(const gmv_plugin **plugin)
{
    static const gmv_plugin *loaded;
    if (loaded == NULL) {
        GMV_TRY(load(&loaded));
    }
    *plugin = loaded;
    return GMV_OK;
}
