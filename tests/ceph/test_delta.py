# SPDX-License-Identifier: Apache-2.0
"""Change maps between snapshots."""
import json
import random
import time

import pytest
import rbd

from cluster import MIB, engine

SIZE = 48 * MIB
PLAIN = rbd.RBD_FEATURE_LAYERING
MAPPED = (rbd.RBD_FEATURE_LAYERING | rbd.RBD_FEATURE_EXCLUSIVE_LOCK | rbd.RBD_FEATURE_OBJECT_MAP |
          rbd.RBD_FEATURE_FAST_DIFF)


def copied(*args, **kwargs):
    return engine.run_copy(*args, **kwargs).done


def change(image, dice, count=12):
    """Writes, zeroes and discards of any size at any place."""
    size = image.size()
    for _ in range(count):
        length = min(int(2 ** dice.uniform(0, 22.5)), size)
        offset = dice.randrange(0, size - length + 1)
        kind = dice.choice(["write", "write", "write", "zero", "discard", "object"])
        if kind == "write":
            image.write(dice.randbytes(length), offset)
        elif kind == "zero":
            image.write_zeroes(offset, length)
        elif kind == "discard":
            image.discard(offset, length)
        else:
            image.discard(offset // (4 * MIB) * 4 * MIB, 4 * MIB)


def print_map(ceph, spec, *args):
    done = engine.subprocess.run([engine.COPY, "--print-map", *map(str, args), ceph.uri(spec), "null:"], check=True,
                                 capture_output=True, text=True, timeout=60, stdin=engine.subprocess.DEVNULL)
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(name="pair")
def fixture_pair(ceph):
    """A source with snapshot s0 and its replica in the other pool; both hold s0."""
    def make(features=MAPPED, size=SIZE):
        source = ceph.new(size, features=features)
        ceph.fill(source, seed=3, size=size // 2)
        number = ceph.snapshot(source, "s0")
        target = ceph.new(size, pool="replicas")
        copied(ceph.uri(f"{source}@s0"), ceph.uri(target))
        return source, target, number
    return make


@pytest.mark.parametrize("features", [PLAIN, MAPPED], ids=["plain", "fast-diff"])
@pytest.mark.parametrize("seed", [1, 2])
def test_rounds_of_deltas(ceph, work, pair, features, seed):
    """By id, the older snapshot dropped after each round, as a replication does it."""
    dice = random.Random(seed)
    source, target, base = pair(features)
    for round_number in range(1, 6):
        with ceph.image(source) as image:
            change(image, dice)
        newer = ceph.snapshot(source, f"s{round_number}")
        with ceph.image(source) as image:
            change(image, dice, 3)  # after the point: not to be seen
        copied("--since", base, ceph.uri(f"{source}@{newer}"), ceph.uri(target))
        wanted = ceph.export(f"{source}@s{round_number}", work / "wanted")
        assert ceph.is_like(target, wanted), f"round {round_number}"
        with ceph.image(source) as image:
            image.remove_snap(f"s{round_number - 1}")
        base = newer


@pytest.mark.parametrize("features", [PLAIN, MAPPED], ids=["plain", "fast-diff"])
def test_map_is_byte_exact(ceph, pair, features):
    source, _, _ = pair(features)
    with ceph.image(source) as image:
        image.write(b"x" * 65536, 4 * MIB)
        image.write(b"y", 9 * MIB + 1)
        image.discard(12 * MIB, 4 * MIB)
    ceph.snapshot(source, "s1")
    assert print_map(ceph, f"{source}@s1", "--since", "s0") == [
        {"offset": 4 * MIB, "length": 65536, "type": "data"},
        {"offset": 9 * MIB + 1, "length": 1, "type": "data"},
        {"offset": 12 * MIB, "length": 4 * MIB, "type": "zero"}]


def test_delta_costs_what_changed(ceph, pair):
    source, target, _ = pair()
    with ceph.image(source) as image:
        for offset in range(0, SIZE, 8 * MIB):
            image.write(b"z" * 65536, offset)
    ceph.snapshot(source, "s1")
    done = copied("--since", "s0", ceph.uri(f"{source}@s1"), ceph.uri(target))
    assert done["read"] == done["sent"] == SIZE // (8 * MIB) * 65536


def test_delta_to_the_head_and_nothing_changed(ceph, work, pair):
    source, target, _ = pair()
    assert copied("--since", "s0", ceph.uri(source), ceph.uri(target))["sent"] == 0
    with ceph.image(source) as image:
        image.write(b"new", 17 * MIB)
    assert copied("--since", "s0", ceph.uri(source), ceph.uri(target))["sent"] > 0
    assert ceph.is_like(target, ceph.export(source, work / "wanted"))
    assert copied("--since", "s0", ceph.uri(f"{source}@s0"), "null:")["sent"] == 0


def test_invalid_object_map_is_not_believed(ceph, work, pair):
    """The features were switched on later: the maps are invalid, the delta is right."""
    source, target, number = pair(PLAIN)
    with ceph.image(source) as image:
        change(image, random.Random(7))
        image.update_features(rbd.RBD_FEATURE_EXCLUSIVE_LOCK, True)
        image.update_features(rbd.RBD_FEATURE_OBJECT_MAP, True)
        assert image.flags()
    ceph.snapshot(source, "s1")
    copied("--since", number, ceph.uri(f"{source}@s1"), ceph.uri(target))
    assert ceph.is_like(target, ceph.export(f"{source}@s1", work / "wanted"))


def test_image_has_grown(ceph, work, pair):
    """The target's new part holds something: it must become what the source has there, zeroes too."""
    source, target, number = pair()
    for spec in (source, target):
        with ceph.image(spec) as image:
            image.resize(SIZE + 20 * MIB)
    with ceph.image(source) as image:
        image.write(b"far out", SIZE + 9 * MIB)
    with ceph.image(target) as image:
        image.write(b"\7" * 20 * MIB, SIZE)
    ceph.snapshot(source, "s1")
    copied("--since", number, ceph.uri(f"{source}@s1"), ceph.uri(target))
    assert ceph.is_like(target, ceph.export(f"{source}@s1", work / "wanted"))


def test_delta_of_a_clone(ceph, work, pair):
    parent, target, _ = pair()
    clone = f"volumes/clone{ceph.count}"
    ceph.rbd("clone", "--rbd-default-clone-format", "2", f"{parent}@s0", clone)
    base = ceph.snapshot(clone, "c0")
    with ceph.image(clone) as image:
        change(image, random.Random(11))
    ceph.snapshot(clone, "c1")
    copied("--since", base, ceph.uri(f"{clone}@c1"), ceph.uri(target))
    assert ceph.is_like(target, ceph.export(f"{clone}@c1", work / "wanted"))


# --- no base ---

def lost(ceph, spec, since):
    result = engine.run_copy("--since", since, ceph.uri(spec), "null:")
    assert result.error["code"] == "baseline-lost"
    assert result.code == 8
    return result.error["message"]


def test_base_is_missing(ceph, pair):
    source, _, _ = pair()
    assert 'no snapshot "gone"' in lost(ceph, source, "gone")
    assert 'no snapshot "4711"' in lost(ceph, source, 4711)


def test_base_is_newer(ceph, pair):
    source, _, _ = pair()
    ceph.snapshot(source, "s1")
    assert "newer" in lost(ceph, f"{source}@s0", "s1")


def test_name_was_given_again(ceph, pair):
    """A snapshot of the old name is another one: its id is not found."""
    source, _, number = pair()
    with ceph.image(source) as image:
        image.remove_snap("s0")
        image.write(b"unseen by the new s0", 0)
    assert ceph.snapshot(source, "s0") != number
    lost(ceph, source, number)


def test_name_that_is_another_ones_id(ceph, pair):
    source, _, number = pair()
    ceph.snapshot(source, str(number))
    assert "id of another" in lost(ceph, source, number)


def test_base_in_the_trash(ceph, pair):
    """Deleted while a clone hangs on it: it is listed still, and no base any more."""
    source, _, number = pair()
    ceph.rbd("clone", "--rbd-default-clone-format", "2", f"{source}@s0", f"volumes/drill{ceph.count}")
    with ceph.image(source) as image:
        image.remove_snap("s0")
    ceph.snapshot(source, "s1")
    lost(ceph, f"{source}@s1", number)


def test_since_needs_an_image(ceph, work):
    disk = engine.make_disk(work / "disk", MIB)
    assert engine.run_copy("--since", "s0", disk, "null:").error["code"] == "platform-unsupported"


# --- speed ---

@pytest.mark.timeout(300)
def test_map_of_100_gib(ceph):
    """500 objects of 25600 changed.  By the object map: a small part of what asking every object takes."""
    seconds = {}
    for features in (PLAIN, MAPPED):
        image = ceph.new(100 << 30, features=features)
        ceph.snapshot(image, "s0")
        dice = random.Random(1)
        offsets = sorted(4 * MIB * n + 4096 * dice.randrange(1024) for n in dice.sample(range(25600), 500))
        with ceph.image(image) as handle:
            for offset in offsets:
                handle.write(b"d" * 4096, offset)
        ceph.snapshot(image, "s1")
        start = time.monotonic()
        found = print_map(ceph, f"{image}@s1", "--since", "s0")
        seconds[features] = time.monotonic() - start
        # A new object is reported from its start to the end of the write.
        assert [(e["offset"] + e["length"]) for e in found] == [offset + 4096 for offset in offsets]
    print(f"map of 100 GiB: {seconds[MAPPED] * 1000:.0f} ms, without object map {seconds[PLAIN] * 1000:.0f} ms")
    assert seconds[MAPPED] < seconds[PLAIN] / 2
    assert seconds[MAPPED] < 1.5
