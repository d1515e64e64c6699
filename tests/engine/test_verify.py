# SPDX-License-Identifier: Apache-2.0
"""Digest, verify, repair, compare."""
import hashlib
import os
import random
import subprocess

import pytest

from conftest import KIB, MIB, end_copy, make_dirty, make_disk, run_copy, same, start_copy
from hostile import Proxy
from test_copy import dirty_qcow2, make_map

LEAF = 64 * KIB


def flip(path, at):
    with open(path, "r+b") as f:
        f.seek(at)
        byte = f.read(1)
        f.seek(at)
        f.write(bytes([byte[0] ^ 0x10]))


def test_digest_depends_on_content_only(work):
    """The same disk by other ways: holes or zeroes, NBD or file, one request size or another."""
    size = 16 * MIB + 512  # qemu-nbd exports whole sectors
    source = make_disk(work / "source", size)
    roots = {run_copy("--digest", work / "d", source, "null:").done["digest"]}
    subprocess.run(["cp", "--sparse=never", source, work / "full"], check=True)
    roots.add(run_copy(work / "full", "null:").done["digest"])
    roots.add(run_copy("--request-size", "64K", work.nbdkit("file", source).uri, "null:").done["digest"])
    roots.add(run_copy("--request-size", "4M", work.qemu_nbd(source, "-r").uri, "null:").done["digest"])
    assert len(roots) == 1
    assert os.path.getsize(work / "d") == (size + LEAF - 1) // LEAF * 16
    flip(source, size - 1)
    assert run_copy(source, "null:").done["digest"] not in roots


def test_verify_passes(work):
    source = make_disk(work / "source", 16 * MIB + 777)
    for target in (make_dirty(work / "target", 16 * MIB + 777), work / "new"):
        done = run_copy("--verify", "all", source, target).done
        assert done["verified"] > 0
        assert same(source, target)
    into = work.nbdkit("file", make_dirty(work / "target", 16 * MIB + 777))
    assert run_copy("--verify", "all", source, into.uri).done["verified"] > 0
    assert 0 < run_copy("--verify", "30%", make_dirty(work / "big", 64 * MIB), work / "c").done["verified"] < 64 * MIB


# A target that damages one byte of what is written at `at`, once or always.
LIAR = """
case "$1" in
  get_size) echo SIZE;;
  pread) dd if=DISK bs=64K iflag=skip_bytes,count_bytes,fullblock skip=$4 count=$3 status=none;;
  pwrite) dd of=DISK bs=64K oflag=seek_bytes conv=notrunc seek=$4 status=none
     if [ $4 -le AT ] && [ $(($4 + $3)) -gt AT ] && [ ! -e ONCE ]; then
       printf X | dd of=DISK bs=1 seek=AT conv=notrunc status=none; : KEEP; fi;;
  zero) exit 0;;
  can_write|can_flush|flush) exit 0;;
  can_zero|can_trim) exit 3;;
  *) exit 2;;
esac
"""


def liar(work, size, at, always):
    make_dirty(work / "disk", size)
    script = work / "liar"
    text = LIAR.replace("SIZE", str(size)).replace("DISK", work / "disk")
    text = text.replace("AT", str(at)).replace("ONCE", work / "once")
    with open(script, "w") as f:
        f.write("#!/bin/bash\n" + text.replace(": KEEP", ":" if always else f"touch {work / 'once'}"))
    os.chmod(script, 0o755)
    return work.nbdkit("sh", script)


def test_damage_on_the_target_is_found(work):
    size, at = 2 * MIB, MIB + 70000
    source = make_dirty(work / "source", size, seed=7)
    error = run_copy("--verify", "all", source, liar(work, size, at, False).uri).error
    assert error["code"] == "verify-mismatch"
    leaf = at // LEAF * LEAF
    assert f"{leaf}-{leaf + LEAF}" in error["message"]


def test_damage_on_the_target_is_repaired(work):
    size, at = 2 * MIB, MIB + 70000
    source = make_dirty(work / "source", size, seed=7)
    run_copy("--verify", "all", "--repair", source, liar(work, size, at, False).uri).done
    assert same(source, work / "disk")


def test_damage_that_comes_again(work):
    size, at = 2 * MIB, MIB + 70000
    source = make_dirty(work / "source", size, seed=7)
    result = run_copy("--verify", "all", "--repair", source, liar(work, size, at, True).uri)
    assert result.error["code"] == "verify-mismatch"


def test_bit_flipped_on_the_wire(work):
    """Between us and the target: verify finds it, compare repairs it."""
    size = 4 * MIB
    source = make_dirty(work / "source", size, seed=7)
    target = make_dirty(work / "target", size)
    server = work.qemu_nbd(source, "-r")
    between = Proxy(work / "p", server.socket, flip_at=MIB)
    # The digest is of what was read, so a flip on the source's wire is not seen by verify ...
    flipped = run_copy("--verify", "all", between.uri, target).done
    assert not same(source, target)
    # ... but by the root, and a compare repairs it.
    assert flipped["digest"] != run_copy(source, "null:").done["digest"]
    done = run_copy("--compare", server.uri, target).done
    assert same(source, target)
    assert done["sent"] <= LEAF
    between.stop()


def test_flips_on_the_target_between_rounds(work):
    """A delta with verify finds what went bad since the last round, anywhere on the disk."""
    size = 32 * MIB
    dice = random.Random(2)
    before, after = dirty_qcow2(work, size, [(MIB, 65536)])
    run_copy("--digest", work / "d0", before, "null:").done
    server = work.qemu_nbd(work / "disk.qcow2", "-r", "-B", "b0", fmt="qcow2")
    delta = ["--dirty-bitmap", "b0", "--digest-from", work / "d0", "--digest", work / "d1", "--verify", "all"]
    for _ in range(8):
        at = dice.randrange(2 * MIB, size)
        subprocess.run(["cp", before, work / "target"], check=True)
        flip(work / "target", at)
        assert run_copy(*delta, server.uri, work / "target").error["code"] == "verify-mismatch"
    done = run_copy(*delta, "--repair", server.uri, work / "target").done
    assert same(after, work / "target")
    assert done["digest"] == run_copy(after, "null:").done["digest"]


@pytest.mark.parametrize("size", [0, 1, 9 * MIB + 77])
@pytest.mark.parametrize("over", ["file", "nbd", "delta"])
def test_sha256(work, size, over):
    """The same as of the file, whatever the way; a target that is longer counts up to the disk's end."""
    source = make_disk(work / "source", size, grain=1) if size else make_dirty(work / "source", 0)
    target, options = work / "t", []
    if over == "nbd":
        with open(work / "behind", "wb") as f:
            f.truncate(10 * MIB)
        target = work.nbdkit("--filter=delay", "file", work / "behind", "rdelay=1ms").uri
    elif over == "delta":
        run_copy(source, target).done
        with open(work / "map", "w") as f:
            f.write('{"offset":0,"length":%d}\n' % min(size, 65536) if size else "")
        options = ["--map", work / "map"]
    with open(source, "rb") as f:
        want = hashlib.sha256(f.read()).hexdigest()
    assert run_copy("--sha256", *options, source, target).done["sha256"] == want
    assert run_copy(source, work / "other").done["sha256"] is None


def test_sha256_is_of_the_target(work):
    source = make_disk(work / "source", 4 * MIB)
    process = start_copy("--sha256", "--map", os.devnull, source, make_dirty(work / "t", 4 * MIB))
    with open(work / "t", "rb") as f:
        assert end_copy(process).done["sha256"] == hashlib.sha256(f.read()).hexdigest()
    assert run_copy("--sha256", source, "null:").error["code"] == "bad-input"


def test_verify_with_bad_reads(work):
    source = make_dirty(work / "source", 2 * MIB, seed=7)
    into = work.nbdkit("--filter=error", "memory", "2M", "error-pread=EIO", "error-pread-rate=100%")
    error = run_copy("--verify", "all", source, into.uri).error
    assert error["code"] == "read-error" and into.uri in error["message"]


@pytest.mark.parametrize("size", [8 * MIB, 8 * MIB + 333])
def test_compare_both_sides(work, size):
    source = make_disk(work / "source", size)
    target = make_dirty(work / "target", size)
    run_copy("--compare", source, target).done
    assert same(source, target)
    again = run_copy("--compare", source, target).done
    assert again["sent"] == 0 and again["zero"] == 0
    flip(target, 5 * MIB)
    flip(target, size - 1)
    third = run_copy("--compare", "--verify", "all", source, target).done
    assert 0 < third["sent"] + third["zero"] <= 2 * 4096
    assert same(source, target)


def test_compare_over_nbd(work):
    source = make_disk(work / "source", 8 * MIB)
    target = make_disk(work / "target", 8 * MIB, seed=2)
    run_copy("--compare", work.qemu_nbd(source, "-r").uri, work.nbdkit("file", target).uri).done
    assert same(source, target)


def test_compare_with_digest_reads_the_source_only(work):
    """... and writes the leaves that changed; the target is not read at all."""
    size = 24 * MIB + 100
    source = make_disk(work / "source", size)
    target = make_dirty(work / "target", size)
    run_copy("--digest", work / "d0", source, target).done
    with open(source, "r+b") as f:
        f.seek(3 * MIB)
        f.write(b"changed")
        f.seek(7 * MIB)
        f.write(bytes(3 * MIB))
    subprocess.run(["fallocate", "-p", "-o", str(12 * MIB), "-l", str(4 * MIB), source], check=True)
    into = work.nbdkit("--filter=error", "file", target, "error-pread=EIO", "error-pread-rate=100%")
    done = run_copy("--compare", "--digest-from", work / "d0", "--digest", work / "d1", source, into.uri).done
    assert same(source, target)
    assert done["sent"] <= LEAF * 3
    assert done["digest"] == run_copy("--digest", work / "d2", source, "null:").done["digest"]
    assert same(work / "d1", work / "d2")


@pytest.mark.parametrize("grain", [1, 512, 4096])
def test_delta_of_part_leaves_keeps_the_digest(work, grain):
    """Leaves that a map covers only in part are read whole for their hash, and not written whole."""
    size = 8 * MIB + 999
    source = make_disk(work / "source", size, step=2000000)
    subprocess.run(["cp", source, work / "target"], check=True)
    extents = make_map(source, size, work / "map", grain=grain)
    run_copy("--digest", work / "d0", source, "null:").done
    dice = random.Random(1)
    with open(source, "r+b") as f:
        for extent in extents:
            f.seek(extent["offset"])
            f.write(bytes(extent["length"]) if extent["type"] == "zero" else dice.randbytes(extent["length"]))
    done = run_copy("--map", work / "map", "--digest-from", work / "d0", "--digest", work / "d1", "--verify", "all",
                    work.nbdkit("file", source).uri, work / "target").done
    assert same(source, work / "target")
    assert done["sent"] + done["zero"] == sum(e["length"] for e in extents)
    assert done["digest"] == run_copy("--digest", work / "d2", source, "null:").done["digest"]
    assert same(work / "d1", work / "d2")


def test_digest_of_another_disk(work):
    source = make_disk(work / "source", 8 * MIB)
    run_copy("--digest", work / "d", source, "null:").done
    other = make_disk(work / "other", 9 * MIB)
    assert run_copy("--compare", "--digest-from", work / "d", other, work / "t").error["code"] == "bad-input"
    assert run_copy("--compare", "--digest-from", work / "no", other, work / "t").error["code"] == "bad-input"


def test_prove(work):
    """What the map leaves alone must be as it was; what it names may differ."""
    size = 16 * MIB + 512
    source = make_disk(work / "source", size)
    run_copy("--digest", work / "d", source, work / "target")
    flip(source, 5 * LEAF + 3)
    for name, start, length in (("map", 5 * LEAF, LEAF), ("whole", 0, size)):
        with open(work / name, "w") as f:
            f.write(f'{{"offset":{start},"length":{length}}}\n')
    delta = ("--prove", "16", "--map", work / "map", "--digest-from", work / "d")
    server = work.nbdkit("file", source)
    for uri in (source, server.uri):
        assert run_copy(*delta, uri, work / "target").done["sent"] == LEAF
    assert same(source, work / "target")
    # Another disk, of which already the first part tells; and one that differs in its short last part.
    for at in (0, size - 1):
        flip(source, at)
        failed = run_copy("--prove", "2", *delta[2:], source, work / "target")
        assert failed.error["code"] == "identity" and f"the first at {at // LEAF * LEAF};" in failed.error["message"]
        flip(source, at)
        assert same(source, work / "target")  # nothing was written
    # Nothing is left to prove it by.
    run_copy("--prove", "16", "--map", work / "whole", "--digest-from", work / "d", source, work / "target").done
    assert "--prove needs a delta" in run_copy("--prove", "1", source, work / "target").stderr
