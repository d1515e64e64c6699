# SPDX-License-Identifier: Apache-2.0
"""What goes wrong at a vCenter: each ends right, or with its error, and leaves no snapshot."""
import json
import time

import pytest

from seam import new_tag, run
from vcenter import Rounds, fails

MACHINES = ["web1=16M,24M"]


@pytest.fixture
def rounds(vc, seam):
    """One good round is behind us."""
    vc.control(page_areas=2000, page_span=1 << 40, task_ms=0)
    one = Rounds(seam, vc, "web1")
    one.round()
    vc.scribble("web1", time.time_ns())
    seam.call("prepare", machine=one.machine)
    yield one
    for tagged in seam.tagged("snapshot"):
        seam.call("release_tag", machine=one.machine, tag=tagged["tag"])
    assert vc.snapshots() == []


def test_session_killed_between_any_two_calls(vc, rounds):
    def kill():
        vc.control(kill_session=True)
    kill()
    snapshot = rounds.snapshot()
    kill()
    rounds.copy(snapshot)
    kill()
    rounds.complete(snapshot)
    kill()
    assert rounds.seam.tagged() == []


def test_session_killed_within_a_map(vc, rounds):
    vc.control(page_span=1 << 20)
    vc.trouble("QueryChangedDiskAreas", "soap", fault="NotAuthenticated", after=7)
    snapshot, _ = rounds.round()
    assert rounds.deltas(snapshot) == [True, True]


def test_stale_change_id_leads_to_a_compare(vc, rounds):
    vc.trouble("QueryChangedDiskAreas", "soap", fault="FileFault")
    snapshot = rounds.snapshot()
    assert rounds.deltas(snapshot) == [False, True]
    assert "FileFault" in snapshot["disks"]["2000"]["reason"]
    rounds.copy(snapshot)
    rounds.complete(snapshot)
    snapshot, _ = rounds.round()
    assert rounds.deltas(snapshot) == [True, True]


def test_a_map_that_fails_in_the_middle(vc, rounds):
    vc.control(page_span=1 << 20)
    vc.trouble("QueryChangedDiskAreas", "soap", fault="FileFault", after=5)
    assert rounds.deltas(rounds.snapshot()) == [False, True]


def test_tracking_reset(vc, rounds):
    vc.control(machine="web1", reset_cbt=True)
    snapshot = rounds.snapshot()
    assert rounds.deltas(snapshot) == [False, False]
    assert "change tracking was reset" in snapshot["disks"]["2001"]["reason"]


def test_another_disk_in_its_place(vc, rounds):
    vc.control(machine="web1", new_uuid=True)
    snapshot = rounds.snapshot()
    assert rounds.deltas(snapshot) == [False, False]
    assert "another disk" in snapshot["disks"]["2000"]["reason"]


def test_a_disk_that_grew(vc, rounds):
    run("truncate", "-s", "+1M", vc.disk("web1", 1))
    vc.control(machine="web1", resize=True)
    snapshot = rounds.snapshot()
    assert rounds.deltas(snapshot) == [False, True]
    assert "its size was" in snapshot["disks"]["2000"]["reason"]
    assert snapshot["disks"]["2000"]["size"] == vc.disk("web1", 1).stat().st_size


@pytest.mark.parametrize("field, value, word", [
    ("host", "host-1", "moved from host host-1"),
    ("parent", "snapshot-1", "a snapshot was made, removed or reverted"),
    ("machine", "vm-1", "of another machine")])
def test_a_baseline_of_other_circumstances(rounds, field, value, word):
    baseline = json.loads(rounds.baseline)
    baseline[field] = value
    rounds.baseline = json.dumps(baseline)
    snapshot = rounds.snapshot()
    assert rounds.deltas(snapshot) == [False, False]
    assert word in snapshot["disks"]["2000"]["reason"]


def test_a_change_id_that_went_back(rounds):
    baseline = json.loads(rounds.baseline)
    for disk in baseline["disks"]:
        epoch, _ = disk["change_id"].rsplit("/", 1)
        disk["change_id"] = f"{epoch}/1000"
    rounds.baseline = json.dumps(baseline)
    snapshot = rounds.snapshot()
    assert "reverted" in snapshot["disks"]["2000"]["reason"]


def with_other_file(baseline):
    moment = json.loads(baseline)
    moment["disks"][0]["file"] = "[LocalDS_0] web1/disk1-000007.vmdk"
    return json.dumps(moment)


def test_a_revert_that_change_ids_do_not_show(vc, rounds):
    """To a snapshot of others that our last round stood on, and other backups have counted the ids up since."""
    vc.control(machine="web1", foreign_snapshots=1)
    snapshot, _ = rounds.round()
    assert rounds.deltas(snapshot) == [False, False] and "a snapshot was made" in snapshot["disks"]["2000"]["reason"]
    rounds.baseline = with_other_file(rounds.baseline)
    snapshot, _ = rounds.round()
    assert rounds.deltas(snapshot) == [False, True] and "reverted, or moved" in snapshot["disks"]["2000"]["reason"]
    snapshot, _ = rounds.round()
    assert rounds.deltas(snapshot) == [True, True]
    vc.control(machine="web1", vanish=True)
    # Where there is nothing to revert to, names of files say nothing: some storage makes new ones each time.
    rounds.round()
    rounds.baseline = with_other_file(rounds.baseline)
    snapshot, _ = rounds.round()
    assert rounds.deltas(snapshot) == [True, True]


def test_tracking_is_not_trusted(vc, rounds):
    rounds.seam.reopen(trust_cbt="no")
    snapshot = rounds.snapshot()
    assert rounds.deltas(snapshot) == [False, False]
    assert "trust_cbt" in snapshot["disks"]["2000"]["reason"]


def test_snapshot_that_somebody_removed(vc, rounds):
    snapshot = rounds.snapshot()
    vc.control(machine="web1", vanish=True)
    fails("snapshot-failed", "is gone", rounds.seam.call, "open_disk", ref=snapshot["ref"],
          disk="2000")
    rounds.seam.call("release", machine=rounds.machine, ref=snapshot["ref"])
    # The old baseline is as good as before: the round that failed has changed nothing.
    snapshot, _ = rounds.round()
    assert rounds.deltas(snapshot) == [True, True]


@pytest.mark.parametrize("fault, code", [
    ("TooManySnapshotLevels", "snapshot-failed"), ("NoDiskSpace", "snapshot-failed"),
    ("TaskInProgress", "busy"), ("RestrictedVersion", "platform-unsupported"),
    ("GenericVmConfigFault", "snapshot-failed"), ("HostCommunication", "platform-unreachable")])
def test_task_that_fails(vc, rounds, fault, code):
    vc.trouble("CreateSnapshot_Task", "task", fault=fault)
    fails(code, fault, rounds.snapshot, quiesce="off")
    rounds.round()


def test_missing_privilege(vc, rounds):
    vc.trouble("CreateSnapshot_Task", "soap", fault="NoPermission")
    fails("platform-privilege", "CreateSnapshot_Task", rounds.snapshot)


def test_quiesce(vc, rounds):
    snapshot, _ = rounds.round(quiesce="require")
    assert snapshot["quiesced"]
    vc.trouble("CreateSnapshot_Task", "task", fault="ApplicationQuiesceFault")
    snapshot, _ = rounds.round(quiesce="try")
    assert not snapshot["quiesced"] and "ApplicationQuiesceFault" in snapshot["quiesce_note"]
    vc.trouble("CreateSnapshot_Task", "task", fault="FilesystemQuiesceFault")
    fails("quiesce-failed", "FilesystemQuiesceFault", rounds.snapshot, quiesce="require")
    vc.set("web1", tools="guestToolsNotRunning")
    fails("quiesce-failed", "Tools", rounds.snapshot, quiesce="require")
    snapshot, _ = rounds.round(quiesce="try")
    assert "Tools" in snapshot["quiesce_note"]
    vc.set("web1", tools="guestToolsRunning")


def test_question_of_a_machine(vc, rounds):
    vc.trouble("CreateSnapshot_Task", "question")
    begin = time.monotonic()
    fails("machine-state", "There is no more space", rounds.snapshot, quiesce="off")
    assert time.monotonic() - begin < 10
    vc.set("web1", question=None)


def test_task_that_never_ends_is_cancelled(vc, rounds):
    vc.trouble("CreateSnapshot_Task", "hang")
    rounds.seam.call("cancel")  # half a second from now
    begin = time.monotonic()
    fails("cancelled", "", rounds.snapshot, quiesce="off")
    assert time.monotonic() - begin < 5
    rounds.seam.call("uncancel")
    assert vc.control()["calls"]["CancelTask"] >= 1


def test_task_that_never_ends_has_its_deadline(vc, rounds):
    """It is cancelled then, and what it had done all the same is removed by the tag."""
    rounds.seam.reopen(task_wait="1s")
    tag = new_tag()
    vc.trouble("CreateSnapshot_Task", "hang")
    begin, cancelled = time.monotonic(), vc.control()["calls"].get("CancelTask", 0)
    fails("deadline", "CreateSnapshot_Task", rounds.snapshot, tag=tag, quiesce="off")
    assert 1 <= time.monotonic() - begin < 4 and vc.control()["calls"]["CancelTask"] == cancelled + 1
    assert len(vc.snapshots()) == 1
    rounds.seam.call("release_tag", machine=rounds.machine, tag=tag)
    assert vc.snapshots() == []
    # The end of one, too: it stays known, and is removed later.
    snapshot = rounds.snapshot()
    vc.trouble("RemoveSnapshot_Task", "stuck")
    fails("deadline", "RemoveSnapshot_Task", rounds.seam.call, "release", machine=rounds.machine, ref=snapshot["ref"])
    assert len(rounds.seam.tagged("snapshot")) == 1
    rounds.seam.call("release", machine=rounds.machine, ref=snapshot["ref"])
    vc.control(let_go=True)
    snapshot, _ = rounds.round()
    assert rounds.deltas(snapshot) == [True, True]


def test_snapshot_that_comes_after_the_deadline(vc, rounds):
    """A task that nobody can cancel makes it late: it is not forgotten before that."""
    rounds.seam.reopen(task_wait="1s")
    tag = new_tag()
    vc.trouble("CreateSnapshot_Task", "stuck")
    fails("deadline", "CreateSnapshot_Task", rounds.snapshot, tag=tag, quiesce="off")
    assert vc.snapshots() == []
    fails("busy", "is being made", rounds.seam.call, "release_tag", machine=rounds.machine, tag=tag)
    vc.control(let_go=True)
    assert len(vc.snapshots()) == 1
    rounds.seam.call("release_tag", machine=rounds.machine, tag=tag)
    assert vc.snapshots() == []
    rounds.round()


def test_removal_that_is_not_done(vc, rounds):
    """The task says success, the snapshot is still there: that is no success."""
    snapshot = rounds.snapshot()
    vc.trouble("RemoveSnapshot_Task", "task", fault="FileLocked")
    fails("in-use", "FileLocked", rounds.seam.call, "release", machine=rounds.machine,
          ref=snapshot["ref"])
    # Not before it is gone: another snapshot.
    fails("foreign-backup", "has the snapshot", rounds.snapshot)
    rounds.seam.call("release", machine=rounds.machine, ref=snapshot["ref"])


def test_disks_that_need_consolidation(vc, rounds):
    """No snapshot on top of them; the end of one consolidates them, and says so when that fails."""
    vc.set("web1", consolidation=True)
    fails("busy", "consolidated", rounds.snapshot)
    vc.trouble("ConsolidateVMDisks_Task", "task", fault="FileLocked")
    fails("in-use", "consolidating", rounds.seam.call, "release_tag", machine=rounds.machine, tag=new_tag())
    rounds.seam.call("release_tag", machine=rounds.machine, tag=new_tag())
    assert vc.control()["calls"]["ConsolidateVMDisks_Task"] == 2
    rounds.round()


def test_the_host_is_gone_while_it_is_read(vc, rounds):
    """The copy fails; nothing of it is believed, and the same snapshot can be read again."""
    snapshot = rounds.snapshot()
    vc.standin(break_at=2)
    try:
        with pytest.raises(AssertionError):
            rounds.copy(snapshot)
    finally:
        vc.standin()
    rounds.copy(snapshot)
    rounds.complete(snapshot)


@pytest.mark.parametrize("kind, more, code", [
    ("status", {"status": 503}, "platform-unreachable"), ("status", {"status": 404}, "protocol"),
    ("status", {"status": 200}, "protocol"), ("drop", {}, "platform-unreachable")])
def test_no_answer(vc, rounds, kind, more, code):
    vc.trouble("CreateSnapshot_Task", kind, **more)
    fails(code, "CreateSnapshot_Task", rounds.snapshot)
    rounds.round()


def test_restart_of_the_vcenter(vc, rounds):
    """Sessions are gone and the connection is cut; machines and snapshots are as they were."""
    snapshot = rounds.snapshot()
    vc.control(kill_session=True)
    vc.trouble("RetrievePropertiesEx", "drop")
    rounds.copy(snapshot)
    rounds.complete(snapshot)


def test_all_connections_in_use(vc, seam):
    """Who has a disk open is told at once, who has none waits for its turn until the deadline."""
    seam.reopen(nfc_per_host="1", nfc_wait="1s")
    rounds = Rounds(seam, vc, "web1")
    snapshot = rounds.snapshot()
    first = seam.call("open_disk", ref=snapshot["ref"], disk="2000")
    again = seam.call("open_disk", ref=snapshot["ref"], disk="2000")  # is it still there?
    assert again["uri"] == first["uri"]
    begin = time.monotonic()
    fails("source-full", "no more for now", seam.call, "open_disk", ref=snapshot["ref"], disk="2001")
    assert time.monotonic() - begin < 0.9
    seam.open(p="other", nfc_per_host="1", nfc_wait="1s")
    fails("source-full", "waited in vain", seam.call, "open_disk", p="other", ref=snapshot["ref"],
          disk="2001")
    assert time.monotonic() - begin > 1
    seam.call("close_disk", handle=again["handle"])
    run("nbdinfo", first["uri"])
    seam.call("close_disk", handle=first["handle"])
    rounds.copy(snapshot)
    rounds.complete(snapshot)
    seam.call("close", p="other")


@pytest.mark.parametrize("name, value", [
    ("nfc_per_host", "0"), ("nfc_in_all", "x"), ("nfc_wait", "soon"), ("task_wait", "0s"),
    ("read_path", "guess")])
def test_options_that_are_none(vc, seam, name, value):
    vc.control()
    seam.call("close")
    fails("bad-input", name, seam.open, **{name: value})
    seam.open()


@pytest.mark.parametrize("settings, code, word", [
    ({"password": "wrong"}, "platform-auth", "password"),
    ({"thumbprint": "AA:" * 19 + "AA"}, "platform-auth", "thumbprint"),
    ({"library_directory": "/nonexistent", "read_path": "vddk"}, "platform-unsupported", "libvixDiskLib")])
def test_library_that_cannot_open(vc, seam, settings, code, word):
    vc.control()
    rounds = Rounds(seam, vc, "web1")
    snapshot = rounds.snapshot()
    password = vc.dir / "password"
    right = password.read_text()
    try:
        if settings.pop("password", None):
            password.write_text("another")  # what the library knows; the session stays
        else:
            seam.reopen(**settings)
        fails(code, word, seam.call, "open_disk", ref=snapshot["ref"], disk="2000")
    finally:
        password.write_text(right)
        seam.call("release", machine=rounds.machine, ref=snapshot["ref"])
