#!/bin/sh
# Feeds damaged input to the build with AddressSanitizer and UBSan, until the time is over:
#
#   tests/fuzz.sh [SECONDS] [SEED]     (default: 600 seconds, a seed of the day)
#
# Half of the time goes to whole files: mutants of small files of every format, read by the programs. The other half goes to
# our own parsers, in process. What ends a program badly is kept in build/fuzz-findings, and its seed is printed; the
# exit status is 1 then.
set -u
cd "$(dirname "$0")/.." || exit 1
seconds=${1:-600} seed=${2:-$(date +%Y%m%d)}
python=${GMVAE_TEST_PYTHON:-$PWD/build/test-venv/bin/python}
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export ASAN_OPTIONS=fast_unwind_on_malloc=0 UBSAN_OPTIONS=print_stacktrace=1
export LSAN_OPTIONS=print_suppressions=0:suppressions="$PWD/tests/lsan.supp"

if [ ! -x "$python" ]; then
    echo "tests/fuzz.sh: no Python with the packages of tests/requirements.txt; run tests/run.sh quick first, which makes" \
        "one, or name one in GMVAE_TEST_PYTHON" >&2
    exit 5
fi
mkdir -p build
{
    cmake --preset asan -DGMVAE_TEST_PYTHON="$python" &&
        cmake --build --preset asan --target gmvae_dist load_cells fuzz_parsers
} >build/fuzz-build.log 2>&1 || {
    tail -n 20 build/fuzz-build.log
    exit 5
}
status=0
build/asan/tests/fuzz_parsers --seconds $((seconds / 2)) --seed "$seed" || status=1
"$python" tests/fuzz/files.py build/asan build/asan/tests --seconds $((seconds - seconds / 2)) --seed "$seed" \
    --keep build/fuzz-findings || status=1
exit $status
