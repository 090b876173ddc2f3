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
    [ $interrupted = 0 ] || echo "demo.sh: stopped; launch/demo.sh continues from the last checkpoint, if there is one" >&2
    exit $status
    ;;
esac

# One line a validation of metrics.jsonl: epoch, neg_elbo, active_clusters.
figures=$(sed -n 's/.*"epoch": \([0-9]*\),.*"split": "validation".*"neg_elbo": \([-0-9.e+]*\),.*"active_clusters": \([0-9]*\),.*/\1 \2 \3/p' \
    $out/metrics.jsonl | awk '
    { if (NR == 1) { first = $1; from = $2 } last = $1; to = $2; used = $3 }
    END { printf "held-out -ELBO: %.1f nats per cell after epoch %d, %.1f after epoch %d; clusters in use: %d\n", from, first, to, last, used }')
cat <<TEXT

What it learned   $figures
What it wrote     $out/embedding.h5ad    latent means and clusters of every cell, for anndata and scanpy
                  $out/evaluation.json   -ELBO of the held-out cells and its parts
                  $out/metrics.jsonl     the same after every epoch
                  $out/checkpoints/      the model
What next         your own cells: copy configs/demo.yaml, change data.train and output.dir, and set batch_keys and
                  label_key to columns of your obs or remove them; then launch/run_local.sh $ranks YOURS.yaml
                  the result in scanpy: README.md, "Reading the result"
                  all keys: docs/config.md
TEXT
