# SPDX-License-Identifier: Apache-2.0
"""A guest inspected before its first round, of more disks than the host lets be read at a time."""
import pytest

import ferry
import guests
from test_service import World


class PartsWorld(World):
    def prepare(self):
        system = str(self.vc.disk("parts", 3))
        ferry.run(f"{ferry.LAB}/images", "copy", "tiny", system, "raw", timeout=600)
        guests.make_recognised(system)


@pytest.fixture(scope="module")
def world():
    one = PartsWorld("parts=2M,2M,64M")
    yield one
    one.close()


def test_inspected_in_parts(world):
    """The system is on the third of three disks, two can be read at a time: the first with the second, then with it."""
    body = {"source": "narrow", "machine": "parts", "target": "dst", "name": "p", "start": False,
            "mapping": {"default_network": "lab"},
            "policy": {"interval": None, "convert": "auto", "quiesce": "off"}}
    found = {f["id"]: f["severity"] for f in world.daemon.post("/replications", body)["findings"]}
    assert found["vmware-nfc-budget"] == "warn"
    most = world.vc.count_connections()
    world.daemon.do("p", "check", inspect=True)
    assert most() == 2 and world.vc.snapshots() == []
    plan = world.daemon.get("/replications/p/plan")["plan"]
    assert plan["os"]["product"] == "Tiny 12" and plan["partial"] is True, plan
    part, = [f for f in plan["findings"] if f["id"] == "inspection-part"]
    assert part["severity"] == "info" and "disks 2001 were not" in part["found"]
    assert world.daemon.show("p")["state"] == "checked"
    # All disks of the first point are looked at.
    world.daemon.do("p", "sync")
    answer = world.daemon.get("/replications/p/plan")
    assert answer["point"] == 1 and "partial" not in answer["plan"]
    assert answer["plan"]["os"]["product"] == "Tiny 12"


def test_inspected_through_a_mover(world):
    """libguestfs knows nothing of the mover's certificates."""
    world.daemon.do("p", "remove", delete_volumes=True)
    body = {"source": "moved", "machine": "parts", "target": "dst", "name": "m", "start": False,
            "mapping": {"default_network": "lab"},
            "policy": {"interval": None, "convert": "auto", "quiesce": "off"}}
    world.daemon.post("/replications", body)
    calls = world.vc.control()["calls"].get("ReconfigVM_Task", 0)
    world.daemon.do("m", "check", inspect=True)
    state = world.vc.control()
    assert state["calls"]["ReconfigVM_Task"] >= calls + 6, "each disk attached and detached"
    assert state["attached"] == [] and world.vc.snapshots() == []
    plan = world.daemon.get("/replications/m/plan")["plan"]
    assert plan["os"]["product"] == "Tiny 12" and "partial" not in plan, plan
