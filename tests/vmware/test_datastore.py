# SPDX-License-Identifier: Apache-2.0
"""Reading the files of machines that are off from their datastore, by ranges of HTTPS."""
import pytest

from seam import run
from vcenter import Rounds, fails

MACHINES = ["web1=16M,24M", "odd=5243392"]


@pytest.fixture
def cold(vc, seam):
    """No library is there, and the machines are off: "auto" reads from the datastore."""
    seam.reopen(library_directory="/nonexistent")
    vc.set("web1", power="poweredOff")
    vc.set("odd", power="poweredOff")
    yield seam
    for tagged in seam.tagged("snapshot"):
        seam.call("release_tag", machine=vc.moref(tagged["name"]), tag=tagged["tag"])
    assert vc.snapshots() == []
    assert not list(seam.work.iterdir())


def findings(vc, seam, machine="web1"):
    return {f["id"]: f for f in seam.call("source_precheck", machine=vc.moref(machine))["findings"]}


def reading_fails(source):
    """By a client that asks once; the engine asks many times before it gives up."""
    with pytest.raises(AssertionError, match="Input/output error"):
        run("nbdcopy", "--connections=1", source["uri"], "null:", timeout=30)


def refused(code, word, seam, snapshot):
    fails(code, word, seam.call, "open_disk", ref=snapshot["ref"], disk="2000")


def test_full_and_deltas(vc, cold):
    """The machine is off, but its disks change: somebody mends them from elsewhere."""
    rounds = Rounds(cold, vc, "web1")
    vc.scribble("web1", 1, writes=40)
    rounds.round()
    for n in range(3):
        vc.scribble("web1", 10 + n)
        snapshot, done = rounds.round(meanwhile=lambda: vc.scribble("web1", 50 + n))
        assert rounds.deltas(snapshot) == [True, True]
        assert all(0 < done[d]["sent"] < 8 << 20 for d in rounds.disks)
    assert vc.control()["calls"].get("ExportSnapshot", 0) == 0
    assert vc.control()["calls"]["folder"] > 20


def test_a_disk_of_odd_size(vc, cold):
    rounds = Rounds(cold, vc, "odd", ["2000"])
    vc.write("odd", 1, 5243392 - 1024, b"E" * 1024)
    rounds.round()
    vc.write("odd", 1, 5243392 - 512, b"F" * 512)
    rounds.round()


def test_the_key_is_pinned(vc, cold):
    """The plugin verifies the server as we do."""
    cold.call("close")
    options = {"library_directory": "/nonexistent", "fingerprint": vc.read("tls/fingerprint")}
    cold.call("open", type="vmware", url=vc.url, user=vc.read("user"),
              password=vc.read("password"), work=str(cold.work), options=options)
    Rounds(cold, vc, "odd", ["2000"]).round()


def test_shown_by_the_prechecks(vc, cold):
    found = findings(vc, cold)
    assert found["vmware-datastore-read"]["severity"] == "info" and "vmware-export" not in found
    vc.control(deny=["Datastore.FileManagement"])
    found = findings(vc, cold)
    assert "vmware-export" in found and "vmware-datastore-read" not in found
    vc.control(deny=[])
    vc.set("web1", power="poweredOn")
    assert "vmware-export" in findings(vc, cold)
    cold.reopen(read_path="datastore")
    found = findings(vc, cold)["vmware-read-path"]
    assert found["severity"] == "block" and "is not off" in found["found"]
    vc.set("web1", power="poweredOff")
    assert "vmware-datastore-read" in findings(vc, cold)


@pytest.mark.parametrize("kind, more, word", [
    ("length", {"after": 1, "ms": 512}, "the flat file has 16776704 bytes"),
    ("whole", {"after": 2}, "no ranges"), ("shift", {"after": 2}, "no ranges"),
    ("status", {"after": 0, "status": 403}, "Datastore.Browse"),
    ("status", {"after": 1, "status": 404}, "no such file")])
def test_a_server_that_cannot(vc, cold, kind, more, word):
    """Told where it is the only way, and exported where it is not."""
    rounds = Rounds(cold, vc, "web1")
    vc.scribble("web1", 2)
    snapshot = rounds.snapshot()
    before = vc.control()["calls"].get("ExportSnapshot", 0)
    vc.trouble("folder", kind, **more)
    source = cold.call("open_disk", ref=snapshot["ref"], disk="2000")
    run("cmp", source["uri"], vc.frozen("web1", 1))
    cold.call("close_disk", handle=source["handle"])
    assert vc.control()["calls"]["ExportSnapshot"] == before + 1
    cold.reopen(read_path="datastore")
    vc.trouble("folder", kind, **more)
    refused("platform-privilege" if "Browse" in word else "platform-unsupported", word, cold, snapshot)
    rounds.copy(snapshot)
    rounds.complete(snapshot)


@pytest.mark.parametrize("kind, more", [
    ("length", {"ms": 512}), ("whole", {}), ("shift", {}), ("status", {"status": 500})])
def test_a_wrong_answer_while_reading(vc, cold, kind, more):
    """It is an error of that copy, and never data."""
    rounds = Rounds(cold, vc, "web1")
    vc.scribble("web1", 3, writes=30)
    snapshot = rounds.snapshot()
    source = cold.call("open_disk", ref=snapshot["ref"], disk="2000")
    vc.trouble("folder", kind, after=2, times=100000, **more)
    reading_fails(source)
    vc.control(no_trouble=True)
    cold.call("close_disk", handle=source["handle"])
    vc.trouble("folder", kind, after=3 + 2, **more)
    rounds.copy(snapshot)  # the engine has asked again
    rounds.complete(snapshot)


def test_a_connection_that_breaks(vc, cold):
    """Asked for once more."""
    rounds = Rounds(cold, vc, "web1")
    vc.scribble("web1", 4, writes=30)
    snapshot = rounds.snapshot()
    vc.trouble("folder", "drop", after=5)
    rounds.copy(snapshot)
    rounds.complete(snapshot)


def test_the_session_has_ended(vc, cold):
    rounds = Rounds(cold, vc, "web1")
    snapshot = rounds.snapshot()
    vc.control(kill_session=True)
    rounds.copy(snapshot)
    rounds.complete(snapshot)


def test_switched_on_meanwhile(vc, cold):
    """What is read then fails; the next opening says why, or exports."""
    cold.reopen(read_path="datastore")
    rounds = Rounds(cold, vc, "web1")
    vc.scribble("web1", 5, writes=30)
    snapshot = rounds.snapshot()
    source = cold.call("open_disk", ref=snapshot["ref"], disk="2000")
    vc.set("web1", power="poweredOn")
    reading_fails(source)
    cold.call("close_disk", handle=source["handle"])
    refused("machine-state", "is not off", cold, snapshot)
    cold.reopen(library_directory="/nonexistent")
    rounds.copy(snapshot)
    rounds.complete(snapshot)


def test_a_delta_is_not_read(vc, cold):
    """A descriptor that says so is not believed to be the disk."""
    rounds = Rounds(cold, vc, "web1")
    snapshot = rounds.snapshot()
    cold.reopen(read_path="datastore")
    vc.trouble("folder", "delta")
    refused("platform-unsupported", "a delta on another disk", cold, snapshot)
    rounds.complete(snapshot)
