# SPDX-License-Identifier: Apache-2.0
"""Volumes that are not RBD, written and read through a mover that is a server of the cloud."""
import filecmp
import json
import os
import random
import threading

import pytest

import guests
import service
from cloud import run
from nova_mover import NovaMover
from test_connector import SIZE, CloudSeam, copy, fails, new_tag, pattern_file, volume_id, write_round

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
ROOM = 80 * MIB  # an offset behind the guest's partitions


def disk_file(world):
    return f"{world.lab.directory}/images/{NAME}-0.qcow2"


def same_bytes(world, volume):
    kind, stored = content(world.cloud, volume)
    run("qemu-img", "compare", "-U", "-f", "qcow2", "-F", kind, disk_file(world), stored)


def clean(world, mover):
    """The cloud has what the ledger knows, and the mover has no disk but its own."""
    world.wait_until(world.settled)
    assert world.tagged(world.target) == world.ledgered(("moving",))
    attached = mover.project.cloud.get("compute", f"/servers/{mover.server}/os-volume_attachments")
    assert len(attached["volumeAttachments"]) == 1


@pytest.fixture(scope="module")
def moved(world, mover):
    """A guest that the conversion has something to do for, stopped before its first instruction."""
    guests.recognised_tiny(disk_file(world), room="64M", generator="dep")
    world.lab.domain("define", NAME, "--disk", f"{disk_file(world)},bus=sata,format=qcow2", "--net", "lab",
                     "--mac", MAC, "--memory", "128")
    world.lab.domain("start", NAME, "--paused")
    world.daemon.post("/platforms", {
        "name": "moving", "type": "openstack", "url": "cloud:target",
        "options": {"clouds_yaml": world.cloud.clouds, "ceph_conf": world.cloud.conf, "ceph_user": "mover",
                    "mover": mover.server, "mover_address": mover.address, "mover_certificates": mover.certificates}})
    one = world.replicate("kvm", NAME, "moving", NAME,
                          {"storage": "file", "default_network": "prod", "isolated_network": "isolated"},
                          convert="auto", shutdown="off", shutdown_timeout="1s")
    found = {f["id"]: f for f in one["findings"]}
    assert found["openstack-write-path"]["found"].startswith("mover")
    assert found["openstack-points"]["severity"] == "info"  # a member is not told what backs a volume type
    return NAME


def test_rounds_off_rbd(world, mover, moved):
    """The plan of the conversion is made of the point, which only the volume itself can show."""
    volume = world.replica(moved)["id"]
    same_bytes(world, volume)
    plan = world.daemon.get(f"/replications/{moved}/plan")["plan"]
    assert plan["method"] == "fast" and plan["os"]["product"] == "Tiny 12" and plan["findings"] == [], plan
    clean(world, mover)
    world.lab.write(moved, ROOM, MIB, 0x11)
    world.daemon.do(moved, "sync")
    last = world.daemon.show(moved)["last_round"]
    assert last["kind"] == "delta" and last["sent_bytes"] <= 2 * MIB, last
    same_bytes(world, volume)


def test_a_round_that_was_lost(world, mover, moved):
    """The volume's note of it, as a killed service leaves it.  What it wrote cannot be taken back: all is written."""
    volume = world.replica(moved)["id"]
    mover.project.cloud.post("volumev3", f"/volumes/{volume}/metadata",
                             {"metadata": {"blockferry_round": "bf-00000000000000aa"}})
    assert world.fails(moved, "sync")["code"] == "baseline-lost"
    world.daemon.do(moved, "sync")
    assert world.daemon.show(moved)["last_round"]["kind"] == "full"
    same_bytes(world, volume)


def test_only_the_oldest_point_is_launched(world, mover, moved):
    """What Cinder's driver for NFS cannot do is said as that, and costs nothing."""
    error = world.fails(moved, "drill")
    assert error["code"] == "point-not-oldest" and "keep_points" in error["fix"], error
    clean(world, mover)
    world.daemon.call("PATCH", f"/replications/{moved}", {"policy": {"keep_points": 1}})
    world.daemon.do(moved, "sync")
    world.daemon.do(moved, "drill", convert="none")
    assert "BOOTMARK" in world.daemon.show(moved)["launch"]["console_tail"]
    world.daemon.do(moved, "drill-end")
    clean(world, mover)


def test_cutover_off_rbd(world, mover, moved):
    """Its two rounds leave two points more than can be launched: they make room.  The conversion reaches the launch's
    volume through the mover, and the replica is not changed by it."""
    world.lab.write(moved, ROOM, MIB, 0x22)
    world.daemon.do(moved, "cutover", yes=True)
    launch = world.daemon.show(moved)["launch"]
    conversion = launch["conversion"]
    print("# conversion:", conversion["seconds"], launch["timing"])
    assert conversion["method"] == "fast" and conversion["planned"] is True and conversion["virtio"] is True, conversion
    assert "/etc/initramfs-tools/modules" in conversion["log"], conversion
    assert "disk=virtio_blk" in launch["console_tail"] and MAC in launch["console_tail"]
    server = world.servers(world.target)[moved]
    booted, = [one["id"] for one in server["os-extended-volumes:volumes_attached"]]
    stored = f"{world.cloud.lab / 'nfs/upper'}/volume-{booted}"
    modules = run("debugfs", "-R", "cat /etc/initramfs-tools/modules", f"{stored}?offset={guests.RECORDS}")
    assert "virtio_blk" in modules, modules
    same_bytes(world, world.replica(moved)["id"])
    assert len(world.daemon.list(moved, "points")) == 1
    world.daemon.do(moved, "rollback")
    assert world.lab.virsh("domstate", moved) == "running" and world.servers(world.target).keys() == {"mover"}
    clean(world, mover)


def test_confirm_off_rbd(world, mover, moved):
    """The machine's volume is a copy of its own; the replica goes."""
    world.daemon.call("PATCH", f"/replications/{moved}", {"policy": {"convert": "none"}})
    world.daemon.do(moved, "cutover", yes=True)
    server = world.servers(world.target)[moved]
    world.daemon.do(moved, "confirm")
    assert world.daemon.show(moved)["state"] == "done" and world.daemon.ledger() == []
    assert world.left(world.target) == [] and world.servers(world.target)[moved]["id"] == server["id"]
    booted, = [one["id"] for one in server["os-extended-volumes:volumes_attached"]]
    stored = f"{world.cloud.lab / 'nfs/upper'}/volume-{booted}"
    assert "backing-filename" not in json.loads(run("qemu-img", "info", "--output=json", "-U", stored))
    clean(world, mover)
    world.daemon.do(moved, "remove")
    world.target.remove("compute", f"/servers/{server['id']}")
    world.target.remove("volumev3", f"/volumes/{booted}")
    for port in world.target.cloud.get("network", f"/ports?mac_address={MAC}")["ports"]:
        world.target.remove("network", f"/ports/{port['id']}")


def test_a_failed_round_cannot_be_taken_back(cloud, mover, tmp_path):
    """No delta goes on top of what it wrote: the next round is full, and whatever was there before is gone."""
    options = {"mover": mover.server, "mover_address": mover.address, "mover_certificates": mover.certificates}
    tls = ("--tls-certificates", mover.certificates)
    with CloudSeam(cloud) as seam:
        seam.open("target", p="lab", **options)
        made = seam.call("create_volume", tag=new_tag(), name="web1 vda", disk="vda", size=SIZE,
                         storage="file")["volume"]
        first, failed, third = new_tag(), new_tag(), new_tag()
        good, bad = pattern_file(tmp_path / "good", 8 * MIB), pattern_file(tmp_path / "bad", 8 * MIB, at=4 * MIB)
        write_round(seam, made, first, good, options=tls)
        point = seam.call("make_point", volume=made, tag=first)["point"]
        write_round(seam, made, failed, bad, last=point, options=tls)
        fails("platform-unsupported", seam.call, "open_point", volume=made, point=point)
        seam.call("drop_round", volume=made, tag=failed)
        seam.call("drop_round", volume=made, tag=failed)
        fails("baseline-lost", seam.call, "open_volume", volume=made, tag=third, last_point=point)
        write_round(seam, made, third, good, options=tls)
        later = seam.call("make_point", volume=made, tag=third)["point"]
        seam.call("delete_point", volume=made, point=point)
        opened = seam.call("open_point", volume=made, point=later)
        run("qemu-io", "-r", "-f", "raw", "-c", "read -P 0x78 0 4M", "-c", "read -P 0 4M 4M", opened["uri"])
        with pytest.raises(AssertionError, match="ermission|read-only"):
            run("qemu-io", "-f", "raw", "-c", "write 0 4k", opened["uri"])
        seam.call("close_volume", handle=opened["handle"])
        seam.call("delete_volume", volume=made)
        assert seam.tagged() == []


# --- the service on a server of the cloud ---

class Udev(threading.Thread):
    """In place of a server's kernel and udev: an attached volume's file becomes a block device of this host, under the
    name that udev would give the disk in the server."""

    def __init__(self, project, server, directory):
        super().__init__(daemon=True)
        self.project, self.server, self.directory = project, server, directory
        self.devices = {}
        self.ended = threading.Event()
        self.own = []
        self.own = self.attached()  # its root disk; Nova lists them in any order

    def attached(self):
        path = f"/servers/{self.server}/os-volume_attachments"
        listed = self.project.cloud.get("compute", path)["volumeAttachments"]
        return [one["volumeId"] for one in listed if one["volumeId"] not in self.own]

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
        assert opened["uri"] == f"{udev.directory}/virtio-{volume[:20]}" and not opened["reads_as_zero"]
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
