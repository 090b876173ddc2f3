# A root file system of this host's glibc, shell and a few small tools, for tests of the bundle; to be sourced. Entered by
# chroot as root, or in a user namespace without. Sets top, a folder that vanishes with the test, and project.
# shellcheck shell=sh disable=SC2034
export ANY_ARCHITECTURES=1 # a build for tests may have the code of one GPU only
project=$(cd "$(dirname "$0")/../.." && pwd)
spaces=-m # namespaces
[ "$(id -u)" = 0 ] || spaces=-rm
tools="sh awk basename cat chmod cp dirname env grep head id ln ls mkdir mv nproc readlink rm sed setsid sleep sort tail
tr uname wc"
top=$(mktemp -d "${TMPDIR:-/tmp}/gmvae-bundle.XXXXXX") || exit 1
: >"$top/shown"
trap 'rm -rf "$top"' EXIT
trap 'exit 130' INT TERM HUP PIPE

fail() {
    echo "FAILED: $1"
    exit 1
}

# Makes $top/root: the tools and what they load. Ends the test with 77 where file systems cannot be mounted.
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
    chown 1000:1000 "$top/root/home/user" 2>/dev/null
    chmod 755 "$top"
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
}

# show NAME FILE: in_root shows this file of the host as /shown/NAME.
show() {
    mkdir -p "$top/root/shown"
    echo "$1 $2" >>"$top/shown"
    : >"$top/root/shown/$1"
}

# in_root USER [VARIABLE=VALUE...] COMMAND...: runs it there. The mounts are in a namespace of their own and vanish with
# it. Root has no /sys, as in some sandboxes.
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
        while read -r name file; do
            mount --bind "$file" "$0/shown/$name" || exit 77
        done <"$0/../shown"
        mount --rbind /proc "$0/proc" && mount -t tmpfs -o mode=1777 tmpfs "$0/dev/shm" || exit 77
        [ "$1" = --userspec=0:0 ] || mount --rbind /sys "$0/sys" || exit 77
        exec chroot "$@"' "$top/root" "$@"
}
