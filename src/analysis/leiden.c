#include "gmvae/leiden.h"

#include "gmvae/files.h"

#include <dlfcn.h>
#include <string.h>

static gmv_status load(const gmv_leiden **leiden)
{
    char path[GMV_PATH_ROOM];
    if (!gmv_plugin_file("libgmvae_leiden.so", "GMVAE_LEIDEN_PLUGIN", path)) {
        return GMV_FAIL(GMV_ERR_ENVIRONMENT,
                        "libgmvae_leiden.so is not there; install igraph (libigraph-dev) and build anew");
    }
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    const gmv_leiden *found = library != NULL ? dlsym(library, "gmv_leiden_plugin") : NULL;
    if (library == NULL) {
        return GMV_FAIL(GMV_ERR_ENVIRONMENT, "Leiden cannot be loaded: %s", dlerror());
    }
    if (found == NULL || strcmp(found->version, GMVAE_VERSION) != 0) {
        return GMV_FAIL(GMV_ERR_ENVIRONMENT, "%s belongs to another version of gmvae_dist", path);
    }
    *leiden = found;
    return GMV_OK;
}

gmv_status gmv_leiden_load(const gmv_leiden **leiden)
{
    static const gmv_leiden *loaded;
    if (loaded == NULL) {
        GMV_TRY(load(&loaded));
    }
    *leiden = loaded;
    return GMV_OK;
}
