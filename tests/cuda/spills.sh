#!/bin/sh
# No kernel may keep registers in memory on an H100 or H200. Prints what ptxas says of each: the table of
# docs/performance.md is made from it.
#
#   tests/cuda/spills.sh NVCC [ARCHITECTURE]      ARCHITECTURE: default 90
#
# Exit status: 0 none spills, 1 one does, 2 usage, 77 NVCC is not there.
set -u
[ $# -ge 1 ] || { echo "usage: tests/cuda/spills.sh NVCC [ARCHITECTURE]" >&2; exit 2; }
nvcc=$1
arch=${2:-90}
project=$(dirname "$0")/../..
command -v "$nvcc" >/dev/null || { echo "skipped: $nvcc is not there"; exit 77; }
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT

for source in "$project"/kernels/cuda/*.cu; do
    "$nvcc" -std=c++17 -O3 -arch="sm_$arch" --expt-relaxed-constexpr -D_POSIX_C_SOURCE=200809L -I"$project/include" \
        -cubin -Xptxas -v -o "$work/cubin" "$source" >"$work/log" 2>&1 || { cat "$work/log" >&2; touch "$work/failed"; }
    awk -v source="$(basename "$source")" '
        /Compiling entry function/ { split($0, part, "\x27"); kernel = part[2] }
        /spill stores/ { spills = $5 + $9 }
        / Used [0-9]+ registers/ {
            match($0, /Used [0-9]+/)
            registers = substr($0, RSTART + 5, RLENGTH - 5)
            shared = match($0, /[0-9]+ bytes smem/) ? substr($0, RSTART, RLENGTH - 11) : 0
            print source, kernel, registers, shared, spills
        }' "$work/log"
done | c++filt >"$work/kernels"
awk '{ shared = $(NF - 1); registers = $(NF - 2); spills = $NF; NF -= 3
       printf "%4d registers %6d bytes shared %4d bytes spilled  %s\n", registers, shared, spills, $0 }' "$work/kernels"
kernels=$(wc -l <"$work/kernels")
spilling=$(awk '$NF > 0' "$work/kernels" | wc -l)
echo "sm_$arch: $kernels kernels, $spilling with spills"
[ ! -e "$work/failed" ] && [ "$kernels" -gt 0 ] && [ "$spilling" -eq 0 ]
