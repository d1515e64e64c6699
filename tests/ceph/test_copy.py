# SPDX-License-Identifier: Apache-2.0
"""Whole copies to and from RBD, and what is refused."""
import contextlib
import json
import os
import re
import subprocess
import time

import pytest
import rbd

from cluster import MIB, engine

SIZE = 64 * MIB


@pytest.fixture(name="disk")
def fixture_disk(work):
    return engine.make_disk(work / "disk", SIZE)


def copied(*args, **kwargs):
    return engine.run_copy(*args, **kwargs).done


def refused(*args, **kwargs):
    return engine.run_copy(*args, **kwargs).error


# --- the way there ---

def test_nbd_to_new_image(ceph, work):
    disk = engine.make_disk(work / "disk", SIZE, step=20 * MIB)
    image = ceph.new(SIZE)
    done = copied("--digest", work / "digest", "--verify", "all", work.nbdkit("file", disk).uri, ceph.uri(image))
    assert ceph.is_like(image, disk)
    assert done["verified"] > 0 and done["sent"] + done["zero"] == SIZE
    # Where the disk has 4 MiB of zeroes the image has no object.
    with open(disk, "rb") as file:
        blocks = [any(file.read(4 * MIB)) for _ in range(SIZE // (4 * MIB))]
    assert not all(blocks)
    assert ceph.objects(image) == [n for n, filled in enumerate(blocks) if filled]


def test_empty_disk_makes_no_objects(ceph, work):
    with open(work / "empty", "wb") as file:
        file.truncate(SIZE)
    image = ceph.new(SIZE)
    assert copied(work.nbdkit("file", work / "empty").uri, ceph.uri(image))["sent"] == 0
    assert ceph.objects(image) == []


@pytest.mark.parametrize("features", [rbd.RBD_FEATURE_LAYERING, None], ids=["layering", "default"])
def test_zeroes_reach_an_image_full_of_something(ceph, work, features):
    """Zeroes of 512 bytes to some MiB: a discard would leave the small ones as they were."""
    disk = engine.make_disk(work / "disk", SIZE, seed=5, step=200000, longest=30000)
    image = ceph.new(SIZE, features=features)
    ceph.fill(image)
    copied(work.nbdkit("file", disk).uri, ceph.uri(image))
    assert ceph.is_like(image, disk)


def test_odd_size_and_larger_target(ceph, work):
    size = 9 * MIB + 512 * 3
    disk = engine.make_disk(work / "disk", size)
    image = ceph.new(12 * MIB)
    ceph.fill(image)
    copied(disk, ceph.uri(image))
    ceph.export(image, work / "out")
    assert engine.same(disk, work / "out", length=size)
    with open(work / "out", "rb") as file:
        file.seek(size)
        assert any(file.read())  # what lies behind is not ours


def test_image_to_image(ceph, disk):
    source = ceph.upload(disk)
    target = ceph.new(SIZE, pool="replicas")
    copied(ceph.uri(source), ceph.uri(target))
    assert ceph.is_like(target, disk)


def test_image_to_nbd(ceph, work, disk):
    engine.make_dirty(work / "out", SIZE)
    copied(ceph.uri(ceph.upload(disk)), work.qemu_nbd(work / "out").uri)
    assert engine.same(disk, work / "out")


def test_compare_writes_what_differs(ceph, work, disk):
    target = ceph.upload(disk)
    with ceph.image(target) as image:
        image.write(b"damage", 5 * MIB + 77)
        image.write(b"\1" * MIB, 40 * MIB)
    done = copied("--compare", disk, ceph.uri(target))
    assert ceph.is_like(target, disk)
    assert done["sent"] <= 1.2 * MIB


def test_target_in_a_namespace(ceph, disk):
    ceph.rbd("namespace", "create", "volumes/inner")
    ceph.rbd("create", "--size", f"{SIZE}B", "volumes/inner/image")
    copied(disk, ceph.uri("volumes/inner/image"))
    assert ceph.is_like("volumes/inner/image", disk)


# --- the way back ---

def test_snapshot_to_file_while_the_image_goes_on(ceph, work, disk):
    image = ceph.upload(disk)
    number = ceph.snapshot(image, "point")
    ceph.fill(image)
    for text in ("point", number):
        digest = copied("--digest", work / "digest", ceph.uri(f"{image}@{text}"), work / f"out-{text}")["digest"]
        assert engine.same(disk, work / f"out-{text}")
    assert digest == copied("--digest", work / "digest2", disk, "null:")["digest"]
    assert engine.qemu_img("compare", "-f", "raw", "-F", "raw", disk, work / "out-point") is None


def test_reader_may_read(ceph, work, disk):
    image = ceph.upload(disk)
    ceph.snapshot(image, "point")
    copied(ceph.uri(f"{image}@point", user="reader"), work / "out")
    assert engine.same(disk, work / "out")


def test_clone_has_its_parents_data(ceph, work, disk):
    parent = ceph.upload(disk)
    ceph.snapshot(parent, "base")
    clone = f"replicas/clone{ceph.count}"
    ceph.rbd("clone", "--rbd-default-clone-format", "2", f"{parent}@base", clone)
    with ceph.image(clone) as image:
        image.write(b"clone's own", 30 * MIB)
    copied(ceph.uri(clone), work / "out")
    assert ceph.is_like(clone, work / "out")
    with open(work / "out", "rb") as file:
        file.seek(30 * MIB)
        assert file.read(11) == b"clone's own"


def test_holes_are_not_read(ceph):
    image = ceph.new(20 << 30)
    with ceph.image(image) as handle:
        handle.write(b"x" * 4096, 13 << 30)
    done = copied(ceph.uri(image), "null:", timeout=30)
    assert done["read"] <= 4 * MIB and done["size"] == 20 << 30


# --- refused ---

def test_image_too_small(ceph, disk):
    image = ceph.new(SIZE - 512)
    assert refused(disk, ceph.uri(image))["code"] == "endpoint-size"
    assert ceph.objects(image) == []


@pytest.mark.parametrize("spec, words", [
    ("volumes/nothing", 'no image "nothing"'),
    ("nopool/nothing", 'the pool "nopool"'),
    ("volumes/IMAGE@nothing", 'no snapshot "nothing"'),
    ("volumes/IMAGE@4711", 'no snapshot "4711"'),
])
def test_not_there(ceph, spec, words):
    image = ceph.new(MIB)
    error = refused(ceph.uri(spec.replace("volumes/IMAGE", image)), "null:")
    assert error["code"] == "endpoint-open" and words in error["message"]
    if "@" not in spec:
        error = refused(__file__, ceph.uri(spec))
        assert error["code"] == "endpoint-open" and words in error["message"]


def test_snapshot_is_no_target(ceph, disk):
    image = ceph.upload(disk)
    ceph.snapshot(image, "point")
    assert refused(disk, ceph.uri(f"{image}@point"))["code"] == "endpoint-readonly"


def test_image_on_itself(ceph):
    image = ceph.new(MIB)
    assert refused(ceph.uri(image), ceph.uri(image, user="admin"))["code"] == "bad-input"


def conf_with_keyring(ceph, work, text):
    with open(ceph.lab.conf, encoding="ascii") as file:
        conf = re.sub(r"(?m)^keyring = .*$", f"keyring = {work / 'keyring'}", file.read())
    with open(work / "conf", "w", encoding="ascii") as file:
        file.write(conf)
    with open(work / "keyring", "w", encoding="ascii") as file:
        file.write(text)
    return work / "conf"


def test_wrong_key(ceph, work):
    key = subprocess.run(["ceph-authtool", "--gen-print-key"], check=True, capture_output=True, text=True).stdout
    conf = conf_with_keyring(ceph, work, f"[client.mover]\nkey = {key}")
    result = engine.run_copy(ceph.uri(ceph.new(MIB), conf=conf), "null:")
    assert result.error["code"] == "platform-auth" and result.code == 3
    assert key.strip() not in result.stderr + json.dumps(result.events)


def test_unknown_user(ceph, work):
    key = subprocess.run(["ceph-authtool", "--gen-print-key"], check=True, capture_output=True, text=True).stdout
    conf = conf_with_keyring(ceph, work, f"[client.nobody]\nkey = {key}")
    assert refused(ceph.uri(ceph.new(MIB), user="nobody", conf=conf), "null:")["code"] == "platform-auth"


def test_no_keyring(ceph, work):
    conf = conf_with_keyring(ceph, work, "")
    assert refused(ceph.uri(ceph.new(MIB), conf=conf), "null:")["code"] in ("platform-auth", "endpoint-open")


def test_no_configuration(ceph, work):
    error = refused(ceph.uri("volumes/i", conf=work / "nothing"), "null:")
    assert error["code"] == "endpoint-open" and "configuration" in error["message"]


def test_reader_may_not_write(ceph, disk):
    image = ceph.new(SIZE)
    assert refused(disk, ceph.uri(image, user="reader"))["code"] == "platform-auth"
    assert ceph.objects(image) == []


@pytest.mark.timeout(120)
def test_image_that_is_in_use(ceph, disk):
    """Open elsewhere, by a client that lives: refused, long before a dead one would be forgotten."""
    image = ceph.new(SIZE)
    with ceph.image(image) as other:
        address = next(iter(other.watchers_list()))["addr"]
        begin = time.monotonic()
        error = refused(disk, ceph.uri(image), timeout=90)
        took = time.monotonic() - begin
    assert error["code"] == "in-use" and address in error["message"], error
    assert 5 <= took < 10, took
    assert ceph.objects(image) == []


@contextlib.contextmanager
def locked(ceph, image):
    """By hand, as an admin or a script does; yields who did it."""
    ceph.rbd("lock", "add", image, "stranger")
    owner = json.loads(ceph.rbd("lock", "ls", "--format", "json", image))[0]
    try:
        yield owner
    finally:
        ceph.rbd("lock", "rm", image, "stranger", owner["locker"])


def helper(ceph, verb, uri):
    done = subprocess.run([os.path.join(os.path.dirname(engine.COPY), "blockferry-rbd"), verb, uri], check=True,
                          timeout=60, capture_output=True, text=True)
    return json.loads(done.stdout)


def test_image_with_a_strangers_lock(ceph, disk):
    """It outlives its owner, so nothing is waited for: refused at once, with whose it is."""
    image = ceph.new(SIZE)
    ceph.snapshot(image, "point")
    ceph.fill(image)
    with locked(ceph, image) as owner:
        begin = time.monotonic()
        for error in (refused(disk, ceph.uri(image)), helper(ceph, "rollback", ceph.uri(f"{image}@point"))):
            assert error["code"] == "in-use", error
            assert all(owner[key] in error["message"] for key in ("id", "locker", "address")), (owner, error)
        assert time.monotonic() - begin < 5
        assert len(ceph.objects(image)) == SIZE // (4 * MIB)
    assert helper(ceph, "rollback", ceph.uri(f"{image}@point")) == {}
    assert ceph.objects(image) == []


def test_nobody_writes_to_a_target(ceph, work, disk):
    image = ceph.new(SIZE)
    process = engine.start_copy("--rate", "10M", work.nbdkit("file", disk).uri, ceph.uri(image))
    engine.wait_done(process, 5 * MIB)
    with ceph.image(image) as other, pytest.raises(rbd.ReadOnlyImage):
        other.write(b"intruder", 0)
    process.terminate()
    assert engine.end_copy(process).error["code"] == "cancelled"
    # It said goodbye: the lock is free at once.
    with ceph.image(image) as other:
        other.write(b"next one", 0)
    assert ceph.watchers(image) == 0
