# SPDX-License-Identifier: Apache-2.0
"""Adoption between two projects whose volumes lie in one pool: no byte is copied, and every end is a whole machine."""
import datetime
import os
import random
import time

import pytest

import service
from cloud import run

pytestmark = pytest.mark.timeout(600)

NAME = "adopted"
MAC, ADDRESS = "52:54:00:77:02:01", "10.77.1.91"
MAP = {"default_network": "prod"}
QUICK = {"transfer": "adopt", "boot_timeout": "60s", "shutdown": "off", "shutdown_timeout": "30s"}
ROUNDS = int(os.environ.get("BLOCKFERRY_ADOPTIONS", "1"))  # of killed adoptions; each takes about a minute
DATA = 300 << 20  # where the second disk holds a record


class Machine:
    """A server of the project source with two volumes, and what must be true of it."""

    def __init__(self, world):
        self.world = world
        self.data = world.source.volume("rbd-a", name="data")
        self.io(self.data, f"write -P 0x5a {DATA} 64k")
        quick = {"os_shutdown_timeout": "1"}  # the sector does not know the power button
        self.id, self.root = world.server_of_sector(NAME, MAC, ADDRESS, more=[self.data], metadata=quick)
        self.volumes = [self.root, self.data]
        self.images = [self.image(volume) for volume in self.volumes]

    def io(self, volume, command):
        run("qemu-io", "-f", "raw", "-c", command, f"rbd:volumes-a/volume-{volume}:conf={self.world.cloud.conf}")

    def image(self, volume):
        """The id of the RBD image behind a volume, which it keeps for life."""
        text = self.world.cloud.rbd("info", f"volumes-a/volume-{volume}")
        return next(line.split(".")[1] for line in text.splitlines() if "block_name_prefix" in line)

    def status(self):
        return self.world.source.cloud.get("compute", f"/servers/{self.id}")["server"]["status"]

    def names(self):
        return sorted(self.world.cloud.rbd("ls", "volumes-a").split())

    def check_at_home(self):
        """It runs, on its own volumes, with what they held; and the target has nothing."""
        world = self.world
        assert self.status() == "ACTIVE"
        assert self.names() == sorted(f"volume-{volume}" for volume in self.volumes)
        assert [self.image(volume) for volume in self.volumes] == self.images
        assert world.servers(world.target) == {} and world.left(world.target) == []
        assert world.target.cloud.get("volumev3", "/volumes")["volumes"] == []
        assert world.daemon.ledger() == []
        run("qemu-io", "-r", "-f", "raw", "-c", f"read -P 0x5a {DATA} 64k",
            f"rbd:volumes-a/volume-{self.data}:conf={world.cloud.conf}")

    def check_away(self):
        """It runs at the target, on the very same images; at home it is off."""
        world = self.world
        server = world.servers(world.target)[NAME]
        assert server["status"] == "ACTIVE" and self.status() == "SHUTOFF"
        disks = world.target.cloud.get("compute", f"/servers/{server['id']}/os-volume_attachments")["volumeAttachments"]
        volumes = [one["volumeId"] for one in sorted(disks, key=lambda one: one["device"])]  # Nova lists in any order
        assert [self.image(volume) for volume in volumes] == self.images
        assert self.names() == sorted(f"volume-{volume}" for volume in volumes)
        assert server["addresses"]["prod"][0]["addr"] == ADDRESS
        assert server["addresses"]["prod"][0]["OS-EXT-IPS-MAC:mac_addr"] == MAC
        return server, volumes


@pytest.fixture(scope="module")
def world(cloud):
    one = service.Ferry(cloud)
    one.daemon.post("/platforms", {
        "name": "admin", "type": "openstack", "url": "cloud:target-admin",
        "options": {"clouds_yaml": cloud.clouds, "ceph_conf": cloud.conf, "ceph_user": "mover"}})
    yield one
    one.close()


@pytest.fixture(scope="module")
def machine(world):
    return Machine(world)


@pytest.fixture(scope="module")
def adopted(world, machine):
    world.daemon.post("/replications", {"source": "source", "machine": machine.id, "target": "admin", "name": NAME,
                                        "mapping": MAP, "policy": QUICK})
    assert world.daemon.show(NAME)["state"] == "checked"
    return NAME


def findings(world, machine, target, storage=None, source="source", **policy):
    """What blocks an adoption."""
    body = {"source": source, "machine": machine, "target": target, "name": "no", "start": False,
            "mapping": {**MAP, "storage": storage}, "policy": {**QUICK, **policy}}
    found = world.daemon.post("/replications", body)["findings"]
    world.daemon.do("no", "remove")
    return {one["id"] for one in found if one["severity"] == "block"}


def test_prechecks(world, machine):
    assert findings(world, machine.id, "admin") == set()
    assert findings(world, machine.id, "target") == {"openstack-adopt-rights"}
    assert findings(world, machine.id, "admin", "rbd-b") == {"openstack-adopt-type"}
    assert "adopt-unsupported" in findings(world, machine.id, "kvm")
    taken = world.source.cloud.post("volumev3", "/snapshots", {"snapshot": {
        "volume_id": machine.data, "name": "an admin's", "force": True}})["snapshot"]["id"]
    world.wait_until(lambda: world.source.cloud.get("volumev3", f"/snapshots/{taken}")["snapshot"]["status"]
                     == "available")
    assert findings(world, machine.id, "admin") == {"openstack-adopt-snapshots"}
    world.source.remove("volumev3", f"/snapshots/{taken}")
    with pytest.raises(service.ferry.ApiError) as refused:
        findings(world, machine.id, "admin", convert="v2v")
    assert refused.value.code == "bad-input"


def test_disks_that_stay(world):
    """A source that is no cloud knows no place of a disk; and what other machines use is not taken from them."""
    world.lab.machine("local", ["8M"], start=False, fmt="raw")
    found = findings(world, "local", "admin", source="kvm")
    assert "adopt-no-place" in found and "adopt-shared-disk" not in found, found
    xml = world.lab.virsh("dumpxml", "local", "--inactive")
    with open(f"{world.directory}/local.xml", "w", encoding="utf-8") as file:
        file.write(xml.replace("<target dev='sda'", "<shareable/><target dev='sda'"))
    world.lab.virsh("define", file.name)
    found = findings(world, "local", "admin", source="kvm")
    assert {"adopt-no-place", "adopt-shared-disk"} <= found, found
    world.lab.virsh("undefine", "local")


def test_rename_that_was_cut_off(cloud):
    """librbd's rename has three steps; between them both names lead to the image."""
    pool = "volumes-b"
    uri = f"rbd:{pool}/{{}}?conf={cloud.conf}&id=mover"
    rename = [f"{os.path.dirname(os.environ['BLOCKFERRY_COPY'])}/blockferry-rbd", "rename"]

    def rados(*argv):
        run("rados", "-c", cloud.conf, "-p", pool, *argv)

    def names():
        return sorted(name for name in cloud.rbd("ls", pool).split() if name.startswith("cut-"))
    cloud.rbd("create", "--size", "4M", f"{pool}/cut-a")
    rados("cp", "rbd_id.cut-a", "rbd_id.cut-b")  # before the directory was changed
    assert run(*rename, uri.format("cut-a"), "cut-b") == "{}" and names() == ["cut-b"]
    rados("cp", "rbd_id.cut-b", "rbd_id.cut-a")  # after it
    assert run(*rename, uri.format("cut-a"), "cut-b") == "{}" and names() == ["cut-b"]
    assert run(*rename, uri.format("cut-a"), "cut-b") == "{}"
    cloud.rbd("info", f"{pool}/cut-b")
    cloud.rbd("create", "--size", "4M", f"{pool}/cut-a")
    assert "code" in run(*rename, uri.format("cut-a"), "cut-b") and names() == ["cut-a", "cut-b"]
    for name in names():
        cloud.rbd("rm", f"{pool}/{name}")


def action(project, server, name):
    found = project.cloud.get("compute", f"/servers/{server}/os-instance-actions")["instanceActions"]
    return next(one for one in found if one["action"] == name)


def asked_at(project, server, name):
    return datetime.datetime.fromisoformat(action(project, server, name)["start_time"])


def kill_in(world, job, step, seconds):
    """Wait until the job is in the step, then a while, then kill -9 and start again."""
    def there():
        now = world.last_job(NAME)
        return now["id"] == job and now["step"] == step
    service.ferry.Daemon.wait_until(there, 60, f"step {step}")
    time.sleep(seconds)
    print(f"killed in {world.last_job(NAME)['step']}, {seconds:.2f} s after {step} began")
    world.daemon.kill()
    world.daemon.start()


def end(world, job):
    done = world.daemon.wait_job(NAME, job)
    assert done["state"] == "done", f"{done['error']['message']}\n{done}\n{world.daemon.tail(60)}"


def test_there_and_back(world, machine, adopted):
    """Killed while the volumes are given back, and there are moments at which neither cloud manages them."""
    with pytest.raises(service.ferry.ApiError) as refused:
        world.daemon.verb(adopted, "sync")
    assert refused.value.code == "state-forbids"
    world.daemon.do(adopted, "cutover", yes=True)
    one = world.daemon.show(adopted)
    assert one["state"] == "confirm-pending" and service.booted(one["launch"]), one["launch"]
    server, volumes = machine.check_away()
    seconds = (asked_at(world.target, server["id"], "create") -
               asked_at(world.source, machine.id, "stop")).total_seconds()
    print(f"from the stop request to the start request {seconds} s; {one['launch']['timing']}")
    assert 0 <= seconds <= 15
    # Whoever starts the source meanwhile has no second machine: its disks are not there under their names.
    world.source.cloud.post("compute", f"/servers/{machine.id}/action", {"os-start": None})
    world.wait_until(lambda: action(world.source, machine.id, "start")["message"] == "Error")
    assert machine.status() == "SHUTOFF"
    machine.io(volumes[1], f"write -P 0xee {DATA} 64k")  # what the launch writes is not the source's
    job = world.daemon.verb(adopted, "rollback")["job"]
    kill_in(world, job, "clones", random.uniform(0, 1.5))
    end(world, job)
    assert world.daemon.show(adopted)["state"] == "rolled-back"
    machine.check_at_home()


def test_a_failed_launch_gives_back(world, machine, adopted):
    world.daemon.call("PATCH", f"/replications/{adopted}", {"policy": {"boot_pattern": "never", "boot_timeout": "3s"}})
    failure = world.fails(adopted, "cutover", yes=True)
    assert failure["code"] == "launch-not-booted", failure
    assert world.daemon.show(adopted)["state"] == "rolled-back"
    world.source.wait_server(machine.id, "ACTIVE")
    machine.check_at_home()
    world.daemon.call("PATCH", f"/replications/{adopted}", {"policy": {"boot_pattern": None, "boot_timeout": "60s"}})


def test_killed_and_confirmed(world, machine, adopted):
    """Nothing of ours is left, and nothing that the source's cloud does to its old records touches the machine."""
    for more in reversed(range(ROUNDS)):
        job = world.daemon.verb(adopted, "cutover", yes=True)["job"]
        kill_in(world, job, "adopt", random.uniform(0, 1.2))
        end(world, job)
        server, volumes = machine.check_away()
        if more:
            job = world.daemon.verb(adopted, "rollback")["job"]
            kill_in(world, job, "clones", random.uniform(0, 1.5))
            end(world, job)
            machine.check_at_home()
    world.daemon.do(adopted, "confirm")
    assert world.daemon.show(adopted)["state"] == "done"
    assert world.daemon.ledger() == [] and world.left(world.target) == []
    assert world.target.cloud.get("volumev3", "/snapshots")["snapshots"] == []
    for path in [("compute", f"/servers/{machine.id}"), *(("volumev3", f"/volumes/{one}") for one in machine.volumes)]:
        world.source.remove(*path)
    assert [machine.image(volume) for volume in volumes] == machine.images
    assert world.servers(world.target)[NAME]["status"] == "ACTIVE"
    world.target.remove("compute", f"/servers/{server['id']}")
    for volume in volumes:
        world.target.remove("volumev3", f"/volumes/{volume}")
    assert machine.names() == []
    world.daemon.do(adopted, "remove")
