# SPDX-License-Identifier: Apache-2.0
"""The conversion's test program and what it may not leave behind."""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time

import pytest

import disks

CONVERT_DISKS = os.environ.get("CONVERT_DISKS")


def processes_of(directory):
    """Command lines of processes that name the directory."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if any(os.fsencode(str(directory)) in word for word in words):
            found.append(f"{entry.name} {words}")
    return found


def mounts_below(directory):
    with open("/proc/self/mounts", encoding="utf-8") as table:
        return [line for line in table if f"{directory}/" in line]


class Lab:
    """One work directory, and disks in it."""

    def __init__(self, directory, cache):
        self.directory = directory
        self.work = directory / "w"
        self.work.mkdir()
        self.cache = cache

    def clone(self, base, name="clone.qcow2", size=None):
        path = self.directory / name
        path.unlink(missing_ok=True)
        disks.overlay(path, base, size)
        return path

    def start(self, *uris, mode="v2v", form="qcow2", **options):
        argv = [CONVERT_DISKS, "--work", self.work, "--cache", self.cache, "--mode", mode,
                "--format", form]
        for key, value in options.items():
            argv += ["--" + key.replace("_", "-")] + ([] if value is True else [value])
        return subprocess.Popen([str(a) for a in argv + list(uris)], stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True)

    def convert(self, *uris, **options):
        child = self.start(*uris, **options)
        out, progress = child.communicate(timeout=1500)
        result = json.loads(out)
        assert child.returncode == (1 if "error" in result else 0)
        result["progress"] = progress.splitlines()
        self.assert_nothing_left()
        return result

    def error(self, *uris, **options):
        result = self.convert(*uris, **options)
        assert "error" in result, result
        return result["error"]

    def wait_appliance(self, child):
        while not any("qemu-system" in line for line in self.processes()):
            assert child.poll() is None
            time.sleep(0.1)

    def kill(self, child, sign):
        """Cancelled (SIGTERM), or the service killed: nothing of the conversion goes on."""
        child.send_signal(sign)
        out, _ = child.communicate(timeout=20)
        if sign == signal.SIGTERM:
            assert json.loads(out)["error"]["code"] == "cancelled"
            self.assert_nothing_left()
        else:
            self.assert_nothing_left(patience=20)

    def wait_progress(self, child, text):
        for line in child.stderr:
            if text in line:
                return
        raise AssertionError(f"ended before {text!r}")

    def processes(self):
        """What works for a conversion: it names the work directory, or is an appliance on a disk."""
        appliances = [line for line in processes_of(self.directory) if "qemu-system" in line]
        return processes_of(self.work) + appliances

    def assert_nothing_left(self, patience=0):
        end = time.monotonic() + patience
        while self.processes() and time.monotonic() < end:
            time.sleep(0.2)
        assert self.processes() == []
        if not patience:
            assert mounts_below(self.work) == []
            assert list(self.work.iterdir()) == []


@pytest.fixture(scope="session")
def store():
    """Disks that several tests start from, and the appliance's cache; never written by a guest."""
    directory = pathlib.Path(tempfile.mkdtemp(prefix="bfconv-"))
    cache = os.environ.get("BLOCKFERRY_CACHE", "/var/cache/blockferry-lab")
    cache = pathlib.Path(cache) / "appliance"
    cache.mkdir(parents=True, exist_ok=True)
    directory.joinpath("cache").symlink_to(cache)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def lab(store):
    directory = pathlib.Path(tempfile.mkdtemp(prefix="bfconv-"))
    yield Lab(directory, store / "cache")
    for line in processes_of(directory):
        os.kill(int(line.split()[0]), signal.SIGKILL)
    for line in mounts_below(directory):
        subprocess.run(["umount", "-l", line.split()[1]], check=False)
    shutil.rmtree(directory)


def _made(store, name, make):
    path = store / name
    if not path.exists():
        make(path)
        path.chmod(0o444)
    return path


@pytest.fixture(scope="session")
def made(store):
    """made(name, maker): the path of a disk, made once."""
    return lambda name, make: _made(store, name, make)


def _image(name):
    if f"{name.upper()}_IMAGE" in os.environ:
        return pathlib.Path(os.environ[f"{name.upper()}_IMAGE"])
    return pathlib.Path(subprocess.run([os.environ["IMAGES"], "get", name], check=True, text=True,
                                       stdout=subprocess.PIPE).stdout.strip())


@pytest.fixture(scope="session")
def debian():
    """The lab's Debian without virtio in its initramfs."""
    return _image("debian")


@pytest.fixture(scope="session")
def lvm():
    """By UEFI, its root on a volume over two disks: both."""
    first = _image("lvm")
    return first, first.with_name(first.name + "-2")


@pytest.fixture(scope="session")
def dracut():
    """With a host-only initramfs of dracut, its root on btrfs."""
    return _image("dracut")
