# SPDX-License-Identifier: Apache-2.0
"""guest/convert.h on real disks with the real virt-v2v-in-place and its appliance."""
import functools
import pathlib
import signal
import subprocess
import time

import pytest

import disks

windows_2016 = functools.partial(disks.windows, version="2016")
hibernated = functools.partial(disks.windows, hibernated=True)
whole_luks = functools.partial(disks.luks, whole=True)


def test_none_does_nothing(lab, made):
    base = made("blank", disks.blank)
    clone = lab.clone(base)
    before = disks.digest(clone)
    report = lab.convert(clone, mode="none")
    assert report["method"] == "none" and report["virtio"] is False
    assert report["seconds"] < 1
    assert disks.digest(clone) == before


def has_its_own_error(lab, made, name, make, code):
    base = made(name, make)
    before = disks.digest(base)
    error = lab.error(lab.clone(base, f"{name}.qcow2"))
    assert error["code"] == code
    assert "virt-v2v-in-place" in error["evidence"]
    assert disks.digest(base) == before
    return error


def test_a_hibernated_windows_is_refused(lab, made):
    has_its_own_error(lab, made, "hibernated", hibernated, "guest-hibernated")


def test_status_0_without_drivers_is_an_error(lab, made):
    drivers = lab.directory / "drivers"
    disks.virtio_win(drivers, systems=("2k22",))
    error = lab.error(lab.clone(made("2016", windows_2016)), virtio_win=drivers)
    assert error["code"] == "convert-no-drivers"
    assert "Windows Server 2016" in error["message"]
    assert "there are no virtio drivers available" in error["evidence"]


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGKILL])
def test_killed_in_the_middle(lab, made, sign):
    """Cancelled, or the service killed: no process, no appliance, an untouched base."""
    base = made("2016", windows_2016)
    before = disks.digest(base)
    child = lab.start(lab.clone(base))
    lab.wait_progress(child, "Opening the source")
    lab.wait_appliance(child)
    lab.kill(child, sign)
    if sign == signal.SIGKILL:
        # The next conversion copes with what was left behind; virt-v2v finds nothing on its disk, and that
        # it is encrypted the disk's first bytes say.
        error = has_its_own_error(lab, made, "whole-luks", whole_luks, "guest-encrypted")
        assert "could not detect the source guest" in error["evidence"]
    assert disks.digest(base) == before


def test_deadline(lab, made):
    base = made("2016", windows_2016)
    before = disks.digest(base)
    began = time.monotonic()
    error = lab.error(lab.clone(base), deadline=6)
    assert error["code"] == "guest-timeout"
    assert time.monotonic() - began < 15
    assert disks.digest(base) == before


def test_dead_server_is_an_error_at_once(lab):
    began = time.monotonic()
    error = lab.error("nbd+unix:///disk?socket=/nonexistent/sock", form="raw")
    assert error["code"] == "endpoint-open"
    assert "nonexistent" in error["evidence"]
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("options,part", [
    ({"mode": "magic"}, "auto"),
    ({"virtio_win": "/nonexistent"}, "/nonexistent"),
    ({"form": "vmdk"}, "vmdk"),
])
def test_bad_request(lab, made, options, part):
    error = lab.error(lab.clone(made("blank", disks.blank)), **options)
    assert error["code"] == "bad-input" and part in error["message"]


def initramfs_of(image, scratch):
    """Names in the newest initramfs of a Debian whose first partition is its root."""
    raw, out = scratch / "raw", scratch / "initrd"
    disks.run("qemu-img", "convert", "-O", "raw", image, raw)
    listing = subprocess.run(["debugfs", "-R", "ls -p /boot", f"{raw}?offset=1048576"], check=True,
                             text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
    name = [line.split("/")[5] for line in listing.splitlines() if "/initrd.img-" in line][0]
    disks.run("debugfs", "-R", f"dump /boot/{name} {out}", f"{raw}?offset=1048576",
              stderr=subprocess.DEVNULL)
    return subprocess.run(["lsinitramfs", str(out)], check=True, text=True,
                          stdout=subprocess.PIPE).stdout.splitlines()


def test_debian_by_v2v(lab, debian):
    """In a smaller file system: virt-v2v trims what is free, which here means to write it."""
    base = lab.directory / "base.raw"
    disks.shrunk(base, debian, 640)
    before = disks.digest(base)
    (lab.directory / "before").mkdir()
    assert not any("virtio_blk" in name
                   for name in initramfs_of(base, lab.directory / "before"))
    clone = lab.clone(base)
    report = lab.convert(clone)
    assert report["method"] == "v2v" and report["virtio"] is True
    assert report["guest_os"].startswith("Linux 12")
    names = [pathlib.Path(name).name for name in initramfs_of(clone, lab.directory)]
    assert {"virtio_pci.ko", "virtio_blk.ko"} <= set(names)
    assert disks.digest(base) == before
