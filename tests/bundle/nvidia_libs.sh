#!/bin/sh
# Where launch/nvidia_libs.sh finds libraries: empty files in made-up folders stand for them.
set -u
find=$(cd "$(dirname "$0")/../.." && pwd)/launch/nvidia_libs.sh
top=$(mktemp -d) || exit 1
trap 'rm -rf "$top"' EXIT
venv="$top/my venv" conda=$top/conda

put() { # FOLDER FILE...
    folder=$1
    shift
    mkdir -p "$folder"
    for file in "$@"; do
        : >"$folder/$file"
    done
}
put "$top/usr/local/cuda/lib64" libcudart.so.13
put "$venv/lib/python3.11/site-packages/nvidia/cublas/lib" libcublas.so.12 libcublasLt.so.12
put "$venv/lib/python3.11/site-packages/nvidia/nccl/lib" libnccl.so.2
put "$conda/lib" libcurand.so.10 libnccl.so.2
put "$top/home/lib64" libcublas.so.13
put "$top/bin"
put "$top/user/nvidia/cu13/lib" libnccl.so.2
printf '/lib/x86_64-linux-gnu/libcublas.so.11\n/lib/x86_64-linux-gnu/libcurand.so.10\n' >"$top/ldconfig"
# In place of the python3 of the machine, which may have such packages.
# shellcheck disable=SC2016 # for that script
printf '#!/bin/sh\n[ -z "${PYTHON_HAS:-}" ] || echo "$PYTHON_HAS"\n' >"$top/bin/python3"
chmod +x "$top/bin/python3"

# expect NAME STATUS OUTPUT LIBRARIES [VARIABLE=VALUE...]
expect() {
    what=$1 status=$2 output=$3
    echo "$4" | tr ' ' '\n' >"$top/wanted"
    shift 4
    got=$(env -i PATH="$top/bin:$PATH" NVIDIA_LIBS_ROOT="$top" "$@" sh "$find" "$top/wanted" 2>"$top/messages")
    code=$?
    if [ "$code" != "$status" ] || [ "$got" != "$output" ]; then
        echo "FAILED: $what: status $code instead of $status, '$got' instead of '$output'; $(cat "$top/messages")"
        exit 1
    fi
    echo "ok: $what"
}

cuda=$top/usr/local/cuda/lib64
packages=$venv/lib/python3.11/site-packages/nvidia
expect "the loader's cache needs no folder" 0 "" "libcublas.so.11 libcurand.so.10"
expect "nor does LD_LIBRARY_PATH" 0 "" "libnccl.so.2" LD_LIBRARY_PATH="/nowhere:$conda/lib"
expect "the toolkit" 0 "$cuda" libcudart.so.13
expect "a virtual environment, one folder once" 0 "$cuda:$packages/cublas/lib:$packages/nccl/lib" \
    "libcudart.so.13 libcublas.so.12 libcublasLt.so.12 libnccl.so.2" VIRTUAL_ENV="$venv"
expect "its packages before conda's libraries" 0 "$packages/nccl/lib" libnccl.so.2 \
    VIRTUAL_ENV="$venv" CONDA_PREFIX="$conda"
expect "conda" 0 "$conda/lib" libnccl.so.2 CONDA_PREFIX="$conda"
expect "packages of python3" 0 "$top/user/nvidia/cu13/lib" libnccl.so.2 PYTHON_HAS="$top/user/nvidia/cu13/lib"
expect "CUDA_HOME, of the right version" 0 "$top/home/lib64" libcublas.so.13 CUDA_HOME="$top/home"
expect "what is there, although something is missing" 5 "$cuda" "libcudart.so.13 libnccl.so.2"
grep -q 'not on this machine: libnccl.so.2;' "$top/messages" || { echo "FAILED: the message does not name it"; exit 1; }
