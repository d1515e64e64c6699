# SPDX-License-Identifier: Apache-2.0
"""Disks of snapshots read through a mover that they are hot-added to: no VDDK, no port 902."""
import pytest

from vcenter import Rounds, fails

MACHINES = ["web1=16M,24M", "odd=5243392"]
FLAGS = {"mover": True}


@pytest.fixture
def moved(vc, seam, guest):
    """Each test ends with nothing attached, no clone, no snapshot, and no file of anybody lost."""
    seam.reopen(**guest.options)
    yield seam
    for tagged in seam.tagged("snapshot"):
        seam.call("release", machine=vc.moref("web1"), ref=tagged["ref"])
    state = vc.control()
    assert (state["attached"], state["clones"], state["snapshot_names"]) == ([], 0, [])
    assert not state["lost"] and not state["misuses"], state
    assert not list(seam.work.iterdir())


def test_full_and_five_deltas(vc, moved):
    Rounds(moved, vc, "web1").full_and_five_deltas()
    assert "ExportSnapshot" not in vc.control()["calls"]


def test_a_disk_of_odd_size(vc, moved):
    rounds = Rounds(moved, vc, "odd", ["2000"])
    vc.write("odd", 1, 5243392 - 512, b"E" * 512)
    rounds.round()


def test_attached_for_the_time_of_the_copy_only(vc, moved):
    """As the API wants it: the frozen file, which is not the machine's any more, and no write to it."""
    rounds = Rounds(moved, vc, "web1")
    snapshot = rounds.snapshot()
    first = moved.call("open_disk", ref=snapshot["ref"], disk="2000")
    again = moved.call("open_disk", ref=snapshot["ref"], disk="2000")  # is it still there?
    other = moved.call("open_disk", ref=snapshot["ref"], disk="2001")
    assert first["uri"] == again["uri"] != other["uri"] and "/naa.6000c29" in first["uri"]
    assert sorted(a["file"] for a in vc.control()["attached"]) == [
        "[LocalDS_0] web1/disk1.vmdk", "[LocalDS_0] web1/disk2.vmdk"]
    moved.call("close_disk", handle=again["handle"])
    assert len(vc.control()["attached"]) == 2
    moved.call("close_disk", handle=first["handle"])
    moved.call("close_disk", handle=other["handle"])
    assert vc.control()["attached"] == []
    rounds.complete(snapshot)


def test_killed_while_attached(vc, moved, guest):
    """The next one finds what is attached by the tag, goes on with it, or takes it away first."""
    rounds = Rounds(moved, vc, "web1")
    rounds.round()
    vc.scribble("web1", 7)
    snapshot = rounds.snapshot(tag="bf-00000000000000ab")
    moved.call("open_disk", ref=snapshot["ref"], disk="2000")
    moved.call("open_disk", ref=snapshot["ref"], disk="2001")
    for _ in range(2):
        moved.kill()
        for left in moved.work.iterdir():
            left.unlink()
        moved.open(**guest.options)
        assert len(vc.control()["attached"]) == 2
        assert [t["tag"] for t in moved.tagged("snapshot")] == ["bf-00000000000000ab"] * 3
        rounds.copy(snapshot)
        assert vc.control()["attached"] == []
        moved.call("open_disk", ref=snapshot["ref"], disk="2000")
        moved.call("open_disk", ref=snapshot["ref"], disk="2001")
    moved.kill()
    for left in moved.work.iterdir():
        left.unlink()
    moved.open(**guest.options)
    moved.call("release_tag", machine=rounds.machine, tag="bf-00000000000000ab")
    assert vc.control()["attached"] == [] and vc.snapshots() == [] and moved.tagged() == []


def test_a_snapshot_stays_while_its_files_are_attached(vc, moved):
    rounds = Rounds(moved, vc, "web1")
    snapshot = rounds.snapshot()
    source = moved.call("open_disk", ref=snapshot["ref"], disk="2000")
    vc.trouble("ReconfigVM_Task", "task", fault="TaskInProgress")
    fails("busy", "the snapshot stays", moved.call, "release", machine=rounds.machine, ref=snapshot["ref"])
    assert len(vc.snapshots()) == 1 and len(vc.control()["attached"]) == 1
    rounds.complete(snapshot)
    moved.call("close_disk", handle=source["handle"])


@pytest.mark.parametrize("fault", ["FileLocked", "GenericVmConfigFault"])
def test_a_lock_that_goes(vc, moved, fault):
    """Asked for once more after a while, and a unit that somebody took meanwhile is not waited for."""
    rounds = Rounds(moved, vc, "odd", ["2000"])
    vc.trouble("ReconfigVM_Task", "task", fault=fault, after=1)  # the first switches tracking on
    vc.trouble("ReconfigVM_Task", "task", fault="InvalidDeviceSpec")
    vc.set("odd", cbt=False)
    rounds.round()
    assert vc.control()["calls"].get("CloneVM_Task", 0) == 0


def test_a_lock_that_stays(vc, moved, guest):
    """Then a linked clone of the snapshot is read, of all its disks, for some rounds."""
    vc.control(machine="web1", locked=True)
    rounds = Rounds(moved, vc, "web1")
    snapshot = rounds.snapshot()
    moved.reopen(**guest.options | {"read_path": "mover"})
    fails("in-use", "mover_clone_folder", moved.call, "open_disk", ref=snapshot["ref"], disk="2000")
    moved.call("release", machine=rounds.machine, ref=snapshot["ref"])
    moved.reopen(**guest.options | {"mover_clone_folder": vc.control()["folder"]})
    vc.scribble("web1", 20)
    before = vc.control()["calls"].get("CloneVM_Task", 0)
    for n in range(2):
        vc.scribble("web1", 21 + n)
        snapshot, _ = rounds.round(meanwhile=lambda: vc.scribble("web1", 60 + n))
        assert rounds.deltas(snapshot) == [n > 0, n > 0]
        assert vc.control()["calls"]["CloneVM_Task"] == before + n + 1 and vc.control()["clones"] == 0
    # Killed with a clone: it is found again by its name, and goes before the snapshot.
    snapshot = rounds.snapshot()
    moved.call("open_disk", ref=snapshot["ref"], disk="2000")
    moved.kill()
    for left in moved.work.iterdir():
        left.unlink()
    moved.open(**guest.options, mover_clone_folder=vc.control()["folder"])
    assert vc.control()["clones"] == 1 and len(moved.tagged("snapshot")) == 3
    rounds.copy(snapshot)
    rounds.complete(snapshot)
    assert vc.control()["calls"]["CloneVM_Task"] == before + 3
    vc.control(machine="web1", locked=False)


def test_a_clone_with_a_disk_of_others_is_not_destroyed(vc, moved, guest):
    """Destroying a machine deletes the files of all its disks."""
    moved.reopen(**guest.options | {"mover_clone_folder": vc.control()["folder"]})
    vc.control(machine="web1", locked=True)
    rounds = Rounds(moved, vc, "web1")
    snapshot = rounds.snapshot()
    source = moved.call("open_disk", ref=snapshot["ref"], disk="2000")
    moved.call("close_disk", handle=source["handle"])
    vc.control(clone_file="[LocalDS_0] odd/disk1.vmdk")
    fails("in-use", "not its own", moved.call, "release", machine=rounds.machine, ref=snapshot["ref"])
    assert len(vc.snapshots()) == 1 and vc.control()["clones"] == 1
    vc.control(clone_file="")
    rounds.complete(snapshot)
    vc.control(machine="web1", locked=False)


@pytest.mark.parametrize("order, code, word", [
    ({"other_uuid": True}, "disk-changed", "its uuid is"),
    ({"other_content_id": True}, "disk-changed", "its content id is"),
    ({"swap": "web1-2.raw"}, "mover-not-serving", "25165824 bytes instead of 16777216")])
def test_the_wrong_disk(vc, moved, order, code, word):
    """It is detached, and not one byte of it is given out."""
    rounds = Rounds(moved, vc, "web1")
    snapshot = rounds.snapshot()
    if "swap" in order:
        order["swap"] = str(vc.dir / "disks" / order["swap"])
    vc.control(machine="mover", **order)
    fails(code, word, moved.call, "open_disk", ref=snapshot["ref"], disk="2000")
    assert vc.control()["attached"] == []
    rounds.copy(snapshot)
    rounds.complete(snapshot)


def test_what_the_host_refuses_is_exported(vc, moved, guest):
    """By read_path auto; a disk that is another one is never read in another way."""
    vc.control(machine="web1", locked=True)
    rounds = Rounds(moved, vc, "web1", ["2000"])
    before = vc.control()["calls"].get("ExportSnapshot", 0)
    rounds.round()
    assert vc.control()["calls"]["ExportSnapshot"] == before + 1
    vc.control(machine="web1", locked=False)


def test_one_slot_for_two_disks(vc, moved, guest):
    moved.reopen(**guest.options | {"mover_slots": "1", "nfc_wait": "1s"})
    rounds = Rounds(moved, vc, "web1")
    snapshot = rounds.snapshot()
    source = moved.call("open_disk", ref=snapshot["ref"], disk="2000")
    fails("source-full", "all 1 slots", moved.call, "open_disk", ref=snapshot["ref"], disk="2001")
    moved.open(p="other", **{**guest.options, "mover_slots": "1", "nfc_wait": "1s"})
    fails("mover-full", "all 1 slots", moved.call, "open_disk", p="other", ref=snapshot["ref"], disk="2001")
    moved.call("close", p="other")
    moved.call("close_disk", handle=source["handle"])
    rounds.copy(snapshot)
    rounds.complete(snapshot)


def test_a_disk_of_somebody_else(vc, moved, guest):
    """It takes its unit, is never detached, and its twin cannot be told apart from it."""
    moved.reopen(**guest.options | {"read_path": "mover"})
    rounds = Rounds(moved, vc, "web1")
    snapshot = rounds.snapshot()
    vc.control(machine="mover", attach="[LocalDS_0] web1/disk2.vmdk")
    source = moved.call("open_disk", ref=snapshot["ref"], disk="2000")
    assert len(vc.control()["attached"]) == 2
    fails("in-use", "has the same uuid", moved.call, "open_disk", ref=snapshot["ref"], disk="2001")
    moved.call("close_disk", handle=source["handle"])
    assert [a["file"] for a in vc.control()["attached"]] == ["[LocalDS_0] web1/disk2.vmdk"]
    vc.control(machine="mover", detach=True)
    rounds.copy(snapshot)
    rounds.complete(snapshot)


def test_the_mover_is_gone(vc, moved, guest):
    moved.reopen(**guest.options | {"mover": "vm-0", "read_path": "mover"})
    rounds = Rounds(moved, vc, "web1")
    snapshot = rounds.snapshot()
    fails("no-such-machine", "mover vm-0", moved.call, "open_disk", ref=snapshot["ref"], disk="2000")
    assert len(moved.tagged("snapshot")) == 1
    rounds.complete(snapshot)


@pytest.mark.parametrize("options, word", [
    ({"mover": "vm-1"}, "go together"), ({"mover_slots": "3"}, "options.mover is not set"),
    ({"read_path": "mover"}, "no options.mover"),
    ({"mover": "vm-1", "mover_address": "a/b", "mover_certificates": "/x"}, "HOST or HOST:PORT"),
    ({"mover": "vm-1", "mover_address": "a", "mover_certificates": "x"}, "an absolute path"),
    ({"mover": "vm-1", "mover_address": "a", "mover_certificates": "/x", "mover_slots": "46"}, "from 1 to 45")])
def test_options_that_are_none(vc, seam, options, word):
    vc.control()
    seam.call("close")
    fails("bad-input", word, seam.open, **options)
    seam.open()
