# SPDX-License-Identifier: Apache-2.0
"""kill -9 of blockferryd and of blockferry-copy at random moments of rounds.

After each kill the round has to end, the newest point has to hold the source's bytes, and libvirt
itself must know of nothing of ours but what the ledger lists.  BLOCKFERRY_KILLS: how many kills in
all (50); BLOCKFERRY_SEED: repeats a run.
"""
import glob
import os
import random
import re
import signal
import sys
import time

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../daemon"))
import ferry  # noqa: E402

KILLS = int(os.environ.get("BLOCKFERRY_KILLS", "50"))
SEED = int(os.environ.get("BLOCKFERRY_SEED", random.randrange(1 << 30)))
DISKS = 2
DISK_MIB = 16
BLOCK = 65536
MACHINE = "crash"


@pytest.fixture(scope="module")
def world():
    print(f"BLOCKFERRY_SEED={SEED}")
    one = ferry.World()
    one.random = random.Random(SEED)
    one.source.machine(MACHINE, [f"{DISK_MIB}M"] * DISKS)
    yield one
    one.close()


def disks():
    return [f"sd{chr(ord('a') + i)}" for i in range(DISKS)]


def write_some(world, most=24):
    """Blocks all over both disks, a whole MiB among them, and now and then zeroes."""
    for disk in disks():
        for _ in range(world.random.randint(1, 3)):
            length = world.random.randint(1, most) * BLOCK
            offset = world.random.randrange(0, DISK_MIB * 16) * BLOCK
            length = min(length, DISK_MIB * 1024 * 1024 - offset)
            world.source.write(MACHINE, offset, length, world.random.choice([0, *range(1, 255)]),
                               disk)


def newest_files(world):
    """Path of the newest point's image, by disk."""
    directory = f"{world.target.directory}/pool"
    rows = [r for r in world.daemon.ledger() if r["kind"] == "layer" and r["state"] == "made"]
    newest = {}
    for row in sorted(rows, key=lambda r: r["created_at"]):
        newest[row["name"]] = glob.glob(f"{directory}/{row['tag']}-of-*")
    assert sorted(newest) == disks()
    assert all(len(files) == 1 for files in newest.values()), newest
    return {disk: files[0] for disk, files in newest.items()}


def check_bytes(world):
    sources = world.disk_files(world.source, MACHINE)
    targets = newest_files(world)
    for disk, source in zip(disks(), sources):
        # -U: qemu has the source open; it is paused and has flushed.
        answer = ferry.run("qemu-img", "compare", "-U", "-f", "qcow2", source, targets[disk])
        assert "identical" in answer


def check_nothing_left(world):
    """libvirt is asked, not the daemon."""
    rows = world.daemon.ledger()
    kinds = {kind: [r["tag"] for r in rows if r["kind"] == kind] for kind in
             ("snapshot", "baseline", "volume", "layer", "clone", "machine")}
    assert not kinds["snapshot"] and not kinds["clone"] and not kinds["machine"], rows
    assert len(kinds["baseline"]) == 1, rows
    assert len(kinds["volume"]) == DISKS, rows
    assert sorted(world.source.checkpoints(MACHINE)) == kinds["baseline"]
    assert "None" in world.source.virsh("domjobinfo", MACHINE)
    files = os.listdir(f"{world.target.directory}/pool")
    tags = sorted(re.match(r"bf-[0-9a-f]{16}", name).group(0) for name in files)
    assert tags == sorted(kinds["layer"]), files
    assert all(f["tag"] in kinds["volume"] for f in rows if f["kind"] == "volume")
    assert not [name for name in files if ".part." in name], files
    assert world.source.virsh("list", "--all", "--name").split() == [MACHINE]
    assert world.daemon.post("/reconcile")["found"] == []


def round_after(world, job):
    """The job that was hit ends; if its round could not be saved, the next one is complete."""
    ended = world.daemon.wait_job(MACHINE, job)
    if ended["state"] != "done":
        world.daemon.wait_state(MACHINE, "idle", "checked", "failed")
        world.daemon.do(MACHINE, "sync")
    world.daemon.wait_state(MACHINE, "idle")
    return ended["state"]


def wait_settled(world):
    """The janitor may have something to do after a restart."""
    def settled():
        return not [r for r in world.daemon.ledger() if r["state"] in ("intended", "removing")]
    ferry.Daemon.wait_until(settled, 60, "the ledger to settle")


def copies(pid):
    found = []
    for path in glob.glob("/proc/[0-9]*/stat"):
        try:
            with open(path, encoding="utf-8", errors="replace") as stat:
                text = stat.read()
        except OSError:
            continue
        if "(blockferry-copy" in text and text.rsplit(") ", 1)[1].split()[1] == str(pid):
            found.append(int(path.split("/")[2]))
    return found


def kill_daemon(world, longest_s):
    time.sleep(world.random.uniform(0, longest_s))
    world.daemon.kill()
    world.daemon.start()


def kill_copy(world, longest_s):
    """One of the copies, if the round is not over before one is seen."""
    end = time.monotonic() + 10
    while time.monotonic() < end and world.daemon.show(MACHINE)["job"]:
        found = copies(world.daemon.process.pid)
        if found:
            time.sleep(world.random.uniform(0, longest_s))
            try:
                os.kill(world.random.choice(found), signal.SIGKILL)
                return
            except ProcessLookupError:
                continue


def sweep(world, kill, count, longest_s):
    outcomes = {}
    for _ in range(count):
        write_some(world)
        job = world.daemon.verb(MACHINE, "sync")["job"]
        kill(world, longest_s)
        state = round_after(world, job)
        outcomes[state] = outcomes.get(state, 0) + 1
        wait_settled(world)
        check_bytes(world)
        check_nothing_left(world)
    print(f"{count} kills, rounds hit: {outcomes}")


def test_seed_survives_kills(world):
    """The first round, killed again and again until it is through."""
    write_some(world, 64)
    one = world.replicate(MACHINE, start=False, rate="24M", retries=9)
    job = world.daemon.verb(one["name"], "sync")["job"]
    for _ in range(max(2, KILLS // 10)):
        kill_daemon(world, 0.4)
    round_after(world, job)
    wait_settled(world)
    check_bytes(world)
    check_nothing_left(world)


def test_daemon_killed_in_delta_rounds(world):
    world.daemon.call("PATCH", f"/replications/{MACHINE}", {"policy": {"rate": "12M"}})
    sweep(world, kill_daemon, KILLS - 2 * max(2, KILLS // 10) - KILLS // 3, 0.8)


def test_copy_killed_in_delta_rounds(world):
    sweep(world, kill_copy, KILLS // 3, 0.3)


def test_daemon_killed_in_recovery(world):
    """Killed in the round, and again soon after each restart."""
    write_some(world, 32)
    job = world.daemon.verb(MACHINE, "sync")["job"]
    for _ in range(max(2, KILLS // 10)):
        kill_daemon(world, 0.5)
    round_after(world, job)
    wait_settled(world)
    check_bytes(world)
    check_nothing_left(world)
