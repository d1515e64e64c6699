# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Shared by the guests that are made from the debian guest's tree: read out of its image, changed,
# and put into other file systems.

readonly DERIVED_CACHE=${BLOCKFERRY_CACHE:-/var/cache/blockferry-lab}

# derived_key PACKAGE...: what the debian guest, these helpers and tools of this host say.
derived_key() {
    local here
    here=$(dirname "${BASH_SOURCE[0]}")
    "$here/debian" key
    sha256sum <"$here/debian" | cut -c1-16
    sha256sum <"$here/debian-bootmark" | cut -c1-16
    sha256sum <"$here/derived.sh" | cut -c1-16
    dpkg-query -W -f '${Version} ' "$@"
}

# debian_tree TREE: the debian guest's root.
debian_tree() {
    local image
    image=$("$(dirname "${BASH_SOURCE[0]}")/../images" get debian)
    mkdir -p "$1"
    debugfs -R "rdump / $1" "$image?offset=$MIB" 2>&1 | { grep -v '^debugfs' || true; } >&2
    # Hard links come apart in this; no test minds.
    rmdir "$1/lost+found"
}

# in_tree TREE COMMAND...: with the host's /dev and a /proc, in a mount namespace of its own.
in_tree() {
    # shellcheck disable=SC2016 # the inner shell expands
    unshare --mount --propagation private sh -ec '
        mount --rbind /dev "$1/dev"
        mount -t proc proc "$1/proc"
        exec chroot "$@"' sh "$@"
}

# install_packages TREE PACKAGE...: from the debian guest's mirror; downloads stay in CACHE/debs.
install_packages() {
    local tree=$1
    shift
    mkdir -p "$tree/var/cache/apt/archives/partial"
    find "$DERIVED_CACHE/debs" -name '*.deb' -exec cp -t "$tree/var/cache/apt/archives" {} +
    cp /etc/resolv.conf "$tree/etc/resolv.conf"
    INITRD=No in_tree "$tree" sh -ec '
        apt-get -q -o Acquire::Languages=none update
        DEBIAN_FRONTEND=noninteractive apt-get -qy --no-install-recommends -o APT::Sandbox::User=root \
            -o Dpkg::Options::=--force-unsafe-io install "$@"' sh "$@"
    find "$tree/var/cache/apt/archives" -maxdepth 1 -name '*.deb' \
        -exec cp -u -t "$DERIVED_CACHE/debs" {} +
    rm -rf "$tree/var/lib/apt/lists" "$tree/var/cache/apt" "$tree/etc/resolv.conf"
}

# kernel_of TREE
kernel_of() {
    basename "$(find "$1/lib/modules" -mindepth 1 -maxdepth 1 | sort -V | tail -n 1)"
}

# pin_interface TREE NAME ADDRESS: the configuration knows the interface by this name only.
pin_interface() {
    printf '[Match]\nName=%s\n\n[Network]\nAddress=%s\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n' \
        "$2" "$3" >"$1/etc/systemd/network/lab.network"
}

# write_menu FILE KERNEL ROOT PREFIX UUID [OPTIONS]: one GRUB entry; UUID is the files' device's.
write_menu() {
    local file=$1 kernel=$2 root=$3 prefix=$4
    shift 4
    cat >"$file" <<END
set default=0
set timeout=0
menuentry 'Debian GNU/Linux' --class debian --class gnu-linux --class os {
    search --no-floppy --fs-uuid --set=root $1
    linux $prefix/vmlinuz-$kernel root=$root ro console=ttyS0,115200 quiet no_timer_check ${2:-}
    initrd $prefix/initrd.img-$kernel
}
END
}
