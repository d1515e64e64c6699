# SPDX-License-Identifier: Apache-2.0
"""The fast way for Linux guests (blockferry-convert), on the lab's Debian and on odd disks."""
import json
import re
import shutil
import signal
import subprocess
import time

import pytest

import disks
from conftest import processes_of

MAC = "52:54:00:aa:bb:01"


def boot(image, pattern, scratch, seconds=240):
    """Boot from virtio-blk with a virtio-net card; the console up to the pattern, or all there was."""
    layer, console = scratch / "boot.qcow2", scratch / "console"
    disks.run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", image, layer)
    machine = subprocess.Popen(
        ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
         "-machine", "q35", "-accel", "tcg", "-cpu", "max", "-m", "768",
         "-serial", f"file:{console}", "-drive", f"file={layer},format=qcow2,if=virtio",
         "-netdev", "user,id=n,restrict=on", "-device", f"virtio-net-pci,netdev=n,mac={MAC}"])
    try:
        end = time.monotonic() + seconds
        while time.monotonic() < end and machine.poll() is None:
            text = console.read_text(errors="replace") if console.exists() else ""
            if re.search(pattern, text):
                return text
            time.sleep(0.5)
        return console.read_text(errors="replace")
    finally:
        machine.kill()
        machine.wait()


def changed_clusters(image):
    """How many 64 KiB clusters the layer holds itself."""
    rows = json.loads(subprocess.run(["qemu-img", "map", "--output=json", str(image)], check=True,
                                     stdout=subprocess.PIPE).stdout)
    return sum(row["length"] for row in rows if row["depth"] == 0) // 65536


def test_debian_boots_from_virtio_and_twice_changes_nothing(lab, debian):
    before = disks.digest(debian)
    clone = lab.clone(debian)
    report = lab.convert(clone, mode="fast", mac=MAC)
    assert report["method"] == "fast" and report["virtio"] is True
    assert report["guest_os"].startswith("Debian GNU/Linux 12")
    assert "virtio modules of kernel" in report["log_tail"]
    assert changed_clusters(clone) <= 64
    again = lab.convert(clone, mode="fast", mac=MAC)
    assert "nothing to do" in again["log_tail"]
    console = boot(clone, r"BOOTMARK .*failed=\d+", lab.directory)
    assert "Initramfs unpacking failed" not in console
    mark = re.search(r"BOOTMARK .*", console)
    assert mark, console[-3000:]
    assert "disk=virtio_blk" in mark[0] and "virtio_net" in mark[0] and "failed=0" in mark[0]
    assert disks.digest(debian) == before


def tree_with_names(lab, debian):
    """A copy of the Debian that names everything by /dev/sdX and pins an interface's name."""
    raw = lab.directory / "named.raw"
    shutil.copyfile(debian, raw)
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
    commands = lab.directory / "commands"
    commands.write_text("\n".join(script) + "\n")
    disks.run("debugfs", "-w", "-f", commands, f"{raw}?offset=1048576", stderr=subprocess.DEVNULL)
    return raw


def test_device_and_interface_names(lab, debian):
    clone = lab.clone(tree_with_names(lab, debian))
    report = lab.convert(clone, mode="fast", mac=MAC)
    assert "/etc/fstab: device names by UUID" in report["log_tail"]
    assert "/boot/grub/grub.cfg: device names by UUID" in report["log_tail"]
    assert f"the interface of {MAC} keeps its name ens33" in report["log_tail"]
    assert any("/etc/fstab names a device" in text for text in report["warnings"])
    console = boot(clone, r"BOOTMARK .*failed=\d+", lab.directory)
    assert re.search(r"BOOTMARK .*root=/dev/vda1", console), console[-3000:]
    assert "ens33:virtio_net" in console


def test_unconverted_debian_does_not_boot_from_virtio(lab, debian):
    """The negative control: without the conversion the same boot ends in the initramfs."""
    console = boot(lab.clone(debian), r"BOOTMARK|ALERT!", lab.directory)
    assert "ALERT!" in console and "BOOTMARK" not in console


def test_encrypted_disk(lab, made):
    assert lab.error(lab.clone(made("luks", disks.luks)), mode="fast")["code"] == "guest-encrypted"


def test_auto_gives_an_unknown_linux_to_v2v(lab, made):
    error = lab.error(lab.clone(made("alpine", disks.alpine)), mode="auto")
    assert error["code"] == "guest-unsupported"
    assert "unable to convert this guest type (linux/alpinelinux)" in error["evidence"]


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGKILL])
def test_killed_in_the_middle(lab, made, sign):
    base = made("blank", disks.blank)
    child = lab.start(lab.clone(base), mode="fast")
    while not any("qemu-system" in line for line in processes_of(lab.directory)):
        assert child.poll() is None
        time.sleep(0.2)
    child.send_signal(sign)
    out, _ = child.communicate(timeout=20)
    if sign == signal.SIGTERM:
        assert json.loads(out)["error"]["code"] == "cancelled"
        lab.assert_nothing_left()
    else:
        lab.assert_nothing_left(patience=20)
