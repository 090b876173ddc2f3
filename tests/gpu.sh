#!/bin/sh
# Everything that only a GPU can show, in one command, from the bundle (launch/bundle.sh) or a build; nothing is
# installed. Prints one table and writes JSON lines. Here a skip counts as a failure.
#
#   tests/gpu.sh [OUTPUT]      OUTPUT: folder for results.jsonl and logs (default: out/gpu)
#
# STAGES: some of "ops runs sanitizer training bench" (default: all of them). BUILD: a build folder, when not run from a
# bundle (default: build/release). PYTHON: with numpy and h5py for the runs, PyTorch for the benchmarks (default:
# python3). BENCH_SIZES, BENCH_STEPS: smaller benchmarks.
#
# Exit status: 0 only when everything ran and held.
set -u
root=$(cd "$(dirname "$0")/.." && pwd) || exit 1
out=${1:-out/gpu}
mkdir -p "$out" && out=$(cd "$out" && pwd) || exit 1
cd "$root" || exit 1
python=${PYTHON:-python3}
stages=${STAGES:-ops runs sanitizer training bench}
if [ -d "$root/libexec" ]; then
    program=$root/bin/gmvae_dist mpirun=$root/bin/mpirun tests=$root/tests bench=$root/tests
else
    build=${BUILD:-build/release}
    program=$root/$build/gmvae_dist mpirun=mpirun tests=$root/$build/tests bench=$root/$build/bench
    export GMVAE_CUDA_PLUGIN="${GMVAE_CUDA_PLUGIN:-$root/$build/libgmvae_cuda.so}"
fi
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
export MPIEXEC="$mpirun" GMVAE_TEST_BACKEND=cuda
results=$out/results.jsonl
table=$out/table.txt
: >"$results"
: >"$table"
passed=0 failed=0 skipped=0

# verdict STAGE NAME STATUS SECONDS [NOTE]: a row of the table, a line of the results.
verdict() {
    case $3 in
    0) word=passed passed=$((passed + 1)) ;;
    77) word=skipped skipped=$((skipped + 1)) ;;
    *) word=FAILED failed=$((failed + 1)) ;;
    esac
    printf '%-10s %-44s %-8s %6ss  %s\n' "$1" "$2" "$word" "$4" "${5:-}" | tee -a "$table"
    printf '{"stage": "%s", "name": "%s", "result": "%s", "seconds": %s}\n' "$1" "$2" "$word" "$4" >>"$results"
}

# check STAGE NAME COMMAND...: runs it, with its output in a log whose end is shown when it fails.
check() {
    stage=$1 name=$2
    shift 2
    log=$out/$stage-$(printf %s "$name" | tr -c 'a-zA-Z0-9.\n' '-').log
    start=$(date +%s)
    "$@" >"$log" 2>&1
    status=$?
    verdict "$stage" "$name" "$status" $(($(date +%s) - start))
    [ "$status" -eq 0 ] || tail -n 15 "$log" | sed 's/^/    /'
}

# wants STAGE: whether it was asked for.
wants() {
    case " $stages " in *" $1 "*) return 0 ;; *) return 1 ;; esac
}

op_tests() {
    for test in "$tests"/test_ops_* "$tests"/test_model_steps; do
        check ops "$(basename "$test")" "$test"
    done
    check ops "test_dist_reduce, 2 ranks on one GPU" "$mpirun" -np 2 "$tests/test_dist_reduce"
}

# Whole runs on CPU and GPU side by side: tests/run/devices.py.
whole_runs() {
    check runs "CPU and GPU side by side" env CUDA_VISIBLE_DEVICES=0 "$python" tests/run/devices.py "$program"
}

under_sanitizer() {
    sanitizer=$(command -v compute-sanitizer || find /usr/local -path "*/bin/compute-sanitizer" 2>/dev/null | head -n 1)
    if [ -z "$sanitizer" ]; then
        verdict sanitizer "compute-sanitizer" 77 0 "it is not installed"
        return
    fi
    for tool in memcheck racecheck initcheck synccheck; do
        for test in "$tests"/test_ops_*; do
            check sanitizer "$tool $(basename "$test")" env GMVAE_TEST_QUICK=1 "$sanitizer" --tool "$tool" \
                --error-exitcode 9 --print-limit 10 "$test"
        done
    done
}

# The held-out bound of real cells in every precision, against the CPU's.
training() {
    for data in tests/data/kang_pbmc_4sample.h5ad tests/data/human_kidney.h5ad; do
        check training "$(basename "$data" .h5ad)" "$python" tests/gpu_training.py "$program" "$data" "$results"
    done
}

# bench_line COMMAND...: its JSON line to the results.
bench_line() {
    name=$1
    shift
    start=$(date +%s)
    "$@" >"$out/bench.json" 2>"$out/bench.log"
    status=$?
    [ "$status" -ne 0 ] || cat "$out/bench.json" >>"$results"
    rate=$(sed -n 's/.*"cells_per_s": \([0-9.]*\).*/\1 cells\/s/p' "$out/bench.json")
    verdict bench "$name" "$status" $(($(date +%s) - start)) "$rate"
    [ "$status" -eq 0 ] || tail -n 5 "$out/bench.log" | sed 's/^/    /'
}

benchmarks() {
    steps=${BENCH_STEPS:-50}
    # genes batch draws
    for size in ${BENCH_SIZES:-13431,128,1 13431,1024,1 13431,4096,1 13431,128,10 13431,1024,10 60000,1024,1}; do
        genes=${size%%,*} rest=${size#*,}
        batch=${rest%,*} draws=${rest#*,}
        nonzeros=$((genes * 9 / 100))
        [ "$genes" -le 20000 ] || nonzeros=2000
        for precision in fp32 tf32 bf16; do
            title="$genes genes, batch $batch, M $draws, $precision"
            bench_line "ours: $title" "$bench/bench_step" genes="$genes" nonzeros=$nonzeros steps="$steps" \
                cells=$((batch * 8)) train.batch_size="$batch" train.mc_samples="$draws" train.precision=$precision \
                backend=cuda
            for compile in "" --compile; do
                bench_line "torch $compile: $title" "$python" bench/torch_step.py --genes "$genes" --nonzeros $nonzeros \
                    --batch "$batch" --draws "$draws" --precision $precision --steps "$steps" --device cuda $compile
            done
        done
    done
    "$python" bench/compare.py "$results" | tee -a "$table"
}

check start doctor "$program" doctor
cat "$out/start-doctor.log"
! wants ops || op_tests
! wants runs || whole_runs
! wants training || training
! wants bench || benchmarks
! wants sanitizer || under_sanitizer
echo "results: $results"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ "$skipped" -eq 0 ] && [ "$passed" -gt 1 ]
