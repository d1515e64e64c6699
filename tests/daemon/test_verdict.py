# SPDX-License-Identifier: Apache-2.0
"""What decides that a launch has booted, and drills by themselves, with the tiny guest."""
import os
import re

import pytest

import ferry
from ferry import ApiError

NAME = "tiny"


@pytest.fixture(scope="module")
def world():
    one = ferry.World()
    yield one
    one.close()


@pytest.fixture(scope="module")
def guest(world):
    image = f"{world.source.directory}/images/guest.qcow2"
    ferry.run(f"{ferry.LAB}/images", "copy", "tiny", image, "qcow2", timeout=600)
    world.source.domain("define", NAME, "--disk", f"{image},bus=sata,format=qcow2",
                        "--net", "lab", "--memory", "128")
    world.replicate(NAME, name="g", boot_timeout="200s")
    return "g"


def policy(world, **fields):
    world.daemon.call("PATCH", "/replications/g", {"policy": fields})


def drill(world):
    """One that is discarded by itself; its job and its launch."""
    job = world.daemon.wait_job("g", world.daemon.verb("g", "drill", keep=False)["job"])
    world.daemon.wait_until(lambda: not world.daemon.show("g")["launch"]
                            and not world.daemon.show("g")["job"], 60, "its end")
    return job, world.daemon.list("g", "launches")[0]


def test_the_console_shows_it(world, guest):
    job, launch = drill(world)
    assert job["state"] == "done" and launch["state"] == "discarded", job
    assert launch["evidence"]["proven"] is True and launch["evidence"]["by"] == "console"
    assert launch["evidence"]["text"].startswith("BOOTMARK host=tiny")
    assert 0 < launch["evidence"]["seconds"] < 200
    messages = [e["message"] for e in world.daemon.get("/events?replication=g")["events"]]
    assert any(m.endswith("booted, its console shows") for m in messages), messages
    page = world.daemon.get("/replications/g/report")["launches"][0]
    assert page["evidence"]["by"] == "console"


def test_an_agent_that_does_not_answer_is_none(world, guest):
    """The console shows the boot, but it is not what was asked for."""
    # All of it is waited: as long as the guest needs for its mark beside two others on two cores.
    policy(world, boot_evidence="agent", boot_timeout="40s")
    job, launch = drill(world)
    assert job["error"]["code"] == "launch-not-booted" and "BOOTMARK" in job["error"]["evidence"]
    assert launch["state"] == "failed" and launch["evidence"]["proven"] is False
    assert world.target.virsh("list", "--all", "--name").split() == [NAME]


def test_nothing_needed(world, guest):
    policy(world, boot_evidence="none")
    job, launch = drill(world)
    assert job["state"] == "done" and launch["evidence"]["proven"] is False
    assert launch["timing"]["boot"] < 5000


def wait_step(world, step):
    world.daemon.wait_until(lambda: (world.daemon.show("g")["job"] or {}).get("step") == step, 200, step)


def read(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def records(mark):
    """How many the guest had written before this boot; none of them is lost."""
    last, missing = re.search(r"last=(\d+) missing=(\d+)", mark).groups()
    assert missing == "0", mark
    return int(last)


def settled(world):
    """The end of a drill that was killed in between: its launch."""
    world.daemon.wait_until(lambda: not world.daemon.show("g")["job"], 240, "the drill's end")
    return world.daemon.show("g")["launch"]


def test_the_ladder_ends_on_virtio(world, guest):
    """From SATA first; then the same clones from virtio, also when the service dies in between."""
    policy(world, boot_evidence="try", boot_ladder="sata-first", shutdown_timeout="60s")
    world.daemon.verb("g", "drill")
    wait_step(world, "boot")
    xml = world.target.virsh("dumpxml", "tiny-drill")
    assert "dev='sda' bus='sata'" in xml and "-companion.img" in xml and "dev='vdz' bus='virtio'" in xml
    # Nobody looks before the guest has written something: it would be shut down at its mark.
    world.daemon.kill()
    console = re.search(r"<source path='([^']*)' append='on'/>", xml).group(1)
    world.daemon.wait_until(lambda: "RECORD last=" in read(console), 200, "records of the first boot")
    world.daemon.start()
    wait_step(world, "climb")
    world.daemon.kill()
    world.daemon.start()
    launch = settled(world)
    assert launch["state"] == "booted", world.daemon.tail()
    first = launch["evidence"]["first"]
    print("#", first, launch["evidence"], launch["timing"])
    assert "root=/dev/sda2 disk=ahci" in first["text"] and first["proven"] is True
    assert "root=/dev/vda2 disk=virtio_blk" in launch["evidence"]["text"]
    assert records(launch["evidence"]["text"]) > records(first["text"]), "not the disk of the first boot"
    xml = world.target.virsh("dumpxml", "tiny-drill")
    assert "dev='vda' bus='virtio'" in xml and "companion" not in xml and "bus='sata'" not in xml
    machines = [r["state"] for r in world.daemon.ledger(True) if r["kind"] == "machine"][-2:]
    assert sorted(machines) == ["gone", "made"]
    world.daemon.do("g", "drill-end")
    assert [r for r in world.daemon.ledger() if r["kind"] in ("clone", "machine")] == []


def test_an_unproven_first_boot_stays_on_sata(world):
    world.source.machine("dumb", ("8M",), start=False)
    world.replicate("dumb", boot_timeout="3s", boot_ladder="sata-first")
    world.daemon.do("dumb", "drill")
    xml = world.target.virsh("dumpxml", "dumb-drill")
    assert "dev='sda' bus='sata'" in xml and "-companion.img" in xml
    events = world.daemon.get("/events?replication=dumb")["events"]
    assert any(e["level"] == "warning" and "stays on SATA" in e["message"] for e in events)
    world.daemon.do("dumb", "drill-end")
    world.daemon.do("dumb", "remove", delete_volumes=True)
    assert not [name for name in os.listdir(f"{world.target.directory}/pool") if "companion" in name]


@pytest.mark.parametrize("patch,part", [
    ({"policy": {"boot_evidence": "none"}}, "boot_evidence"), ({"mapping": {"disk_bus": "sata"}}, "disk_bus")])
def test_a_ladder_that_cannot_be_climbed_is_refused(world, guest, patch, part):
    policy(world, boot_ladder="sata-first", boot_evidence="try")
    with pytest.raises(ApiError) as refused:
        world.daemon.call("PATCH", "/replications/g", patch)
    assert refused.value.code == "bad-input" and part in str(refused.value)
    policy(world, boot_ladder="virtio")


def test_a_silent_guest_is_unproven_or_fails(world):
    """A disk without anything: its console says nothing for ever (the firmware writes to the screen)."""
    world.source.machine("mute", ("8M",), start=False)
    world.replicate("mute", boot_timeout="3s")
    world.daemon.do("mute", "drill")
    launch = world.daemon.show("mute")["launch"]
    assert launch["state"] == "booted" and launch["evidence"]["proven"] is False
    events = world.daemon.get("/events?replication=mute")["events"]
    assert any(e["level"] == "warning" and "not proven" in e["message"] for e in events)
    world.daemon.do("mute", "drill-end")
    world.daemon.call("PATCH", "/replications/mute", {"policy": {"boot_evidence": "require"}})
    job = world.daemon.wait_job("mute", world.daemon.verb("mute", "drill")["job"])
    assert job["error"]["code"] == "launch-not-booted"
    world.daemon.do("mute", "remove", delete_volumes=True)


def test_drills_by_themselves_need_an_isolated_network(world, guest):
    with pytest.raises(ApiError) as refused:
        world.daemon.call("PATCH", "/replications/g", {"policy": {"drill_every": 2},
                                                       "mapping": {"isolated_network": None}})
    assert refused.value.code == "isolation"
    assert world.daemon.show("g")["policy"]["drill_every"] == 0


def test_a_drill_after_every_second_round(world, guest):
    policy(world, boot_evidence="console", boot_timeout="200s", drill_every=2)
    drilled = world.daemon.list("g", "launches")
    world.daemon.do("g", "sync")
    assert len(world.daemon.list("g", "launches")) == len(drilled), "the first is one too early"
    world.daemon.do("g", "sync")
    done = world.daemon.wait_until(
        lambda: [one for one in world.daemon.list("g", "launches")[:-len(drilled)]
                 if one["state"] in ("discarded", "failed")], 240, "a drill of its own")
    assert len(done) == 1 and done[0]["kind"] == "drill" and done[0]["state"] == "discarded"
    assert done[0]["point"] == 3 and done[0]["evidence"]["by"] == "console"
    world.daemon.wait_until(lambda: not world.daemon.show("g")["job"], 60, "the discard's end")
    assert "tiny-drill" not in world.target.virsh("list", "--all", "--name").split()
    assert [r for r in world.daemon.ledger() if r["kind"] in ("clone", "machine")] == []
