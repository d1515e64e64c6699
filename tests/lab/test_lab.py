# SPDX-License-Identifier: Apache-2.0
"""The lab itself: what every other test takes for granted."""

import os
import re
import subprocess
import tempfile
import time

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
RECORD_RE = re.compile(r"last=(\d+) missing=(\d+)")


def run(program, *args, timeout=240):
    done = subprocess.run([f"{HERE}/{program}", *map(str, args)], capture_output=True, text=True,
                          timeout=timeout, check=False)
    assert done.returncode == 0, f"{program} {args}: {done.stderr}"
    return done.stdout.strip()


class Lab:
    def __init__(self, path):
        self.path = path
        self.uri = run("libvirt", "up", path)

    def virsh(self, *args):
        return subprocess.run(["virsh", "-q", "-c", self.uri, *args], capture_output=True,
                              text=True, timeout=60, check=True).stdout.strip()

    def domain(self, verb, name, *args):
        return run("domain", verb, self.uri, name, *args)

    def blank_guest(self, name):
        image = f"{self.path}/images/{name}.qcow2"
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", image, "64M"], check=True)
        self.domain("define", name, "--disk", image, "--memory", 32)
        self.domain("start", name, "--paused")

    def backup(self, name, checkpoint, since=None):
        socket = f"{self.path}/{name}.sock"
        incremental = f"<incremental>{since}</incremental>" if since else ""
        for path, text in (
                ("backup.xml", f"<domainbackup mode='pull'>{incremental}<server transport='unix' "
                 f"socket='{socket}'/><disks><disk name='sda' backup='yes' type='file'>"
                 f"<scratch file='{self.path}/scratch'/></disk></disks></domainbackup>"),
                ("checkpoint.xml", f"<domaincheckpoint><name>{checkpoint}</name><disks>"
                 "<disk name='sda' checkpoint='bitmap'/></disks></domaincheckpoint>")):
            with open(f"{self.path}/{path}", "w", encoding="ascii") as file:
                file.write(text)
        self.virsh("backup-begin", name, f"{self.path}/backup.xml", f"{self.path}/checkpoint.xml")
        return f"nbd+unix:///sda?socket={socket}"


def leftovers(path):
    """What of a lab is still there: processes, mounts, sockets, bridges and their rules."""
    sockets = subprocess.run(["find", path, "-type", "s"], capture_output=True, text=True,
                             check=True).stdout
    with open("/proc/self/mounts", encoding="ascii") as mounts:
        mounted = [line for line in mounts if f" {path}/" in line]
    digest = subprocess.run(["sha256sum"], input=f"{path}\n", capture_output=True, text=True,
                            check=True).stdout[:8]
    bridges = [name for name in os.listdir("/sys/class/net") if name.startswith(f"bf{digest}")]
    rules = subprocess.run(["iptables", "-w", "-S"], capture_output=True, text=True, check=True)
    bridges += [rule for rule in rules.stdout.splitlines() if f" bf{digest}" in rule]
    return run("libvirt", "pids", path), sockets, mounted, bridges


@pytest.fixture(name="lab")
def fixture_lab():
    with tempfile.TemporaryDirectory(prefix="bf-lab.") as path:
        lab = Lab(path)
        try:
            yield lab
        finally:
            run("libvirt", "stop", path)


def test_up_twice_is_one_daemon(lab):
    assert run("libvirt", "up", lab.path) == lab.uri
    assert run("libvirt", "pids", lab.path).count("libvirtd") == 1
    assert lab.virsh("net-list", "--name").split() == ["isolated", "lab"]
    assert lab.virsh("pool-list", "--name").split() == ["default", "small"]
    with open("/proc/cpuinfo", encoding="ascii") as cpuinfo:
        usable = re.search(r"\b(vmx|svm)\b", cpuinfo.read())
    assert usable or "<domain type='kvm'/>" not in lab.virsh("capabilities")


def test_two_labs_know_nothing_of_each_other(lab):
    with tempfile.TemporaryDirectory(prefix="bf-lab.") as path:
        other = Lab(path)
        try:
            lab.blank_guest("one")
            assert other.virsh("list", "--all", "--name") == ""
            assert other.virsh("domcapabilities") and "one" in lab.virsh("list", "--name")
        finally:
            run("libvirt", "stop", path)
        assert lab.virsh("domstate", "one") == "paused"


@pytest.mark.parametrize("options", [[], ["--kill"]])
def test_restart_keeps_guests(lab, options):
    lab.blank_guest("guest")
    before = run("libvirt", "pids", lab.path).splitlines()
    run("libvirt", "restart", lab.path, *options)
    after = run("libvirt", "pids", lab.path).splitlines()
    assert lab.virsh("domstate", "guest") == "paused"
    assert [x for x in before if "qemu" in x] == [x for x in after if "qemu" in x] != []
    assert [x for x in before if "libvirtd" in x] != [x for x in after if "libvirtd" in x]


@pytest.mark.parametrize("daemon_alive", [True, False])
def test_stop_leaves_nothing(lab, daemon_alive):
    lab.blank_guest("guest")
    pids, sockets, mounted, bridges = leftovers(lab.path)
    assert "qemu" in pids and sockets and mounted and len(bridges) > 2
    if not daemon_alive:
        pid = next(line.split()[0] for line in pids.splitlines() if "libvirtd" in line)
        os.kill(int(pid), 9)
    run("libvirt", "stop", lab.path)
    assert leftovers(lab.path) == ("", "", [], [])
    assert run("libvirt", "up", lab.path) == lab.uri
    assert lab.virsh("domstate", "guest") == "shut off"


def test_write_marks_the_dirty_bitmap(lab):
    lab.blank_guest("guest")
    lab.domain("write", "guest", "sda", "1M", "128k", "0xab")
    nbd = lab.backup("guest", "cp0")
    lab.domain("write", "guest", "sda", "2M", "64k", "0xcd")  # after the point
    found = subprocess.run(["nbdinfo", "--map", nbd], capture_output=True, text=True, check=True)
    assert [line.split()[:2] for line in found.stdout.splitlines() if "data" in line] == [
        ["1048576", "131072"]]
    lab.virsh("domjobabort", "guest")
    nbd = lab.backup("guest", "cp1", since="cp0")
    found = subprocess.run(["nbdinfo", "--map=qemu:dirty-bitmap:backup-sda", nbd],
                           capture_output=True, text=True, check=True)
    assert [line.split()[:2] for line in found.stdout.splitlines() if "dirty" in line] == [
        ["2097152", "65536"]]
    lab.virsh("domjobabort", "guest")


def test_read_and_write_tell_of_failure(lab):
    lab.blank_guest("guest")
    lab.domain("write", "guest", "sda", "0", "64k", "0x11")
    lab.domain("read", "guest", "sda", "0", "64k", "0x11")
    for verb, offset, pattern in (("read", "0", "0x12"), ("write", "1G", "1")):
        with pytest.raises(AssertionError, match="failed"):
            lab.domain(verb, "guest", "sda", offset, "64k", pattern)


def test_small_pool_is_small(lab):
    path = f"{lab.path}/pool-small/big"
    with pytest.raises(OSError, match="No space"), open(path, "wb") as file:
        for _ in range(97):
            file.write(bytes(1 << 20))


@pytest.mark.timeout(300)
def test_tiny_boots_from_old_and_new_buses(lab):
    """Records go on where they ended, after a shutdown exactly, after a power cut without a gap."""
    image = f"{lab.path}/images/tiny.qcow2"
    run("images", "copy", "tiny", image)
    last = 0
    for bus, model, driver in (("sata", "e1000", "disk=ahci net=eth0:e1000,52:54:00:00:00:07"),
                               ("virtio", "virtio", "disk=virtio_blk net=eth0:virtio_net,")):
        lab.domain("define", bus, "--disk", f"{image},bus={bus}", "--net", f"lab,model={model}",
                   "--mac", "52:54:00:00:00:07")
        lab.domain("start", bus)
        mark = lab.domain("wait", bus, "BOOTMARK")
        assert driver in mark
        assert RECORD_RE.search(mark).groups() == (str(last), "0")
        lab.domain("wait", bus, "RECORD last=")
        lab.domain("shutdown", bus)
        last = int(lab.domain("wait", bus, "RECORDS stopped").rpartition("=")[2])
        assert last >= 10
    lab.domain("start", "virtio")
    lab.domain("wait", "virtio", "RECORD last=")
    time.sleep(1)
    seen = int(lab.domain("wait", "virtio", "RECORD last=").rpartition("=")[2])
    lab.domain("destroy", "virtio")
    lab.domain("start", "virtio")
    found, missing = RECORD_RE.search(lab.domain("wait", "virtio", "BOOTMARK")).groups()
    assert int(found) >= seen > last and missing == "0"
