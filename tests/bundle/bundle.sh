#!/bin/sh
# Makes the bundle and uses it where nothing is installed: in the root file system of root.sh.
#
#   tests/bundle/bundle.sh BUILD
#
# As root: tests/bundle/inside.sh as root, then in another folder with a space in its name as an ordinary user. Exit
# status 77 where file systems cannot be mounted for the test.
set -u
[ $# = 1 ] || { echo "usage: tests/bundle/bundle.sh BUILD" >&2; exit 2; }
build=$(readlink -e "$1") || exit 2
# shellcheck source=tests/bundle/root.sh disable=SC1091
. "$(dirname "$0")/root.sh"

# What another Open MPI and hwloc of the machine would leave in their folders: settings that end a run, and a plug-in.
make_traps() {
    mkdir -p "$top/root/etc/openmpi" "$top/root/usr/lib/x86_64-linux-gnu/hwloc"
    echo "pml = not_in_the_bundle" >"$top/root/etc/openmpi/openmpi-mca-params.conf"
    cp "$top/root/usr/lib/x86_64-linux-gnu/libresolv.so.2" "$top/root/usr/lib/x86_64-linux-gnu/hwloc/hwloc_trap.so"
}

check_size_and_glibc() {
    size=$(wc -c <"$tarball")
    [ "$size" -lt 60000000 ] || fail "$tarball has $size bytes; 60,000,000 are allowed"
    glibc=$(sed -n 's/^Needs *glibc \([0-9.]*\) .*/\1/p' "$top/root/opt/$name/BUNDLE.txt")
    limit=$(getconf GNU_LIBC_VERSION | sed 's/glibc //') # no file can need more than the build machine has
    if [ -z "$glibc" ] || [ "$(printf '%s\n' "$glibc" "$limit" | sort -V | tail -n 1)" != "$limit" ]; then
        fail "the bundle says it needs glibc '$glibc', and this machine has $limit"
    fi
    echo "ok: $size bytes, glibc $glibc"
}

# Nothing of the bundle may come from the host in disguise.
check_root_is_bare() {
    count=0
    for file in "$top/root/opt/$name"/lib/deps/*; do
        count=$((count + 1))
        library=$(basename "$file")
        [ ! -e "$top/root/lib/x86_64-linux-gnu/$library" ] || fail "$library is in the root file system too"
    done
    echo "ok: none of the bundle's $count libraries is in the root file system"
}

check_same_again() {
    mkdir "$top/again"
    (umask 077 && cd / && XZ_LEVEL=0 "$project/launch/bundle.sh" "$build" "$top/again" >/dev/null) ||
        fail "no second bundle"
    xz -dc "$tarball" >"$top/first.tar"
    xz -dc "$top/again/$name.tar.xz" | cmp - "$top/first.tar" || fail "a second bundle of the same build differs"
    echo "ok: a second bundle is the same, byte for byte"
}

# tests/gpu.sh is for a machine that has only the bundle, Python and a driver.
check_gpu_script() {
    bundle=$top/root/opt/$name
    [ -x "$bundle/tests/gpu.sh" ] || fail "tests/gpu.sh is not in the bundle, or is no program"
    sed '/^#/d' "$bundle/tests/gpu.sh" | grep -oE '(tests|bench|launch)/[a-z0-9_/]+\.(py|sh|h5ad)' >"$top/needed"
    while read -r file; do
        [ -s "$bundle/$file" ] || fail "tests/gpu.sh needs $file, which is not in the bundle"
    done <"$top/needed"
    echo "ok: what tests/gpu.sh needs is in the bundle"
}

make_root
make_traps
cp "$(dirname "$0")/inside.sh" "$top/root/"
XZ_LEVEL=$([ "${GMVAE_TEST_DEEP:-0}" = 1 ] && echo 6 || echo 1) # which takes a third of the time, and is larger
export XZ_LEVEL
"$project/launch/bundle.sh" "$build" "$top" || exit 1
tarball=$(echo "$top"/gmvae_dist-*-linux-x86_64.tar.xz)
name=$(basename "$tarball" .tar.xz)
tar -C "$top/root/opt" -xf "$tarball" || fail "cannot unpack $tarball"
check_size_and_glibc
check_root_is_bare
[ "${GMVAE_TEST_DEEP:-0}" != 1 ] || check_same_again
check_gpu_script

in_root 0 sh /inside.sh "/opt/$name" || fail "in /opt"
# Elsewhere, in a folder with a space that the user cannot write to.
mkdir "$top/root/srv/of my group" && mv "$top/root/opt/$name" "$top/root/srv/of my group/moved" || exit 1
in_root 1000 sh /inside.sh "/srv/of my group/moved" || fail "moved, as an ordinary user"
