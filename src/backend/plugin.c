#include "plugin.h"

#include "gmvae/files.h"

#include <dlfcn.h>
#include <string.h>

#ifndef GMVAE_CUDA_REMEDY
#define GMVAE_CUDA_REMEDY "install NVIDIA's libraries (cuBLAS, NCCL)"
#endif

static gmv_status load(const gmv_plugin **plugin)
{
    char path[GMV_PATH_ROOM];
    if (!gmv_plugin_file("libgmvae_cuda.so", "GMVAE_CUDA_PLUGIN", path)) {
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
