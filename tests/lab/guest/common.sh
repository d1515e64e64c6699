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
