# SPDX-License-Identifier: Apache-2.0
"""The service from a libvirt machine to a real cloud and back again: rounds, drill, cutover, rollback, confirm."""
import glob
import json
import os
import re
import shutil
import sys
import tempfile
import time

import pytest

from cloud import image, run

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../daemon"))

import ferry  # noqa: E402  pylint: disable=wrong-import-position

NAME = "tiny guest"
MAC = "52:54:00:77:00:11"


class World:
    """A libvirtd, a cloud with two projects, and one daemon that knows them all."""

    def __init__(self, cloud):
        self.cloud = cloud
        self.directory = tempfile.mkdtemp(prefix="bf-", dir="/tmp")
        self.lab = ferry.Lab(f"{self.directory}/a")
        os.mkdir(f"{self.directory}/d")
        self.daemon = ferry.Daemon(f"{self.directory}/d")
        self.daemon.options = ferry.appliance_cache()
        self.daemon.start()
        self.daemon.post("/platforms", {"name": "kvm", "type": "libvirt", "url": self.lab.uri})
        for name in ("source", "target"):
            self.daemon.post("/platforms", {
                "name": name, "type": "openstack", "url": f"cloud:{name}",
                "options": {"clouds_yaml": cloud.clouds, "ceph_conf": cloud.conf, "ceph_user": "mover"}})
        self.target = cloud.project("target")
        self.source = cloud.project("source")
        for project in (self.source, self.target):
            wipe(project)
            mark_isolated(project)

    def close(self):
        try:
            if self.daemon.process:
                self.daemon.stop()
        finally:
            for project in (self.source, self.target):
                wipe(project)
            self.lab.stop()
            if not os.environ.get("BLOCKFERRY_KEEP"):
                shutil.rmtree(self.directory, ignore_errors=True)

    def replicate(self, source, machine, target, name, mapping, **policy):
        self.daemon.post("/replications", {
            "source": source, "machine": machine, "target": target, "name": name, "start": True, "mapping": mapping,
            "policy": {"interval": None, "convert": "none", "shutdown": "ask", "shutdown_timeout": "90s",
                       "boot_timeout": "200s", **policy}})
        return self.daemon.wait_state(name, "idle")

    def left(self, project):
        """What of ours is in a project, asked of the cloud itself."""
        cloud = project.cloud
        things = cloud.get("volumev3", "/volumes/detail")["volumes"]
        things += cloud.get("volumev3", "/snapshots/detail")["snapshots"]
        things += cloud.get("compute", "/servers/detail")["servers"]
        found = [thing["name"] for thing in things if "blockferry" in thing.get("metadata", {})]
        ports = cloud.get("network", "/ports")["ports"]
        return found + [port["name"] for port in ports if port["name"].startswith("bf-")]

    def servers(self, project):
        return {one["name"]: one for one in project.cloud.get("compute", "/servers/detail")["servers"]}


def wipe(project):
    """After a failed test: what it left must not fail the next one."""
    cloud = project.cloud
    for server in cloud.get("compute", "/servers")["servers"]:
        project.remove("compute", f"/servers/{server['id']}")
    for volume in cloud.get("volumev3", "/volumes/detail")["volumes"]:
        for one in cloud.get("volumev3", f"/attachments?volume_id={volume['id']}")["attachments"]:
            cloud.delete("volumev3", f"/attachments/{one['id']}")
    clones_first = sorted(cloud.get("volumev3", "/volumes/detail")["volumes"], key=lambda v: not v["snapshot_id"])
    for volume in clones_first:
        for one in cloud.get("volumev3", f"/snapshots?volume_id={volume['id']}")["snapshots"]:
            project.remove("volumev3", f"/snapshots/{one['id']}")
        project.remove("volumev3", f"/volumes/{volume['id']}")
    for port in cloud.get("network", f"/ports?project_id={cloud.project_id}")["ports"]:
        project.remove("network", f"/ports/{port['id']}")


def mark_isolated(project):
    """A member does not see a network's type; its owner says what it is."""
    for network in project.cloud.get("network", "/networks?name=isolated")["networks"]:
        project.cloud.call("network", "PUT", f"/networks/{network['id']}/tags/blockferry-isolated")


@pytest.fixture(scope="module")
def world(cloud):
    one = World(cloud)
    yield one
    one.close()


def booted_line(launch):
    return re.search(r"BOOTMARK .*", launch["console_tail"]).group(0)


# --- libvirt to OpenStack ---

@pytest.fixture(scope="module")
def guest(world):
    """A machine that boots in seconds, writes records to its disk and says so on its console."""
    image = f"{world.directory}/a/images/guest.qcow2"
    ferry.run(f"{ferry.LAB}/images", "copy", "tiny", image, "qcow2", timeout=600)
    world.lab.domain("define", NAME, "--disk", f"{image},bus=sata,format=qcow2", "--net", "lab", "--mac", MAC,
                     "--memory", "128")
    world.lab.domain("start", NAME)
    world.lab.domain("wait", NAME, "RECORD last=", timeout=200)
    one = world.replicate("kvm", NAME, "target", "g",
                          {"storage": "rbd-b", "default_network": "prod", "isolated_network": "isolated"})
    assert one["last_round"]["kind"] == "full"
    return "g"


def test_deltas_carry_what_changed(world, guest):
    world.daemon.do(guest, "sync")
    last = world.daemon.show(guest)["last_round"]
    assert last["kind"] == "delta", last
    assert last["sent_bytes"] < 8 << 20, last


def test_drill_on_an_isolated_network_by_the_boot_ladder(world, guest):
    """From SATA with a small virtio disk beside, then the same clone from virtio."""
    world.daemon.call("PATCH", f"/replications/{guest}", {"policy": {"boot_ladder": "sata-first"}})
    world.daemon.do(guest, "drill")
    world.daemon.call("PATCH", f"/replications/{guest}", {"policy": {"boot_ladder": "virtio"}})
    launch = world.daemon.show(guest)["launch"]
    assert launch["state"] == "booted", launch
    first = launch["evidence"]["first"]
    assert first["proven"] is True and "root=/dev/sda2 disk=ahci" in first["text"], first
    assert records(booted_line(launch)) > records(first["text"]), "not the disk of the first boot"
    assert len(world.servers(world.target)[f"{NAME}-drill"]["os-extended-volumes:volumes_attached"]) == 1
    assert "disk=virtio_blk" in booted_line(launch) and "missing=0" in booted_line(launch)
    server = world.servers(world.target)[f"{NAME}-drill"]
    assert server["status"] == "ACTIVE" and list(server["addresses"]) == ["isolated"]
    assert server["addresses"]["isolated"][0]["OS-EXT-IPS-MAC:mac_addr"] == MAC
    assert world.lab.virsh("domstate", NAME) == "running"
    world.daemon.do(guest, "sync")
    assert world.daemon.show(guest)["last_round"]["kind"] == "delta"
    world.daemon.do(guest, "drill-end")
    assert world.servers(world.target) == {}


def records(line):
    """How many the guest had written before this boot."""
    return int(re.search(r"last=(\d+)", line).group(1))


def last_record(path):
    with open(path, encoding="utf-8", errors="replace") as console:
        return max(int(n) for n in re.findall(r"last=(\d+)", console.read()))


def test_cutover_and_rollback(world, guest):
    world.daemon.do(guest, "cutover", yes=True)
    one = world.daemon.show(guest)
    assert one["state"] == "confirm-pending"
    assert world.lab.virsh("domstate", NAME) == "shut off"
    server = world.servers(world.target)[NAME]
    assert server["status"] == "ACTIVE" and list(server["addresses"]) == ["prod"]
    written = last_record(f"{world.directory}/a/console/{NAME}.log")
    line = booted_line(one["launch"])
    assert int(re.search(r"last=(\d+)", line).group(1)) >= written and "missing=0" in line
    world.daemon.do(guest, "rollback")
    assert world.daemon.show(guest)["state"] == "rolled-back"
    assert world.lab.virsh("domstate", NAME) == "running" and world.servers(world.target) == {}
    world.lab.domain("wait", NAME, "RECORD last=", timeout=200)
    world.daemon.do(guest, "sync")
    assert world.daemon.show(guest)["last_round"]["kind"] == "delta"


def test_confirm_leaves_nothing_of_ours(world, guest):
    world.daemon.do(guest, "cutover", yes=True)
    server = world.servers(world.target)[NAME]
    world.daemon.do(guest, "confirm")
    assert world.daemon.show(guest)["state"] == "done" and world.daemon.ledger() == []
    assert world.servers(world.target)[NAME]["id"] == server["id"]
    assert world.left(world.target) == []
    volume = server["os-extended-volumes:volumes_attached"][0]["id"]
    info = world.cloud.rbd("info", f"volumes-b/volume-{volume}")
    assert "parent" not in info, info
    world.daemon.do(guest, "remove")
    assert world.servers(world.target)[NAME]["status"] == "ACTIVE"
    world.target.remove("compute", f"/servers/{server['id']}")
    world.target.remove("volumev3", f"/volumes/{volume}")


# --- OpenStack as the source ---

SERVER = "nova guest"
SERVER_MAC = "52:54:00:77:00:22"
ADDRESS = "10.77.1.22"
MIB = 1 << 20


@pytest.fixture(scope="module")
def server(world):
    """A server that boots from one RBD volume and has another, in the project source."""
    project = world.source
    root = project.boot_volume("rbd-a", image("tiny"))
    data = project.volume("rbd-a")
    port = project.port("prod", SERVER_MAC, ADDRESS)
    made = project.server([root, data], [{"port": port}], name=SERVER)
    project.wait_console(made, "BOOTMARK", 200)
    yield {"id": made, "volumes": {"vda": root, "vdb": data}}


def baseline(world, volume):
    """What the last round's snapshot holds, which is kept for the next round."""
    found = json.loads(world.cloud.rbd("snap", "ls", "--format", "json", f"volumes-a/volume-{volume}"))
    assert len(found) == 1, found  # one between rounds
    return f"rbd:volumes-a/volume-{volume}@{found[0]['name']}:conf={world.cloud.conf}"


def newest_layer(world, name, key):
    """The last point of a disk on libvirt."""
    rows = [row for row in world.daemon.ledger() if row["kind"] == "layer" and row["replication"] == name
            and row["name"] == key and row["state"] == "made"]
    newest = max(rows, key=lambda row: row["created_at"])["tag"]
    return glob.glob(f"{world.lab.directory}/pool*/{newest}-of-*")[0]


def same_bytes(world, name, key, volume):
    """The last point of a disk on the cloud holds what the round's snapshot holds."""
    at = baseline(world, volume)
    replica = next(one["id"] for one in world.target.cloud.get("volumev3", "/volumes/detail")["volumes"]
                   if one["name"].endswith(f" {name} {key}"))
    points = world.target.cloud.get("volumev3", f"/snapshots/detail?volume_id={replica}")["snapshots"]
    newest = max(points, key=lambda point: point["created_at"])["id"]
    replica = f"rbd:volumes-b/volume-{replica}@snapshot-{newest}:conf={world.cloud.conf}"
    run("qemu-img", "compare", "-f", "raw", "-F", "raw", at, replica)


def test_rounds_of_a_running_server(world, server):
    one = world.replicate("source", SERVER, "target", "o",
                          {"storage": "rbd-b", "default_network": "prod", "isolated_network": "isolated"})
    assert one["last_round"]["kind"] == "full"
    for _ in range(3):
        time.sleep(3)  # the guest writes a record every second
        world.daemon.do("o", "sync")
        last = world.daemon.show("o")["last_round"]
        assert last["kind"] == "delta" and 0 < last["sent_bytes"] < 8 * MIB, last
        apart = int(re.search(r"at most (\d+) ms apart", last["note"]).group(1))
        assert 0 < apart < 60000, last  # snapshots of two disks, one after the other
        for key, volume in server["volumes"].items():
            same_bytes(world, "o", key, volume)


def test_machine_is_described(world, server):
    machines = world.daemon.get("/platforms/source/machines")["machines"]
    machine = next(one for one in machines if one["name"] == SERVER)
    assert machine["id"] == server["id"] and machine["power"] == "on" and machine["memory_bytes"] == 256 * MIB
    assert [(d["key"], d["identity"], d["size_bytes"], d["boot_order"]) for d in machine["disks"]] == [
        ("vda", server["volumes"]["vda"], 1 << 30, 1), ("vdb", server["volumes"]["vdb"], 1 << 30, 0)]
    assert [(n["mac"], n["network"], n["addresses"]) for n in machine["nics"]] == [(SERVER_MAC, "prod", [ADDRESS])]


def test_cutover_to_the_other_project(world, server):
    world.daemon.do("o", "cutover", yes=True)
    launched = world.servers(world.target)[SERVER]
    assert launched["addresses"]["prod"] == [{"version": 4, "addr": ADDRESS, "OS-EXT-IPS:type": "fixed",
                                              "OS-EXT-IPS-MAC:mac_addr": SERVER_MAC}]
    assert [one["id"] for one in launched["os-extended-volumes:volumes_attached"]] != list(server["volumes"].values())
    assert world.servers(world.source)[SERVER]["status"] == "SHUTOFF"
    line = booted_line(world.daemon.show("o")["launch"])
    assert "missing=0" in line and "disk=virtio_blk" in line, line
    world.daemon.do("o", "rollback")
    assert world.servers(world.source)[SERVER]["status"] == "ACTIVE" and world.servers(world.target) == {}
    world.daemon.do("o", "sync")
    assert world.daemon.show("o")["last_round"]["kind"] == "delta"
    world.daemon.do("o", "remove", delete_volumes=True)
    assert world.left(world.source) == [] and world.left(world.target) == []


def test_volumes_handed_over_are_free(world, server):
    world.replicate("source", SERVER, "target", "h",
                    {"storage": "rbd-b", "default_network": "prod", "isolated_network": "isolated"})
    api = world.target.cloud
    ours = [one["id"] for one in api.get("volumev3", "/volumes/detail")["volumes"]
            if "blockferry" in one["metadata"]]
    assert len(ours) == 2
    world.daemon.do("h", "remove")
    assert world.left(world.target) == [] and world.left(world.source) == [] and world.daemon.ledger() == []
    for volume in ours:
        one = api.get("volumev3", f"/volumes/{volume}")["volume"]
        assert one["status"] == "available" and one["attachments"] == [], one
        for point in api.get("volumev3", f"/snapshots/detail?volume_id={volume}")["snapshots"]:
            world.target.remove("volumev3", f"/snapshots/{point['id']}")
        world.target.remove("volumev3", f"/volumes/{volume}")


def test_to_libvirt(world, server):
    one = world.replicate("source", SERVER, "kvm", "k", {"default_network": "lab", "isolated_network": "isolated"})
    assert one["last_round"]["kind"] == "full"
    for _ in range(3):
        time.sleep(2)
        world.daemon.do("k", "sync")
        last = world.daemon.show("k")["last_round"]
        assert last["kind"] == "delta" and 0 < last["sent_bytes"] < 8 * MIB, last
        for key, volume in server["volumes"].items():
            run("qemu-img", "compare", "-f", "raw", "-F", "qcow2", baseline(world, volume),
                newest_layer(world, "k", key))
    world.daemon.do("k", "cutover", yes=True)
    assert world.lab.virsh("domstate", SERVER) == "running"
    assert "missing=0" in booted_line(world.daemon.show("k")["launch"])
    world.daemon.do("k", "rollback")
    assert world.servers(world.source)[SERVER]["status"] == "ACTIVE"
    world.daemon.do("k", "remove", delete_volumes=True)
    assert world.left(world.source) == [] and world.daemon.ledger() == []
