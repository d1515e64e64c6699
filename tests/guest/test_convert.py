# SPDX-License-Identifier: Apache-2.0
"""guest/convert.h on real disks with the real virt-v2v-in-place and its appliance."""
import contextlib
import functools
import pathlib
import signal
import subprocess
import time

import pytest

import disks

windows_2016 = functools.partial(disks.windows, version="2016")
windows_2012 = functools.partial(disks.windows, version="2012r2")
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


@pytest.mark.parametrize("name,make,code", [
    ("blank", disks.blank, "guest-unknown"),
    ("whole-luks", whole_luks, "guest-encrypted"),
    ("hibernated", hibernated, "guest-hibernated"),
])
def test_odd_disk_has_its_own_error(lab, made, name, make, code):
    base = made(name, make)
    before = disks.digest(base)
    error = lab.error(lab.clone(base))
    assert error["code"] == code
    assert "virt-v2v-in-place" in error["evidence"]
    assert disks.digest(base) == before


def test_status_0_without_drivers_is_an_error(lab, made):
    drivers = lab.directory / "drivers"
    disks.virtio_win(drivers, systems=("2k16",))
    error = lab.error(lab.clone(made("2012r2", windows_2012)), virtio_win=drivers)
    assert error["code"] == "convert-no-drivers"
    assert "Windows Server 2012 R2" in error["message"]
    assert "there are no virtio drivers available" in error["evidence"]


@contextlib.contextmanager
def nbd_server(image, socket):
    server = subprocess.Popen(["qemu-nbd", "-f", "qcow2", "-t", "-k", str(socket), "-x", "disk",
                               str(image)])
    try:
        while not socket.exists():
            assert server.poll() is None
            time.sleep(0.05)
        yield f"nbd+unix:///disk?socket={socket}"
    finally:
        server.terminate()
        assert server.wait(timeout=20) == 0


def files_of_windows(image, scratch):
    """The names below C:\\Windows\\System32\\drivers."""
    raw, part, mount = scratch / "raw", scratch / "part", scratch / "mount"
    disks.run("qemu-img", "convert", "-O", "raw", image, raw)
    disks.run("dd", f"if={raw}", f"of={part}", "bs=1M", "skip=1", "conv=sparse", "status=none")
    mount.mkdir()
    disks.run("ntfs-3g", "-o", "ro", part, mount)
    try:
        return [p.name for p in (mount / "Windows/System32/drivers").iterdir()]
    finally:
        disks.run("umount", mount)


def test_windows_over_nbd_with_a_second_disk(lab, made):
    """Two disks, both by NBD sockets, refused by the fast way and converted by virt-v2v: what was
    written is there after the end."""
    base = made("2016", windows_2016)
    before = disks.digest(base)
    drivers = lab.directory / "drivers"
    disks.virtio_win(drivers)
    system, data = lab.clone(base), lab.clone(made("blank", disks.blank), "data.qcow2")
    with nbd_server(system, lab.directory / "a.sock") as first, \
            nbd_server(data, lab.directory / "b.sock") as second:
        report = lab.convert(first, second, mode="auto", form="raw", virtio_win=drivers)
    assert report["method"] == "v2v" and report["virtio"] is True
    assert report["guest_os"] == "Windows Server 2016 Standard"
    assert any("Guest Agent MSI" in text for text in report["warnings"])
    assert any("not converted the fast way" in text for text in report["warnings"])
    assert any("Opening the source" in line for line in report["progress"])
    assert "viostor.sys" in files_of_windows(system, lab.directory)
    assert disks.digest(base) == before


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
        # The next conversion copes with what was left behind.
        clone = lab.clone(made("blank", disks.blank), "b.qcow2")
        assert lab.error(clone)["code"] == "guest-unknown"
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
    before = disks.digest(debian)
    (lab.directory / "before").mkdir()
    assert not any("virtio_blk" in name
                   for name in initramfs_of(debian, lab.directory / "before"))
    clone = lab.clone(debian)
    report = lab.convert(clone)
    assert report["method"] == "v2v" and report["virtio"] is True
    assert report["guest_os"].startswith("Linux 12")
    names = [pathlib.Path(name).name for name in initramfs_of(clone, lab.directory)]
    assert {"virtio_pci.ko", "virtio_blk.ko"} <= set(names)
    assert disks.digest(debian) == before
