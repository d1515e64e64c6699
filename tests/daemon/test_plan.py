# SPDX-License-Identifier: Apache-2.0
"""The plan of a conversion: made at seeding, shown by the check, used by launches, on real guests.

The tiny guest boots from virtio as it is; the lab's Debian does not.
"""
import json
import re
import sqlite3

import pytest

import ferry
import guests


@pytest.fixture(scope="module")
def world():
    one = ferry.World(options=ferry.appliance_cache())
    yield one
    one.close()


def define(world, name, image, memory, start):
    world.source.domain("define", name, "--disk", f"{image},bus=sata,format=qcow2", "--net", "lab",
                        "--memory", memory)
    if start:
        world.source.domain("start", name)


def plan_of(world, name):
    return world.daemon.get(f"/replications/{name}/plan")


def settings(**policy):
    return {"convert": "auto", "boot_timeout": "200s", **policy}


@pytest.fixture(scope="module")
def tiny(world):
    image = f"{world.source.directory}/images/tiny.qcow2"
    guests.recognised_tiny(image, room="64M")
    define(world, "tiny", image, "128", start=False)
    world.replicate("tiny", name="t", start=False, **settings())
    return "t"


def test_check_looks_before_a_byte_is_copied(world, tiny):
    """At a source that is off; the snapshot it takes for that is gone again."""
    assert plan_of(world, tiny) == {"plan": None, "point": None, "current": False}
    world.daemon.do(tiny, "check")
    assert plan_of(world, tiny)["plan"] is None
    world.daemon.do(tiny, "check", inspect=True)
    answer = plan_of(world, tiny)
    assert answer["point"] is None and answer["current"] is True
    plan = answer["plan"]
    assert plan["method"] == "none" and plan["os"]["product"] == "Tiny 12", plan
    assert plan["facts"]["kernels"][0]["virtio"] == "initramfs"
    one = world.daemon.show(tiny)
    assert one["state"] == "checked" and one["points"] == 0
    assert one["plan"]["method"] == "none" and one["plan"]["expected_seconds"] == 0
    rows = [r for r in world.daemon.ledger(True) if r["replication"] == tiny]
    assert [(r["kind"], r["state"]) for r in rows] == [("snapshot", "gone")]


def test_nothing_to_do_is_decided_at_once(world, tiny):
    made = plan_of(world, tiny)["plan"]["made_us"]
    world.daemon.do(tiny, "sync")
    assert plan_of(world, tiny)["plan"]["made_us"] == made, "its inputs are the same"
    world.daemon.do(tiny, "drill")
    launch = world.daemon.show(tiny)["launch"]
    print("# conversion:", launch["conversion"], launch["timing"])
    assert launch["conversion"]["method"] == "none" and launch["conversion"]["planned"] is True
    assert launch["timing"]["convert"] <= 200
    assert "disk=virtio_blk" in launch["console_tail"]
    world.daemon.do(tiny, "drill-end")


def test_a_launch_that_does_not_boot_drops_its_plan(world, tiny):
    """The plan may be what was wrong: the next launch looks for itself, the next round plans anew."""
    world.daemon.call("PATCH", f"/replications/{tiny}",
                      {"policy": {"boot_pattern": "never seen", "boot_timeout": "3s"}})
    job = world.daemon.wait_job(tiny, world.daemon.verb(tiny, "drill")["job"])
    assert job["error"]["code"] == "launch-not-booted", job["error"]
    assert plan_of(world, tiny)["plan"] is None and world.daemon.show(tiny)["plan"] is None
    world.daemon.call("PATCH", f"/replications/{tiny}",
                      {"policy": {"boot_pattern": None, "boot_timeout": "200s"}})
    world.daemon.do(tiny, "sync")
    assert plan_of(world, tiny)["plan"]["method"] == "none"


def test_other_inputs_make_another_plan(world, tiny):
    before = plan_of(world, tiny)["plan"]["made_us"]
    world.daemon.call("PATCH", f"/replications/{tiny}", {"policy": {"convert": "v2v", "grow": True}})
    assert plan_of(world, tiny)["current"] is False
    world.daemon.do(tiny, "sync")
    answer = plan_of(world, tiny)
    assert answer["current"] is True and answer["plan"]["made_us"] > before
    assert answer["point"] == 3
    # To grow is a change, and virt-v2v does not do it.
    assert answer["plan"]["method"] == "v2v"
    finding, = [f for f in answer["plan"]["findings"] if f["id"] == "convert-unmet"]
    assert finding["severity"] == "warn" and "it is not done" in finding["found"]
    world.daemon.call("PATCH", f"/replications/{tiny}", {"policy": {"convert": "auto", "grow": False}})


def write_room(world, pattern):
    """The 64 MiB of the disk that no partition has."""
    ferry.run("qemu-io", "-f", "qcow2", "-c", f"write -P {pattern} 64M 64M",
              f"{world.source.directory}/images/tiny.qcow2")


def age_plan(world, seconds):
    world.daemon.stop()
    with sqlite3.connect(f"{world.directory}/d/state/blockferry.db") as store:
        assert store.execute("UPDATE plans SET made_us = made_us - ?", (seconds * 1000000,)).rowcount == 1
    store.close()
    world.daemon.start()


def test_it_is_looked_at_again_when_old_and_much_was_carried(world, tiny):
    """Both are needed: an hour, and the 64 MiB that a new kernel may be among."""
    world.daemon.do(tiny, "sync")
    first = plan_of(world, tiny)
    assert first["current"] is True
    write_room(world, 0x11)
    world.daemon.do(tiny, "sync")
    assert world.daemon.list(tiny, "rounds")[0]["sent_bytes"] >= 64 << 20
    assert plan_of(world, tiny)["plan"]["made_us"] == first["plan"]["made_us"], "much, but it is not old"
    age_plan(world, 3700)
    world.daemon.do(tiny, "sync")
    second = plan_of(world, tiny)
    assert second["plan"]["made_us"] > first["plan"]["made_us"], "old, and much since it was made"
    assert second["point"] > first["point"] and second["current"] is True
    age_plan(world, 3700)
    world.daemon.do(tiny, "sync")
    assert plan_of(world, tiny) == second, "old, but next to nothing since"


def test_what_blocks_a_launch_blocks_the_cutover_before_it_begins(world):
    """A blank disk of a machine that runs: no conversion can help, and the source is not touched for it."""
    world.source.machine("blank", ("16M",))
    world.replicate("blank", start=False, **settings())
    world.daemon.call("PATCH", "/replications/blank", {"mapping": {"machine_name": "blank-2"}})
    world.daemon.do("blank", "check", inspect=True)
    one = world.daemon.show("blank")
    finding, = [f for f in one["findings"] if f["id"] == "guest-unknown"]
    assert finding["severity"] == "block" and finding["fix"] and one["state"] == "blocked"
    assert world.source.checkpoints("blank") == [] and not world.source.has_backup_job("blank")
    world.daemon.call("PATCH", "/replications/blank", {"policy": {"convert": "none"}})
    world.daemon.do("blank", "check")
    assert not [f for f in world.daemon.show("blank")["findings"] if f["id"] == "guest-unknown"]
    world.daemon.do("blank", "sync")
    world.daemon.call("PATCH", "/replications/blank", {"policy": {"convert": "auto"}})
    job = world.daemon.wait_job("blank", world.daemon.verb("blank", "cutover", yes=True)["job"])
    assert job["error"]["code"] == "precheck-blocked" and "guest-unknown" in job["error"]["message"]
    assert world.source.virsh("domstate", "blank") == "paused"
    world.daemon.do("blank", "remove", delete_volumes=True)


def launched_disk(world, machine):
    """The size of the file system of a launched machine's first disk, and its boot menu."""
    raw = f"{world.directory}/launched.raw"
    ferry.run("qemu-img", "convert", "-U", "-O", "raw", world.disk_files(world.target, machine)[0], raw)
    text = ferry.run("dumpe2fs", "-h", f"{raw}?offset={1 << 20}")
    menu = ferry.run("debugfs", "-R", "cat /boot/grub/grub.cfg", f"{raw}?offset={1 << 20}")
    return menu, int(re.search(r"Block count:\s+(\d+)", text)[1]) * int(re.search(r"Block size:\s+(\d+)", text)[1])


def test_debian_is_converted_by_its_plan(world):
    """With growing and a serial console, as its policy says."""
    image = f"{world.source.directory}/images/debian.qcow2"
    guests.silent_debian(image, room="64M")
    size = json.loads(ferry.run("qemu-img", "info", "--output=json", image))["virtual-size"]
    define(world, "debian", image, "512", start=False)
    world.replicate("debian", **settings(boot_evidence="agent", grow=True, serial_console=True))
    plan = plan_of(world, "debian")["plan"]
    assert plan["method"] == "fast" and plan_of(world, "debian")["point"] == 1 and plan["findings"] == [], plan
    planned = sorted(f"{c['path']}: {c['why']}" for c in plan["changes"])
    for part in ("/boot/grub/grub.cfg: serial console",
                 "/etc/initramfs-tools/modules: virtio in every initramfs made from now on",
                 "/dev/sda1: the partition ends where the disk does", "/dev/sda1: the file system fills it"):
        assert part in planned, planned
    world.daemon.do("debian", "drill")
    launch = world.daemon.show("debian")["launch"]
    print("# conversion:", launch["conversion"]["seconds"], launch["timing"],
          "expected", plan["expected_seconds"])
    assert launch["conversion"]["method"] == "fast" and launch["conversion"]["planned"] is True
    assert sorted(launch["conversion"]["log"].splitlines()) == planned
    assert launch["evidence"]["by"] == "agent" and "Debian GNU/Linux 12" in launch["evidence"]["text"]
    assert "dev='vda' bus='virtio'" in world.target.virsh("dumpxml", "debian-drill")
    menu, room = launched_disk(world, "debian-drill")
    assert menu.count(" console=ttyS0,115200") == 1 and room == size - (1 << 20)
    world.daemon.do("debian", "drill-end")
    world.daemon.do("debian", "remove", delete_volumes=True)
