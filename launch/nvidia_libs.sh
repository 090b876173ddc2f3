#!/bin/sh
# Finds NVIDIA's libraries for the CUDA plug-in and prints, separated by colons, the folders that LD_LIBRARY_PATH
# needs for them: none for a library that the loader finds by itself.
#
#   launch/nvidia_libs.sh [FILE]
#
# FILE: one file name of a library a line, such as libcublas.so.12; without it, any version of those that the plug-in
# uses. Looks for each in this order: LD_LIBRARY_PATH and the loader's cache; CUDA_HOME; /usr/local/cuda; the Python
# packages nvidia-* of VIRTUAL_ENV and of CONDA_PREFIX; CONDA_PREFIX/lib; the packages nvidia-* of python3.
#
# Exit status: 0 all are found, 5 some are not (named on stderr), 2 usage. NVIDIA_LIBS_ROOT, for tests, stands before
# /usr/local/cuda, and its file ldconfig for the loader's cache.
set -u
top=${NVIDIA_LIBS_ROOT:-}

case $# in
0) missing=$(printf '%s\n' 'libcublas.so.*' 'libcublasLt.so.*' 'libnccl.so.*') ;;
1) missing=$(cat "$1") || exit 2 ;;
*)
    echo "usage: launch/nvidia_libs.sh [FILE]" >&2
    exit 2
    ;;
esac

if [ -n "$top" ]; then
    cached=$(cat "$top/ldconfig" 2>/dev/null)
else
    cached=$(PATH=$PATH:/sbin:/usr/sbin ldconfig -p 2>/dev/null | sed -n 's/.*x86-64.*=> //p')
fi

# has FOLDER PATTERN: whether a file of FOLDER has such a name.
has() {
    for file in "$1"/$2; do # PATTERN may hold a *
        [ ! -e "$file" ] || return 0
    done
    return 1
}

# cache_has PATTERN: whether the loader's cache names such a file.
cache_has() {
    for path in $cached; do
        # shellcheck disable=SC2254 # a pattern
        case ${path##*/} in
        $1) return 0 ;;
        esac
    done
    return 1
}

# Takes out of $missing what the loader finds.
drop_what_loader_finds() {
    searched=$(printf '%s' "${LD_LIBRARY_PATH:-}" | tr ':' '\n')
    wanted=$missing missing=""
    while IFS= read -r pattern; do
        if [ -z "$pattern" ] || cache_has "$pattern" || [ -n "$(home_of "$pattern" "$searched")" ]; then
            continue
        fi
        missing="$missing$pattern
"
    done <<WANTED
$wanted
WANTED
}

# home_of PATTERN FOLDERS: prints the first of FOLDERS (one a line) that has such a file.
home_of() {
    while IFS= read -r folder; do
        if [ -n "$folder" ] && has "$folder" "$1"; then
            printf '%s\n' "$folder"
            return
        fi
    done <<FOLDERS
$2
FOLDERS
}

# search FOLDERS: moves what lies in FOLDERS (one a line) from $missing to $result.
result=""
search() {
    wanted=$missing missing=""
    while IFS= read -r pattern; do
        [ -n "$pattern" ] || continue
        home=$(home_of "$pattern" "$1")
        case $home:$result: in
        :*)
            missing="$missing$pattern
"
            ;;
        *":$home:"*) ;;
        *) result=$result:$home ;;
        esac
    done <<WANTED
$wanted
WANTED
}

# The folders to look in that need no search for themselves, one a line.
likely_folders() {
    printf '%s\n' "${CUDA_HOME:+$CUDA_HOME/lib64}" "$top/usr/local/cuda/lib64"
    for prefix in "${VIRTUAL_ENV:-}" "${CONDA_PREFIX:-}"; do
        [ -z "$prefix" ] || printf '%s\n' "$prefix"/lib/python3*/site-packages/nvidia/*/lib
    done
    printf '%s\n' "${CONDA_PREFIX:+$CONDA_PREFIX/lib}"
}

# Where python3 keeps the packages of the machine and of the user, one a line.
python_folders() {
    python3 -c '
import glob, os, site
for top in site.getsitepackages() + [site.getusersitepackages()]:
    print(*glob.glob(os.path.join(glob.escape(top), "nvidia", "*", "lib")), sep="\n")' 2>/dev/null
}

drop_what_loader_finds
[ -z "$missing" ] || search "$(likely_folders)"
[ -z "$missing" ] || search "$(python_folders)" # last, because starting Python takes a while in every rank
[ -z "$result" ] || printf '%s\n' "${result#:}"
if [ -n "$missing" ]; then
    missing=$(printf '%s' "$missing" | paste -s -d ' ' -)
    echo "nvidia_libs.sh: not on this machine: $missing; install the CUDA toolkit and NCCL, or the Python packages" \
        "'nvidia-cublas==13.*' and nvidia-nccl-cu13 (CUDA 12: nvidia-cublas-cu12 and nvidia-nccl-cu12)" >&2
    exit 5
fi
