#!/bin/sh
# Builds and tests everything, from a fresh Debian or Ubuntu machine on. The last line of its output is
#
#   N passed, N failed, N skipped
#
# one count for each CTest entry, in each of: tests/style.py, the release build, the build with AddressSanitizer and UBSan, the
# operations on every backend, the CUDA kernels under ThreadSanitizer, and the unit tests under valgrind. Exit status 0
# only when nothing failed.
#
#   tests/run.sh          what every change has to pass
#   tests/run.sh quick    the release build only
#   tests/run.sh deep     that, the entries labelled deep, products of cases where the others try sums (GMVAE_TEST_DEEP),
#                         and CUDA for all architectures: for changes of consequence and before a release
#
# Behind that, stages to run alone: release, operations, sanitizers, threads, valgrind.
# Prints the minutes of each stage, and at the end the fifteen slowest entries of all.
# JOBS: parallel compile jobs (default: all cores). GMVAE_TEST_PYTHON: an interpreter that has the packages of
# tests/requirements.txt; without it a virtual environment is made in build/.
# shellcheck disable=SC2317 # some functions are called through stage
set -u
cd "$(dirname "$0")/.." || exit 1
mode=${1:-all}
[ $# -eq 0 ] || shift
stages=${*:-release operations sanitizers threads valgrind}
jobs=${JOBS:-$(nproc)}
tests_at_once=$((jobs + 1)) # programs wait for files, for each other and for signals
passed=0 failed=0 skipped=0
per_backend=""
begun=$(date +%s)

# Open MPI in containers and with more ranks than cores; no shared-memory files of unusual size.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_btl_vader_single_copy_mechanism=none

# heading NAME: begins a stage, and says how long the one before it took.
heading() {
    now=$(date +%s)
    [ -z "${stage_begun:-}" ] || echo "   $(((now - stage_begun) / 60)) min $(((now - stage_begun) % 60)) s"
    stage_begun=$now
    [ -z "$1" ] || echo "== $1"
}

# The entries that took longest, whichever build they ran in.
show_slowest() {
    python3 - build/junit-*.xml <<'PY'
import os, sys, xml.etree.ElementTree as tree
rows = [(float(case.get("time")), case.get("name"), os.path.basename(path)[6:-4])
        for path in sys.argv[1:] for case in tree.parse(path).getroot().findall("testcase")]
print("== slowest entries, in seconds")
for seconds, name, stage in sorted(rows, reverse=True)[:15]:
    print(f"{seconds:8.1f}  {name}  ({stage})")
PY
}

# Leaves: the counts as the last line, however this ends.
finish() {
    heading ""
    set -- build/junit-*.xml
    [ ! -f "$1" ] || show_slowest
    echo "== all of it: $((($(date +%s) - begun) / 60)) min"
    [ -z "$per_backend" ] || printf 'operations by backend:%s\n' "$per_backend"
    echo "$passed passed, $failed failed, $skipped skipped"
    [ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
    exit $?
}

# stage NAME COMMAND...: a step that everything after it needs; its failure is a failed test.
stage() {
    name=$1
    shift
    heading "$name"
    if ! "$@"; then
        echo "FAILED: $name"
        failed=$((failed + 1))
        finish
    fi
}

# counts FILE: passed, failed and skipped of a JUnit file that CTest wrote.
counts() {
    python3 - "$1" <<'PY'
import sys, xml.etree.ElementTree as tree
cases = tree.parse(sys.argv[1]).getroot().findall("testcase")
bad = [case.get("name") for case in cases if case.find("failure") is not None]
skipped = [case.get("name") for case in cases if case.find("skipped") is not None]
print(len(cases) - len(bad) - len(skipped), len(bad), len(skipped))
for kind, names in (("failed", bad), ("skipped", skipped)):
    if names:
        print(f"   {kind}: {' '.join(names)}", file=sys.stderr)
PY
}

# ctest_of NAME BUILD ARGUMENTS...: runs CTest and adds to the counts.
ctest_of() {
    name=$1 build=$2
    shift 2
    heading "$name"
    report=$PWD/build/junit-$(echo "$name" | tr -c 'a-z0-9\n' '-').xml
    rm -f "$report"
    ctest --test-dir "$build" --output-on-failure --no-tests=error --output-junit "$report" "$@" >"$report.log" 2>&1
    status=$?
    if [ ! -f "$report" ]; then
        tail -n 20 "$report.log"
        set -- 0 1 0
    else
        [ "$status" -eq 0 ] || grep -vE '^ +(Start +)?[0-9]+(/|:)' "$report.log" | tail -n 200
        # shellcheck disable=SC2046
        set -- $(counts "$report")
        [ $# -eq 3 ] || set -- 0 1 0
    fi
    echo "   $1 passed, $2 failed, $3 skipped"
    passed=$((passed + $1)) failed=$((failed + $2)) skipped=$((skipped + $3))
}

style() {
    heading "style"
    if "$GMVAE_TEST_PYTHON" tests/style.py; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
    fi
}

make_python() {
    if [ -n "${GMVAE_TEST_PYTHON:-}" ]; then
        return 0
    fi
    GMVAE_TEST_PYTHON=$PWD/build/test-venv/bin/python
    if ! cmp -s tests/requirements.txt build/test-venv/requirements.txt; then
        python3 -m venv build/test-venv &&
            "$GMVAE_TEST_PYTHON" -m pip install -q --disable-pip-version-check -r tests/requirements.txt &&
            cp tests/requirements.txt build/test-venv/ || return 1
    fi
}

build_of() {
    cmake --preset "$1" -G Ninja "$architectures" -DGMVAE_TEST_PYTHON="$GMVAE_TEST_PYTHON" >"build/configure-$1.log" 2>&1 ||
        { cat "build/configure-$1.log"; return 1; }
    cmake --build --preset "$1" -j "$jobs" >"build/build-$1.log" 2>&1 ||
        { grep -A5 -E 'error|FAILED|undefined' "build/build-$1.log" | head -n 60; return 1; }
}

# Whether a stage is asked for.
wanted() {
    case " $stages " in
    *" $1 "*) return 0 ;;
    *) return 1 ;;
    esac
}

under_valgrind() {
    heading "unit tests under valgrind"
    names="config config_errors h5_array cells_on_disk checkpoint_parts mem sampler" # the others hold no memory of their own
    [ "$mode" != deep ] || names=$(cd build/release/tests && echo test_unit_* | sed 's/test_unit_//g')
    for name in $names; do
        program=build/release/tests/test_unit_$name
        log=build/valgrind-$(basename "$program").log
        GMVAE_TEST_QUICK=1 valgrind -q --error-exitcode=99 --leak-check=full --show-leak-kinds=definite \
            --errors-for-leak-kinds=definite --suppressions=tests/valgrind.supp "$program" >"$log" 2>&1
        case $? in
        0) passed=$((passed + 1)) ;;
        77) skipped=$((skipped + 1)) ;;
        *)
            echo "FAILED: $program under valgrind"
            tail -n 40 "$log"
            failed=$((failed + 1))
            ;;
        esac
    done
}

under_asan() {
    stage "sanitizer build" build_of asan
    export ASAN_OPTIONS=detect_leaks=1:abort_on_error=0
    export LSAN_OPTIONS=print_suppressions=0:suppressions="$PWD/tests/lsan.supp" UBSAN_OPTIONS=print_stacktrace=1
    export GMVAE_TEST_QUICK=1
    ctest_of "sanitizer tests" build/asan -LE "^none\$$shallow" -j "$tests_at_once"
    unset GMVAE_TEST_QUICK ASAN_OPTIONS LSAN_OPTIONS UBSAN_OPTIONS
}

# TSan of GCC 12 wants fixed addresses, which a container may refuse.
under_tsan() {
    if ! setarch -R true 2>/dev/null; then
        heading "CUDA kernels under ThreadSanitizer: skipped, no program can be started at fixed addresses here"
        skipped=$((skipped + 1))
        return
    fi
    stage "ThreadSanitizer build" build_of tsan
    ctest_of "CUDA kernels under ThreadSanitizer" build/tsan -L '^cuda_(host|ops)$' -LE "^none\$$shallow" -j "$jobs"
}

# The operations on all backends; a backend that is not there counts as skipped.
on_backends() {
    before=$passed
    ctest_of "operations, backend cpu" build/release -L '^ops$' -j 1
    per_backend=" cpu $((passed - before)) run"
    before=$passed
    ctest_of "operations, backend cuda on the host" build/release -L '^cuda_ops$' -LE "^none\$$shallow" -j "$jobs"
    per_backend="$per_backend, cuda-on-host $((passed - before)) run"
    before=$passed
    export GMVAE_TEST_BACKEND=cuda
    build/release/tests/test_ops_memory >build/probe-cuda.log 2>&1
    if [ $? -eq 77 ]; then # all of them would say the same
        heading "operations, backend cuda: $(tail -n 1 build/probe-cuda.log)"
        absent=$(ctest --test-dir build/release -N -L '^ops$' | sed -n 's/^Total Tests: //p')
        skipped=$((skipped + absent))
        echo "   0 passed, 0 failed, $absent skipped"
    else
        ctest_of "operations, backend cuda" build/release -L '^ops$' -j 1
    fi
    unset GMVAE_TEST_BACKEND
    per_backend="$per_backend, cuda $((passed - before)) run"
}

# Entries labelled deep are for tests/run.sh deep alone, and so is what one architecture of GPUs does not show.
shallow="|^deep$" architectures=-DGMVAE_CUDA_ARCHITECTURES=90-real
case $mode in
all | quick) ;;
deep)
    shallow="" architectures=-UGMVAE_CUDA_ARCHITECTURES
    export GMVAE_TEST_DEEP=1
    ;;
*)
    echo "usage: tests/run.sh [all|quick|deep [STAGE...]]" >&2
    exit 2
    ;;
esac
for name in $stages; do
    case $name in
    release | operations | sanitizers | threads | valgrind) ;;
    *)
        echo "tests/run.sh: there is no stage '$name'; there are release, operations, sanitizers, threads, valgrind" >&2
        exit 2
        ;;
    esac
done

mkdir -p build
rm -f build/junit-*.xml
stage "packages" launch/packages.sh test
[ "$mode" != deep ] || launch/packages.sh deep || echo "   no browser: run.browser is skipped"
stage "Python packages of the tests" make_python
export GMVAE_TEST_PYTHON
style
stage "release build" build_of release
! wanted release || ctest_of "release tests" build/release -LE "^(ops|cuda_ops)\$$shallow" -j "$tests_at_once"
! wanted operations || on_backends
if [ "$mode" != quick ]; then
    ! wanted sanitizers || under_asan
    ! wanted threads || under_tsan
    ! wanted valgrind || under_valgrind
fi
finish
