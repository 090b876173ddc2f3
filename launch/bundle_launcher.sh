#!/bin/sh
# Starts the program of this name in libexec/ of the bundle. launch/bundle.sh makes a copy of this script in bin/ or
# tests/ for every program. Open MPI, PMIx and hwloc look for their plug-ins and texts in folders that were fixed when
# they were built, and only variables move them; a rank that a daemon on another host starts needs them too, so they
# are set here and not once for all. They replace what a cluster's module may have set for its own Open MPI.
# Libraries need no variable: every program in libexec/ names lib/deps, ahead of LD_LIBRARY_PATH.
self=$(readlink -f "$0") # also through symbolic links
root=${self%/*/*}
name=${self##*/}
export OPAL_PREFIX="$root" OPAL_PKGLIBDIR="$root/lib/openmpi" OPAL_SYSCONFDIR="$root/etc"
export PMIX_PKGLIBDIR="$root/lib/pmix" PMIX_PKGDATADIR="$root/share/pmix" PMIX_SYSCONFDIR="$root/etc"
export HWLOC_PLUGINS_PATH="$root/lib/none" HDF5_PLUGIN_PATH="${HDF5_PLUGIN_PATH:-$root/lib/none}"
# Open MPI ends where there is neither ssh nor rsh, even with nothing to start on other hosts, unless none is named.
command -v ssh >/dev/null || command -v rsh >/dev/null || export OMPI_MCA_plm_rsh_agent="${OMPI_MCA_plm_rsh_agent-}"

# Prints the folders of NVIDIA's libraries, which are the machine's; without them the CUDA plug-in does not load, and
# the program says so.
cuda_folders() {
    [ ! -f "$root/lib/gmvae_dist/libgmvae_cuda.so" ] ||
        sh "$root/launch/nvidia_libs.sh" "$root/lib/gmvae_dist/nvidia-libraries.txt" 2>/dev/null
}

folders=""
case $name in
mpiexec) name=mpirun ;; # which starts orted on other hosts as $OPAL_PREFIX/bin/orted
gmvae_dist) folders=$(cuda_folders) ;;
test_* | bench_*)
    folders=$(cuda_folders)
    export GMVAE_TEST_PROJECT="${GMVAE_TEST_PROJECT:-$root}"
    ;;
esac
[ -z "$folders" ] || export LD_LIBRARY_PATH="${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$folders"
exec "$root/libexec/$name" "$@"
