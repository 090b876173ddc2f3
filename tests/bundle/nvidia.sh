#!/bin/sh
# Uses a bundle with the CUDA plug-in where NVIDIA's libraries are in a virtual environment, as pip lays them out, or
# partly or wholly missing: in the root file system of root.sh, which has no driver, so that no GPU can be used either.
#
#   tests/bundle/nvidia.sh BUILD
#
# Exit status 77 where the build has no plug-in, or file systems cannot be mounted for the test.
set -u
[ $# = 1 ] || { echo "usage: tests/bundle/nvidia.sh BUILD" >&2; exit 2; }
build=$(readlink -e "$1") || exit 2
[ -f "$build/libgmvae_cuda.so" ] || { echo "skipped: this build has no CUDA plug-in"; exit 77; }
# shellcheck source=tests/bundle/root.sh disable=SC1091
. "$(dirname "$0")/root.sh"

# lay FOLDER LIBRARY...: puts these libraries of the host there, in place of what was there.
lay() {
    rm -rf "$top/root$1"
    mkdir -p "$top/root$1"
    folder=$1
    shift
    for library in "$@"; do
        ln -s "/shown/$library" "$top/root$folder/"
    done
}

# in_bundle ARGUMENTS...: the program, as an ordinary user in the environment. Sets code; out and err are in $top.
in_bundle() {
    in_root 1000 VIRTUAL_ENV="$venv" CONDA_PREFIX="$conda" "$bundle/bin/gmvae_dist" "$@" >"$top/out" 2>"$top/err"
    code=$?
}

failed() { # MESSAGE
    cat "$top/out" "$top/err"
    fail "$1"
}

# expect_doctor NAME PATTERN: what it says of CUDA.
expect_doctor() {
    in_bundle doctor
    if [ "$code" != 0 ] || ! grep -qE "^CUDA  *not usable, .*$2" "$top/out"; then
        failed "$1: doctor does not say '$2'"
    fi
    echo "ok: $1"
}

# expect_train NAME BACKEND CODE LINES [PATTERN]: its exit status and lines on stderr, with PATTERN in the last.
expect_train() {
    in_bundle train "$bundle/configs/demo.yaml" "data.train=[\"$bundle/tests/data/kang_pbmc_4sample.h5ad\"]" \
        train.epochs=1 output.embedding=false output.dir=/tmp/run "backend=$2"
    [ "$code" = "$3" ] || failed "$1: exit status $code instead of $3"
    [ "$(wc -l <"$top/err")" = "$4" ] || failed "$1: not $4 lines on stderr"
    tail -n 1 "$top/err" | grep -qE "${5:-^}" || [ "$4" = 0 ] || failed "$1: no '$5'"
    [ "$3" != 0 ] || grep -q '^compute .* cpu:' "$top/out" || failed "$1: not on the CPU"
    echo "ok: $1"
}

make_root
XZ_LEVEL=0 "$project/launch/bundle.sh" "$build" "$top" >"$top/log" 2>&1 || { cat "$top/log"; fail "no bundle"; }
tar -C "$top/root/opt" -xf "$top"/gmvae_dist-*.tar.xz || fail "cannot unpack the bundle"
bundle=$(echo "$top/root/opt"/gmvae_dist-*) && bundle=${bundle#"$top/root"}
folders=$("$project/launch/nvidia_libs.sh" 2>/dev/null)
LD_LIBRARY_PATH="${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$folders" ldd "$build/libgmvae_cuda.so" |
    awk '$1 ~ /^lib(cublas|cublasLt|nccl)\.so/ && $3 ~ /^\// {print $1, $3}' | sort -u >"$top/libraries"
[ "$(wc -l <"$top/libraries")" = 3 ] || fail "cuBLAS (two libraries) and NCCL are not all on this machine"
while read -r soname path; do
    show "$soname" "$path"
done <"$top/libraries"
cublas=$(sed -n 's/^\(libcublas\.[^ ]*\) .*/\1/p' "$top/libraries")
cublas_lt=$(sed -n 's/^\(libcublasLt[^ ]*\) .*/\1/p' "$top/libraries")
nccl=$(sed -n 's/^\(libnccl[^ ]*\) .*/\1/p' "$top/libraries")
conda=/nowhere venv="/home/user/my venv"
packages=$venv/lib/python3.12/site-packages/nvidia
absent='cannot open shared object file.*pip install .*nvidia-nccl-cu'

expect_doctor "none of NVIDIA's libraries" "$cublas: $absent"
expect_train "backend: cuda without them" cuda 5 1 "^gmvae_dist: error: .*$cublas: $absent"
expect_train "backend: auto without them" auto 0 0
: >"$top/root/dev/nvidiactl"
expect_train "backend: auto without them, but with a driver" auto 0 1 "warning: this host has an NVIDIA driver.*$cublas"
rm "$top/root/dev/nvidiactl"

lay "$packages/cu13/lib" "$cublas" "$cublas_lt"
lay "$packages/nccl/lib" "$nccl"
expect_doctor "packages of pip, as for CUDA 13" 'no NVIDIA driver on this host'
expect_train "backend: cuda with them, but no GPU" cuda 5 1 '^gmvae_dist: error: .*no GPU can be used'
expect_train "backend: auto with them, but no GPU" auto 0 0
rm "$top/root$packages/nccl/lib/$nccl"
expect_doctor "NCCL is missing" "$nccl: $absent"
lay "$packages/nccl/lib" "$nccl"
rm "$top/root$packages/cu13/lib/$cublas_lt"
expect_doctor "the second library of cuBLAS is missing" "$cublas_lt: $absent"

rm -r "$top/root$packages/cu13"
lay "$packages/cublas/lib" "$cublas" "$cublas_lt"
expect_doctor "packages of pip, as for CUDA 12" 'no NVIDIA driver on this host'
rm -r "$top/root$packages/cublas"
conda=/opt/conda
lay "$conda/lib" "$cublas" "$cublas_lt"
expect_doctor "NCCL of pip, cuBLAS of conda" 'no NVIDIA driver on this host'
