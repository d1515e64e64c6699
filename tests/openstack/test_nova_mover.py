# SPDX-License-Identifier: Apache-2.0
"""Volumes that are not RBD, written and read through a mover that is a server of the cloud."""
import filecmp
import json
import os
import random
import threading

import pytest

import service
from cloud import run
from nova_mover import NovaMover
from test_connector import SIZE, CloudSeam, copy, fails, new_tag, pattern_file, volume_id

pytestmark = pytest.mark.timeout(600)
COPY = os.environ.get("BLOCKFERRY_COPY", "blockferry-copy")
GIB, MIB = 1 << 30, 1 << 20


@pytest.fixture(scope="module")
def world(cloud):
    """First of all, as it begins with empty projects."""
    one = service.Ferry(cloud)
    yield one
    one.close()


@pytest.fixture(scope="module")
def mover(cloud, world):  # pylint: disable=unused-argument
    project = cloud.project("target")
    yield NovaMover(project, "--writable")
    project.clean()


def test_volume_of_files(cloud, mover, tmp_path):
    """Written over TLS, detached, attached again, read back; and the file behind it is the disk."""
    assert "mode=rw" in mover.mark
    disk, back = tmp_path / "disk", tmp_path / "back"
    dice = random.Random(5)
    with open(disk, "wb") as file:
        file.truncate(GIB)
        for at in (0, 300 * MIB, 700 * MIB + 4096, GIB - MIB):
            file.seek(at)
            file.write(dice.randbytes(MIB))
    volume = mover.project.volume("file")
    mover.attach(volume)
    tls = ("--progress", "json", "--tls-certificates", mover.certificates)
    run(COPY, *tls, "--target-is-zero", disk, mover.uri(volume))
    mover.detach(volume)
    stored = cloud.lab / f"nfs/upper/volume-{volume}"
    assert filecmp.cmp(disk, stored, shallow=False)
    assert os.stat(stored).st_blocks * 512 < 16 * MIB  # it stayed thin
    mover.attach(volume)
    # A device has no allocation map, and emulated TLS is slow: only a part is read back.
    parts = tmp_path / "map"
    parts.write_text("".join(json.dumps({"offset": at, "length": 2 * MIB, "type": "data"}) + "\n"
                             for at in (0, 300 * MIB, 700 * MIB)))
    run(COPY, *tls, "--map", parts, mover.uri(volume), back)
    with open(disk, "rb") as ours, open(back, "rb") as theirs:
        for at in (0, 300 * MIB, 700 * MIB):
            ours.seek(at)
            theirs.seek(at)
            assert ours.read(2 * MIB) == theirs.read(2 * MIB)
    mover.detach(volume)


def content(cloud, volume):
    """What Cinder's driver holds now, as format and file: raw, or qcow2 on top of a snapshot."""
    directory = cloud.lab / "nfs/upper"
    info = f"{directory}/volume-{volume}.info"
    active = f"volume-{volume}"
    if os.path.exists(info):
        with open(info) as file:
            active = json.load(file)["active"]
    path = f"{directory}/{active}"
    return json.loads(run("qemu-img", "info", "--output=json", "-U", path))["format"], path


NAME, MAC = "moved", "52:54:00:77:04:01"


def same_bytes(world, volume):
    kind, stored = content(world.cloud, volume)
    run("qemu-img", "compare", "-U", "-f", "qcow2", "-F", kind, f"{world.lab.directory}/images/{NAME}-0.qcow2", stored)


def test_replication(world, mover):
    """The service: rounds, a drill from a clone of the point, and the end, on volumes that librbd cannot reach."""
    world.machine(NAME, MAC)
    world.daemon.post("/platforms", {
        "name": "moving", "type": "openstack", "url": "cloud:target",
        "options": {"clouds_yaml": world.cloud.clouds, "ceph_conf": world.cloud.conf, "ceph_user": "mover",
                    "mover": mover.server, "mover_address": mover.address, "mover_certificates": mover.certificates}})
    one = world.replicate("kvm", NAME, "moving", NAME,
                          {"storage": "file", "default_network": "prod", "isolated_network": "isolated"},
                          boot_timeout="60s", shutdown="off", shutdown_timeout="1s", keep_points=1)
    assert {f["id"]: f["found"] for f in one["findings"]}["openstack-write-path"].startswith("mover")
    volume = world.replica(NAME)["id"]
    same_bytes(world, volume)
    for pattern in (0x11, 0x22):
        world.lab.write(NAME, 8 * MIB, MIB, pattern)
        world.daemon.do(NAME, "sync")
        last = world.daemon.show(NAME)["last_round"]
        assert last["kind"] == "delta" and last["sent_bytes"] <= 2 * MIB, last
        same_bytes(world, volume)
    world.daemon.do(NAME, "drill")
    assert service.booted(world.daemon.show(NAME)["launch"])
    world.daemon.do(NAME, "drill-end")
    world.daemon.do(NAME, "remove", delete_volumes=True)
    assert world.left(world.target) == [] and world.daemon.ledger() == []
    attached = mover.project.cloud.get("compute", f"/servers/{mover.server}/os-volume_attachments")
    assert len(attached["volumeAttachments"]) == 1  # its own


# --- the service on a server of the cloud ---

class Udev(threading.Thread):
    """In place of a server's kernel and udev: an attached volume's file becomes a block device of this host, under the
    name that udev would give the disk in the server."""

    def __init__(self, project, server, directory):
        super().__init__(daemon=True)
        self.project, self.server, self.directory = project, server, directory
        self.devices = {}
        self.ended = threading.Event()

    def attached(self):
        path = f"/servers/{self.server}/os-volume_attachments"
        return [one["volumeId"] for one in self.project.cloud.get("compute", path)["volumeAttachments"]][1:]

    def run(self):
        while not self.ended.wait(0.2):
            there = self.attached()
            for volume in set(there) - set(self.devices):
                self.plug(volume)
            for volume in set(self.devices) - set(there):
                self.unplug(volume)

    def plug(self, volume):
        device = run("losetup", "--show", "-f", self.project.lab.lab / f"nfs/upper/volume-{volume}")
        self.devices[volume] = device
        os.symlink(device, f"{self.directory}/virtio-{volume[:20]}")

    def unplug(self, volume):
        os.unlink(f"{self.directory}/virtio-{volume[:20]}")
        run("losetup", "-d", self.devices.pop(volume))

    def close(self):
        self.ended.set()
        self.join(30)
        for volume in list(self.devices):
            self.unplug(volume)


@pytest.fixture
def udev(mover, tmp_path):
    os.mkdir(tmp_path / "by-id")
    one = Udev(mover.project, mover.server, str(tmp_path / "by-id"))
    one.start()
    yield one
    one.close()


def test_local_is_found_and_written(cloud, udev, tmp_path):
    """Write path "local", with real attachments to a server that the service is not in: a full round, taken up again
    after a kill."""
    options = {"instance": udev.server, "devices": udev.directory}
    with CloudSeam(cloud) as seam:
        seam.open("target", p="lab", **options)
        made = seam.call("create_volume", tag=new_tag(), name="web1 vda", disk="vda", size=SIZE,
                         storage="file")["volume"]
        volume, tag = volume_id(made), new_tag()
        opened = seam.call("open_volume", volume=made, tag=tag, last_point=None)
        assert opened["uri"] == f"file:{udev.directory}/virtio-{volume[:20]}" and not opened["reads_as_zero"]
        one = pattern_file(tmp_path / "one", 1 << 30, at=8 * MIB)
        copy(one, opened)
        seam.kill()
        seam.open("target", p="lab", **options)
        opened = seam.call("open_volume", volume=made, tag=tag, last_point=None)
        two = pattern_file(tmp_path / "two", 1 << 30, at=64 * MIB, seed=b"y")
        copy(two, opened)
        seam.call("close_volume", handle=opened["handle"])
        assert udev.attached() == []
        run("qemu-img", "compare", "-f", "raw", "-F", "raw", two, cloud.lab / f"nfs/upper/volume-{volume}")
        seam.call("delete_volume", volume=made)
        assert seam.tagged() == []


def test_local_options(cloud):
    with CloudSeam(cloud) as seam:
        fails("bad-input", seam.open, "target", devices="/dev/disk/by-id")
        fails("bad-input", seam.open, "target", instance="x", devices="by-id")
        fails("bad-input", seam.open, "target", instance="x", mover="y", mover_address="z", mover_certificates="/c")
        fails("bad-input", seam.open, "target", boot="floppy")
