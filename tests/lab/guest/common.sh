# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Shared by the recipes of guests: disks made by unprivileged tools from plain trees, without loop
# devices, mounts or an appliance.

readonly MIB=1048576

# The newest kernel of the package linux-image-amd64, as "6.1.0-NN-amd64".
host_kernel() {
    local newest
    newest=$(printf '%s\n' /boot/vmlinuz-*-amd64 | sort -V | tail -n 1)
    [[ -r $newest ]] || {
        echo "no /boot/vmlinuz-*-amd64: install linux-image-amd64" >&2
        return 1
    }
    echo "${newest#/boot/vmlinuz-}"
}

# build_records OUT: the workload program, static.
build_records() {
    gcc -std=c17 -D_GNU_SOURCE -O2 -Wall -Wextra -Werror -static -s -o "$1" \
        "$(dirname "${BASH_SOURCE[0]}")/records.c"
}

# make_ext4 DISK TREE START_MIB SIZE_MIB LABEL UUID: a file system with the content of TREE.
make_ext4() {
    # The defaults of mke2fs belong to the host; these features are read by GRUB 2.06 and by every
    # kernel and appliance in use.
    mke2fs -q -F -t ext4 -b 4096 -O '^metadata_csum_seed,^orphan_file' \
        -E "offset=$(($3 * MIB)),root_owner=0:0" -L "$5" -U "$6" -d "$2" "$1" "${4}M" 2>&1 |
        { grep -v 'mke2fs.*offset\|^$' || true; } >&2
}

# install_grub DISK CONFIG MODULE...: GRUB for BIOS, placed as grub-install would: boot.img in the
# MBR (but not over the partition table), the core image behind it.  CONFIG is part of the core.
install_grub() {
    local disk=$1 config=$2 core=$1.core
    shift 2
    grub-mkimage -O i386-pc -o "$core" -p '(hd0,msdos1)/boot/grub' -c "$config" \
        biosdisk part_msdos ext2 "$@"
    if (($(stat -c %s "$core") > MIB - 512)); then
        echo "GRUB's core image does not fit below 1 MiB" >&2
        return 1
    fi
    dd if=/usr/lib/grub/i386-pc/boot.img of="$disk" bs=440 count=1 conv=notrunc status=none
    dd if="$core" of="$disk" bs=512 seek=1 conv=notrunc status=none
    rm "$core"
}

# The tiny guests: the kernel of Debian and an initramfs of busybox, with the drivers of old and new
# platforms alike, so that they need no conversion.
readonly TINY_MODULES='ahci ata_piix sd_mod sym53c8xx virtio_pci virtio_blk virtio_scsi virtio_net
    e1000 e1000e crc32c_generic ext4 button evdev efivarfs'
# no_timer_check: the kernel's test of its timer counts ticks within a few milliseconds of the
# guest's time, and panics ("IO-APIC + timer doesn't work") when a busy host emulates it too slowly.
# shellcheck disable=SC2034 # the recipes use it
readonly TINY_CMDLINE='console=ttyS0,115200 quiet nokaslr mitigations=off no_timer_check'

# make_tiny_boot KERNEL WORKDIR: the content of the boot file system in WORKDIR/boot.
make_tiny_boot() {
    local kernel=$1 work=$2 tree=$2/initramfs module path
    mkdir -p "$tree"/{bin,dev,proc,sys,data,lib/modules} "$work/boot"
    cp "/boot/vmlinuz-$kernel" "$work/boot/vmlinuz"
    cp /bin/busybox "$tree/bin/busybox"
    build_records "$tree/bin/records"
    install -m 0755 "$(dirname "${BASH_SOURCE[0]}")/tiny-init" "$tree/init"
    for module in $TINY_MODULES; do
        modprobe -S "$kernel" --show-depends "$module"
    done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' >"$work/modules"
    while read -r path; do
        cp "$path" "$tree/lib/modules/"
        basename "$path" >>"$tree/lib/modules/order"
    done <"$work/modules"
    (cd "$tree" && find . | LC_ALL=C sort | cpio -o -H newc -R 0:0 --quiet) |
        zstd -q -9 >"$work/boot/initrd"
}
