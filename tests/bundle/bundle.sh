#!/bin/sh
# Makes the bundle and uses it where nothing is installed: in a root file system of this host's glibc, shell and a few
# small tools. Entered by chroot as root, or in a user namespace without.
#
#   tests/bundle/bundle.sh BUILD
#
# As root: tests/bundle/inside.sh as root, then in another folder with a space in its name as an ordinary user. Exit
# status 77 where file systems cannot be mounted for the test.
set -u
here=$(cd "$(dirname "$0")" && pwd)
project=$(cd "$here/../.." && pwd)
spaces=-m # namespaces
[ "$(id -u)" = 0 ] || spaces=-rm
tools="sh awk basename cat chmod cp dirname env grep head id ln ls mkdir mv nproc readlink rm sed setsid sleep sort tail
tr uname wc"

[ $# = 1 ] || { echo "usage: tests/bundle/bundle.sh BUILD" >&2; exit 2; }
build=$(readlink -e "$1") || exit 2

fail() {
    echo "FAILED: $1"
    exit 1
}

# Makes $top/root: the tools and what they load.
make_root() {
    for folder in etc proc sys dev/shm tmp opt srv home/user usr/bin usr/lib64 usr/lib/x86_64-linux-gnu; do
        mkdir -p "$top/root/$folder"
    done
    ln -s usr/bin usr/lib usr/lib64 "$top/root/"
    chmod 1777 "$top/root/tmp" "$top/root/dev/shm"
    for tool in $tools; do
        file=$(command -v "$tool") || fail "this host has no $tool"
        cp -L "$file" "$top/root/usr/bin/"
        ldd "$file" | grep -oE '/[^ ]+\.so[^ ]*' >>"$top/loaded"
    done
    # glibc's own that only other programs need
    for name in libm.so.6 libpthread.so.0 libdl.so.2 librt.so.1 libutil.so.1 libresolv.so.2; do
        file=/lib/x86_64-linux-gnu/$name
        [ ! -e "$file" ] || echo "$file" >>"$top/loaded"
    done
    sort -u "$top/loaded" | while IFS= read -r file; do
        case $file in
        */ld-linux-x86-64.so.2) cp -L "$file" "$top/root/usr/lib64/" ;;
        *) cp -L "$file" "$top/root/usr/lib/x86_64-linux-gnu/" ;;
        esac
    done
    printf 'root:x:0:0::/tmp:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n' >"$top/root/etc/passwd"
    printf 'root:x:0:\nuser:x:1000:\n' >"$top/root/etc/group"
    for name in null zero urandom random; do
        : >"$top/root/dev/$name"
    done
    cp "$here/inside.sh" "$top/root/inside.sh"
    make_traps
    chown 1000:1000 "$top/root/home/user" 2>/dev/null
    chmod 755 "$top"
}

# What another Open MPI and hwloc of the machine would leave in their folders: settings that end a run, and a plug-in.
make_traps() {
    mkdir -p "$top/root/etc/openmpi" "$top/root/usr/lib/x86_64-linux-gnu/hwloc"
    echo "pml = not_in_the_bundle" >"$top/root/etc/openmpi/openmpi-mca-params.conf"
    cp "$top/root/usr/lib/x86_64-linux-gnu/libresolv.so.2" "$top/root/usr/lib/x86_64-linux-gnu/hwloc/hwloc_trap.so"
}

# in_root USER COMMAND...: runs it there. The mounts are in a namespace of their own and vanish with it. Root has no
# /sys, as in some sandboxes.
in_root() {
    user=$1
    shift
    set -- "$top/root" env -i PATH=/usr/bin:/bin HOME=/tmp "$@"
    [ "$(id -u)" != 0 ] || set -- "--userspec=$user:$user" "$@"
    # shellcheck disable=SC2016 # expanded by the inner shell
    unshare $spaces sh -c '
        for name in null zero urandom random; do
            mount --bind "/dev/$name" "$0/dev/$name" || exit 77
        done
        mount --rbind /proc "$0/proc" && mount -t tmpfs -o mode=1777 tmpfs "$0/dev/shm" || exit 77
        [ "$1" = --userspec=0:0 ] || mount --rbind /sys "$0/sys" || exit 77
        exec chroot "$@"' "$top/root" "$@"
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

top=$(mktemp -d "${TMPDIR:-/tmp}/gmvae-bundle.XXXXXX") || exit 1
trap 'rm -rf "$top"' EXIT
trap 'exit 130' INT TERM HUP PIPE
make_root
if ! unshare $spaces true; then
    echo "skipped: no right to make namespaces here"
    exit 77
fi
in_root 0 sh -c 'exit 0'
case $? in
0) ;;
77)
    echo "skipped: no right to mount here"
    exit 77
    ;;
*) fail "cannot run a shell in the root file system" ;;
esac

"$project/launch/bundle.sh" "$build" "$top" || exit 1
tarball=$(echo "$top"/gmvae_dist-*-linux-x86_64.tar.xz)
name=$(basename "$tarball" .tar.xz)
tar -C "$top/root/opt" -xf "$tarball" || fail "cannot unpack $tarball"
check_size_and_glibc
check_root_is_bare
check_same_again

in_root 0 sh /inside.sh "/opt/$name" || fail "in /opt"
# Elsewhere, in a folder with a space that the user cannot write to.
mkdir "$top/root/srv/of my group" && mv "$top/root/opt/$name" "$top/root/srv/of my group/moved" || exit 1
in_root 1000 sh /inside.sh "/srv/of my group/moved" || fail "moved, as an ordinary user"
