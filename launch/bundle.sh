#!/bin/sh
# Makes gmvae_dist-VERSION-linux-x86_64.tar.xz: the program and everything it needs beyond glibc and NVIDIA's
# libraries, to be unpacked anywhere and run without root. docs/install.md says how to use it.
#
#   launch/bundle.sh [BUILD [OUTPUT]]    BUILD: a build folder (default build/release); OUTPUT: where the tarball goes
#                                        (default: BUILD)
#
# The libraries are those of this machine's Debian or Ubuntu packages, byte for byte except for the search paths that
# Open MPI's files hold; so the bundle runs from this machine's glibc on. The same inputs give the same tarball; the
# times in it are SOURCE_DATE_EPOCH, or that of the commit. XZ_LEVEL: 0 (fast) to 9 (default 6). A build whose CUDA plug-in
# is not for all GPUs that are known is refused, unless ANY_ARCHITECTURES is 1 (for tests).
#
# Exit status: 0 done, 1 the result is not sound, 2 usage, 5 something is missing.
set -u
export LC_ALL=C
unset LD_LIBRARY_PATH LD_PRELOAD # they would decide which libraries are found

# Fabrics need drivers that only the cluster has; OpenSHMEM is not used. Plug-ins that link to them stay out.
fabrics='libibverbs|librdmacm|libfabric|libucp|libuct|libpsm2|libpsm_infinipath|libnl-3|liboshmem'
nvidia='lib(cuda|cudart|cublas|cublasLt|curand|nccl)\.so.*'

fail() { # STATUS MESSAGE
    echo "bundle.sh: $2" >&2
    exit "$1"
}

# cached NAME: a variable of the build's CMake cache.
cached() {
    sed -n "s/^$1:[^=]*=//p" "$build/CMakeCache.txt"
}

# without_usr: paths on stdin as dpkg and the file system may both name them, on systems where /lib is /usr/lib.
without_usr() {
    sed 's,^/usr/,/,'
}

check_build() {
    [ -x "$build/gmvae_dist" ] || fail 5 "$build/gmvae_dist is not there; build it: cmake --build $build"
    [ -z "$(cached GMVAE_SANITIZE)" ] || fail 2 "$build has sanitizers, which do not work elsewhere; take another build"
    version=$(cached CMAKE_PROJECT_VERSION)
    name=gmvae_dist-$version-linux-x86_64
    if grep -lE -e '-m(arch|tune|cpu)=native' "$build/compile_commands.json" "$build/CMakeCache.txt" >&2; then
        fail 1 "these files ask for this machine's processor (native); configure without it"
    fi
}

# A build for tests may have the code of one GPU only.
check_architectures() {
    [ -f "$build/libgmvae_cuda.so" ] && [ "${ANY_ARCHITECTURES:-0}" != 1 ] || return 0
    built=$(cached GMVAE_CUDA_ARCHITECTURES)
    known=$(cached GMVAE_CUDA_KNOWN_ARCHITECTURES)
    [ "$built" = "$known" ] ||
        fail 2 "the CUDA plug-in is for $built, not for $known; configure with cmake -B $build -UGMVAE_CUDA_ARCHITECTURES and build it"
}

# Sets open_mpi and pmix, the folders of their plug-ins, and open_mpi_texts and pmix_texts, those of their messages.
find_open_mpi() {
    open_mpi=$(ompi_info --parsable --path pkglibdir | sed -n 's/^path:pkglibdir://p')
    open_mpi_texts=$(ompi_info --parsable --path pkgdatadir | sed -n 's/^path:pkgdatadir://p')
    # libpmix2 on Debian 12, libpmix2t64 on Ubuntu 24.04; a PMIx may hold all its plug-ins in the library
    # shellcheck disable=SC2016 # dpkg-query's fields
    dpkg-query -W -f '${db:Status-Status} ${Package}\n' 'libpmix2*' 2>/dev/null |
        sed -n 's/^installed //p' | xargs -r dpkg-query -L >"$work/pmix"
    pmix=$(sed -n 's,/pmix_mca_[^/]*\.so$,,p' "$work/pmix" | head -n 1)
    pmix_texts=$(sed -n 's,/help-[^/]*\.txt$,,p' "$work/pmix" | head -n 1)
    [ -n "$pmix" ] || pmix=$work
    for folder in "$open_mpi" "$open_mpi_texts" "$pmix_texts"; do
        [ -d "$folder" ] || fail 5 "plug-ins or texts of Open MPI or PMIx are not where they should be: '$folder'"
    done
}

# install_program FILE NAME LAUNCHER_FOLDER: a program into libexec/, its launcher into bin/ or tests/.
install_program() {
    cp -L "$1" "$stage/libexec/$2" && strip --strip-unneeded "$stage/libexec/$2" || exit 5
    # RPATH, not RUNPATH: it holds for libraries of libraries and plug-ins too, and stands before LD_LIBRARY_PATH, where
    # a cluster's modules put another Open MPI.
    patchelf --force-rpath --set-rpath "\$ORIGIN/../lib/deps" "$stage/libexec/$2" || exit 5
    cp launch/bundle_launcher.sh "$stage/$3/$2"
    readlink -f "$1" >>"$work/sources"
}

install_programs() {
    install_program "$build/gmvae_dist" gmvae_dist bin
    install_program "$(command -v mpirun)" mpirun bin
    cp launch/bundle_launcher.sh "$stage/bin/mpiexec"
    for program in orted ompi_info; do
        install_program "$(command -v $program)" $program bin
    done
    for program in "$build"/tests/test_* "$build"/bench/bench_*; do
        [ ! -x "$program" ] || install_program "$program" "$(basename "$program")" tests
    done
    plugin=$build/libgmvae_cuda.so
    if [ -f "$plugin" ]; then
        cp "$plugin" "$stage/lib/gmvae_dist/"
        strip --strip-unneeded "$stage/lib/gmvae_dist/libgmvae_cuda.so"
        # libcublas.so needs libcublasLt.so of the same version, and both come in one folder.
        readelf -d "$plugin" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | grep -xE "$nvidia" |
            grep -v '^libcuda\.so' >"$stage/lib/gmvae_dist/nvidia-libraries.txt"
        readlink -f "$plugin" >>"$work/sources"
        install_cuda_licence
    fi
}

# CUDA's runtime is part of the plug-in; its licence lies where the toolkit came from: NVIDIA's installer, pip, or a
# package. The compiler tells where that is: what is called nvcc may be a script that calls it.
install_cuda_licence() {
    toolkit=$("$(cached CMAKE_CUDA_COMPILER)" --dryrun -x cu /dev/null 2>&1 | sed -n 's/^#\$ TOP=//p')
    toolkit=$(readlink -f "${toolkit:-$(dirname "$(cached CMAKE_CUDA_COMPILER)")/..}")
    for file in "$toolkit"/EULA.txt "$toolkit"/dist-info/nvidia_cuda_runtime*/licenses/* \
        "$toolkit"/../../nvidia_cuda_runtime*/licenses/* /usr/share/doc/cuda-cudart-[0-9]*/copyright \
        /usr/share/doc/nvidia-cuda-dev/copyright; do
        if [ -s "$file" ]; then
            cp -L "$file" "$stage/licenses/cuda-runtime"
            return
        fi
    done
    fail 5 "the licence of CUDA's runtime (EULA.txt) is not in $toolkit; it has to go into the bundle"
}

# install_plugins FROM TO PATTERN: the plug-ins of a folder that do not need a fabric.
install_plugins() {
    for file in "$1"/$3; do
        if [ -f "$file" ] && ! readelf -d "$file" | grep NEEDED | grep -qE "$fabrics"; then
            cp -L "$file" "$stage/$2/"
            echo "$file" >>"$work/sources"
        fi
    done
}

install_open_mpi() {
    install_plugins "$open_mpi" lib/openmpi 'mca_*.so'
    install_plugins "$pmix" lib/pmix 'pmix_mca_*.so'
    cp "$open_mpi_texts"/help-*.txt "$stage/share/openmpi/" || exit 5
    cp "$pmix_texts"/help-*.txt "$stage/share/pmix/" || exit 5
    cat >"$stage/etc/openmpi-mca-params.conf" <<'CONF'
# Settings of the bundle's Open MPI, as by mpirun --mca NAME VALUE; those of a user are in ~/.openmpi/mca-params.conf.
btl_base_warn_component_unused = 0
CONF
}

# Everything that the programs and plug-ins load, libraries of libraries included.
install_libraries() {
    sort -u "$work/sources" | xargs -d '\n' ldd >"$work/ldd" 2>&1
    awk '/not found/ {print $1}' "$work/ldd" | sort -u | grep -vxE "$nvidia" >"$work/absent"
    [ ! -s "$work/absent" ] || fail 5 "libraries that the programs need are not here: $(paste -s -d ' ' "$work/absent")"
    awk '/=> \// {print $1, $3}' "$work/ldd" | sort -u | grep -vE "^$nvidia " >"$work/libraries"
    dpkg-query -L libc6 | sed 's,.*/,,' >"$work/glibc"
    while read -r soname path; do
        if ! grep -qxF "$soname" "$work/glibc"; then
            cp -L "$path" "$stage/lib/deps/$soname" || exit 5
            readlink -f "$path" >>"$work/sources"
        fi
    done <"$work/libraries"
    grep -aq DYNAMIC_ARCH "$stage/lib/deps/libopenblas.so.0" ||
        fail 1 "this OpenBLAS is made for one processor (no DYNAMIC_ARCH); install libopenblas0-pthread"
    # Search paths of the build machine must not decide elsewhere; without one, that of the program holds.
    for file in "$stage"/lib/*/*.so*; do
        if readelf -d "$file" | grep -qE '\((RPATH|RUNPATH)\)'; then
            chmod u+w "$file"
            patchelf --remove-rpath "$file" || exit 5
        fi
    done
}

install_texts() {
    cp README.md LICENSE "$stage/" && cp -R docs/*.md docs/pictures "$stage/docs/" && cp configs/*.yaml "$stage/configs/" &&
        cp tests/data/README.md tests/data/kang_pbmc_4sample.h5ad tests/data/human_kidney.h5ad "$stage/tests/data/" &&
        cp tests/gpu.sh tests/gpu_training.py "$stage/tests/" &&
        cp tests/run/devices.py tests/run/support.py "$stage/tests/run/" &&
        cp bench/torch_step.py bench/compare.py bench/kernel_profile.py "$stage/bench/" &&
        cp launch/env.sh launch/run_local.sh launch/train.sbatch launch/nvidia_libs.sh "$stage/launch/" ||
        exit 5
}

# Sets the list "packages": those that the files in "sources" are from. dpkg knows a file by one of its names only.
find_packages() {
    # Random123 is all headers: it is in the program.
    { grep -vF "$build/" "$work/sources" && echo /usr/include/Random123/philox.h; } | sort -u >"$work/taken"
    { cat "$work/taken" && without_usr <"$work/taken"; } | xargs -d '\n' dpkg-query -S 2>/dev/null >"$work/owned"
    sed 's/.*: //' "$work/owned" | without_usr | sort -u >"$work/known"
    without_usr <"$work/taken" | sort -u | comm -23 - "$work/known" >"$work/unknown"
    [ ! -s "$work/unknown" ] || fail 5 "no package owns $(paste -s -d ' ' "$work/unknown"); their licences are unknown"
    sed 's/[:,].*//' "$work/owned" | sort -u >"$work/packages"
}

# Licences of those packages, and the common ones that they refer to.
install_licences() {
    : >"$work/common"
    while IFS= read -r package; do
        file=/usr/share/doc/$package/copyright
        [ -s "$file" ] || fail 5 "$file is not there; the licence of $package has to go into the bundle"
        cp -L "$file" "$stage/licenses/$package"
        grep -oE '/usr/share/common-licenses/[A-Za-z0-9.-]*[A-Za-z0-9]' "$file" >>"$work/common"
    done <"$work/packages"
    sort -u "$work/common" | while IFS= read -r file; do
        [ ! -f "$file" ] || cp -L "$file" "$stage/licenses/common/"
    done
}

# glibc_of FILES...: the newest version of glibc's symbols that any of them needs.
glibc_of() {
    readelf -V "$@" 2>/dev/null | grep -oE 'GLIBC_[0-9.]+' | sort -Vu | tail -n 1 | sed 's/GLIBC_//'
}

write_contents() {
    # shellcheck disable=SC1091
    system=$(. /etc/os-release && echo "$PRETTY_NAME")
    case $system in
    Ubuntu*) sources=https://launchpad.net/ubuntu/+source/ ;;
    *) sources=https://snapshot.debian.org/ ;;
    esac
    glibc=$(glibc_of "$stage"/libexec/* "$stage"/lib/*/*.so*)
    cuda="no"
    [ ! -f "$stage/lib/gmvae_dist/libgmvae_cuda.so" ] ||
        cuda="yes; uses $(paste -s -d ' ' "$stage/lib/gmvae_dist/nvidia-libraries.txt") of the machine"
    # shellcheck disable=SC2016 # dpkg-query's fields
    versions=$(xargs dpkg-query -W -f '${Package} ${Version} ${source:Package}=${source:Version}\n' \
        <"$work/packages" | sort -u)
    cat >"$stage/BUNDLE.txt" <<TEXT
gmvae_dist $version for Linux on x86-64, with everything it needs beyond glibc and NVIDIA's libraries.

Needs           glibc $glibc or newer (ldd --version shows it), a processor from x86-64-v2 on, no root
CUDA plug-in    $cuda
Processor       chosen at run time: our kernels for $(cached GMVAE_CPU_ISA | tr ';' ' '), OpenBLAS for the core it
                finds; nothing is built for one machine only
MPI             Open MPI over shared memory and TCP; plug-ins for InfiniBand and other fabrics are left out

Start           bin/gmvae_dist --help
                launch/run_local.sh 2 configs/demo.yaml      from this folder
                bin/mpirun -np 2 bin/gmvae_dist CONFIG.yaml
                docs/install.md: clusters, SLURM, NVIDIA's libraries
Test            for t in tests/test_[uo]*; do \$t || echo "FAILED: \$t"; done
                tests/gpu.sh                                 with a GPU; needs Python, its first lines say for what

lib/ and the programs but gmvae_dist and tests/ are taken from these packages, with nothing changed but search paths of
libraries (and removed symbols of programs); Random123 is part of the program, CUDA's runtime of the CUDA plug-in.
licenses/ holds their licences. The packages' sources are at $sources under the source's name and version.

$system
package version source
$versions
TEXT
}

# The same names, times, owners and rights whoever packs.
pack() {
    epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
    find "$stage" -type d -exec chmod 755 {} +
    find "$stage" -type f -exec chmod 644 {} +
    chmod 755 "$stage"/bin/* "$stage"/libexec/* "$stage"/launch/*.sh "$stage"/tests/gpu.sh
    for file in "$stage"/tests/test_* "$stage"/tests/bench_*; do
        [ ! -f "$file" ] || chmod 755 "$file"
    done
    tarball=$output/$name.tar.xz
    if ! { tar -C "$work" --sort=name --format=gnu --mtime="@$epoch" --owner=0 --group=0 --numeric-owner \
        -cf "$work/tar" "$name" && xz -T1 "-${XZ_LEVEL:-6}" -c "$work/tar" >"$tarball.part" &&
        mv "$tarball.part" "$tarball"; }; then
        rm -f "$tarball.part"
        fail 5 "cannot write $tarball"
    fi
    echo "$tarball: $(wc -c <"$tarball") bytes, needs glibc $glibc or newer; CUDA plug-in: $cuda"
}

[ $# -le 2 ] || fail 2 "usage: launch/bundle.sh [BUILD [OUTPUT]]"
root=$(cd "$(dirname "$0")/.." && pwd) || exit 1
build=$(readlink -e "${1:-$root/build/release}") || fail 2 "there is no folder ${1:-$root/build/release}"
output=$(readlink -e "${2:-$build}") || fail 2 "there is no folder $2"
cd "$root" || exit 1
launch/packages.sh bundle || exit $?

work=$(mktemp -d) || exit 5
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP PIPE
check_build
check_architectures
find_open_mpi
stage=$work/$name
for folder in bin bench tests/data tests/run libexec lib/deps lib/openmpi lib/pmix lib/gmvae_dist lib/none \
    share/openmpi share/pmix etc configs docs launch licenses/common; do
    mkdir -p "$stage/$folder" || exit 5
done
install_programs
install_open_mpi
install_libraries
install_texts
find_packages
install_licences
write_contents
pack
