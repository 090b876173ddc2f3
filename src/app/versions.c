#include "cli.h"

#include <cairo.h>
#include <cblas.h>
#include <cjson/cJSON.h>
#include <hdf5.h>
#include <libdeflate.h>
#include <mpi.h>
#include <string.h>
#include <yaml.h>

static void version_of_hdf5(char *text, size_t size)
{
    unsigned major = 0, minor = 0, release = 0;
    H5get_libversion(&major, &minor, &release);
    snprintf(text, size, "%u.%u.%u", major, minor, release);
}

void gmv_version_mpi(char *text, size_t size)
{
    char library[MPI_MAX_LIBRARY_VERSION_STRING] = "";
    int length = 0;
    MPI_Get_library_version(library, &length);
    library[strcspn(library, ",\n")] = '\0';
    snprintf(text, size, "%s", library);
}

bool gmv_version_at(int i, gmv_version *version)
{
    char mpi[256], hdf5[64];
    gmv_version_mpi(mpi, sizeof mpi);
    version_of_hdf5(hdf5, sizeof hdf5);
    const struct {
        const char *name, *text;
    } all[] = {{"gmvae_dist", GMVAE_VERSION},
               {"MPI", mpi},
               {"HDF5", hdf5},
               {"BLAS", openblas_get_config()},
               {"libyaml", yaml_get_version_string()},
               {"libdeflate", LIBDEFLATE_VERSION_STRING},
               {"cairo", cairo_version_string()},
               {"cJSON", cJSON_Version()}};
    if (i >= (int)(sizeof all / sizeof *all)) {
        return false;
    }
    version->name = all[i].name;
    snprintf(version->text, sizeof version->text, "%s", all[i].text);
    version->text[strcspn(version->text, "\n")] = '\0';
    return true;
}

void gmv_versions_print(FILE *out)
{
    gmv_version version;
    for (int i = 0; gmv_version_at(i, &version); i++) {
        fprintf(out, "%-10s %s\n", version.name, version.text);
    }
}
