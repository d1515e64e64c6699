# SPDX-License-Identifier: Apache-2.0
"""Several movers of one vCenter, on the hosts of a cluster whose DRS moves machines about."""
import threading

import pytest

from guest import Guest
from seam import new_tag
from test_precheck import check, findings
from vcenter import Rounds, VMwareSeam, fails

MACHINES = ["web1=16M,24M", "db1=8M,8M"]
FLAGS = {"mover": 2, "cluster": True}


@pytest.fixture(scope="module")
def options(vc):
    """Of a platform with both, and of the second alone."""
    guests = [Guest(vc), Guest(vc, "2")]
    vc.control(deny_on={vc.moref(name): ["VirtualMachine.Inventory.Delete"] for name in ("mover", "mover2")})
    for name in ("mover", "mover2"):
        vc.set(name, drs="")
    yield {**guests[0].options, **guests[1].options, "read_path": "mover"}
    for guest in guests:
        guest.stop()


@pytest.fixture
def moved(vc, seam, options):
    """Each test ends with nothing attached and no snapshot."""
    seam.reopen(**options)
    yield seam
    for machine in ("web1", "db1"):
        for tagged in seam.tagged("snapshot"):
            seam.call("release_tag", machine=vc.moref(machine), tag=tagged["tag"])
    state = vc.control()
    assert (state["attached"], state["clones"], state["snapshot_names"]) == ([], 0, [])
    assert not state["lost"] and not state["misuses"], state


def where(vc):
    """Mover of each attached file."""
    return {a["file"].split("] ")[1]: a["mover"] for a in vc.control()["attached"]}


def test_full_and_five_deltas(vc, moved):
    Rounds(moved, vc, "web1").full_and_five_deltas()


def test_the_least_used_one_is_taken(vc, moved, options):
    """Each disk goes where there is most room; what is attached for the same snapshot is found where it is."""
    rounds = Rounds(moved, vc, "web1")
    snapshot = rounds.snapshot()
    first = moved.call("open_disk", ref=snapshot["ref"], disk="2000")
    second = moved.call("open_disk", ref=snapshot["ref"], disk="2001")
    assert where(vc) == {"web1/disk1.vmdk": "mover", "web1/disk2.vmdk": "mover2"}
    assert first["uri"].split("/")[2] != second["uri"].split("/")[2]
    moved.kill()
    moved.open(**options)
    again = moved.call("open_disk", ref=snapshot["ref"], disk="2001")
    assert again["uri"] == second["uri"] and len(where(vc)) == 2
    # Both movers' disks are known by the tag, and go before the snapshot.
    assert len(moved.tagged("snapshot")) == 3
    moved.call("release", machine=rounds.machine, ref=snapshot["ref"])
    assert where(vc) == {} and vc.snapshots() == []
    moved.call("close_disk", handle=again["handle"])


def test_full_ones_are_waited_for_together(vc, moved, options):
    """One slot each: who has none waits at both, and goes where one is free first."""
    narrow = {**options, "mover_slots": "1", "mover2_slots": "1", "nfc_wait": "20s"}
    moved.reopen(**narrow)
    web, db = Rounds(moved, vc, "web1"), Rounds(moved, vc, "db1")
    snapshot, other = web.snapshot(), db.snapshot()
    kept = moved.call("open_disk", ref=snapshot["ref"], disk="2000")
    held = moved.call("open_disk", ref=snapshot["ref"], disk="2001")
    fails("source-full", "all 2 slots of movers", moved.call, "open_disk", ref=other["ref"], disk="2000")
    with VMwareSeam(vc) as waiting:
        waiting.open(**narrow)
        opened = []
        thread = threading.Thread(target=lambda: opened.append(
            waiting.call("open_disk", ref=other["ref"], disk="2000")))
        thread.start()
        thread.join(1)
        assert thread.is_alive() and len(where(vc)) == 2
        moved.call("close_disk", handle=held["handle"])
        thread.join(10)
        assert opened and where(vc)["db1/disk1.vmdk"] == "mover2"
        waiting.call("close_disk", handle=opened[0]["handle"])
        waiting.call("close")
    moved.call("close_disk", handle=kept["handle"])


@pytest.mark.parametrize("settings, undo, finding", [
    ({"host_mounts": False}, {"host_mounts": True}, "vmware-mover-datastore"),
    ({"parent": "group-d1"}, {"parent": ""}, "vmware-mover-datacenter"),
    ({"power": "poweredOff"}, {"power": "poweredOn"}, "vmware-mover")])
def test_one_that_does_not_reach_the_machine(vc, moved, options, settings, undo, finding):
    """The other is used; it is said, and with none that reaches it the check blocks and a round fails."""
    rounds = Rounds(moved, vc, "web1")
    snapshot = rounds.snapshot()
    vc.set("mover2", **settings)
    try:
        found = findings(vc, moved, "web1")
        unused = found["vmware-mover-unused"]
        check(unused, "info")
        assert unused["subject"] == vc.moref("mover2") and finding in unused["found"]
        assert not [f for f in found.values() if f["severity"] == "block"], found
        disks = [moved.call("open_disk", ref=snapshot["ref"], disk=disk) for disk in rounds.disks]
        assert set(where(vc).values()) == {"mover"}
        for disk in disks:
            moved.call("close_disk", handle=disk["handle"])
        vc.set("mover", **settings)
        moved.reopen(**options)
        found = [f for f in moved.call("source_precheck", machine=rounds.machine)["findings"] if f["id"] == finding]
        assert [f["subject"] for f in found] == [vc.moref("mover"), vc.moref("mover2")]
        assert {f["severity"] for f in found} == {"block"}
        fails("platform-unsupported", "no mover reaches", moved.call, "open_disk", ref=snapshot["ref"], disk="2000")
    finally:
        for name in ("mover", "mover2"):
            vc.set(name, **undo)
    rounds.complete(snapshot)


def test_nfs_prefers_the_machines_host(vc, moved):
    """With NFS 3 a mover on another host holds the machine up: it is taken only if there is no other."""
    vc.set("web1", datastore_type="NFS")
    try:
        found = findings(vc, moved, "web1")
        assert found["vmware-mover-unused"]["subject"] == vc.moref("mover2") and "vmware-mover-nfs" not in found
        vc.set("mover", power="poweredOff")
        check(findings(vc, moved, "web1")["vmware-mover-nfs"], "warn")
    finally:
        vc.set("mover", power="poweredOn")
        vc.set("web1", datastore_type="VMFS")


def test_the_missing_one_holds_nothing_up(vc, moved, options):
    """What hangs on the others is found and detached."""
    rounds = Rounds(moved, vc, "web1")
    snapshot = rounds.snapshot()
    moved.call("open_disk", ref=snapshot["ref"], disk="2000")
    moved.call("open_disk", ref=snapshot["ref"], disk="2001")
    moved.kill()
    moved.open(**{**options, "mover3": "vm-0", "mover3_address": "127.0.0.1:1", "mover3_certificates": "/nowhere"})
    assert findings(vc, moved, "web1")["vmware-mover-unused"]["subject"] == "vm-0"
    assert len(moved.tagged("snapshot")) == 3
    rounds.copy(snapshot)
    rounds.complete(snapshot)


def test_many_rounds_at_a_time(vc, moved, options):
    """Of two services, each with its own queue: slots and units that the other took are noticed."""
    narrow = {**options, "mover_slots": "2", "mover2_slots": "1"}
    seams = [VMwareSeam(vc), VMwareSeam(vc)]
    failed = []

    def run(seam, machine):
        try:
            with seam:
                seam.open(**narrow)
                rounds = Rounds(seam, vc, machine)
                for n in range(3):
                    vc.scribble(machine, 70 + n)
                    rounds.round(tag=new_tag())
                seam.call("close")
        except BaseException as why:  # pylint: disable=broad-except
            failed.append(why)

    threads = [threading.Thread(target=run, args=pair) for pair in zip(seams, ("web1", "db1"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not failed, failed


# --- DRS ---

@pytest.mark.parametrize("settings, warned", [
    ({"drs": ""}, False), ({"drs": "manual"}, False), ({"drs": "partiallyAutomated"}, False),
    ({"drs": "fullyAutomated"}, True),
    ({"drs": "fullyAutomated", "drs_override": "manual"}, False),
    ({"drs": "fullyAutomated", "drs_override": "disabled"}, False),
    ({"drs": "manual", "drs_override": "fullyAutomated"}, True),
    ({"drs": "fullyAutomated", "drs_rule": True}, False)])
def test_drs_and_the_mover(vc, moved, settings, warned):
    try:
        for name, value in settings.items():
            vc.set("mover", **{name: value})
        found = [f for f in moved.call("source_precheck", machine=vc.moref("web1"))["findings"]
                 if f["id"] == "vmware-mover-drs" and f["subject"] == vc.moref("mover")]
        assert len(found) == warned, found
        for one in found:
            check(one, "warn")
            assert "DC0_C0" in one["found"] and "override" in one["fix"]
    finally:
        for name, value in (("drs", ""), ("drs_override", ""), ("drs_rule", False)):
            vc.set("mover", **{name: value})


def test_drs_and_the_machine(vc, moved):
    vc.set("web1", drs="fullyAutomated")
    try:
        check(findings(vc, moved, "web1")["vmware-drs"], "info")
        vc.set("web1", drs_override="partiallyAutomated")
        assert "vmware-drs" not in findings(vc, moved, "web1")
    finally:
        vc.set("web1", drs_override="")
        vc.set("web1", drs="")


def test_storage_drs(vc, moved):
    assert "vmware-storage-drs" not in findings(vc, moved, "web1")
    for behavior, warned in (("automated", True), ("manual", False)):
        vc.set("web1", storage_drs=behavior)
        found = findings(vc, moved, "web1")
        assert ("vmware-storage-drs" in found) is warned
        if warned:
            check(found["vmware-storage-drs"], "warn")
    vc.set("web1", storage_drs="")


def test_storage_drs_and_the_mover(vc, moved):
    """It would take the files along that hang on the mover; movers and machine are told apart."""
    def moves():
        found = moved.call("source_precheck", machine=vc.moref("web1"))["findings"]
        for one in (f for f in found if f["id"] == "vmware-mover-storage-drs"):
            check(one, "warn")
        return {f["subject"] for f in found if f["id"] == "vmware-mover-storage-drs"}, "vmware-storage-drs" in {
            f["id"] for f in found}
    both = {vc.moref("mover"), vc.moref("mover2")}
    assert moves() == (set(), False)
    vc.set("mover", storage_drs="automated")  # the machine's files are on that datastore as well
    try:
        assert moves() == (both, True)
        vc.set("mover", storage_drs_override="manual")
        assert moves() == ({vc.moref("mover2")}, True)
        vc.set("web1", storage_drs_override="manual")
        assert moves() == (both, False)
    finally:
        vc.set("mover", storage_drs="")


@pytest.mark.parametrize("code, changes, word", [
    ("bad-input", {"mover2_address": None}, "mover2, mover2_address and mover2_certificates go together"),
    ("bad-input", {"mover2": None}, "options.mover2 is not set"),
    ("bad-input", {"mover2_slots": "46"}, "options.mover2_slots: expected a number from 1 to 45"),
    ("bad-input", {"mover2": "the first"}, "is another mover already"),
    ("bad-input", {"mover10": "vm-1"}, "mover10"), ("bad-input", {"mover1": "vm-1"}, "mover1"),
    ("bad-input", {"mover2_size": "1"}, "mover2_size")])
def test_options_that_are_none(vc, moved, options, code, changes, word):
    wrong = {k: v for k, v in {**options, **changes}.items() if v is not None}
    if changes.get("mover2"):
        wrong["mover2"] = wrong["mover"]
    moved.call("close")
    fails(code, word, moved.open, **wrong)
    moved.open(**options)
