# SPDX-License-Identifier: Apache-2.0
"""Disks of snapshots read through a mover that they are hot-added to: no VDDK, no port 902."""
import pytest

from guest import Guest
from vcenter import Rounds

MACHINES = ["web1=16M,24M", "odd=5243392"]
FLAGS = {"mover": True}


@pytest.fixture(scope="module")
def guest(vc):
    one = Guest(vc)
    yield one
    one.stop()


@pytest.fixture
def moved(vc, seam, guest):
    """Each test ends with nothing attached, no clone, no snapshot, and no file of anybody lost."""
    seam.call("close")
    seam.open(**guest.options)
    yield seam
    for tagged in seam.tagged("snapshot"):
        seam.call("release", machine=vc.moref("web1"), ref=tagged["ref"])
    state = vc.control()
    assert (state["attached"], state["clones"], state["snapshot_names"]) == ([], 0, [])
    assert not state["lost"] and not state["misuses"], state
    assert not list(seam.work.iterdir())


def test_full_and_five_deltas(vc, moved):
    rounds = Rounds(moved, vc, "web1")
    vc.scribble("web1", 1, writes=40)
    snapshot, done = rounds.round(meanwhile=lambda: vc.scribble("web1", 2))
    assert rounds.deltas(snapshot) == [False, False]
    for n in range(5):
        vc.scribble("web1", 10 + n)
        # What the machine writes after the snapshot is the next round's.
        snapshot, done = rounds.round(meanwhile=lambda: vc.scribble("web1", 50 + n))
        assert rounds.deltas(snapshot) == [True, True]
        assert all(0 < done[d]["sent"] < 8 << 20 for d in rounds.disks)
    assert "ExportSnapshot" not in vc.control()["calls"]
