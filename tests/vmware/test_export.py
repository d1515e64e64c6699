# SPDX-License-Identifier: Apache-2.0
"""Reading without VMware's library: exported disks, decoded from the stream."""
import ssl
import urllib.request

import pytest

from seam import SeamError, run
from test_lab import content, machine, wait  # noqa: F401  (content is a fixture)
from vcenter import Rounds

MACHINES = ["web1=16M,24M", "odd=5243392"]


@pytest.fixture
def exported(vc, seam):
    """No library is there, so that "auto" exports."""
    seam.reopen(library_directory="/nonexistent")
    yield seam
    assert vc.control()["leases"] == 0
    assert vc.snapshots() == []


def test_the_labs_export_is_one_that_qemu_reads(vc, content):  # noqa: F811
    """So decoder and simulator of ours cannot agree on a mistake."""
    vc.scribble("web1", 1)
    snapshot = wait(machine(content).CreateSnapshot_Task("x", "", False, False))
    lease = snapshot.ExportSnapshot()
    assert lease.state == "ready" and lease.info.leaseTimeout > 0
    context = ssl.create_default_context(cafile=f"{vc.dir}/tls/cert.pem")
    for number, device in enumerate(lease.info.deviceUrl, 1):
        with urllib.request.urlopen(device.url.replace("https://*", vc.url), context=context,
                                    timeout=30) as answer:
            (vc.dir / "x.vmdk").write_bytes(answer.read())
        run("qemu-img", "compare", "-f", "vmdk", "-F", "raw", vc.dir / "x.vmdk",
            vc.frozen("web1", number))
    lease.HttpNfcLeaseComplete()
    wait(snapshot.RemoveSnapshot_Task(False))


def test_full_and_five_deltas(vc, exported):
    Rounds(exported, vc, "web1").full_and_five_deltas()
    assert not list(exported.work.iterdir())


def test_a_disk_of_odd_size(vc, exported):
    vc.control(task_ms=300)
    rounds = Rounds(exported, vc, "odd", ["2000"])
    vc.write("odd", 1, 5243392 - 1024, b"E" * 1024)
    rounds.round()
    vc.control(task_ms=0)


def test_opened_twice_is_exported_once(vc, exported):
    """The service looks whether a disk is still there while it is copied."""
    rounds = Rounds(exported, vc, "web1")
    snapshot = rounds.snapshot()
    before = vc.control()["calls"].get("ExportSnapshot", 0)
    first = exported.call("open_disk", ref=snapshot["ref"], disk="2000")
    second = exported.call("open_disk", ref=snapshot["ref"], disk="2000")
    assert first["uri"] == second["uri"]
    exported.call("close_disk", handle=second["handle"])
    run("cmp", first["uri"], vc.frozen("web1", 1))
    exported.call("close_disk", handle=first["handle"])
    assert vc.control()["calls"]["ExportSnapshot"] == before + 1
    rounds.complete(snapshot)


@pytest.mark.parametrize("kind", ["drop", "end", "zeroes"])
@pytest.mark.parametrize("where", [0, 300, 70000, 400000])
def test_a_stream_that_breaks_off(vc, exported, where, kind):
    rounds = Rounds(exported, vc, "web1")
    vc.scribble("web1", 5, writes=20)
    snapshot = rounds.snapshot()
    vc.trouble("nfc", kind, ms=where)
    with pytest.raises(SeamError) as failed:
        exported.call("open_disk", ref=snapshot["ref"], disk="2000")
    assert failed.value.code in ("platform-unreachable", "protocol"), failed.value
    assert not list(exported.work.iterdir()) and vc.control()["leases"] == 0
    rounds.copy(snapshot)
    rounds.complete(snapshot)


def test_a_busy_machine(vc, exported):
    rounds = Rounds(exported, vc, "web1")
    snapshot = rounds.snapshot()
    vc.trouble("ExportSnapshot", "soap", fault="TaskInProgress")
    with pytest.raises(SeamError) as failed:
        exported.call("open_disk", ref=snapshot["ref"], disk="2000")
    assert failed.value.code == "busy"
    vc.control(kill_session=True)
    rounds.copy(snapshot)
    rounds.complete(snapshot)


def test_killed_while_exporting(vc, exported):
    """What a killed service left in the scratch directory goes with the snapshot."""
    rounds = Rounds(exported, vc, "web1")
    snapshot = rounds.snapshot()
    exported.call("open_disk", ref=snapshot["ref"], disk="2000")
    exported.kill()
    exported.open(library_directory="/nonexistent")
    assert list(exported.work.glob("export-*"))
    rounds.complete(snapshot)
    assert not list(exported.work.iterdir())
