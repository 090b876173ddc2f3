#!/bin/sh
# Debian and Ubuntu packages that the project needs: prints what is missing, and installs it when root.
#
#   launch/packages.sh [build|bundle|test|deep]    what a build needs, a bundle too, or the tests too (the default), or also
#                                                  the browser that tests/run.sh deep looks at pages with
#
# Exit status: 0 nothing is missing (any more), 2 usage, 5 something is missing and cannot be installed here.
set -eu

build="build-essential cmake ninja-build pkg-config libopenmpi-dev openmpi-bin libhdf5-openmpi-dev libyaml-dev
libopenblas-dev librandom123-dev libxxhash-dev libdeflate-dev liblzf-dev libcairo2-dev libcjson-dev fonts-dejavu-core"
bundle="patchelf xz-utils"
test="libcmocka-dev libigraph-dev python3 python3-venv valgrind"
deep="chromium"

case "${1:-test}" in
build) wanted=$build ;;
bundle) wanted="$build $bundle" ;;
test) wanted="$build $bundle $test" ;;
deep) wanted="$build $bundle $test $deep" ;;
*)
    echo "usage: launch/packages.sh [build|bundle|test|deep]" >&2
    exit 2
    ;;
esac

if ! command -v dpkg-query >/dev/null; then
    echo "packages.sh: this machine has no dpkg; needed are (Debian names): $wanted" >&2
    exit 5
fi

missing=""
for package in $wanted; do
    if [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)" != installed ]; then
        missing="$missing $package"
    fi
done
if [ -z "$missing" ]; then
    exit 0
fi

echo "packages.sh: missing:$missing"
if [ "$(id -u)" != 0 ]; then
    echo "packages.sh: install them with: sudo apt-get install -y --no-install-recommends$missing" >&2
    exit 5
fi
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086 # a list of words
if ! { apt-get update -q && apt-get install -q -y --no-install-recommends $missing; } >&2; then
    echo "packages.sh: apt-get could not install:$missing" >&2
    exit 5
fi
