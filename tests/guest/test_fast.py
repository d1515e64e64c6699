# SPDX-License-Identifier: Apache-2.0
"""The fast way for Linux guests (blockferry-convert), on the lab's Debian and on odd disks.

A control boots beside the conversion: most of its time it waits for a disk that does not come."""
import hashlib
import json
import os
import random
import re
import signal
import subprocess
import time

import disks
from boot import MAC, Machine, boot


def root_blocks(raw):
    """How many blocks of 4 KiB the file system of a Debian's first partition has."""
    text = subprocess.run(["dumpe2fs", "-h", f"{raw}?offset=1048576"], check=True, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
    return int(re.search(r"Block count:\s+(\d+)", text)[1])


def initramfs(raw, path, scratch):
    disks.run("debugfs", "-R", f"dump {path} {scratch}/initrd", f"{raw}?offset=1048576",
              stderr=subprocess.DEVNULL)
    return (scratch / "initrd").read_bytes()


def tree_with_names(lab, debian):
    """A copy of the Debian that names everything by /dev/sdX and pins an interface's name."""
    raw = lab.directory / "named.raw"
    disks.run("cp", "--sparse=always", debian, raw)
    files = {
        "/etc/fstab": "/dev/sda1 / ext4 errors=remount-ro 0 1\n/dev/sdq9 /srv ext4 noauto 0 0\n",
        "/etc/network/interfaces": "auto lo\niface lo inet loopback\niface ens33 inet dhcp\n",
    }
    script = ["mkdir /etc/network"]
    for number, (path, text) in enumerate(files.items()):
        local = lab.directory / f"file{number}"
        local.write_text(text)
        script += [f"rm {path}", f"write {local} {path}"]
    grub = lab.directory / "grub.cfg"
    disks.run("debugfs", "-R", f"dump /boot/grub/grub.cfg {grub}", f"{raw}?offset=1048576",
              stderr=subprocess.DEVNULL)
    text = re.sub(r"root=UUID=\S+", "root=/dev/sda1", grub.read_text())
    assert "root=/dev/sda1" in text
    grub.write_text(text)
    script += ["rm /boot/grub/grub.cfg", f"write {grub} /boot/grub/grub.cfg"]
    disks.ext4_script(raw, 1048576, *script)
    return raw


def stale_plan(lab, base):
    """A plan of the guest from before its fstab was changed."""
    release = lab.directory / "os-release"
    disks.run("debugfs", "-R", f"dump /usr/lib/os-release {release}", f"{base}?offset=1048576",
              stderr=subprocess.DEVNULL)
    uuid = subprocess.run(["blkid", "-p", "-O", "1048576", "-s", "UUID", "-o", "value", str(base)], check=True,
                          text=True, stdout=subprocess.PIPE).stdout.strip()
    path = lab.directory / "plan.json"
    path.write_text(json.dumps({
        "version": 1, "method": "fast", "os": {"type": "linux", "arch": "x86_64"}, "root": "/dev/sda1",
        "facts": {"mounts": [{"device": "/dev/sda1", "mountpoint": "/", "uuid": uuid}], "fstab_digest": "0" * 64,
                  "os_release_digest": hashlib.sha256(release.read_bytes()).hexdigest()}}))
    return path


def convert(lab, base, clone):
    """By a plan that is out of date: the guest is inspected again."""
    report = lab.convert(clone, mode="auto", mac=MAC, grow=True, plan=stale_plan(lab, base))
    assert report["method"] == "fast" and report["virtio"] is True and report["planned"] is False
    assert any("not as planned (/etc/fstab has changed)" in text for text in report["warnings"])
    assert report["guest_os"].startswith("Debian GNU/Linux 12")
    assert "virtio modules of kernel" in report["log_tail"]
    assert "/etc/fstab: device names by UUID" in report["log_tail"]
    assert "/boot/grub/grub.cfg: device names by UUID" in report["log_tail"]
    assert f"the interface of {MAC} keeps its name ens33" in report["log_tail"]
    assert "/dev/sda1: the file system fills it" in report["log_tail"]
    assert any("/etc/fstab names a device" in text for text in report["warnings"])
    assert disks.changed_clusters(clone) <= 64
    raw = lab.directory / "grown.raw"
    disks.run("qemu-img", "convert", "-O", "raw", clone, raw)
    assert root_blocks(raw) == (3 * 1024 - 1) * 256
    # Cut to its former size, the initramfs is what it was; the guest's own tool reads it as it is.
    path, size = re.search(r"(/boot/initrd\S+): .* behind byte (\d+)", report["log_tail"]).groups()
    old, new = initramfs(base, path, lab.directory), initramfs(raw, path, lab.directory)
    assert len(old) == int(size) < len(new) and new[:len(old)] == old
    disks.run("lsinitramfs", lab.directory / "initrd")


def kill_at_random_moments(lab, base):
    """BLOCKFERRY_KILLS says how often; every third is aimed at the changing, which lasts the shortest.
    The first tells how long a conversion takes: a tenth more than up to the changing."""
    kills = int(os.environ.get("BLOCKFERRY_KILLS", "3"))
    chance = random.Random(int(os.environ.get("BLOCKFERRY_SEED", "1")))
    late, whole = 0, None
    for number in range(kills):
        began = time.monotonic()
        child = lab.start(lab.clone(base), mode="fast", mac=MAC)
        if number % 3 == 0:
            lab.wait_progress(child, "Changing the guest")
            whole = whole or (time.monotonic() - began) * 1.1
            time.sleep(chance.uniform(0, 0.5))
        else:
            time.sleep(chance.uniform(0, whole))
        late += child.poll() is not None
        lab.kill(child, signal.SIGKILL)
    print(f"# killed {kills} times, {late} of them after the end; one conversion takes {whole:.1f} s")
    assert late < kills


def test_debian_boots_from_virtio_with_its_names_and_grows(lab, debian, tmp_path):
    """And without the conversion the same boot ends in the initramfs.  Whenever the service was killed
    before, the replica stays what it was and the next launch is right."""
    base = tree_with_names(lab, debian)
    before = disks.digest(base)
    kill_at_random_moments(lab, base)
    with Machine([base], tmp_path / "control") as control:
        clone = lab.clone(base, size="3G")
        convert(lab, base, clone)
        console = boot([clone], r"BOOTMARK .*failed=\d+", lab.directory)
        unconverted = control.wait(r"BOOTMARK|ALERT!")
    assert "ALERT!" in unconverted and "BOOTMARK" not in unconverted
    assert "Initramfs unpacking failed" not in console
    mark = re.search(r"BOOTMARK .*", console)
    assert mark, console[-3000:]
    assert "root=/dev/vda1 disk=virtio_blk" in mark[0] and "ens33:virtio_net" in mark[0] and "failed=0" in mark[0]
    assert disks.digest(base) == before


def test_cancelled_in_the_middle(lab, made):
    child = lab.start(lab.clone(made("blank", disks.blank)), mode="fast")
    lab.wait_appliance(child)
    lab.kill(child, signal.SIGTERM)
