# SPDX-License-Identifier: Apache-2.0
"""Rounds on a real libvirt: what is carried, what is kept, what is refused.

The machines have no running CPU: their disks are written through qemu's block layer, as a guest
would, and stand still while they are compared.
"""
import glob
import json
import os
import time

import pytest

import ferry
from ferry import ApiError

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def world():
    one = ferry.World()
    yield one
    one.close()


@pytest.fixture()
def name(world, request):
    """A machine name for this test alone; machine and replication are gone after it."""
    one = request.node.name.replace("test_", "")[:30].replace("_", "-").strip("-")
    yield one
    if any(r["name"] == one for r in world.daemon.get("/replications")["replications"]):
        if world.daemon.show(one)["job"]:
            world.daemon.verb(one, "cancel")
            world.daemon.wait_until(lambda: not world.daemon.show(one)["job"], 60)
        world.daemon.do(one, "remove", delete_volumes=True)
    if one in world.source.virsh("list", "--all", "--name").split():
        world.source.domain("destroy", one, "--undefine")


def layer_files(world, name):
    """Images of the newest point, by disk."""
    rows = [r for r in world.daemon.ledger()
            if r["kind"] == "layer" and r["replication"] == name and r["state"] == "made"]
    newest = {}
    for row in sorted(rows, key=lambda r: r["created_at"]):
        newest[row["name"]] = glob.glob(f"{world.target.directory}/pool*/{row['tag']}-of-*")[0]
    return newest


def check_bytes(world, name, fmt="qcow2"):
    targets = layer_files(world, name)
    disks = [f"sd{chr(ord('a') + i)}" for i in range(26)]
    sources = [f for f in world.disk_files(world.source, name) if f.endswith(f".{fmt}")]
    assert len(sources) == len([d for d in disks if d in targets])
    for disk, source in zip(disks, sources):
        answer = ferry.run("qemu-img", "compare", "-U", "-f", fmt, source, targets[disk])
        assert "identical" in answer


def last(world, name):
    return world.daemon.show(name)["last_round"]


def test_full_then_deltas(world, name):
    world.source.machine(name, ("16M", "8M"))
    world.source.write(name, 0, MIB, 0x11)
    world.source.write(name, 2 * MIB, MIB, 0x12, "sdb")
    one = world.replicate(name)
    assert one["points"] == 1 and one["last_round"]["kind"] == "full"
    assert one["last_round"]["sent_bytes"] == 2 * MIB
    check_bytes(world, name)
    for i in range(2):
        world.source.write(name, 4 * MIB + i * 65536, 65536, 0x20 + i)
        world.daemon.do(name, "sync")
        round_ = last(world, name)
        assert round_["kind"] == "delta" and round_["sent_bytes"] == 65536, round_
        assert [d["digest"] is not None for d in round_["disks"]] == [True, True]
        check_bytes(world, name)
    events = [e["message"] for e in world.daemon.get(f"/events?replication={name}")["events"]]
    for text in ("is checked", "is seeding", "is idle", "is syncing"):
        assert any(e.endswith(text) for e in events), events
    assert len(world.source.checkpoints(name)) == 1


def test_retention_keeps_points(world, name):
    world.source.machine(name)
    world.replicate(name, keep_points=2)
    for i in range(4):
        world.source.write(name, i * MIB, 65536, 0x30 + i)
        world.daemon.do(name, "sync")
        check_bytes(world, name)
    assert [p["number"] for p in world.daemon.list(name, "points")] == [5, 4]
    one = world.daemon.show(name)
    files = glob.glob(f"{world.daemon.directory}/state/digests/{one['id']}/*/*")
    assert sorted(os.path.basename(f) for f in files) == ["4", "5"]
    layers = [r for r in world.daemon.ledger() if r["replication"] == name
              and r["kind"] == "layer"]
    assert len(layers) == 2


def test_verify_reads_back(world, name):
    world.source.machine(name)
    world.source.write(name, MIB, MIB, 0x41)
    one = world.replicate(name, verify="all")
    assert one["last_round"]["disks"][0]["verified"] == "100%"


def test_schedule_by_interval(world, name):
    world.source.machine(name)
    world.replicate(name, start=False, interval="1s")
    world.daemon.verb(name, "sync")
    rounds = world.daemon.wait_until(
        lambda: [r for r in world.daemon.list(name, "rounds") if r["state"] == "complete"][:-2],
        30, "two scheduled rounds")
    assert rounds[0]["trigger"] == "schedule" and rounds[0]["kind"] == "delta"
    world.daemon.call("PATCH", f"/replications/{name}", {"policy": {"interval": None}})
    one = world.daemon.wait_state(name, "idle")
    assert one["next_round_at"] is None
    count = len(world.daemon.list(name, "rounds"))
    time.sleep(2)
    assert len(world.daemon.list(name, "rounds")) == count


def test_raw_disk_is_compared(world, name):
    world.source.machine(name, ("8M",), fmt="raw")
    world.source.write(name, 0, MIB, 0x51)
    world.replicate(name)
    world.source.write(name, MIB, 65536, 0x52)
    world.daemon.do(name, "sync")
    round_ = last(world, name)
    assert round_["kind"] == "compare" and round_["disks"][0]["note"], round_
    assert round_["sent_bytes"] == 65536
    check_bytes(world, name, "raw")


def test_grown_disk(world, name):
    world.source.machine(name, ("8M",))
    world.source.write(name, 0, MIB, 0x61)
    world.replicate(name)
    world.source.virsh("blockresize", name, "sda", "12M")
    world.source.write(name, 10 * MIB, 65536, 0x62)
    world.daemon.do(name, "sync")
    round_ = last(world, name)
    assert "grown" in round_["disks"][0]["note"], round_
    assert world.daemon.show(name)["volumes"][0]["size_bytes"] == 12 * MIB
    check_bytes(world, name)
    world.source.write(name, 11 * MIB, 65536, 0x63)
    world.daemon.do(name, "sync")
    assert last(world, name)["kind"] == "delta"
    check_bytes(world, name)


def test_added_and_removed_disk(world, name):
    world.source.machine(name, ("8M",))
    world.replicate(name, keep_points=2)
    extra = f"{world.source.directory}/images/{name}-extra.qcow2"
    ferry.run("qemu-img", "create", "-q", "-f", "qcow2", extra, "4M")
    world.source.virsh("destroy", name)
    world.source.virsh("attach-disk", name, extra, "sdb", "--targetbus", "sata", "--driver",
                       "qemu", "--subdriver", "qcow2", "--config")
    world.source.domain("start", name, "--paused")
    world.source.write(name, MIB, 65536, 0x71, "sdb")
    world.daemon.do(name, "sync")
    round_ = last(world, name)
    assert "sdb was added" in round_["note"], round_
    assert [(d["disk"], d["kind"]) for d in round_["disks"]][1] == ("sdb", "full")
    check_bytes(world, name)
    world.source.virsh("destroy", name)
    world.source.virsh("detach-disk", name, "sdb", "--config")
    world.source.domain("start", name, "--paused")
    world.daemon.do(name, "sync")
    assert "sdb was removed" in last(world, name)["note"]
    world.daemon.do(name, "sync")
    # No kept point holds the disk any more, so its volume went.
    assert [v["disk"] for v in world.daemon.show(name)["volumes"]] == ["sda"]


def test_kinds_can_be_forced(world, name):
    world.source.machine(name, ("8M",))
    world.source.write(name, 0, 2 * MIB, 0x81)
    world.replicate(name)
    world.source.write(name, MIB, 65536, 0x82)
    world.daemon.do(name, "sync", kind="compare")
    assert last(world, name)["kind"] == "compare"
    assert last(world, name)["sent_bytes"] == 65536
    world.daemon.do(name, "sync", kind="full")
    assert last(world, name)["kind"] == "full"
    assert last(world, name)["sent_bytes"] == 2 * MIB
    check_bytes(world, name)
    world.source.write(name, 3 * MIB, 65536, 0x83)
    world.daemon.do(name, "sync")
    assert last(world, name)["kind"] == "delta"
    check_bytes(world, name)
    with pytest.raises(ApiError) as refused:
        world.daemon.verb(name, "sync", kind="fast")
    assert refused.value.code == "bad-input"


def test_lost_baseline(world, name):
    world.source.machine(name, ("8M",))
    world.replicate(name)
    for checkpoint in world.source.checkpoints(name):
        world.source.virsh("checkpoint-delete", name, checkpoint)
    world.source.write(name, MIB, 65536, 0x91)
    world.daemon.do(name, "sync")
    assert last(world, name)["kind"] == "compare" and last(world, name)["disks"][0]["note"]
    check_bytes(world, name)


def test_quiesce_required_but_not_possible(world, name):
    world.source.machine(name, ("8M",))
    one = world.replicate(name, start=False, quiesce="require", retries=0)
    job = world.daemon.wait_job(name, world.daemon.verb(name, "sync")["job"])
    assert job["error"]["code"] == "quiesce-failed", job["error"]
    one = world.daemon.show(name)
    assert one["state"] == "failed" and one["error"]["fix"]
    assert world.source.checkpoints(name) == []


def test_machine_that_is_off(world, name):
    world.source.machine(name, ("8M",))
    world.source.write(name, 0, MIB, 0xa1)
    world.replicate(name)
    world.source.write(name, MIB, MIB, 0xa2)
    world.source.virsh("destroy", name)
    world.daemon.do(name, "sync")
    check_bytes(world, name)
    world.source.domain("start", name, "--paused")
    world.source.write(name, 3 * MIB, 65536, 0xa3)
    world.daemon.do(name, "sync")
    assert last(world, name)["kind"] == "delta", last(world, name)
    check_bytes(world, name)


def slow_round(world, name, **policy):
    """A replication in the middle of a round that takes some seconds."""
    world.source.machine(name, ("16M",))
    world.replicate(name, rate="1M", **policy)
    world.source.write(name, 0, 8 * MIB, 0xb1)
    job = world.daemon.verb(name, "sync")["job"]

    def copying():
        progress = (world.daemon.show(name)["job"] or {}).get("progress")
        return progress and progress["done_bytes"] > 0
    world.daemon.wait_until(copying, 60, "the copy to run")
    return job


def test_machine_switched_off_in_mid_round(world, name):
    job = slow_round(world, name, retries=0)
    world.source.virsh("destroy", name)
    ended = world.daemon.wait_job(name, job)
    if ended["state"] != "done":
        assert ended["error"]["message"], ended
    world.daemon.do(name, "sync")
    check_bytes(world, name)
    assert world.daemon.post("/reconcile")["found"] == []


def test_machine_deleted_in_mid_round(world, name):
    job = slow_round(world, name, retries=0)
    world.source.domain("destroy", name, "--undefine")
    ended = world.daemon.wait_job(name, job)
    assert ended["state"] == "failed", ended
    job = world.daemon.wait_job(name, world.daemon.verb(name, "sync")["job"])
    assert job["error"]["code"] == "machine-gone", job["error"]
    assert world.daemon.show(name)["state"] == "failed"
    assert len(world.daemon.list(name, "points")) == 1


def test_libvirtd_restarted_in_mid_round(world, name):
    job = slow_round(world, name)
    world.source.restart("--kill")
    ended = world.daemon.wait_job(name, job)
    if ended["state"] != "done":
        world.daemon.do(name, "sync")
    world.daemon.wait_state(name, "idle")
    check_bytes(world, name)
    baseline = [r["tag"] for r in world.daemon.ledger()
                if r["kind"] == "baseline" and r["replication"] == name]
    assert world.source.checkpoints(name) == baseline
    world.source.write(name, 0, 65536, 0xc1)
    world.daemon.call("PATCH", f"/replications/{name}", {"policy": {"rate": None}})
    world.daemon.do(name, "sync")
    check_bytes(world, name)


def test_cancel(world, name):
    job = slow_round(world, name)
    world.daemon.verb(name, "cancel")
    ended = world.daemon.wait_job(name, job)
    assert ended["state"] == "cancelled", ended
    one = world.daemon.show(name)
    assert one["state"] == "idle" and one["points"] == 1
    assert one["last_round"]["state"] == "cancelled"
    assert len([r for r in world.daemon.ledger() if r["replication"] == name]) == 3
    world.daemon.call("PATCH", f"/replications/{name}", {"policy": {"rate": None}})
    world.daemon.do(name, "sync")
    assert last(world, name)["kind"] == "delta"
    check_bytes(world, name)
    with pytest.raises(ApiError) as refused:
        world.daemon.verb(name, "cancel")
    assert refused.value.code == "no-such-job"


def test_pause_lets_the_round_end(world, name):
    job = slow_round(world, name)
    world.daemon.verb(name, "pause")
    world.daemon.call("PATCH", f"/replications/{name}", {"policy": {"rate": "100M"}})
    assert world.daemon.wait_job(name, job)["state"] == "done"
    assert world.daemon.show(name)["state"] == "paused"
    with pytest.raises(ApiError) as refused:
        world.daemon.verb(name, "sync")
    assert refused.value.code == "state-forbids" and "resume" in refused.value.error["message"]
    world.daemon.verb(name, "resume")
    world.daemon.wait_state(name, "idle")


def test_rate_is_changed_live(world, name):
    job = slow_round(world, name)
    begun = time.monotonic()
    world.daemon.call("PATCH", f"/replications/{name}", {"policy": {"rate": None}})
    assert world.daemon.wait_job(name, job)["state"] == "done"
    assert time.monotonic() - begun < 4


def test_service_stopped_in_mid_round(world, name):
    job = slow_round(world, name)
    time.sleep(2)
    world.daemon.stop()
    world.daemon.start()
    world.daemon.call("PATCH", f"/replications/{name}", {"policy": {"rate": None}})
    assert world.daemon.wait_job(name, job)["state"] == "done"
    check_bytes(world, name)
    # It went on where it was: the journal knows the layer behind its new socket.
    assert last(world, name)["disks"][0]["read_bytes"] < 8 * MIB


def test_two_replications_of_one_machine(world, name):
    world.source.machine(name, ("8M",))
    world.replicate(name)
    with pytest.raises(ApiError) as refused:
        world.replicate(name, name=name + "-2")
    assert refused.value.code == "already-replicated" and refused.value.status == 409


def test_pool_that_is_full(world, name):
    world.source.machine(name, ("160M",))
    for i in range(0, 120, 20):
        world.source.write(name, i * MIB, 20 * MIB, 0xd1)
    body = {"source": "src", "machine": name, "target": "dst",
            "mapping": {"storage": "small", "default_network": "lab"},
            "policy": {"interval": None, "quiesce": "off", "convert": "none", "retries": 0}}
    try:
        world.daemon.post("/replications", body)
    except ApiError as error:
        assert error.code == "precheck-blocked", error.error
        body["waive"] = [line.split()[0].rstrip(":") for line in error.error["evidence"].splitlines()]
        world.daemon.post("/replications", body)
    one = world.daemon.wait_state(name, "failed")
    assert one["error"]["code"] == "target-full", one["error"]
    assert world.source.checkpoints(name) == []
    world.daemon.do(name, "remove", delete_volumes=True)
    assert os.listdir(f"{world.target.directory}/pool-small") == []


def test_names_with_blanks_and_utf8(world):
    name = "Büro Server 1"
    world.source.machine(name, ("4M",))
    try:
        one = world.replicate(name, name="Büro 1")
        assert one["name"] == "Büro 1" and one["machine"]["name"] == name
        world.daemon.do("Büro 1", "remove", delete_volumes=True)
    finally:
        world.source.domain("destroy", name, "--undefine")


def test_removal_leaves_nothing(world, name):
    before = sorted(os.listdir(f"{world.target.directory}/pool"))
    world.source.machine(name, ("8M",))
    world.replicate(name)
    one = world.daemon.show(name)
    world.daemon.do(name, "remove", delete_volumes=True)
    assert world.source.checkpoints(name) == []
    assert sorted(os.listdir(f"{world.target.directory}/pool")) == before
    assert not os.path.exists(f"{world.daemon.directory}/state/digests/{one['id']}")
    assert not [r for r in world.daemon.ledger() if r["state"] != "made"]


def test_removal_although_the_source_is_away(world, name):
    socket = f"{world.source.directory}/run/away-sock"
    os.symlink("libvirt-sock", socket)
    world.daemon.post("/platforms", {"name": "away", "type": "libvirt",
                                     "url": f"qemu:///system?socket={socket}"})
    world.source.machine(name, ("8M",))
    world.replicate(name, source="away")
    os.unlink(socket)
    job = world.daemon.wait_job(name, world.daemon.verb(name, "remove", delete_volumes=True)["job"])
    assert job["error"]["code"] == "platform-unreachable", job["error"]
    assert world.daemon.show(name)["state"] == "idle"
    world.daemon.do(name, "remove", delete_volumes=True, force=True)
    assert [one["name"] for one in world.daemon.get("/replications")["replications"]].count(name) == 0
    assert [row["kind"] for row in world.daemon.ledger() if row["platform"] == "away"] == ["baseline"]
    assert len(world.source.checkpoints(name)) == 1
    # It answers again: the janitor finds what was left.
    os.symlink("libvirt-sock", socket)
    world.daemon.post("/reconcile", {"platform": "away"})
    world.daemon.wait_until(lambda: not [row for row in world.daemon.ledger() if row["platform"] == "away"],
                            60, "the baseline to be removed")
    assert world.source.checkpoints(name) == []
    world.daemon.call("DELETE", "/platforms/away")


def test_removal_can_leave_the_volumes(world, name):
    world.source.machine(name, ("8M",))
    world.replicate(name)
    files = list(layer_files(world, name).values())
    world.daemon.do(name, "remove")
    assert all(os.path.exists(f) for f in files)
    rows = [r for r in world.daemon.ledger(True) if r["state"] == "handed-over"]
    assert {r["kind"] for r in rows} == {"volume", "layer"}
    for file in files:
        os.unlink(file)


def test_reconcile_tells_strangers_and_removes_none(world, name):
    world.source.machine(name, ("4M",))
    tag = "bf-0123456789abcdef"
    xml = f"<domaincheckpoint><name>{tag}</name></domaincheckpoint>"
    path = f"{world.directory}/checkpoint.xml"
    with open(path, "w", encoding="utf-8") as file:
        file.write(xml)
    world.source.virsh("checkpoint-create", name, path)
    world.replicate(name)
    found = world.daemon.post("/reconcile")["found"]
    assert {f["tag"] for f in found} == {tag}, found
    world.daemon.stop()
    world.daemon.start()
    time.sleep(2)
    assert tag in world.source.checkpoints(name)  # invariant 5
    world.source.virsh("checkpoint-delete", name, tag)


def test_bad_input_is_named(world):
    for body, code, word in (
            ({"source": "src", "machine": "nobody", "target": "dst"}, "no-such-machine", "nobody"),
            ({"source": "nowhere", "machine": "x", "target": "dst"}, "no-such-platform", "nowhere"),
            ({"source": "src", "machine": "x"}, "bad-json", "target"),
            ({"source": "src", "machine": "x", "target": "dst", "colour": 1}, "bad-json", "colour"),
            ({"source": "src", "machine": "x", "target": "dst", "policy": {"keep_points": 0}},
             "bad-input", "keep_points"),
            ({"source": "src", "machine": "x", "target": "dst", "mapping": {"disks": "sda"}},
             "bad-json", "disks")):
        with pytest.raises(ApiError) as refused:
            world.daemon.post("/replications", body)
        assert refused.value.code == code, json.dumps(refused.value.error)
        assert word in refused.value.error["message"]
        assert refused.value.error["fix"]


def test_unreachable_libvirt(world):
    world.daemon.post("/platforms", {"name": "away", "type": "libvirt",
                                     "url": "qemu+unix:///system?socket=/nonexistent/sock"})
    with pytest.raises(ApiError) as refused:
        world.daemon.post("/platforms/away/test")
    assert refused.value.code == "platform-unreachable"
    world.daemon.call("DELETE", "/platforms/away")
    with pytest.raises(ApiError) as refused:
        world.daemon.post("/platforms", {"name": "x", "type": "vax", "url": "x"})
    assert refused.value.code == "platform-type" and "libvirt" in refused.value.error["message"]
