# SPDX-License-Identifier: Apache-2.0
"""What is asked for while a round runs: sync means that round, a cutover waits for its end."""
import pytest

import ferry
from ferry import ApiError

NAME = "slow"
MIB = 1 << 20


@pytest.fixture(scope="module")
def world():
    one = ferry.World(two_labs=True)
    yield one
    one.close()


def begin_slow_round(world, first):
    """A round of 12 MiB at 1 MiB/s; its job's id."""
    world.source.write(NAME, 0, 12 * MIB, 0x40 + first)
    job = world.daemon.verb(NAME, "sync")["job"]
    assert world.daemon.show(NAME)["state"] == "syncing"
    return job


def job(world, number):
    return next(j for j in world.daemon.list(NAME, "jobs") if j["id"] == number)


def test_sync_joins_the_round_that_runs(world):
    world.source.machine(NAME)
    world.replicate(NAME, rate="1M", boot_timeout="10s")
    running = begin_slow_round(world, 0)
    assert world.daemon.verb(NAME, "sync")["job"] == running
    with pytest.raises(ApiError) as refused:
        world.daemon.verb(NAME, "sync", kind="full")
    assert refused.value.code == "busy"
    assert world.daemon.wait_job(NAME, running)["state"] == "done"
    assert len(world.daemon.list(NAME, "rounds")) == 2


def test_a_waiting_cutover_can_be_cancelled(world):
    running = begin_slow_round(world, 1)
    waiting = world.daemon.verb(NAME, "cutover", yes=True)["job"]
    assert job(world, waiting)["state"] == "waiting"
    with pytest.raises(ApiError) as refused:
        world.daemon.verb(NAME, "cutover", yes=True)
    assert refused.value.code == "busy"
    assert world.daemon.verb(NAME, "cancel")["job"] == waiting
    assert job(world, waiting)["state"] == "cancelled"
    assert world.daemon.wait_job(NAME, running)["state"] == "done"
    assert world.daemon.wait_state(NAME, "idle")["launch"] is None
    assert world.source.virsh("domstate", NAME) == "paused"


def test_a_taken_name_is_found_before_the_shutdown(world):
    world.target.machine(NAME, start=False)
    failed = world.daemon.wait_job(NAME, world.daemon.verb(NAME, "cutover", yes=True)["job"])
    assert failed["state"] == "failed" and failed["error"]["code"] == "exists"
    one = world.daemon.show(NAME)
    assert one["state"] == "idle" and one["error"]["code"] == "exists", one
    assert world.source.virsh("domstate", NAME) == "paused"
    world.target.virsh("undefine", NAME)


def test_a_waiting_cutover_is_dropped_when_its_round_fails(world):
    running = begin_slow_round(world, 2)
    waiting = world.daemon.verb(NAME, "cutover", yes=True)["job"]
    world.daemon.post(f"/replications/{NAME}/pause")
    world.source.domain("destroy", NAME)
    world.source.virsh("undefine", NAME, "--checkpoints-metadata")
    assert world.daemon.wait_job(NAME, running)["state"] == "failed"
    ended = world.daemon.wait_job(NAME, waiting)
    assert ended["state"] == "failed" and "waited for failed" in ended["error"]["message"]
    assert world.daemon.show(NAME)["launch"] is None
    world.daemon.do(NAME, "remove", delete_volumes=True)


def test_a_waiting_cutover_outlives_the_service_and_runs(world):
    world.source.machine(NAME)
    world.replicate(NAME, rate="1M", boot_timeout="5s")
    begin_slow_round(world, 3)
    waiting = world.daemon.verb(NAME, "cutover", yes=True)["job"]
    world.daemon.kill()
    world.daemon.start()
    assert job(world, waiting)["state"] in ("waiting", "running")
    assert world.daemon.wait_job(NAME, waiting)["state"] == "done"
    # No operating system and a silent console: it runs, but unproven.
    assert world.daemon.show(NAME)["state"] == "confirm-pending"
    assert world.source.virsh("domstate", NAME) == "shut off"
    assert world.target.virsh("domstate", NAME) == "running"
    world.daemon.do(NAME, "rollback")
    assert world.source.virsh("domstate", NAME) == "running"
    world.daemon.do(NAME, "remove", delete_volumes=True)
    assert not world.daemon.ledger()
