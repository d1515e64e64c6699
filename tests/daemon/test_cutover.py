# SPDX-License-Identifier: Apache-2.0
"""Drill, cutover, rollback and confirm with a real guest on two real libvirts."""
import os
import re

import pytest

import ferry
from ferry import ApiError

NAME = "tiny guest"


@pytest.fixture(scope="module")
def world():
    one = ferry.World(two_labs=True)
    yield one
    one.close()


@pytest.fixture(scope="module")
def guest(world):
    """A machine that boots in seconds, writes records to its disk and says so on its console."""
    image = f"{world.source.directory}/images/guest.qcow2"
    ferry.run(f"{ferry.LAB}/images", "copy", "tiny", image, "qcow2", timeout=600)
    world.source.domain("define", NAME, "--disk", f"{image},bus=sata,format=qcow2",
                        "--net", "lab", "--memory", "128")
    world.source.domain("start", NAME)
    world.source.domain("wait", NAME, "RECORD last=", timeout=200)
    world.replicate(NAME, name="g", shutdown="ask", shutdown_timeout="60s", boot_timeout="200s")
    return "g"


def state(lab, name):
    return lab.virsh("domstate", name, check=False)


def booted_line(launch):
    return re.search(r"BOOTMARK .*", launch["console_tail"]).group(0)


def test_drill_needs_an_isolated_network(world, guest):
    job = world.daemon.verb(guest, "drill", network="lab-without-such")["job"]
    assert world.daemon.wait_job(guest, job)["error"]["code"] == "no-such-network"
    with pytest.raises(ApiError) as refused:
        world.daemon.verb(guest, "drill", point=99)
    assert refused.value.code == "no-such-point"
    assert world.daemon.show(guest)["launch"] is None


def test_drill_beside_rounds(world, guest):
    world.daemon.do(guest, "drill")
    launch = world.daemon.show(guest)["launch"]
    assert launch["state"] == "booted" and launch["kind"] == "drill"
    assert "disk=virtio_blk" in booted_line(launch) and "missing=0" in booted_line(launch)
    assert state(world.target, f"{NAME}-drill") == "running"
    assert state(world.source, NAME) == "running"
    with pytest.raises(ApiError) as refused:
        world.daemon.verb(guest, "drill")
    assert refused.value.code == "busy"
    world.daemon.do(guest, "sync")
    assert world.daemon.show(guest)["last_round"]["kind"] == "delta"
    assert world.daemon.show(guest)["forecast"]["downtime_s"] > 0
    world.daemon.do(guest, "drill-end")
    assert world.daemon.show(guest)["launch"] is None
    assert world.target.virsh("list", "--all", "--name").split() == []
    files = os.listdir(f"{world.target.directory}/pool")
    assert not [f for f in files if "-clone-" in f], files


def test_drill_that_does_not_boot_is_undone(world, guest):
    world.daemon.call("PATCH", f"/replications/{guest}",
                      {"policy": {"boot_pattern": "never seen", "boot_timeout": "5s"}})
    job = world.daemon.wait_job(guest, world.daemon.verb(guest, "drill")["job"])
    assert job["error"]["code"] == "launch-not-booted", job["error"]
    assert world.target.virsh("list", "--all", "--name").split() == []
    assert world.daemon.show(guest)["state"] == "idle"
    assert world.daemon.list(guest, "launches")[0]["state"] == "failed"


def test_cutover_that_fails_gives_the_source_back(world, guest):
    """The pattern never matches, so the launch fails after the source was shut down."""
    job = world.daemon.wait_job(guest, world.daemon.verb(guest, "cutover", yes=True)["job"])
    assert job["error"]["code"] == "launch-not-booted", job["error"]
    one = world.daemon.show(guest)
    assert one["state"] == "rolled-back" and one["error"]["code"] == "launch-not-booted"
    assert state(world.source, NAME) == "running"
    assert world.target.virsh("list", "--all", "--name").split() == []
    world.daemon.call("PATCH", f"/replications/{guest}",
                      {"policy": {"boot_pattern": None, "boot_timeout": "200s"}})
    world.source.domain("wait", NAME, "RECORD last=", timeout=200)
    world.daemon.do(guest, "sync")
    one = world.daemon.show(guest)
    assert one["state"] == "idle" and one["last_round"]["kind"] == "delta", one["last_round"]


def test_source_that_goes_off_after_its_cutover_failed(world, guest):
    """Stopped, the guest hears the power button only when the failed cutover has let it go on.  (The test
    presses it: libvirt does not for a machine that is stopped.)"""
    world.daemon.call("PATCH", f"/replications/{guest}", {"policy": {"shutdown_timeout": "1s"}})
    world.source.virsh("suspend", NAME)
    world.source.virsh("qemu-monitor-command", NAME, '{"execute": "system_powerdown"}')
    first = world.source.virsh("domid", NAME)
    job = world.daemon.wait_job(guest, world.daemon.verb(guest, "cutover", yes=True)["job"])
    assert job["error"]["code"] == "shutdown-refused", job["error"]
    assert world.daemon.show(guest)["state"] == "rolled-back"
    world.daemon.wait_until(lambda: world.source.virsh("domid", NAME) not in (first, "-"), 60, "a second start")
    world.daemon.wait_until(lambda: "start-source" in [j["kind"] for j in world.daemon.list(guest, "jobs")
                                                       if j["state"] == "done"], 10, "the job's end")
    assert "and is started again" in world.daemon.get(f"/events?replication={guest}&last=1")["events"][0]["message"]
    assert state(world.source, NAME) == "running"
    world.daemon.call("PATCH", f"/replications/{guest}", {"policy": {"shutdown_timeout": "60s"}})
    world.source.domain("wait", NAME, "RECORD last=", timeout=200)


def test_cutover_must_be_confirmed_by_the_caller(world, guest):
    with pytest.raises(ApiError) as refused:
        world.daemon.verb(guest, "cutover")
    assert refused.value.code == "confirm-needed"
    assert state(world.source, NAME) == "running"


def last_record(path):
    with open(path, encoding="utf-8", errors="replace") as console:
        return max(int(n) for n in re.findall(r"last=(\d+)", console.read()))


def test_cutover_and_rollback(world, guest):
    world.daemon.do(guest, "cutover", yes=True)
    one = world.daemon.show(guest)
    assert one["state"] == "confirm-pending"
    assert state(world.source, NAME) == "shut off" and state(world.target, NAME) == "running"
    timing = one["launch"]["timing"]
    assert set(timing) == {"shutdown", "round", "clone", "convert", "create", "boot"}, timing
    written = last_record(f"{world.source.directory}/console/{NAME}.log")
    found = int(re.search(r"last=(\d+)", booted_line(one["launch"])).group(1))
    assert found >= written and "missing=0" in booted_line(one["launch"])
    with pytest.raises(ApiError) as refused:
        world.daemon.verb(guest, "sync")
    assert refused.value.code == "state-forbids"
    world.daemon.do(guest, "rollback")
    assert world.daemon.show(guest)["state"] == "rolled-back"
    assert state(world.source, NAME) == "running"
    assert world.target.virsh("list", "--all", "--name").split() == []
    world.source.domain("wait", NAME, "RECORD last=", timeout=200)
    world.daemon.do(guest, "sync")
    assert world.daemon.show(guest)["last_round"]["kind"] == "delta"


def test_source_started_by_somebody_else(world, guest):
    """While the cutover is under way: there must never be two.  From a point, as the last
    round's reading keeps the source from starting at all."""
    number = world.daemon.list(guest, "points")[0]["number"]
    job = world.daemon.verb(guest, "cutover", yes=True, point=number)["job"]

    def step():
        return (world.daemon.show(guest)["job"] or {}).get("step")
    world.daemon.wait_until(lambda: step() == "shut-down", 60, "the shutdown")
    with world.target.held():  # the launch comes no further than its clone
        world.daemon.wait_until(lambda: step() != "shut-down", 120, "the shutdown's end")
        assert state(world.source, NAME) == "shut off"
        world.source.virsh("start", NAME)
    done = world.daemon.wait_job(guest, job)
    assert done["error"]["code"] == "source-running", done["error"]
    assert state(world.source, NAME) == "running"
    assert world.target.virsh("list", "--all", "--name").split() == []
    one = world.daemon.show(guest)
    assert one["state"] == "rolled-back", (one, world.daemon.tail())
    world.source.domain("wait", NAME, "RECORD last=", timeout=200)
    world.daemon.do(guest, "sync")


def test_cutover_without_a_source(world, guest):
    """From a point, when the source's platform is lost."""
    world.source.virsh("destroy", NAME)
    number = world.daemon.list(guest, "points")[0]["number"]
    rounds = len(world.daemon.list(guest, "rounds"))
    world.daemon.do(guest, "cutover", yes=True, point=number)
    one = world.daemon.show(guest)
    assert one["state"] == "confirm-pending" and one["launch"]["point"] == number
    assert len(world.daemon.list(guest, "rounds")) == rounds


def test_confirm_hands_all_over(world, guest):
    world.daemon.do(guest, "confirm")
    one = world.daemon.show(guest)
    assert one["state"] == "done" and one["verbs"] == ["remove"]
    assert state(world.target, NAME) == "running"
    assert world.daemon.ledger() == []
    assert world.source.checkpoints(NAME) == []
    assert world.daemon.post("/reconcile")["found"] == []
    xml = world.target.virsh("dumpxml", NAME)
    assert "<backingStore type" not in xml
    world.daemon.do(guest, "remove")
    assert state(world.target, NAME) == "running"
