# SPDX-License-Identifier: Apache-2.0
"""kill -9 of blockferryd at random moments of drills and cutovers to a cloud, and of what ends them.

Never two running machines, and never a server, port, volume or snapshot that the ledger does not know:
libvirt and the cloud are asked, while it happens and afterwards.  And each job goes on and ends well.
BLOCKFERRY_KILLS: how many kills in all (4; 50 is a long run of about 15 minutes); BLOCKFERRY_SEED: repeats a run.
"""
import os
import random
import threading
import time

import pytest

import service

KILLS = int(os.environ.get("BLOCKFERRY_KILLS", "4"))
SEED = int(os.environ.get("BLOCKFERRY_SEED", random.randrange(1 << 30)))
NAME = "k"
MACHINE = "crash"

pytestmark = pytest.mark.timeout(120 + 60 * KILLS)


class Watch(threading.Thread):
    """Looks again and again whether machine and launch run at the same time.  A drill's guest is meant to."""

    def __init__(self, world):
        super().__init__(daemon=True)
        self.world = world
        self.project = world.cloud.project("target")  # a session of its own
        self.over = threading.Event()
        self.looks = 0
        self.unanswered = 0
        self.both = []

    def source_runs(self):
        return self.world.lab.virsh("domstate", MACHINE) != "shut off"

    def launches(self):
        servers = self.project.cloud.get("compute", "/servers?status=ACTIVE")["servers"]
        return [one["name"] for one in servers if not one["name"].endswith("-drill")]

    def run(self):
        while not self.over.wait(0.3):
            before = self.source_runs()
            try:
                found = self.launches()
            except OSError:  # uWSGI and eventlet hang up now and then
                self.unanswered += 1
                continue
            self.looks += 1
            if found and before and self.source_runs():
                self.both.append(found)


@pytest.fixture(scope="module")
def world(cloud):
    print(f"BLOCKFERRY_SEED={SEED}")
    one = service.Ferry(cloud)
    one.random = random.Random(SEED)
    one.outcomes = {}
    one.failed = []
    one.machine(MACHINE, "52:54:00:77:02:01")
    one.replicate("kvm", MACHINE, "target", NAME,
                  {"storage": "rbd-b", "default_network": "prod", "isolated_network": "isolated"},
                  boot_timeout="60s", shutdown="off", shutdown_timeout="2s", quiesce="off", keep_points=2)
    one.watch = Watch(one)
    one.watch.start()
    yield one
    one.watch.over.set()
    one.watch.join(60)
    one.close()


def settle(world):
    """Whatever the killed one left goes to its end: no launch is open, the source runs."""
    show = world.daemon.show(NAME)
    if show["state"] == "confirm-pending":
        return "rollback"
    return "drill-end" if show["launch"] else None


# Why a job may end in an error after a kill, by its code.  Everything it asks for is possible, so a job that is
# taken up goes on: there is no such reason.
EXCUSED = set()


def ended(world, job):
    one = world.daemon.wait_job(NAME, job, seconds=300)
    if one["state"] == "done":
        return "done"
    error = one["error"]
    print(f"{one['kind']} in {world.killed_in}: {error['code']}: {error['message']}\n{error.get('evidence')}\n"
          f"{world.daemon.tail(40)}")
    if error["code"] not in EXCUSED:
        world.failed.append(f"{one['kind']} killed in {world.killed_in}: {error['code']}: {error['message']}")
    return f"{one['state']} ({error['code']})"


def killed(world, verb, longest_s):
    """The verb with a kill in it; how its job ended all the same."""
    body = {"yes": True} if verb == "cutover" else {}
    job = world.daemon.verb(NAME, verb, **body)["job"]
    time.sleep(world.random.uniform(0, longest_s))
    hit = bool(world.daemon.show(NAME)["job"])
    world.killed_in = f"{verb}, {world.last_job(NAME)['step']}"
    world.daemon.kill()
    world.daemon.start()
    outcome = f"{verb} {'hit, ' if hit else 'missed, '}{ended(world, job)}"
    world.outcomes[outcome] = world.outcomes.get(outcome, 0) + 1


def check(world):
    one = world.daemon.show(NAME)
    assert one["state"] in ("idle", "rolled-back") and not one["launch"], one
    assert world.lab.virsh("domstate", MACHINE) == "running"
    assert world.servers(world.target) == {}
    world.check_clean(90)
    assert not world.watch.both, world.watch.both
    assert world.watch.is_alive() and world.watch.looks > 10 * world.watch.unanswered


def test_without_a_kill(world):
    """How long each takes: the kills fall anywhere in it."""
    world.takes = {}
    for verb, end in (("drill", "drill-end"), ("cutover", "rollback")):
        for step in (verb, end):
            start = time.monotonic()
            world.daemon.do(NAME, step, **({"yes": True} if step == "cutover" else {}))
            world.takes[step] = time.monotonic() - start
    check(world)
    print({step: round(seconds, 1) for step, seconds in world.takes.items()})


def test_killed(world):
    kills = 0
    while kills < KILLS:
        verb = world.random.choice(["drill", "cutover"])
        killed(world, verb, world.takes[verb])
        kills += 1
        end = settle(world)
        if end and kills < KILLS and world.random.random() < 0.5:
            killed(world, end, world.takes[end])
            kills += 1
            end = settle(world)
        if end:
            world.daemon.do(NAME, end)
        check(world)
    print(f"{kills} kills, {world.watch.looks} looks: {world.outcomes}")
    assert not world.failed, "\n".join(world.failed)


def test_removed_without_a_trace(world):
    world.daemon.do(NAME, "remove")
    assert world.daemon.ledger() == [] and world.tagged(world.target) == []
