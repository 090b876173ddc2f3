#!/bin/sh
# Everything that only a GPU can show, in one command, from the bundle (launch/bundle.sh) or a build; nothing is
# installed. Prints one table and writes JSON lines. Here a skip counts as a failure, also for want of time.
#
#   tests/gpu.sh [-o OUTPUT] [PART[=SECONDS] ...]
#
# OUTPUT: folder for results.jsonl, table.txt and log.txt (default: out/gpu). SECONDS: what the part may take; a check
# that is running then is ended, and those after it are skipped. The parts, all of them when none is named:
#
#   ops        every operation and a training step against the references of tests/ops
#   runs       whole runs against the CPU's (needs Python with numpy and h5py)
#   train      the held-out bound of real cells in every precision, against the CPU's
#   bench      the GPU's ceilings; the training step, ours and PyTorch's (needs Python with PyTorch)
#   profile    time and share of the GPU's peak of each kernel of a step, by Nsight Compute's ncu
#   compile    PyTorch's again, with torch.compile
#   sanitizer  the operations under compute-sanitizer
#
# Variables: BUILD, a build folder, when not run from a bundle (default: build/release); PYTHON (default: python3). For
# the benchmarks BENCH_SIZES ("genes,batch,draws ..."), BENCH_PRECISIONS ("fp32 tf32 bf16"), BENCH_STEPS and
# BENCH_DEVICE, that of PyTorch; for the profile PROFILE_SIZES and PROFILE_PRECISIONS; for the training TRAIN_EPOCHS.
#
# Exit status: 0 only when everything ran and held, 2 usage.
set -u
all="ops runs train bench profile compile sanitizer"
usage() {
    echo "usage: tests/gpu.sh [-o OUTPUT] [PART[=SECONDS] ...]; parts: $all" >&2
    exit 2
}
out=out/gpu
if [ "${1:-}" = -o ]; then
    [ $# -ge 2 ] || usage
    out=$2
    shift 2
fi
# shellcheck disable=SC2086 # a list of words
[ $# -gt 0 ] || set -- $all
for part in "$@"; do
    case " $all " in *" ${part%%=*} "*) ;; *) usage ;; esac
    case $part in *=*[!0-9]* | *=) usage ;; esac
done
root=$(cd "$(dirname "$0")/.." && pwd) || exit 1
mkdir -p "$out" && out=$(cd "$out" && pwd) || exit 1
python=${PYTHON:-python3}
if [ -d "$root/libexec" ]; then
    program=$root/bin/gmvae_dist mpirun=$root/bin/mpirun tests=$root/tests bench=$root/tests
else
    build=$(cd "$root" && cd "${BUILD:-build/release}" && pwd) || exit 1
    program=$build/gmvae_dist mpirun=mpirun tests=$build/tests bench=$build/bench
fi
cd "$root" || exit 1
# shellcheck source=launch/env.sh disable=SC1091
. launch/env.sh
export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_mpi_yield_when_idle=1 PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
export MPIEXEC="$mpirun" GMVAE_TEST_BACKEND=cuda
results=$out/results.jsonl table=$out/table.txt log=$out/log.txt
: >"$results"
: >"$table"
: >"$log"
passed=0 failed=0 skipped=0 child=""

# Leaves, with the counts as the last line.
finish() {
    rm -f "$out/bench.json"
    echo "results: $results, output of all checks: $log"
    echo "$passed passed, $failed failed, $skipped skipped"
    [ "$failed" -eq 0 ] && [ "$skipped" -eq 0 ] && [ "$passed" -gt 1 ]
    exit $?
}
# shellcheck disable=SC2317 # called by the trap
interrupted() {
    [ -z "$child" ] || kill "$child" 2>/dev/null
    verdict "$part" "interrupted" 130 0
    finish
}
trap interrupted INT TERM HUP

# verdict PART NAME STATUS SECONDS [NOTE]: a row of the table, a line of the results.
verdict() {
    case $3 in
    0) word=passed passed=$((passed + 1)) ;;
    77) word=skipped skipped=$((skipped + 1)) ;;
    *) word=FAILED failed=$((failed + 1)) ;;
    esac
    printf '%-9s %-44s %-7s %5ss  %s\n' "$1" "$2" "$word" "$4" "${5:-}" | tee -a "$table"
    printf '{"part": "%s", "name": "%s", "result": "%s", "seconds": %s}\n' "$1" "$2" "$word" "$4" >>"$results"
}

# begin PART[=SECONDS] SECONDS EACH: sets the part, its end, and what a single check of it may take: EACH, or a quarter
# of SECONDS of the caller's where that is more.
begin() {
    part=${1%%=*} each=$3 time=$2
    case $1 in
    *=*)
        time=${1#*=}
        [ "$each" -ge $((time / 4)) ] || each=$((time / 4))
        ;;
    esac
    deadline=$(($(date +%s) + time))
}

# attempt NAME COMMAND...: runs it in the time that is left. Sets status, 77 without time, seconds, and note, the last
# line of its output. stdout goes to $stdout if that is set, and all else to the log.
stdout=""
attempt() {
    name=$1 start=$(date +%s)
    shift
    allowed=$((deadline - start))
    [ "$allowed" -le "$each" ] || allowed=$each
    if [ "$allowed" -le 0 ]; then
        status=77 seconds=0 note="no time left"
        return
    fi
    printf '==== %s: %s\n' "$part" "$name" >>"$log"
    before=$(wc -l <"$log")
    timeout -k 10 "$allowed" "$@" </dev/null >>"${stdout:-$log}" 2>>"$log" &
    child=$!
    wait "$child"
    status=$? child=""
    seconds=$(($(date +%s) - start))
    note=$(tail -n +$((before + 1)) "$log" | tail -n 1 | tr -d '\r' | cut -c 1-60)
    case $status in 124 | 137) note="ended after $allowed s" ;; esac
}

# The end of the log of what was attempted last.
show_log() {
    tail -n +$((before + 1)) "$log" | tail -n "$1" | cut -c 1-300 | sed 's/^/    /'
}

# check NAME COMMAND...: a row for a command that holds when it ends with 0.
check() {
    attempt "$@"
    verdict "$part" "$name" "$status" "$seconds" "$note"
    [ "$status" -eq 0 ] || [ "$note" = "no time left" ] || show_log 15
}

# Ends everything where there is no GPU: all else would only be skipped.
look_at_gpu() {
    begin start 60 60
    if command -v nvidia-smi >/dev/null; then
        nvidia-smi --query-gpu=name,driver_version,memory.total,power.limit,clocks.max.sm --format=csv,noheader |
            tee -a "$table"
    fi
    attempt doctor "$program" doctor
    show_log 40
    [ "$status" -ne 0 ] || tail -n +"$before" "$log" | grep -q '^CUDA .*GPU.*; the first:' || status=5
    verdict start doctor "$status" "$seconds"
    [ "$status" -eq 0 ] || finish
    one_gpu=${CUDA_VISIBLE_DEVICES:-0} one_gpu=${one_gpu%%,*}
    gpus=$(sed -n 's/^CUDA  *\([0-9]*\) GPU.*/\1/p' "$log")
}

op_tests() {
    for test in "$tests"/test_ops_* "$tests"/test_model_steps; do
        check "$(basename "$test")" "$test"
    done
    check "test_dist_reduce, 2 ranks on one GPU" env CUDA_VISIBLE_DEVICES="$one_gpu" "$mpirun" -np 2 \
        "$tests/test_dist_reduce"
    [ "$gpus" -lt 2 ] || check "test_dist_reduce, a GPU each of $gpus" "$mpirun" -np "$gpus" "$tests/test_dist_reduce"
}

training() {
    for data in tests/data/kang_pbmc_4sample.h5ad tests/data/human_kidney.h5ad; do
        check "$(basename "$data" .h5ad)" "$python" tests/gpu_training.py "$program" "$data" "$results"
    done
}

# find_tool NAME: where NVIDIA's installers put it, if anywhere.
find_tool() {
    command -v "$1" || find /usr/local /opt -name "$1" -type f -perm -u+x 2>/dev/null | head -n 1
}

under_sanitizer() {
    sanitizer=$(find_tool compute-sanitizer)
    if [ -z "$sanitizer" ]; then
        verdict "$part" compute-sanitizer 77 0 "it is not installed"
        return
    fi
    for tool in memcheck racecheck initcheck synccheck; do
        for test in "$tests"/test_ops_*; do # in a bundle a script, which becomes the program
            check "$tool $(basename "$test")" env GMVAE_TEST_QUICK=1 "$sanitizer" --tool $tool --target-processes all \
                --error-exitcode 9 --print-limit 10 "$test"
        done
    done
}

# bench_lines NAME COMMAND...: a row with its cells a second; its JSON lines go to the results, even if it fails later.
bench_lines() {
    stdout=$out/bench.json
    : >"$stdout"
    attempt "$@"
    grep '^{.*}$' "$stdout" >>"$results"
    rates=$(sed -n 's/.*"precision": "\([a-z0-9]*\)".*"cells_per_s": \([0-9]*\).*/\1 \2/p' "$stdout" | paste -s -d , -)
    rates=${rates:+$rates cells/s}
    [ -n "$rates" ] || rates=$(sed -n 's/.*"runtime": [0-9]*, "\(.*\)}$/\1/p' "$stdout" | tr -d '"')
    stdout=""
    verdict "$part" "$name" "$status" "$seconds" "${rates:-$note}"
    [ "$status" -eq 0 ] || [ "$note" = "no time left" ] || show_log 5
}

# plan SIZE: sets genes, batch, draws and nonzeros
plan() {
    genes=${1%%,*} draws=${1##*,} batch=${1#*,}
    batch=${batch%,*} nonzeros=$((genes * 9 / 100))
    [ "$genes" -le 20000 ] || nonzeros=2000
}

profiles() {
    ncu=$(find_tool ncu)
    if [ -z "$ncu" ]; then
        verdict "$part" ncu 77 0 "it is not installed"
        return
    fi
    for size in ${PROFILE_SIZES:-13431,1024,1 13431,1024,10 13431,128,1 13431,4096,1}; do
        plan "$size"
        for precision in ${PROFILE_PRECISIONS:-bf16 fp32}; do
            bench_lines "kernels: $genes genes, batch $batch, M $draws, $precision" "$python" bench/kernel_profile.py \
                "$ncu" "$bench/bench_step" genes="$genes" nonzeros=$nonzeros cells=$((batch * 8)) \
                train.batch_size="$batch" train.mc_samples="$draws" train.precision="$precision" backend=cuda
        done
    done
}

# benchmarks ours|torch|compile ...: for each size
benchmarks() {
    precisions=${BENCH_PRECISIONS:-fp32 tf32 bf16} steps=${BENCH_STEPS:-100}
    # genes, batch, draws
    for size in ${BENCH_SIZES:-13431,1024,1 13431,128,1 13431,4096,1 60000,1024,1 13431,1024,10 13431,128,10 13431,4096,10}; do
        plan "$size"
        for what in "$@"; do
            title="$what: $genes genes, batch $batch, M $draws"
            if [ "$what" = ours ]; then
                for precision in $precisions; do
                    bench_lines "$title, $precision" "$bench/bench_step" genes="$genes" nonzeros=$nonzeros \
                        cells=$((batch * 8)) warmup="$steps" steps="$steps" train.batch_size="$batch" \
                        train.mc_samples="$draws" train.precision="$precision" backend=cuda
                done
            else
                # shellcheck disable=SC2046 # an option or none
                bench_lines "$title" "$python" bench/torch_step.py --genes "$genes" --nonzeros $nonzeros \
                    --batch "$batch" --draws "$draws" --precision "$(echo "$precisions" | tr ' ' ',')" \
                    --warmup "$steps" --steps "$steps" --device "${BENCH_DEVICE:-cuda}" \
                    $([ "$what" = torch ] || echo --compile)
            fi
        done
    done
}

look_at_gpu
for asked in "$@"; do
    case $asked in
    ops*) begin "$asked" 240 60 && op_tests ;;
    runs*) begin "$asked" 420 420 && check "CPU and GPU side by side" env CUDA_VISIBLE_DEVICES="$one_gpu" "$python" \
        tests/run/devices.py "$program" -v ;;
    train*) begin "$asked" 300 300 && training ;;
    bench*) begin "$asked" 600 120
        bench_lines "what this GPU can do at most" "$bench/bench_ceilings"
        benchmarks ours torch
        ;;
    profile*) begin "$asked" 600 150 && profiles ;;
    compile*) begin "$asked" 1800 600 && benchmarks compile ;;
    sanitizer*) begin "$asked" 1800 300 && under_sanitizer ;;
    esac
done
! grep -q '"bench": "step"' "$results" || "$python" bench/compare.py "$results" | tee -a "$table"
finish
