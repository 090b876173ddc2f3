#!/bin/sh
# From a fresh Debian 12 or Ubuntu 24.04 to a trained model of real blood cells, in a few minutes: installs what is
# missing (as root), builds, trains with configs/demo.yaml, and says what came out. Run it again to continue a run
# that was stopped.
#
# Exit status: that of gmvae_dist; 1 when the build fails, 5 when packages are missing and cannot be installed.
set -u
cd "$(dirname "$0")/.." || exit 1
out=out/demo # as in configs/demo.yaml
build=build/release

if [ $# -gt 0 ]; then
    echo "usage: launch/demo.sh" >&2
    exit 2
fi
launch/packages.sh build || exit $?

ranks=$(nproc)
[ "$ranks" -le 2 ] || ranks=2

# Ctrl-C ends what is under way; this script stays to say what that means.
trap 'interrupted=1' INT
interrupted=0

mkdir -p build || exit 5
log=build/demo-build.log
[ -x $build/gmvae_dist ] || echo "Building (some minutes the first time; log in $log) ..."
if ! { { [ -f $build/build.ninja ] || cmake --preset release -DGMVAE_TESTS=OFF; } &&
    cmake --build $build --target gmvae_dist; } >$log 2>&1; then
    [ $interrupted = 0 ] || exit 130
    tail -n 30 $log >&2
    echo "demo.sh: the build failed; all of its output is in $log" >&2
    exit 1
fi

echo "Training: mpirun -np $ranks gmvae_dist configs/demo.yaml"
launch/run_local.sh "$ranks" configs/demo.yaml
status=$?
case $status in
0) ;;
75)
    echo "Run launch/demo.sh again to continue."
    exit 75
    ;;
*)
    [ $interrupted = 0 ] || echo "demo.sh: stopped; launch/demo.sh goes on from the last checkpoint, if any" >&2
    exit $status
    ;;
esac

# Lines of metrics.jsonl look like {"epoch": 1, "step": 11, "split": "validation", "neg_elbo": 1293.3, ...}.
figures=$(tr -d '{}" ' <$out/metrics.jsonl | awk -F '[:,]' '
    /split:validation/ {
        for (i = 1; i < NF; i += 2) value[$i] = $(i + 1)
        if (seen++ == 0) { first = value["epoch"]; before = value["neg_elbo"] }
    }
    END {
        printf "held-out -ELBO: %.1f nats per cell after epoch %d, %.1f after epoch %d; components in use: %d\n",
            before, first, value["neg_elbo"], value["epoch"], value["active_clusters"]
    }')
cat <<TEXT

What it learned   $figures
What it wrote     $out/report.html       a page for any browser: clusters, pictures, what to worry about
                  $out/embedding.h5ad    latent means and clusters of every cell, for anndata and scanpy
                  $out/markers.csv       the genes that tell each cluster from the rest
                  $out/evaluation.json   -ELBO of the held-out cells and its parts
                  $out/metrics.jsonl     the same after every epoch
                  $out/checkpoints/      the model
What next         your own cells: copy configs/demo.yaml, change data.train and output.dir, and set batch_keys and
                  label_key to columns of your obs or remove them; then launch/run_local.sh $ranks YOURS.yaml
                  the result in scanpy: README.md, "Reading the result"
                  all keys: docs/config.md
TEXT
