# SPDX-License-Identifier: Apache-2.0
"""The whole service: from the vCenter, by rounds, to a machine that boots on libvirt."""
import glob
import os
import re
import tempfile
import time

import pytest

import ferry
from guest import Guest
from vcenter import VCenter


class World(ferry.World):
    """A vCenter as the source, a private libvirt as the target, and blockferryd."""

    # pylint: disable=super-init-not-called
    def __init__(self, *more):
        """more: machines, besides those of these tests."""
        self.vc = VCenter("guest=64M,8M", "data=16M,24M", "small=8M,8M", "wide=" + ",".join(["2M"] * 6),
                          "hot=16M,8M", *more, mover=True)
        ferry.run(f"{ferry.LAB}/images", "copy", "tiny", str(self.vc.disk("guest", 1)), "raw",
                  timeout=600)
        self.prepare()
        self.vc.up()
        self.guest = Guest(self.vc)
        self.vc.control(deny_on={self.vc.moref("mover"): ["VirtualMachine.Inventory.Delete"]})
        self.directory = tempfile.mkdtemp(prefix="bf-", dir="/tmp")
        self.target = self.source = ferry.Lab(f"{self.directory}/b")
        os.mkdir(f"{self.directory}/d")
        self.daemon = ferry.Daemon(f"{self.directory}/d")
        self.daemon.options = ferry.appliance_cache()
        self.daemon.start()
        self.daemon.post("/platforms", {
            "name": "src", "type": "vmware", "url": self.vc.url, "user": self.vc.read("user"),
            "password": self.vc.read("password"), "options": self.vc.options})
        self.daemon.post("/platforms", {
            "name": "exported", "type": "vmware", "url": self.vc.url, "user": self.vc.read("user"),
            "password": self.vc.read("password"),
            "options": {**self.vc.options, "read_path": "export"}})
        self.daemon.post("/platforms", {
            "name": "narrow", "type": "vmware", "url": self.vc.url, "user": self.vc.read("user"),
            "password": self.vc.read("password"),
            "options": {**self.vc.options, "nfc_per_host": "2"}})
        self.daemon.post("/platforms", {
            "name": "moved", "type": "vmware", "url": self.vc.url, "user": self.vc.read("user"),
            "password": self.vc.read("password"), "options": {**self.vc.options, **self.guest.options}})
        self.daemon.post("/platforms", {"name": "dst", "type": "libvirt", "url": self.target.uri})

    def prepare(self):
        """What more disks hold."""

    def close(self):
        try:
            super().close()
        finally:
            self.guest.stop()
            self.vc.close()

    def check_bytes(self, machine, name, disks=2):
        """The newest point holds what the machine's disks hold, which stand still now."""
        rows = [r for r in self.daemon.ledger()
                if r["kind"] == "layer" and r["replication"] == name and r["state"] == "made"]
        newest = {r["name"]: r for r in sorted(rows, key=lambda r: r["created_at"])}
        for number in range(1, disks + 1):
            key = str(1999 + number)
            layer = glob.glob(f"{self.target.directory}/pool/{newest[key]['tag']}-of-*")[0]
            ferry.run("qemu-img", "compare", "-U", "-f", "raw", str(self.vc.disk(machine, number)),
                      layer)

    def last(self, name):
        return self.daemon.show(name)["last_round"]


@pytest.fixture(scope="module")
def world():
    one = World()
    yield one
    one.close()


def test_machines_and_prechecks(world):
    machines = {m["name"]: m for m in world.daemon.get("/platforms/src/machines")["machines"]}
    assert [d["size_bytes"] for d in machines["data"]["disks"]] == [16 << 20, 24 << 20]
    answer = world.daemon.post("/platforms/src/test")
    assert answer["can_source"] and not answer["can_target"]


def test_full_and_deltas(world):
    world.vc.scribble("data", 1, writes=30)
    one = world.replicate("data", name="d")
    assert one["last_round"]["kind"] == "full"
    world.check_bytes("data", "d")
    for n in range(5):
        world.vc.scribble("data", 2 + n)
        world.daemon.do("d", "sync")
        assert world.last("d")["kind"] == "delta", world.last("d")
        assert 0 < world.last("d")["sent_bytes"] < 8 << 20
        world.check_bytes("data", "d")
        assert world.vc.snapshots() == []


def test_tracking_was_reset(world):
    world.vc.control(machine="data", reset_cbt=True)
    world.vc.scribble("data", 20)
    world.daemon.do("d", "sync")
    assert world.last("d")["kind"] == "compare"
    assert "change tracking was reset" in world.last("d")["disks"][0]["note"]
    world.check_bytes("data", "d")
    world.vc.scribble("data", 21)
    world.daemon.do("d", "sync")
    assert world.last("d")["kind"] == "delta"
    world.check_bytes("data", "d")


def test_lying_tracking_is_found_by_a_compare(world):
    """An area left out of an answer is what no client can see: a compare round mends it."""
    world.vc.control(machine="data", lie=True)
    world.vc.scribble("data", 22)
    world.daemon.do("d", "sync")
    with pytest.raises(AssertionError):
        world.check_bytes("data", "d")
    world.vc.control(machine="data", lie=False)
    world.daemon.do("d", "sync", kind="compare")
    assert world.last("d")["kind"] == "compare"
    world.check_bytes("data", "d")


def secrets_seen(world, secret):
    """Command lines and environments of everything that runs here."""
    seen = []
    for path in glob.glob("/proc/[0-9]*/cmdline") + glob.glob("/proc/[0-9]*/environ"):
        try:
            with open(path, "rb") as file:
                if secret in file.read():
                    seen.append(path)
        except OSError:
            pass
    return seen


def test_a_snapshot_that_comes_late(world):
    """Nobody could cancel its making: the round has failed by then, and it is removed all the same."""
    password = world.vc.read("password")
    world.daemon.call("PATCH", "/platforms/src", {"options": {"task_wait": "1s"}, "password": password})
    world.vc.trouble("CreateSnapshot_Task", "stuck")
    ended = world.daemon.wait_job("d", world.daemon.verb("d", "sync")["job"])
    assert ended["state"] == "failed" and ended["error"]["code"] == "deadline", ended
    assert world.vc.snapshots() == []
    world.vc.control(let_go=True)
    assert len(world.vc.snapshots()) == 1
    world.daemon.wait_until(lambda: world.vc.snapshots() == [], 30, "the snapshot to go")
    world.daemon.call("PATCH", "/platforms/src", {"options": {"task_wait": None}, "password": password})
    world.daemon.do("d", "sync")
    assert world.last("d")["kind"] == "delta"
    world.check_bytes("data", "d")


def test_killed_while_copying(world):
    """No byte is lost, no snapshot is left, and no secret is seen anywhere."""
    secret = world.vc.read("password").encode()
    world.vc.scribble("data", 30, writes=40)
    world.vc.standin(slow_ms=150)
    job = world.daemon.verb("d", "sync")["job"]
    world.daemon.wait_until(lambda: glob.glob(f"{world.directory}/d/run/*/*/vddk-*"), 30)
    time.sleep(0.5)
    assert secrets_seen(world, secret) == []
    world.daemon.kill()
    world.vc.standin()
    world.daemon.start()
    ended = world.daemon.wait_job("d", job)
    assert ended["state"] == "done", ended
    world.check_bytes("data", "d")
    world.daemon.wait_until(lambda: world.vc.snapshots() == [], 30, "the snapshot to go")
    for path in glob.glob(f"{world.directory}/d/state/*") + [world.daemon.log, f"{world.vc.dir}/log"]:
        if os.path.isfile(path):
            with open(path, "rb") as file:
                assert secret not in file.read(), path
    for path in ("/platforms/src", "/replications/d", "/replications/d/report", "/replications/d/jobs"):
        assert secret.decode() not in str(world.daemon.get(path)), path


def test_the_vcenter_restarts_while_copying(world):
    """Sessions are gone, connections are cut, and it answers 503 for a while: no byte is lost."""
    world.vc.scribble("data", 35, writes=40)
    world.vc.standin(slow_ms=100)
    job = world.daemon.verb("d", "sync")["job"]
    world.daemon.wait_until(lambda: glob.glob(f"{world.directory}/d/run/*/*/vddk-*"), 30)
    world.vc.control(kill_session=True)
    world.vc.trouble("RetrievePropertiesEx", "drop")
    world.vc.trouble("RetrievePropertiesEx", "status", status=503, times=2)
    world.vc.standin()
    ended = world.daemon.wait_job("d", job)
    world.vc.control(no_trouble=True)
    print("the round", ended["state"])
    if ended["state"] != "done":  # said as what it is, and the next round makes it good
        assert ended["error"]["code"] == "platform-unreachable", ended
        world.daemon.do("d", "sync")
    world.check_bytes("data", "d")
    world.daemon.wait_until(lambda: world.vc.snapshots() == [], 30, "the snapshot to go")


def test_the_snapshot_is_removed_while_it_is_read(world):
    """Reading goes on: of what, nobody knows.  Nothing of it is believed."""
    points = [p["number"] for p in world.daemon.list("d", "points")]
    world.vc.scribble("data", 37, writes=40)
    world.vc.standin(slow_ms=100)
    job = world.daemon.verb("d", "sync")["job"]
    world.daemon.wait_until(lambda: [j for j in world.daemon.list("d", "jobs") if j["id"] == job
                                     and (j["progress"] or {}).get("done_bytes")], 30)
    world.vc.control(machine="data", vanish=True)
    world.vc.standin()
    ended = world.daemon.wait_job("d", job)
    assert ended["state"] == "failed" and ended["error"]["code"] == "snapshot-failed", ended
    assert "not believed" in ended["error"]["message"], ended
    assert [p["number"] for p in world.daemon.list("d", "points")] == points
    world.daemon.do("d", "sync")
    assert world.last("d")["kind"] == "delta"
    world.check_bytes("data", "d")


def test_the_library_breaks_down_once(world):
    """One read fails: the copy is made again, and goes on."""
    world.vc.scribble("data", 40)
    world.vc.standin(error_at=3)
    job = world.daemon.verb("d", "sync")["job"]
    world.daemon.wait_until(lambda: glob.glob(f"{world.directory}/d/run/*/*/vddk-*"), 30)
    world.vc.standin()
    ended = world.daemon.wait_job("d", job)
    assert ended["state"] == "done", ended
    world.check_bytes("data", "d")


def test_without_the_library(world):
    """Exported disks: full and delta rounds, and nothing is left of them."""
    world.vc.scribble("small", 1)
    body = {"source": "exported", "machine": "small", "target": "dst", "name": "e",
            "mapping": {"default_network": "lab"},
            "policy": {"interval": None, "convert": "none", "quiesce": "off"}, "start": True}
    world.daemon.post("/replications", body)
    world.daemon.wait_state("e", "idle")
    world.check_bytes("small", "e")
    world.vc.scribble("small", 2)
    world.daemon.do("e", "sync")
    assert world.last("e")["kind"] == "delta"
    world.check_bytes("small", "e")
    assert not glob.glob(f"{world.directory}/d/run/**/export-*", recursive=True)


def clean_mover(world):
    state = world.vc.control()
    return (state["attached"], state["snapshot_names"], state["lost"], state["misuses"]) == ([], [], None, None)


def test_through_a_mover(world):
    """Full and delta rounds; killed while disks are attached, nothing is lost and nothing stays."""
    world.vc.scribble("hot", 1, writes=30)
    world.replicate("hot", name="h", source="moved")
    world.check_bytes("hot", "h")
    for n in range(2):
        world.vc.scribble("hot", 2 + n)
        world.daemon.do("h", "sync")
        assert world.last("h")["kind"] == "delta", world.last("h")
        world.check_bytes("hot", "h")
        assert clean_mover(world)
    world.vc.scribble("hot", 10, writes=40)
    world.guest.stop()
    world.guest.start("rdelay=100ms")
    job = world.daemon.verb("h", "sync")["job"]
    world.daemon.wait_until(lambda: len(world.vc.control()["attached"]) == 2, 30)
    time.sleep(0.5)
    world.daemon.kill()
    assert len(world.vc.control()["attached"]) == 2
    world.daemon.start()
    ended = world.daemon.wait_job("h", job)
    assert ended["state"] == "done", ended
    world.check_bytes("hot", "h")
    world.daemon.wait_until(lambda: clean_mover(world), 30, "the snapshot to go")
    world.guest.stop()
    world.guest.start()


def test_the_wrong_disk_at_the_mover(world):
    """It says that it is the right one, of the right size: its bytes do not, and none is copied."""
    stranger = world.vc.dir / "stranger.raw"
    stranger.write_bytes(os.urandom(16 << 20))
    world.vc.control(machine="mover", swap=str(stranger))
    ended = world.daemon.wait_job("h", world.daemon.verb("h", "sync")["job"])
    assert ended["state"] == "failed" and ended["error"]["code"] == "identity", ended
    world.check_bytes("hot", "h")
    world.daemon.wait_until(lambda: clean_mover(world), 30, "the snapshot to go")
    world.vc.scribble("hot", 20)
    world.daemon.do("h", "sync")
    assert world.last("h")["kind"] == "delta"
    world.check_bytes("hot", "h")


def test_a_cutover_that_fails_leaves_no_snapshot(world):
    """The last round's snapshot is kept until the guest runs; when it does not, it goes, and the source is back."""
    world.daemon.call("PATCH", "/replications/h", {"policy": {"boot_pattern": "never seen", "boot_timeout": "3s"}})
    ended = world.daemon.wait_job("h", world.daemon.verb("h", "cutover", yes=True)["job"])
    assert ended["state"] == "failed" and ended["error"]["code"] == "launch-not-booted", ended
    world.daemon.wait_until(lambda: clean_mover(world), 30, "the snapshot to go")
    assert world.daemon.get("/platforms/src/machines/hot")["power"] == "on"
    assert not [r for r in world.daemon.ledger() if r["kind"] == "snapshot" and r["replication"] == "h"]
    world.vc.scribble("hot", 30)
    world.daemon.do("h", "sync")
    assert world.last("h")["kind"] == "delta"
    world.check_bytes("hot", "h")


@pytest.mark.parametrize("machine, name", [("hot", "h"), ("small", "e")])
def test_launch_on_libvirt(world, machine, name):
    """After the rounds by the mover and by export: the machine that runs at the target has the disks that the last
    round's snapshot froze."""
    world.vc.scribble(machine, 40)
    world.vc.write(machine, 1, 0, ferry.boot_sector())
    world.daemon.call("PATCH", f"/replications/{name}", {"policy": {
        "shutdown": "off", "boot_pattern": "BOOTMARK sector", "boot_timeout": "60s"}})
    world.vc.trouble("RemoveSnapshot_Task", "slow", after=1, ms=1500)  # the cutover's last one
    job = world.daemon.verb(name, "cutover", yes=True)["job"]
    world.daemon.wait_until(lambda: (world.daemon.show(name)["launch"] or {}).get("state") == "booted", 60)
    frozen = [f"{world.vc.dir}/frozen-{machine}-{number}" for number in (1, 2)]
    for number, path in enumerate(frozen, 1):
        os.link(world.vc.frozen(machine, number), path)  # it outlives its snapshot
    assert world.daemon.wait_job(name, job)["state"] == "done"
    assert world.last(name)["kind"] == "delta" and world.vc.snapshots() == []
    files = [f for f in world.disk_files(world.target, machine) if "-clone-" in f]  # not what they stand on
    assert len(files) == 2
    for number, (path, launched) in enumerate(zip(frozen, files), 1):
        ferry.run("qemu-img", "compare", "-U", "-f", "raw", path, launched)
        ferry.run("cmp", path, world.vc.disk(machine, number))
    world.daemon.do(name, "rollback")
    assert clean_mover(world)


def test_more_disks_than_connections(world):
    """Copied in turns, and two machines of one host share what there is."""
    for number in range(1, 7):
        world.vc.write("wide", number, number * 4096, os.urandom(300000))
    most = world.vc.count_connections()
    world.vc.standin(slow_ms=20)
    for machine in ("wide", "small"):
        world.daemon.post("/replications", {
            "source": "narrow", "machine": machine, "target": "dst", "name": f"n-{machine}",
            "mapping": {"default_network": "lab"},
            "policy": {"interval": None, "convert": "none", "quiesce": "off"}, "start": True})
    for name in ("n-wide", "n-small"):
        world.daemon.wait_state(name, "idle")
    world.vc.standin()
    assert most() == 2
    world.check_bytes("wide", "n-wide", disks=6)
    world.check_bytes("small", "n-small")
    world.vc.write("wide", 6, 0, b"only here")
    world.daemon.do("n-wide", "sync")
    assert world.last("n-wide")["kind"] == "delta"
    world.check_bytes("wide", "n-wide", disks=6)
    assert most() == 2


def test_cutover_boots_on_libvirt(world):
    """Full round, delta, shutdown of the source, last delta, and the guest runs on the target."""
    world.replicate("guest", name="g", shutdown="ask", shutdown_timeout="30s",
                    boot_timeout="200s")
    world.vc.write("guest", 2, 4 << 20, b"last words")
    # Removing the last snapshot takes its time: the guest does not wait for that.
    world.vc.trouble("RemoveSnapshot_Task", "slow", after=1, ms=6000)
    job = world.daemon.verb("g", "cutover", yes=True)["job"]
    world.daemon.wait_until(lambda: (world.daemon.show("g")["launch"] or {}).get("state") == "booted", 240)
    assert len(world.vc.snapshots()) == 1 and world.daemon.show("g")["state"] == "cutover"
    assert world.daemon.wait_job("g", job)["state"] == "done"
    assert world.vc.snapshots() == []
    launch = world.daemon.show("g")["launch"]
    assert launch["state"] == "booted"
    assert re.search(r"BOOTMARK .*disk=virtio_blk.*missing=0", launch["console_tail"])
    rounds = world.daemon.list("g", "rounds")
    assert {r["kind"] for r in rounds} == {"full", "delta"}
    world.check_bytes("guest", "g")
    machine = world.daemon.get("/platforms/src/machines/guest")
    assert machine["power"] == "off"
    world.daemon.do("g", "rollback")
    assert world.daemon.get("/platforms/src/machines/guest")["power"] == "on"
    assert world.vc.snapshots() == []
