#!/bin/sh
# Loaders on one file, in one run on one core: ours, the decompression that bounds it, and the Python loaders.
#
#   bench/loader.sh FILE.h5ad PYTHON [BUILD]       PYTHON: one that has the packages of bench/loader_peers.py
#                                                  BUILD: default build/release
set -eu
[ $# -ge 2 ] || { echo "usage: bench/loader.sh FILE.h5ad PYTHON [BUILD]" >&2; exit 2; }
file=$1
python=$2
build=${3:-build/release}
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
one="taskset -c 0"
cat "$file" >/dev/null # into the page cache, for all of them
$one "$build/bench/bench_loader" "$file" threads=1 | tail -n 1
$one "$python" "$(dirname "$0")/loader_peers.py" "$file"
$one "$build/bench/bench_loader" "$file" threads=1 | tail -n 1
