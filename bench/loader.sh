#!/bin/sh
# Loaders on one file, in one run, on one core and on all: ours, the decompression that bounds it, and the Python loaders.
#
#   bench/loader.sh FILE.h5ad PYTHON [BUILD]       PYTHON: one that has the packages of bench/loader_peers.py
#                                                  BUILD: default build/release
set -eu
[ $# -ge 2 ] || { echo "usage: bench/loader.sh FILE.h5ad PYTHON [BUILD]" >&2; exit 2; }
file=$1
python=$2
build=${3:-build/release}
cores=$(nproc)
peers="$python $(dirname "$0")/loader_peers.py $file 20"
export OPENBLAS_NUM_THREADS=1
cat "$file" >/dev/null # into the page cache, for all of them
printf '{"bench": "loader", "file": "%s", "bytes": %d, "cpu": "%s", "cores": %d, "commit": "%s"}\n' "$(basename "$file")" \
    "$(stat -c %s "$file")" "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)" "$cores" \
    "$(git -C "$(dirname "$0")" rev-parse --short HEAD)"
ours() { "$@" | tail -n 1; }
ours taskset -c 0 "$build/bench/bench_loader" "$file" threads=1
OMP_NUM_THREADS=1 taskset -c 0 $peers 0
ours taskset -c 0 "$build/bench/bench_loader" "$file" threads=1
ours "$build/bench/bench_loader" "$file" threads="$cores"
$peers "$cores"
