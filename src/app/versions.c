#include "cli.h"

#include <cblas.h>
#include <hdf5.h>
#include <libdeflate.h>
#include <mpi.h>
#include <string.h>
#include <yaml.h>

void gmv_version_mpi(char *text, size_t size)
{
    char library[MPI_MAX_LIBRARY_VERSION_STRING] = "";
    int length = 0;
    MPI_Get_library_version(library, &length);
    library[strcspn(library, ",\n")] = '\0';
    snprintf(text, size, "%s", library);
}

void gmv_versions_print(FILE *out)
{
    char mpi[256];
    unsigned major = 0, minor = 0, release = 0;
    gmv_version_mpi(mpi, sizeof mpi);
    H5get_libversion(&major, &minor, &release);
    fprintf(out, "gmvae_dist %s\n", GMVAE_VERSION);
    fprintf(out, "MPI        %s\n", mpi);
    fprintf(out, "HDF5       %u.%u.%u\n", major, minor, release);
    fprintf(out, "BLAS       %s\n", openblas_get_config());
    fprintf(out, "libyaml    %s\n", yaml_get_version_string());
    fprintf(out, "libdeflate %s\n", LIBDEFLATE_VERSION_STRING);
}
