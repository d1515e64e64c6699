# SPDX-License-Identifier: Apache-2.0
"""Whole copies and deltas between all kinds of endpoints; the judge is a byte compare."""
import json
import os
import random
import subprocess

import pytest

from conftest import COPY, KIB, MIB, make_dirty, make_disk, qemu_img, run_copy, same, WRAP

SIZES = [0, 1, 511, 512, 513, 4095, 4096, 4097, 65535, 65536, 65537, 262144, 262145, 8 * MIB, 8 * MIB + 777]


def blocks_of(path):
    return os.stat(path).st_blocks * 512


@pytest.mark.parametrize("size", SIZES)
def test_sizes_from_file(work, size):
    source = make_disk(work / "source", size)
    done = run_copy(source, work / "new").done
    assert done["size"] == size
    assert same(source, work / "new")
    target = make_dirty(work / "dirty", size + 5000)
    run_copy(source, target).done
    assert same(source, target, size)
    with open(target, "rb") as f, open(make_dirty(work / "again", size + 5000), "rb") as g:
        f.seek(size), g.seek(size)
        assert f.read() == g.read(), "what lies behind the disk's end was touched"


@pytest.mark.parametrize("size", SIZES)
def test_sizes_over_nbd(work, size):
    source = make_disk(work / "source", size)
    server = work.nbdkit("file", source)
    run_copy(server.uri, work / "new").done
    assert same(source, work / "new")
    target = make_dirty(work / "target", size)
    into = work.nbdkit("file", target)
    run_copy(server.uri, into.uri).done
    assert same(source, target)


@pytest.mark.parametrize("seed", range(6))
def test_random_disks(work, seed):
    dice = random.Random(seed)
    size = dice.randrange(MIB, 48 * MIB)
    source = make_disk(work / "source", size, seed, dice.choice([9000, 100000, 900000]),
                       dice.choice([9000, 70000, 900000]), dice.choice([1, 512, 4096]))
    server = work.nbdkit("file", source)
    target = make_dirty(work / "target", size)
    options = dice.choice([[], ["--connections", "1"], ["--request-size", "64K"], ["--request-size", "1M"],
                           ["--connections", "4", "--requests", "16"], ["--memory", "1M"]])
    run_copy(*options, server.uri, target).done
    assert same(source, target)
    run_copy(*options, target, work / "back").done
    assert same(source, work / "back")


def test_sparse_stays_sparse(work):
    source = work / "source"
    with open(source, "wb") as f:
        f.truncate(64 * MIB)
        f.seek(10 * MIB)
        f.write(b"x" * 4096)
        f.seek(20 * MIB)
        f.write(bytes(4 * MIB))  # allocated zeroes: found by looking at them
    done = run_copy(work.nbdkit("file", source).uri, work / "new").done
    assert same(source, work / "new")
    assert blocks_of(work / "new") <= 64 * KIB
    assert done["sent"] == 4096 and done["zero"] == 64 * MIB - 4096
    assert done["read"] < 4 * MIB + 128 * KIB, "holes were read"
    target = make_dirty(work / "target", 64 * MIB)
    run_copy(source, target).done
    assert same(source, target)
    assert blocks_of(target) <= 64 * KIB, "zeroes were not punched"


def test_target_is_zero_is_trusted(work):
    """The option means that zeroes are not written: on a target that is not zero they stay away."""
    source = work / "source"
    with open(source, "wb") as f:
        f.truncate(MIB)
        f.write(b"data" * 1024)
    target = make_dirty(work / "target", MIB)
    done = run_copy("--target-is-zero", source, target).done
    assert not same(source, target)
    assert same(source, target, 4096)
    assert done["zero"] == MIB - 4096 and done["sent"] == 4096


def test_targets_without_zero_command(work):
    source = make_disk(work / "source", 8 * MIB)
    target = make_dirty(work / "target", 8 * MIB)
    into = work.nbdkit("--filter=nozero", "file", target)
    run_copy(source, into.uri).done
    assert same(source, target)


def test_servers_of_one_client(work):
    """qemu-nbd lets a second client wait until the first has left, nbdkit's filter sends it away: the map is had
    all the same, whole and dirty, and those of a target for comparing and verifying."""
    size = 8 * MIB
    before, after = dirty_qcow2(work, size, [(MIB, 65536)], [(4 * MIB, 2 * MIB)])
    source = work.qemu_nbd(work / "disk.qcow2", "-r", "-e", "1", "-B", "b0", fmt="qcow2")
    done = run_copy(source.uri, work / "t").done
    assert same(after, work / "t")
    assert done["read"] < size, "the holes were read"
    subprocess.run(["cp", before, work / "t"], check=True)
    run_copy("--dirty-bitmap", "b0", source.uri, work.qemu_nbd(work / "t", "-e", "1").uri).done
    assert same(after, work / "t")
    into = work.nbdkit("--filter=limit", "--filter=multi-conn", "file", make_dirty(work / "u", size), "limit=1",
                       "multi-conn-mode=disable")
    assert run_copy("--compare", "--verify", "all", source.uri, into.uri).done["verified"] > 0
    assert same(after, work / "u")


@pytest.mark.parametrize("option", ["--verify=all", "--compare", "--sha256"])
def test_odd_end_on_larger_blocks(work, option):
    """The target is read in its own blocks, too; what is behind the disk's end is not looked at."""
    size = 2 * MIB + 512
    source = make_disk(work / "source", size)
    limits = "blocksize-minimum=4096 blocksize-preferred=65536 blocksize-maximum=262144 blocksize-error-policy=error"
    for target in (make_dirty(work / "target", 2 * MIB + 4096), work / "zero"):
        with open(target, "ab") as f:
            f.truncate(2 * MIB + 4096)
        into = work.nbdkit("--filter=blocksize-policy", "file", target, *limits.split())
        run_copy(option, source, into.uri).done
        assert same(source, target, size)
        assert run_copy(option, source, into.uri).done["size"] == size


@pytest.mark.parametrize("source_blocks, target_blocks", [(512, 4096), (4096, 512), (4096, 65536), (65536, 1)])
def test_block_sizes(work, source_blocks, target_blocks):
    size = 4 * MIB
    source = make_disk(work / "source", size)
    target = make_dirty(work / "target", size)
    limits = "blocksize-minimum={0} blocksize-preferred=65536 blocksize-maximum=262144 blocksize-error-policy=error"
    out = work.nbdkit("--filter=blocksize-policy", "file", source, *limits.format(source_blocks).split())
    into = work.nbdkit("--filter=blocksize-policy", "file", target, *limits.format(target_blocks).split())
    run_copy("--request-size", "1M", out.uri, into.uri).done
    assert same(source, target)
    dice = random.Random(1)
    with open(work / "map", "w") as f:
        for at in range(0, size, 256 * KIB):
            print(json.dumps({"offset": at + dice.randrange(100) * 512, "length": 512 * dice.randrange(1, 50)}), file=f)
    make_dirty(target, size)
    run_copy("--map", work / "map", out.uri, into.uri).done
    expected = make_dirty(work / "expected", size)
    with open(source, "rb") as f, open(target, "rb") as t, open(expected, "rb") as e:
        want, old, have = f.read(), e.read(), t.read()
    for line in open(work / "map"):
        extent = json.loads(line)
        at, end = extent["offset"], extent["offset"] + extent["length"]
        assert have[at:end] == want[at:end]
    # Only whole blocks around the extents may be touched.
    assert sum(1 for a in range(0, size, 65536) if have[a + 60000:a + 60004] == old[a + 60000:a + 60004]) > 0


def test_small_target_is_refused(work):
    source = make_disk(work / "source", 2 * MIB)
    target = make_disk(work / "target", MIB)
    into = work.nbdkit("file", target)
    assert run_copy(source, into.uri).error["code"] == "endpoint-size"


def test_file_target_grows(work):
    source = make_disk(work / "source", 2 * MIB + 3)
    target = make_dirty(work / "target", MIB)
    run_copy(source, target).done
    assert same(source, target)


def test_read_only_target(work):
    source = make_disk(work / "source", MIB)
    into = work.nbdkit("-r", "file", make_disk(work / "target", MIB))
    assert run_copy(source, into.uri).error["code"] == "endpoint-readonly"


@pytest.mark.parametrize("target, code", [
    ("/nonexistent/dir/disk", "endpoint-open"),
    ("nbd+unix:///?socket=/nonexistent", "endpoint-open"),
    ("nbd://127.0.0.1:1", "endpoint-open"),
    ("ftp://host/disk", "uri"),
    ("/dev/tty", "uri"),
    ("/", "uri"),
])
def test_targets_that_cannot_be(work, target, code):
    source = make_disk(work / "source", MIB)
    assert run_copy(source, target).error["code"] == code


def test_onto_itself(work):
    source = make_disk(work / "source", MIB)
    os.symlink(source, work / "link")
    assert run_copy(source, work / "link").error["code"] == "bad-input"


def test_two_copies_to_one_file(work):
    """The second is refused while the first runs."""
    import conftest
    source = make_disk(work / "source", 4 * MIB)
    first = conftest.start_copy("--rate", "200K", source, work / "target")
    first.stdout.readline(), first.stdout.readline()
    assert run_copy(source, work / "target").error["code"] == "in-use"
    first.terminate()
    assert conftest.end_copy(first).error["code"] == "cancelled"


def loop_device(path):
    out = subprocess.run(["losetup", "--find", "--show", path], check=True, capture_output=True, text=True)
    return out.stdout.strip()


@pytest.mark.parametrize("size", [8 * MIB, 8 * MIB + 512])
def test_block_devices(work, size):
    source = make_disk(work / "source", size)
    target = make_dirty(work / "target", size)
    one, two = loop_device(source), loop_device(target)
    try:
        run_copy(one, two).done
        run_copy(two, work / "back").done
        os.truncate(work / "source", size)
        mounted = run_copy(source, one)  # the loop device of the source itself: any target of right size
        assert mounted.code == 0
    finally:
        subprocess.run(["losetup", "-d", one, two], check=True)
    assert same(source, target)
    assert same(source, work / "back")


def test_without_o_direct(work):
    """ramfs has none: everything goes through the page cache."""
    os.mkdir(work / "ram")
    subprocess.run(["mount", "-t", "ramfs", "ramfs", work / "ram"], check=True)
    try:
        source = make_disk(work / "source", 4 * MIB + 99)
        make_dirty(work / "ram/target", 4 * MIB + 99)
        run_copy(source, work / "ram/target").done
        assert same(source, work / "ram/target")
        run_copy(work / "ram/target", work / "back").done
        assert same(source, work / "back")
    finally:
        subprocess.run(["umount", work / "ram"], check=True)


def test_null(work):
    done = run_copy(make_disk(work / "source", 8 * MIB), "null:").done
    assert done["sent"] > 0


def make_map(source, size, path, seed=3, grain=512):
    """A random change map of a random disk, and the extents."""
    dice = random.Random(seed)
    extents, at = [], 0
    with open(source, "rb") as f:
        content = f.read()
    while True:
        at += dice.randrange(0, 300000) // grain * grain
        n = dice.randrange(1, 200 if grain < 65536 else 6) * grain
        if at + n > size:
            break
        kind = "zero" if not any(content[at:at + n]) else "data"
        extents.append({"offset": at, "length": n, "type": kind})
        at += n
    with open(path, "w") as f:
        for extent in extents:
            print(json.dumps(extent), file=f)
    return extents


@pytest.mark.parametrize("grain", [1, 512, 4096, 65536])
@pytest.mark.parametrize("to_nbd", [False, True])
def test_map_touches_only_its_extents(work, grain, to_nbd):
    size = 16 * MIB + 333
    source = make_disk(work / "source", size, step=2000000)
    extents = make_map(source, size, work / "map", grain=grain)
    assert {e["type"] for e in extents} == {"zero", "data"}
    target = make_dirty(work / "target", size)
    with open(target, "rb") as f:
        expected = bytearray(f.read())
    with open(source, "rb") as f:
        content = f.read()
    for e in extents:
        expected[e["offset"]:e["offset"] + e["length"]] = content[e["offset"]:e["offset"] + e["length"]]
    into = work.nbdkit("file", target).uri if to_nbd else target
    done = run_copy("--map", work / "map", work.nbdkit("file", source).uri, into).done
    with open(target, "rb") as f:
        assert f.read() == expected
    assert done["sent"] + done["zero"] == sum(e["length"] for e in extents)


def test_zero_in_the_map_is_not_read(work):
    """Type zero is a promise: it is believed without looking."""
    source = make_dirty(work / "source", MIB)
    target = make_dirty(work / "target", MIB, seed=5)
    with open(work / "map", "w") as f:
        f.write('{"offset":131072,"length":131072,"type":"zero"}\n')
    done = run_copy("--map", work / "map", source, target).done
    assert done["read"] == 0
    with open(target, "rb") as f:
        f.seek(131072)
        assert f.read(131072) == bytes(131072)


def test_bad_map(work):
    source = make_disk(work / "source", MIB)
    with open(work / "map", "w") as f:
        f.write('{"offset":0,"length":2097152}\n')
    assert run_copy("--map", work / "map", source, work / "t").error["code"] == "change-map"


def dirty_qcow2(work, size, writes, discards=()):
    """A qcow2 with a bitmap, as libvirt's checkpoints leave it; and the disk before the writes."""
    before = make_disk(work / "before", size, grain=65536)
    qemu_img("convert", "-f", "raw", "-O", "qcow2", before, work / "disk.qcow2")
    qemu_img("bitmap", "--add", "-g", "65536", work / "disk.qcow2", "b0")
    commands = [f"write -P {1 + i % 250} {at} {n}" for i, (at, n) in enumerate(writes)]
    commands += [f"discard {at} {n}" for at, n in discards]
    args = [x for c in commands for x in ("-c", c)]
    subprocess.run(["qemu-io", "-d", "unmap", "-f", "qcow2", *args, work / "disk.qcow2"], check=True,
                   stdout=subprocess.DEVNULL)
    qemu_img("bitmap", "--disable", work / "disk.qcow2", "b0")
    qemu_img("convert", "-f", "qcow2", "-O", "raw", work / "disk.qcow2", work / "after")
    return before, work / "after"


def test_dirty_bitmap(work):
    size = 96 * MIB
    dice = random.Random(4)
    writes = [(dice.randrange(size // 65536 - 4) * 65536, dice.choice([512, 4096, 65536, 200000])) for _ in range(60)]
    writes = [(at, min(n, size - at) // 512 * 512) for at, n in writes]
    # Trimmed areas are dirty, too: one that had data, one larger than a megabyte.
    discards = [(40 * MIB, 4 * MIB), (80 * MIB, 65536)]
    before, after = dirty_qcow2(work, size, writes, discards)
    server = work.qemu_nbd(work / "disk.qcow2", "-r", "-B", "b0", fmt="qcow2")
    done = run_copy("--dirty-bitmap", "b0", server.uri, before).done
    assert same(before, after)
    assert done["read"] < 30 * MIB, "more than the dirty part was read"
    assert done["zero"] >= 4 * MIB, "the trimmed part was not zeroed"


def test_dirty_bitmap_onto_nbd_and_digest(work):
    size = 32 * MIB
    before, after = dirty_qcow2(work, size, [(65536 * 5, 1000 * 512), (20 * MIB, 512)], [(8 * MIB, 2 * MIB)])
    first = run_copy("--digest", work / "d0", before, work / "unused").done
    server = work.qemu_nbd(work / "disk.qcow2", "-r", "-B", "b0", fmt="qcow2")
    into = work.nbdkit("file", before)
    second = run_copy("--dirty-bitmap", "b0", "--digest-from", work / "d0", "--digest", work / "d1", "--verify", "all",
                      server.uri, into.uri).done
    assert same(before, after)
    whole = run_copy("--digest", work / "d2", after, "null:").done
    assert first["digest"] != second["digest"]
    assert second["digest"] == whole["digest"] is not None
    assert same(work / "d1", work / "d2")


def test_missing_bitmap(work):
    before, _ = dirty_qcow2(work, MIB, [(0, 512)])
    server = work.qemu_nbd(work / "disk.qcow2", "-r", "-B", "b0", fmt="qcow2")
    assert run_copy("--dirty-bitmap", "b1", server.uri, before).error["code"] == "no-bitmap"
    assert run_copy("--dirty-bitmap", "b0", before, work / "t").error["code"] == "no-bitmap"


def test_long_map_is_paged(work):
    """A block status request reaches 4 GiB at most."""
    size = 13 << 30
    source = work / "source"
    with open(source, "wb") as f:
        f.truncate(size)
        for at in (0, 4 << 30, (4 << 30) - 65536, (8 << 30) + 12345 * 512, size - 512):
            f.seek(at)
            f.write(b"here" * 128)
    for server in (work.nbdkit("file", source), work.qemu_nbd(source, "-r")):
        out = subprocess.run([*WRAP, COPY, "--print-map", server.uri], check=True, capture_output=True,
                             text=True).stdout
        extents = [json.loads(line) for line in out.splitlines()]
        assert extents[0]["offset"] == 0
        for a, b in zip(extents, extents[1:]):
            assert a["offset"] + a["length"] == b["offset"] and a["type"] != b["type"]
        assert extents[-1]["offset"] + extents[-1]["length"] == size
        target = work / "target"
        done = run_copy(server.uri, target).done
        assert done["read"] < 2 * MIB
        assert same_sparse(source, target)
        os.unlink(target)


def same_sparse(a, b):
    return subprocess.run(["qemu-img", "compare", "-f", "raw", "-F", "raw", a, b], check=False,
                          stdout=subprocess.DEVNULL).returncode == 0


def test_one_connection_server(work):
    source = make_disk(work / "source", 8 * MIB)
    server = work.nbdkit("--filter=noparallel", "--filter=multi-conn", "file", source, "multi-conn-mode=disable")
    run_copy(server.uri, work / "t").done
    assert same(source, work / "t")


def test_server_without_extents(work):
    source = make_disk(work / "source", 8 * MIB)
    server = work.nbdkit("--filter=noextents", "file", source)
    done = run_copy(server.uri, work / "t").done
    assert same(source, work / "t")
    assert done["read"] == 8 * MIB
