#!/bin/sh
# Runs gmvae_dist on N ranks of this host, from the current directory.
#
#   launch/run_local.sh N [COMMAND] CONFIG.yaml [KEY=VALUE ...]
#
# GMVAE_DIST: the program (default: build/release/gmvae_dist of this repository, or the bundle's). After Ctrl-C, SIGTERM or
# SIGHUP a training run writes a checkpoint and ends with 75, and the same command continues it; a second one ends it
# at once.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
program=${GMVAE_DIST:-$root/build/release/gmvae_dist}
launcher=mpirun
if [ -x "$root/bin/mpirun" ]; then # a bundle
    program=${GMVAE_DIST:-$root/bin/gmvae_dist}
    launcher=$root/bin/mpirun
fi

case "${1:-}" in
'' | *[!0-9]* | 0*)
    echo "usage: launch/run_local.sh N [COMMAND] CONFIG.yaml [KEY=VALUE ...]" >&2
    exit 2
    ;;
esac
ranks=$1
shift
if [ ! -x "$program" ]; then
    echo "run_local.sh: $program is not there; README.md says how to build it" >&2
    exit 5
fi

# shellcheck source=launch/env.sh
. "$root/launch/env.sh"
# mpirun answers Ctrl-C by killing its ranks a second later, before a large checkpoint is written (with a larger
# OMPI_MCA_odls_base_sigkill_timeout it sleeps twice that long after every failure), and ends with 1. So it gets a
# session of its own, which Ctrl-C at a terminal does not reach, and SIGUSR1, which it only passes on to the ranks; a
# second time SIGUSR2, which they do not catch. More ranks than cores are slow but legal.
setsid "$launcher" --quiet --oversubscribe -np "$ranks" "$program" "$@" &
mpirun=$!
asked=0
# shellcheck disable=SC2317 # called by the trap
stop() {
    asked=$((asked + 1))
    if [ "$asked" = 1 ]; then
        kill -USR1 "$mpirun"
    else
        kill -USR2 "$mpirun"
    fi
}
trap stop INT TERM HUP

# A signal ends the wait, not mpirun.
status=0
while wait "$mpirun" || status=$?; kill -0 "$mpirun" 2>/dev/null; do
    status=0
done
exit "$status"
