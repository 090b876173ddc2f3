#!/bin/sh
# Runs gmvae_dist on N ranks of this host, from the current directory.
#
#   launch/run_local.sh N [COMMAND] CONFIG.yaml [KEY=VALUE ...]
#
# GMVAE_DIST: the program (default: build/release/gmvae_dist of this repository). Ctrl-C and SIGTERM reach every
# rank: the run writes a checkpoint and ends with 75; the same command continues it.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
program=${GMVAE_DIST:-$root/build/release/gmvae_dist}

case "${1:-}" in
'' | *[!0-9]* | 0*)
    echo "usage: launch/run_local.sh N [COMMAND] CONFIG.yaml [KEY=VALUE ...]" >&2
    exit 2
    ;;
esac
ranks=$1
shift
if [ ! -x "$program" ]; then
    echo "run_local.sh: $program is not there; build it with: cmake --preset release && cmake --build --preset release" >&2
    exit 5
fi

# shellcheck source=launch/env.sh
. "$root/launch/env.sh"
# More ranks than cores are slow but legal.
exec mpirun --quiet --oversubscribe -np "$ranks" "$program" "$@"
