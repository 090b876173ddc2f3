#!/bin/sh
# What bench/kernel_profile.py makes of Nsight Compute's table: a script that writes one stands for ncu.
#
#   tests/cuda/profile.sh PYTHON
set -u
bench=$(cd "$(dirname "$0")/../.." && pwd)/bench
top=$(mktemp -d) || exit 1
trap 'rm -rf "$top"' EXIT
cat >"$top/ncu" <<'EOF'
#!/bin/sh
while [ "$1" != --log-file ]; do shift; done
{
    echo '==PROF== Connected to process 1'
    echo '"ID","Process ID","Kernel Name","Device","dram__bytes.sum","dram__throughput.avg.pct_of_peak_sustained_elapsed","gpu__time_duration.sum","lts__throughput.avg.pct_of_peak_sustained_elapsed","sm__throughput.avg.pct_of_peak_sustained_elapsed"'
    [ -z "${NOTHING:-}" ] || exit 0
    echo '"","","","","Mbyte","%","ns","%","%"'
    for step in 1 2 3 4; do
        echo '"0","1","void gmv::adam_kernel<true, 2>(float *, int)","0","100.5","90","20,000","40","10"'
        echo '"1","1","nvjet_tst_128x256(Params)","0","1","10","30,000","20","80"'
        echo '"2","1","nvjet_tst_128x256(Params)","0","1","40","60,000","20","50"'
    done
} >"$2"
exit "${CODE:-0}"
EOF
chmod +x "$top/ncu"
status=0
expect() { # NAME TEXT FILE
    grep -qF "$2" "$3" || { echo "$1: no «$2» in:" && cat "$3" && status=1; }
}
profile() { "$1" "$bench/kernel_profile.py" "$top/ncu" true steps=1 warmup=2 genes=9 >"$top/out" 2>"$top/err"; }

profile "$1" || { cat "$top/err" && status=1; }
expect gemm '"genes": "9", "kernel": "nvjet_tst_128x256", "launches": 2.0, "us": 90.0, "mb": 2.0, "memory": 30.0, "l2": 20.0, "multiprocessors": 60.0' "$top/out"
expect adam '"kernel": "adam_kernel<true, 2>", "launches": 1.0, "us": 20.0, "mb": 100.5, "memory": 90.0' "$top/out"
expect all '"kernel": "all", "launches": 3.0, "us": 110.0' "$top/out"
expect note '110 us in 3 launches a step; nvjet_tst_128x256 82 %' "$top/err"
CODE=3 profile "$1" && { echo "a failure of ncu was not seen" && status=1; }
expect failure 'ncu: exit 3' "$top/err"
NOTHING=1 profile "$1" && { echo "an empty table was not seen" && status=1; }
expect empty 'measured no kernel' "$top/err"
exit $status
