# SPDX-License-Identifier: Apache-2.0
"""Killed and started again: the journal.  BLOCKFERRY_KILLS sets how often test_kill_at_random kills."""
import json
import os
import random
import signal
import subprocess
import time

import pytest

from conftest import MIB, SLOW, end_copy, make_dirty, make_disk, run_copy, same, start_copy, wait_done
from test_copy import dirty_qcow2, loop_device

KILLS = int(os.environ.get("BLOCKFERRY_KILLS", "40"))
HOOKED = os.environ.get("BLOCKFERRY_COPY_HOOKED")


def kill_until_done(make_process, dice, limit):
    """Start, kill -9 after a random time, and so on; returns the result of the run that got through."""
    kills = 0
    while True:
        process = make_process()
        if kills >= limit:
            return end_copy(process, 120), kills
        try:
            process.wait(dice.uniform(0.02, 0.5) * SLOW)
        except subprocess.TimeoutExpired:
            process.kill()
            kills += 1
        result = end_copy(process)
        if result.code != -signal.SIGKILL:
            return result, kills


def test_kill_at_random(work):
    """Full copies over NBD, each killed and resumed until it is through, until there were enough kills."""
    dice = random.Random(11)
    size = 64 * MIB + 4096
    source = make_disk(work / "source", size, step=300000)
    server = work.qemu_nbd(source, "-r")  # nbdkit would abort when the client dies
    whole = run_copy("--digest", work / "whole", source, "null:").done
    kills = 0
    while kills < KILLS:
        target = make_dirty(work / "target", size)
        options = ["--journal", work / "j", "--digest", work / "d", "--rate", "40M"]
        result, n = kill_until_done(lambda: start_copy(*options, server.uri, target), dice, 8)
        kills += max(n, 1)
        assert result.done["digest"] == whole["digest"], "the digest went wrong"
        assert same(work / "d", work / "whole")
        assert same(source, target)
        assert not os.path.exists(work / "j") and not os.path.exists(work / "d.part")
        os.unlink(work / "d")


def test_kill_often_between_many_commits(work):
    """Most kills come cheap: a small disk, a commit for each MiB, and a program that lives for a tenth of a second."""
    dice = random.Random(13)
    size = 24 * MIB + 512
    source = make_disk(work / "source", size, step=200000)
    target = make_dirty(work / "target", size)
    server = work.qemu_nbd(source, "-r")
    began = time.monotonic()
    whole = run_copy("--digest", work / "whole", source, "null:").done
    start = time.monotonic() - began  # most of it: sanitizers and a busy host make it longer
    options = ["--journal", work / "j", "--digest", work / "d", "--rate", "40M", "--request-size", "64K"]
    env = {"BLOCKFERRY_FLUSH_BYTES": str(MIB)}
    kills = resumed = 0
    while kills < 4 * KILLS:
        for _ in range(40):
            process = start_copy(*options, server.uri, target, program=HOOKED, env=env)
            try:
                process.wait(dice.uniform(0.02 * SLOW, start + 0.12 * SLOW))
            except subprocess.TimeoutExpired:
                process.kill()
                kills += 1
            result = end_copy(process)
            if result.code != -signal.SIGKILL:
                break
            resumed += result.events[-1].get("done", 0) > 0 if result.events else 0
        else:
            result = run_copy(*options, server.uri, target, program=HOOKED, env=env)
        assert result.done["digest"] == whole["digest"]
        assert same(work / "d", work / "whole") and same(source, target)
        os.unlink(work / "d")
        make_dirty(work / "target", size, seed=kills)
    # A sanitized program is killed while it begins as a rule: the plain build judges this.
    assert resumed > kills / 4 or SLOW > 1, "the kills came before anything was done"


def test_kill_delta_at_random(work):
    """The same with a delta from a dirty bitmap, into an NBD target."""
    dice = random.Random(12)
    size = 32 * MIB
    writes = [(dice.randrange(size // 65536) * 65536, 65536) for _ in range(200)]
    before, after = dirty_qcow2(work, size, writes, [(4 * MIB, 2 * MIB)])
    os.rename(before, work / "old")
    run_copy("--digest", work / "d0", work / "old", "null:").done
    whole = run_copy("--digest", work / "whole", after, "null:").done
    server = work.qemu_nbd(work / "disk.qcow2", "-r", "-B", "b0", fmt="qcow2")
    for _ in range(max(2, KILLS // 15)):
        subprocess.run(["cp", work / "old", work / "target"], check=True)
        into = work.qemu_nbd(work / "target")
        options = ["--dirty-bitmap", "b0", "--journal", work / "j", "--digest-from", work / "d0",
                   "--digest", work / "d1", "--rate", "10M"]
        result, _ = kill_until_done(lambda: start_copy(*options, server.uri, into.uri), dice, 6)
        assert result.done["digest"] == whole["digest"]
        into.stop()
        assert same(after, work / "target")


def test_redone_part_is_small(work):
    """After kill -9 at most 5 s or 64 MiB of copying are done again."""
    size = 400 * MIB
    source = make_dirty(work / "source", size)
    process = start_copy("--journal", work / "j", source, work / "t", "--rate", "150M")
    events = []
    for line in process.stdout:
        events.append(json.loads(line))
        if events[-1].get("done", 0) > 250 * MIB:
            break
    process.kill()
    end_copy_quietly(process)
    done = run_copy("--journal", work / "j", source, work / "t").done
    assert same(source, work / "t")
    assert done["read"] <= size - 250 * MIB + 64 * MIB


def end_copy_quietly(process):
    process.stdout.close()
    process.stderr.close()
    process.wait()


@pytest.fixture
def interrupted(work):
    """A copy that was cancelled half way: its source and target, and a way to go on with other options."""
    source = make_disk(work / "source", 32 * MIB)
    process = start_copy("--rate", "6M", "--journal", work / "j", "--digest", work / "d", source, work / "t")
    wait_done(process, 5 * MIB)
    process.terminate()
    assert end_copy(process).error["code"] == "cancelled"
    return source


def test_another_copys_journal_is_refused(work, interrupted):
    journal = ["--journal", work / "j"]
    digest = ["--digest", work / "d"]
    make_disk(work / "other", 32 * MIB)
    make_disk(work / "longer", 33 * MIB)
    with open(work / "map", "w") as f:
        f.write('{"offset":0,"length":65536}\n')
    for args in ([*digest, work / "other", work / "t"], [*digest, interrupted, work / "other"],
                 [interrupted, work / "t"],
                 [*digest, work / "longer", work / "t"], ["--map", work / "map", interrupted, work / "t"],
                 [*digest, "--compare", interrupted, work / "t"]):
        error = run_copy(*journal, *args).error
        assert error["code"] == "journal", args
    run_copy(*journal, *digest, interrupted, work / "t").done
    assert same(interrupted, work / "t")


def go_on(work, source, target):
    return run_copy("--journal", work / "j", "--digest", work / "d", source, target)


@pytest.mark.parametrize("which", ["source", "t"])
@pytest.mark.parametrize("how", ["renamed", "made again"])
def test_another_file_of_the_same_name_is_noticed(work, interrupted, which, how):
    """Of the same length, too."""
    if how == "renamed":
        make_dirty(work / "new", 32 * MIB)
        os.rename(work / which, work / "old")
        os.rename(work / "new", work / which)
    else:  # the number of the removed file is used again as a rule
        os.unlink(work / which)
        make_dirty(work / which, 32 * MIB)
    subprocess.run(["cp", work / "t", work / "before"], check=True)
    error = go_on(work, interrupted, work / "t").error
    assert error["code"] == "journal" and "inode" in error["message"]
    assert same(work / "t", work / "before"), "the target was touched"
    if how == "renamed":
        os.rename(work / "old", work / which)
        go_on(work, interrupted, work / "t").done
        assert same(interrupted, work / "t")


def test_another_file_of_the_same_identity(work):
    """--source-id and --target-id are the caller's word, which goes before what the kernel says."""
    source = make_disk(work / "source", 32 * MIB)
    ids = ["--source-id", "a", "--target-id", "b"]
    process = start_copy("--rate", "6M", "--journal", work / "j", *ids, source, work / "t")
    wait_done(process, 5 * MIB)
    process.terminate()
    end_copy(process)
    for name in ("source", "t"):
        subprocess.run(["cp", work / name, work / "new"], check=True)
        os.rename(work / "new", work / name)
    done = run_copy("--journal", work / "j", *ids, source, work / "t").done
    assert same(source, work / "t")
    assert done["read"] < run_copy(source, "null:").done["read"]


def test_another_loop_device_of_the_same_number_is_noticed(work):
    for name in ("one", "two"):
        make_disk(work / name, 32 * MIB)
    device = loop_device(work / "one")
    try:
        process = start_copy("--rate", "6M", "--journal", work / "j", device, work / "t")
        wait_done(process, 5 * MIB)
        process.terminate()
        end_copy(process)
        subprocess.run(["losetup", "-d", device], check=True)
        subprocess.run(["losetup", device, work / "two"], check=True)
        error = run_copy("--journal", work / "j", device, work / "t").error
        assert error["code"] == "journal" and str(work / "one") in error["message"]
        subprocess.run(["losetup", "-d", device], check=True)
        subprocess.run(["losetup", device, work / "one"], check=True)
        run_copy("--journal", work / "j", device, work / "t").done
    finally:
        subprocess.run(["losetup", "-d", device], check=True)
    assert same(work / "one", work / "t")


@pytest.mark.parametrize("ids", [[], ["--target-id", "t"]])
def test_lost_target_is_noticed(work, ids):
    """Again and again, so it must not be made anew."""
    source = make_disk(work / "source", 32 * MIB)
    args = ["--journal", work / "j", *ids, source, work / "t"]
    process = start_copy("--rate", "6M", *args)
    wait_done(process, 5 * MIB)
    process.terminate()
    end_copy(process)
    os.unlink(work / "t")
    for _ in range(2):
        assert run_copy(*args).error["code"] == "journal"
    assert not os.path.exists(work / "t")


@pytest.mark.parametrize("left", [0, 16 * MIB])
def test_target_cut_short_is_noticed(work, interrupted, left):
    os.truncate(work / "t", left)
    for _ in range(2):
        assert go_on(work, interrupted, work / "t").error["code"] == "journal"
    assert os.path.getsize(work / "t") == left


def test_lost_digest_is_noticed(work, interrupted):
    os.unlink(work / "d.part")
    assert run_copy("--journal", work / "j", "--digest", work / "d", interrupted, work / "t").error["code"] == "journal"


def test_damaged_journal(work, interrupted):
    with open(work / "j", "r+b") as f:
        f.seek(30)
        f.write(b"XX")
    assert run_copy("--journal", work / "j", "--digest", work / "d", interrupted, work / "t").error["code"] == "journal"


def test_source_id(work):
    """The source moved to another socket between two runs; its identity did not."""
    source = make_disk(work / "source", 32 * MIB)
    common = ["--journal", work / "j", "--source-id", "disk 1 of vm 7"]
    process = start_copy("--rate", "8M", *common, work.nbdkit("file", source).uri, work / "t")
    wait_done(process, 5 * MIB)
    process.terminate()
    end_copy(process)
    done = run_copy(*common, work.nbdkit("file", source).uri, work / "t").done
    assert same(source, work / "t")
    assert done["read"] < run_copy(source, "null:").done["read"]


def test_target_id(work):
    """The target is served on another socket in the second run, and is the same file."""
    source = make_disk(work / "source", 32 * MIB)
    with open(work / "t", "wb") as f:
        f.truncate(32 * MIB)
    common = ["--journal", work / "j", "--target-id", "layer 7"]
    process = start_copy("--rate", "8M", *common, source, work.nbdkit("file", work / "t").uri)
    wait_done(process, 5 * MIB)
    process.terminate()
    end_copy(process)
    done = run_copy(*common, source, work.nbdkit("file", work / "t").uri).done
    assert same(source, work / "t")
    assert done["read"] < run_copy(source, "null:").done["read"]


def test_journal_without_digest_file_knows_the_root(work):
    source = make_disk(work / "source", 32 * MIB)
    process = start_copy("--rate", "8M", "--journal", work / "j", source, work / "t")
    wait_done(process, 5 * MIB)
    process.kill()
    end_copy_quietly(process)
    done = run_copy("--journal", work / "j", source, work / "t").done
    assert done["digest"] == run_copy(source, "null:").done["digest"]
    assert not os.path.exists(work / "j.digest")


def test_die_at_every_point(work):
    """Die at the n-th point around flush, sync and commit, for all n; then resume."""
    assert HOOKED, "BLOCKFERRY_COPY_HOOKED is not set"
    size = 80 * MIB
    source = make_disk(work / "source", size, step=2000)
    whole = run_copy("--digest", work / "whole", source, "null:").done
    points = 0
    while True:
        points += 1
        target = make_dirty(work / "target", size)
        args = ["--journal", work / "j", "--digest", work / "d", source, target]
        first = run_copy(*args, program=HOOKED, env={"BLOCKFERRY_DIE_AT": str(points)})
        if first.code == 0:
            break
        assert first.code == -signal.SIGKILL, first.stderr
        second = run_copy(*args)
        assert second.done["digest"] == whole["digest"], first.stderr
        assert same(source, target), first.stderr
        assert same(work / "d", work / "whole"), first.stderr
        assert not os.path.exists(work / "j")
        os.unlink(work / "d")
    assert points > 12, f"only {points} points"


def test_dead_after_die_point_twice(work):
    """Die in the first run, die again while resuming, then get through."""
    size = 80 * MIB
    source = make_disk(work / "source", size, step=2000)
    target = make_dirty(work / "target", size)
    args = ["--journal", work / "j", "--digest", work / "d", source, target]
    for point in (9, 4, 7, 5):
        run_copy(*args, program=HOOKED, env={"BLOCKFERRY_DIE_AT": str(point)})
    run_copy(*args).done
    assert same(source, target)
