# SPDX-License-Identifier: Apache-2.0
"""What goes wrong while a copy runs."""
import contextlib
import os
import signal
import time

import pytest

from cluster import MIB, engine

SIZE = 64 * MIB
RATE = "12M"  # several seconds a copy


@pytest.fixture(name="disk")
def fixture_disk(work):
    return engine.make_disk(work / "disk", SIZE, step=100000)


@contextlib.contextmanager
def dead_osd(ceph):
    ceph.lab.run("kill-osd")
    try:
        yield
    finally:
        ceph.lab.run("start-osd")


@contextlib.contextmanager
def stopped(ceph, name):
    pid = ceph.lab.pid(name)
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def started(ceph, source, target, *args):
    process = engine.start_copy("--rate", RATE, *args, source, target)
    engine.wait_done(process, 8 * MIB)
    return process


# --- the cluster goes away for a while ---

@pytest.mark.timeout(180)
def test_osd_of_the_target_dies_and_comes_back(ceph, work, disk):
    image = ceph.new(SIZE, pool="replicas")
    process = started(ceph, work.nbdkit("file", disk).uri, ceph.uri(image))
    with dead_osd(ceph):
        time.sleep(2)
        assert process.poll() is None
    assert engine.end_copy(process, 120).done["sent"] > 0
    assert ceph.is_like(image, disk)


@pytest.mark.timeout(180)
def test_osd_of_the_source_dies_and_comes_back(ceph, work, disk):
    image = ceph.upload(disk)
    ceph.snapshot(image, "point")
    process = started(ceph, ceph.uri(f"{image}@point"), work / "out")
    with dead_osd(ceph):
        time.sleep(2)
        assert process.poll() is None
    engine.end_copy(process, 120).done
    assert engine.same(disk, work / "out")


@pytest.mark.timeout(180)
def test_osd_stands_still_for_longer_than_the_deadline(ceph, work, disk):
    """It says so, waits on, and ends well."""
    image = ceph.new(SIZE)
    process = started(ceph, work.nbdkit("file", disk).uri, ceph.uri(image), "--deadline", 2, "--reconnect", 60)
    with stopped(ceph, "ceph-osd"):
        time.sleep(5)
    result = engine.end_copy(process, 120)
    assert result.done and "no answer for 2 s" in result.stderr
    assert ceph.is_like(image, disk)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("side", ["source", "target"])
def test_osd_does_not_come_back(ceph, work, disk, side):
    """The deadline ends it, soon, with a clear error and an exit of its own."""
    image = ceph.upload(disk) if side == "source" else ceph.new(SIZE)
    ends = [ceph.uri(image), work / "out"] if side == "source" else [disk, ceph.uri(image)]
    process = started(ceph, *ends, "--deadline", 2, "--reconnect", 3, "--journal", work / "journal")
    engine.wait_done(process, 40 * MIB)  # the journal has its first entry after 2 s
    with stopped(ceph, "ceph-osd"):
        begin = time.monotonic()
        result = engine.end_copy(process, 40)
        took = time.monotonic() - begin
    assert result.error["code"] == "deadline" and result.code == 9
    assert 2 < took < 25
    # What was done is not lost: the next one goes on there.
    if side == "target":
        ceph.wait_unwatched(image, 60)
    result = engine.run_copy("--journal", work / "journal", *ends, timeout=100)
    assert 0 < result.done["read"] < SIZE - 8 * MIB
    if side == "source":
        assert engine.same(disk, work / "out")
    else:
        assert ceph.is_like(image, disk)


@pytest.mark.timeout(120)
def test_monitor_does_not_answer(ceph, work):
    image = ceph.new(MIB)
    with stopped(ceph, "ceph-mon"):
        begin = time.monotonic()
        result = engine.run_copy("--deadline", 2, ceph.uri(image), "null:", timeout=30)
        took = time.monotonic() - begin
    assert result.error["code"] == "deadline" and result.code == 9
    assert took < 12


@pytest.mark.timeout(120)
def test_cancel_while_the_cluster_hangs(ceph, work, disk):
    """Both while it opens and while it copies."""
    image = ceph.new(SIZE)
    with stopped(ceph, "ceph-mon"):
        process = engine.start_copy(disk, ceph.uri(image))
        time.sleep(1)
        process.terminate()
        assert engine.end_copy(process, 10).error["code"] == "cancelled"
    process = started(ceph, disk, ceph.uri(image))
    with stopped(ceph, "ceph-osd"):
        time.sleep(1)
        process.terminate()
        assert engine.end_copy(process, 20).error["code"] == "cancelled"


# --- what is copied goes away ---

@pytest.mark.timeout(120)
def test_snapshot_is_deleted_meanwhile(ceph, work, disk):
    """Its objects then read as zeroes, without an error: this must never pass for a copy."""
    image = ceph.upload(disk)
    ceph.snapshot(image, "point")
    ceph.fill(image)
    process = started(ceph, ceph.uri(f"{image}@point"), work / "out", "--digest", work / "digest")
    with ceph.image(image) as handle:
        handle.remove_snap("point")
    error = engine.end_copy(process).error
    assert error["code"] == "endpoint-open" and "deleted meanwhile" in error["message"]
    assert not os.path.exists(work / "digest")


@pytest.mark.timeout(120)
def test_snapshot_is_deleted_at_the_very_end(ceph, work, disk):
    """Too late for the look every few seconds: the last one finds it."""
    image = ceph.upload(disk)
    ceph.snapshot(image, "point")
    process = engine.start_copy("--rate", "40M", ceph.uri(f"{image}@point"), work / "out")
    engine.wait_done(process, MIB)
    with ceph.image(image) as handle:
        handle.remove_snap("point")
    assert "deleted meanwhile" in engine.end_copy(process).error["message"]


@pytest.mark.timeout(120)
def test_source_image_is_deleted_meanwhile(ceph, work, disk):
    image = ceph.upload(disk)
    process = started(ceph, ceph.uri(image), work / "out")
    ceph.rbd("rm", "--no-progress", image)
    error = engine.end_copy(process).error
    assert error["code"] == "endpoint-open" and "deleted meanwhile" in error["message"]


@pytest.mark.timeout(120)
def test_target_image_is_deleted_meanwhile(ceph, work, disk):
    """rbd rm is refused while we have it open; so as if by an administrator's mistake with rados."""
    image = ceph.new(SIZE)
    with ceph.image(image) as handle:
        header = f"rbd_header.{handle.id()}"
    process = started(ceph, disk, ceph.uri(image))
    with pytest.raises(AssertionError, match="watchers"):
        ceph.rbd("rm", "--no-progress", image)
    ceph.pools["volumes"].remove_object(header)
    result = engine.end_copy(process)
    assert result.error["code"] in ("endpoint-open", "write-error"), result.error


@pytest.mark.timeout(180)
def test_journal_knows_an_image_from_its_namesake(ceph, work, disk):
    image = ceph.new(SIZE)
    process = started(ceph, disk, ceph.uri(image), "--journal", work / "journal")
    process.terminate()
    assert engine.end_copy(process).error["code"] == "cancelled"
    ceph.rbd("rm", "--no-progress", image)
    ceph.rbd("create", "--size", f"{SIZE}B", image)
    error = engine.run_copy("--journal", work / "journal", disk, ceph.uri(image)).error
    assert error["code"] == "journal"


# --- our own end ---

@pytest.mark.timeout(180)
def test_killed_and_resumed(ceph, work, disk):
    """The dead one's lock and watch are waited for, and what was done is not done again."""
    image = ceph.new(SIZE, pool="replicas")
    process = started(ceph, disk, ceph.uri(image), "--journal", work / "journal")
    engine.wait_done(process, 40 * MIB)
    process.kill()
    process.communicate()
    result = engine.run_copy("--journal", work / "journal", disk, ceph.uri(image), timeout=100)
    assert 0 < result.done["read"] < SIZE - 8 * MIB
    assert ceph.is_like(image, disk)


@pytest.mark.timeout(240)
def test_full_pool(ceph, work, disk):
    """Said as such, nothing lost: with more room it goes on."""
    image = ceph.new(SIZE, pool="replicas")
    with full(ceph, "replicas"):
        result = engine.run_copy("--journal", work / "journal", disk, ceph.uri(image), timeout=60)
    assert result.error["code"] == "target-full" and result.code == 7
    engine.run_copy("--journal", work / "journal", disk, ceph.uri(image), timeout=60).done
    assert ceph.is_like(image, disk)


@contextlib.contextmanager
def full(ceph, pool):
    """By a quota below what the pool holds."""
    holder = ceph.new(8 * MIB, pool=pool)
    ceph.fill(holder)
    ceph.ceph("osd", "pool", "set-quota", pool, "max_bytes", MIB)
    try:
        deadline = time.monotonic() + 60
        while "full" not in ceph.ceph("osd", "pool", "ls", "detail").split(f"'{pool}'")[1].splitlines()[0]:
            assert time.monotonic() < deadline, "the quota takes no effect"
            time.sleep(0.5)
        yield
    finally:
        ceph.ceph("osd", "pool", "set-quota", pool, "max_bytes", 0)
        deadline = time.monotonic() + 60
        while "full" in ceph.ceph("osd", "pool", "ls", "detail").split(f"'{pool}'")[1].splitlines()[0]:
            assert time.monotonic() < deadline, "the quota stays"
            time.sleep(0.5)
