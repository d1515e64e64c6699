# SPDX-License-Identifier: Apache-2.0
"""Rounds of a two-disk machine through the seam: every byte is what the snapshot froze."""
import pytest

from vcenter import GRAIN, Rounds

MACHINES = ["web1=16M,24M", "odd=5243392", "late=8M"]


@pytest.mark.parametrize("paging", [{}, {"page_areas": 2, "page_span": 1 << 20}])
def test_full_and_five_deltas(vc, seam, paging):
    vc.control(page_areas=paging.get("page_areas", 2000), page_span=paging.get("page_span", 1 << 40))
    rounds = Rounds(seam, vc, "web1")
    rounds.full_and_five_deltas()
    # Nothing changed, nothing is sent.
    snapshot, _ = rounds.round()
    snapshot, done = rounds.round()
    assert [done[d]["sent"] for d in rounds.disks] == [0, 0]
    assert vc.snapshots() == []


def test_areas_in_the_last_short_grain(vc, seam):
    rounds = Rounds(seam, vc, "odd", ["2000"])
    vc.scribble("odd", 3, disks=[1], writes=5)
    rounds.round()
    vc.write("odd", 1, 5243392 - 512, b"E" * 512)
    snapshot, done = rounds.round()
    assert rounds.deltas(snapshot) == [True]
    assert 0 < done["2000"]["sent"] <= GRAIN


def test_without_allocated_blocks(vc, seam):
    """Block status of the library fails: all is data, the bytes are right all the same."""
    vc.standin(no_blocks=1)
    try:
        rounds = Rounds(seam, vc, "odd", ["2000"])
        rounds.round()
    finally:
        vc.standin()


def test_tracking_that_begins_late(vc, seam):
    """The first snapshot after switching tracking on has no ids: it is made anew, once."""
    vc.control(machine="late", late_cbt=True)
    rounds = Rounds(seam, vc, "late", ["2000"])
    vc.scribble("late", 4, disks=[1])
    before = vc.control()["calls"].get("CreateSnapshot_Task", 0)
    rounds.round()
    assert vc.control()["calls"]["CreateSnapshot_Task"] == before + 2
    vc.scribble("late", 5, disks=[1])
    snapshot, _ = rounds.round()
    assert rounds.deltas(snapshot) == [True]
    assert vc.snapshots() == []


def test_each_call_twice(vc, seam):
    """The service may die after any call and ask again."""
    rounds = Rounds(seam, vc, "web1")
    rounds.round()
    vc.scribble("web1", 6)
    first = rounds.snapshot(tag="bf-00000000000000aa", quiesce="off")
    seam.reopen()
    again = rounds.snapshot(tag="bf-00000000000000aa", quiesce="off")
    assert again["ref"] == first["ref"]
    assert again["baseline"] == first["baseline"]
    assert rounds.deltas(again) == [True, True]
    rounds.copy(again)
    assert [t["tag"] for t in seam.tagged("snapshot")] == ["bf-00000000000000aa"]
    seam.call("release", machine=rounds.machine, ref=first["ref"])
    seam.call("release", machine=rounds.machine, ref=first["ref"])
    seam.call("release_tag", machine=rounds.machine, tag="bf-00000000000000aa")
    assert seam.tagged() == []


def test_killed_between_snapshot_and_copy(vc, seam):
    rounds = Rounds(seam, vc, "web1")
    rounds.round()
    vc.scribble("web1", 7)
    snapshot = rounds.snapshot()
    source = seam.call("open_disk", ref=snapshot["ref"], disk="2000")
    assert source["map"] == "file"
    seam.kill()
    seam.open()
    rounds.copy(snapshot)
    rounds.complete(snapshot)
    for left in seam.work.iterdir():  # of the killed one
        left.unlink()
    assert vc.snapshots() == []


def test_tasks_that_take_time(vc, seam):
    vc.control(task_ms=400)
    try:
        rounds = Rounds(seam, vc, "web1")
        rounds.round()
    finally:
        vc.control(task_ms=0)


def test_the_fingerprint_instead_of_a_ca(vc, seam):
    """The key is pinned, and the library is told the thumbprint of that certificate."""
    options = {k: v for k, v in vc.options.items() if k != "ca_file"}
    seam.call("close")
    seam.call("open", type="vmware", url=vc.url, user=vc.read("user"),
              password=vc.read("password"), work=str(seam.work),
              options={**options, "fingerprint": vc.read("tls/fingerprint")})
    assert "vCenter" in seam.call("info")["version"]
    Rounds(seam, vc, "web1").round()
