#!/bin/sh
# Uses an unpacked bundle as its user would, where nothing else is installed.
#
#   inside.sh BUNDLE
set -u
bundle=$1
work=/tmp/work-of-$(id -u)
log=$work/log
rm -rf "$work"
mkdir -p "$work/bin" "$work/debug" && cd "$work" || exit 1
echo "in $bundle as user $(id -u):"

# shellcheck source=launch/env.sh disable=SC1091
. "$bundle/launch/env.sh"
export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_mca_base_component_show_load_errors=1
data=$bundle/tests/data/kang_pbmc_4sample.h5ad

# expect NAME PATTERN COMMAND...: it ends with 0 and prints PATTERN, and Open MPI has nothing to complain of.
expect() {
    what=$1 pattern=$2
    shift 2
    if ! "$@" >"$log" 2>&1 || ! grep -q "$pattern" "$log"; then
        echo "FAILED: $what: no success, or no '$pattern'; the output was:"
        cat "$log"
        exit 1
    fi
    if grep -qE '^-{20}|unable to open mca|ERROR|WARNING' "$log"; then
        echo "FAILED: $what: Open MPI complains:"
        cat "$log"
        exit 1
    fi
    echo "ok: $what"
}


# Every object that a process of the bundle's programs loaded is in the bundle, or glibc's.
check_loaded() {
    grep -l 'initialize program: .*/libexec/' "$work"/debug/* >"$work/processes"
    [ "$(wc -l <"$work/processes")" -ge 3 ] || { echo "FAILED: no record of mpirun and its two ranks"; exit 1; }
    while IFS= read -r file; do
        sed -n 's/.*calling init: //p' "$file"
    done <"$work/processes" | sort -u >"$work/objects"
    grep -vF "$bundle/lib" "$work/objects" |
        grep -vE '^(/usr)?/lib(64|/x86_64-linux-gnu)/(ld-linux-x86-64|lib(c|m|dl|rt|pthread|resolv|util))\.so\.[0-9]$' \
            >"$work/strangers"
    if [ -s "$work/strangers" ] || ! grep -q '/mca_btl_vader.so' "$work/objects"; then
        echo "FAILED: loaded from outside the bundle, or no plug-in of Open MPI seen:"
        cat "$work/strangers"
        exit 1
    fi
    echo "ok: $(wc -l <"$work/objects") objects loaded, all from the bundle but glibc's"
}

# What modules of a cluster may leave behind, with libraries that cannot be loaded.
hostile() {
    mkdir -p "$work/modules"
    for file in "$bundle"/lib/deps/*; do
        : >"$work/modules/${file##*/}"
    done
    LD_LIBRARY_PATH="$work/modules" OPAL_PREFIX="$work/modules" PMIX_PREFIX="$work/modules" "$@"
}

ln -sf "$bundle/bin/gmvae_dist" "$work/bin/gmvae"
expect "--version, through a symbolic link" '^MPI  *Open MPI' bin/gmvae --version
expect "doctor, alone" '^ranks  *1 on 1 host' "$bundle/bin/gmvae_dist" doctor
expect "doctor, two ranks" '^ranks  *2 on 1 host' "$bundle/bin/mpirun" -np 2 "$bundle/bin/gmvae_dist" doctor
expect "mpirun's help, from its texts" 'Usage: mpirun' hostile "$bundle/bin/mpirun" --help
expect "inspect" 'cell_type' "$bundle/bin/gmvae_dist" inspect "$data"

set -- "$bundle/configs/demo.yaml" "data.train=[\"$data\"]" train.epochs=2 runtime.threads=1
expect "training, no mpirun, through a symbolic link" 'epoch 2/2' bin/gmvae "$@" output.dir=one
set -- "$@" output.umap=false output.markers=false output.report=false # which one has shown
expect "training, two ranks" 'epoch 2/2' "$bundle/bin/mpirun" -np 2 "$bundle/bin/gmvae_dist" "$@" output.dir=two
expect "training, run_local.sh" 'epoch 2/2' "$bundle/launch/run_local.sh" 2 "$@" output.dir=local
rm two/embedding.h5ad
expect "embed, two ranks" 'embedding.h5ad' "$bundle/bin/mpirun" -np 2 "$bundle/bin/gmvae_dist" embed "$@" output.dir=two
[ -s two/embedding.h5ad ] || { echo "FAILED: embed wrote no two/embedding.h5ad"; exit 1; }

# Two other hosts, as far as Open MPI can tell: a daemon in a fresh environment and a folder of its own for each. Its
# start by ssh does not quote, so not from a path with a space.
cat >agent <<'AGENT'
#!/bin/sh
tmp=/tmp/host-$1
mkdir -p "$tmp"
shift
exec env -i PATH=/usr/bin:/bin HOME=/tmp TMPDIR="$tmp" sh -c "$*"
AGENT
chmod +x agent
case $bundle in
*' '*) ;;
*)
    expect "training, two hosts over TCP" 'epoch 2/2' "$bundle/bin/mpirun" --host one:1,two:1 --mca btl tcp,self \
        --mca plm_rsh_agent "$work/agent" -np 2 "$bundle/bin/gmvae_dist" "$@" output.dir=hosts
    ;;
esac

export LD_DEBUG=libs LD_DEBUG_OUTPUT="$work/debug/of"
expect "training, two ranks, with a cluster's variables" 'epoch 2/2' hostile "$bundle/bin/mpirun" -np 2 \
    "$bundle/bin/gmvae_dist" "$@" output.dir=hostile
unset LD_DEBUG LD_DEBUG_OUTPUT
check_loaded

expect "a unit test" 'PASSED' "$bundle/tests/test_unit_config"
expect "a test of operations" 'PASSED' "$bundle/tests/test_ops_memory"
expect "a benchmark" 'cells_per_s' "$bundle/tests/bench_step" genes=100 nonzeros=10 cells=64 warmup=1 steps=1 \
    train.batch_size=16 backend=cpu
expect "sums of two ranks" 'PASSED' "$bundle/bin/mpirun" -np 2 "$bundle/tests/test_dist_reduce"
