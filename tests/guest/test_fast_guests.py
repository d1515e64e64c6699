# SPDX-License-Identifier: Apache-2.0
"""The fast way on guests of other makes: UEFI with LVM over two disks and XFS, dracut with btrfs.
Each does not boot from virtio before (a control beside, which mostly waits), and does after, with its
interface's old name."""
import re
import subprocess

import disks
from boot import MAC, Machine, boot


def mark_of(console):
    mark = re.search(r"BOOTMARK .*failed=\S+", console)
    assert mark, console[-3000:]
    assert "Initramfs unpacking failed" not in console
    return mark[0]


def convert_lvm(lab, lvm):
    """GPT's second header is where the disk once ended: the guest boots all the same."""
    clones = [lab.clone(lvm[0], "a.qcow2", "2G"), lab.clone(lvm[1], "b.qcow2", "1G")]
    report = lab.convert(*clones, mode="fast", mac=MAC, uefi=True)
    assert report["warnings"] == [] and "gzip" in report["log_tail"]
    assert "/etc/fstab: device names by UUID" in report["log_tail"]
    assert sum(disks.changed_clusters(clone) for clone in clones) <= 64
    mark = mark_of(boot(clones, r"BOOTMARK .*failed=\S+", lab.directory, uefi=True))
    assert "root=/dev/mapper/vg-root disk=virtio_blk" in mark
    assert f"net=ens192:virtio_net,{MAC} " in mark and "failed=0" in mark
    again = lab.convert(*clones, mode="fast", mac=MAC, uefi=True, grow=True)
    assert again["log_tail"].splitlines() == [
        "/dev/sda3: the partition ends where the disk does",
        "/dev/sda3: its volume group has the new room",
        "/dev/sdb: its volume group has the new room"]
    raw = lab.directory / "grown.raw"
    disks.run("qemu-img", "convert", "-O", "raw", clones[0], raw)
    assert "No problems found" in subprocess.run(["sgdisk", "-v", str(raw)], check=True, text=True,
                                                 stdout=subprocess.PIPE).stdout


def test_lvm_boots_from_larger_volumes(lab, lvm, tmp_path):
    before = [disks.digest(disk) for disk in lvm]
    with Machine(lvm, tmp_path / "control", uefi=True) as control:
        convert_lvm(lab, lvm)
        console = control.wait(r"BOOTMARK|ALERT!")
    assert "ALERT!" in console and "BOOTMARK" not in console
    assert [disks.digest(disk) for disk in lvm] == before


def convert_dracut(lab, dracut):
    clone = lab.clone(dracut, size="2G")
    report = lab.convert(clone, mode="fast", mac=MAC, grow=True)
    changes = report["log_tail"]
    assert report["warnings"] == [] and "xz" in changes
    for text in ("/etc/fstab: device names by UUID", "/boot/grub/grub.cfg: device names by UUID",
                 "/etc/dracut.conf.d/90-blockferry-virtio.conf", "/dev/sda2: the file system fills it",
                 f"the interface of {MAC} keeps its name ens33"):
        assert text in changes, changes
    mark = mark_of(boot([clone], r"BOOTMARK .*failed=\S+", lab.directory))
    assert "root=/dev/vda2 disk=virtio_blk" in mark
    assert f"net=ens33:virtio_net,{MAC} " in mark and "failed=0" in mark
    again = lab.convert(clone, mode="fast", mac=MAC, grow=True)
    assert "nothing to do" in again["log_tail"]


def test_dracut_boots_and_grows(lab, dracut, tmp_path):
    before = disks.digest(dracut)
    with Machine([dracut], tmp_path / "control") as control:
        convert_dracut(lab, dracut)
        console = control.wait(r"BOOTMARK|sda2 does not exist")
    assert "/dev/sda2 does not exist" in console and "BOOTMARK" not in console
    assert disks.digest(dracut) == before
