# SPDX-License-Identifier: Apache-2.0
"""The fast way on a guest of another make: dracut with btrfs.  It does not boot from virtio before (a
control beside, which mostly waits), and does after, with its interface's old name."""

import disks
from boot import MAC, Machine, mark_of


def convert_dracut(lab, dracut, scratch):
    clone = lab.clone(dracut, size="2G")
    report = lab.convert(clone, mode="fast", mac=MAC, grow=True)
    changes = report["log_tail"]
    assert report["warnings"] == [] and "xz" in changes
    for text in ("/etc/fstab: device names by UUID", "/boot/grub/grub.cfg: device names by UUID",
                 "/etc/dracut.conf.d/90-blockferry-virtio.conf", "/dev/sda2: the file system fills it",
                 f"the interface of {MAC} keeps its name ens33"):
        assert text in changes, changes
    # A second conversion of the same, on a layer of its own, while the guest boots.
    with Machine([clone], scratch / "machine") as machine:
        again = lab.convert(lab.clone(clone, "again.qcow2"), mode="fast", mac=MAC, grow=True)
        mark = mark_of(machine)
    assert "nothing to do" in again["log_tail"]
    assert "root=/dev/vda2 disk=virtio_blk" in mark
    assert f"net=ens33:virtio_net,{MAC} " in mark and "failed=0" in mark


def test_dracut_boots_and_grows(lab, dracut, tmp_path):
    before = disks.digest(dracut)
    with Machine([dracut], tmp_path / "control") as control:
        convert_dracut(lab, dracut, tmp_path)
        console = control.wait(r"BOOTMARK|sda2 does not exist")
    assert "/dev/sda2 does not exist" in console and "BOOTMARK" not in console
    assert disks.digest(dracut) == before
