# SPDX-License-Identifier: Apache-2.0
"""A thin volume of 100 GiB with changes all over it: the change map is cheap, and nothing else is written."""
import json
import os
import random
import time

import pytest

import service
from cloud import run
from test_service import same_bytes

pytestmark = pytest.mark.timeout(600)

SIZE_GIB = 100
BLOCK = 65536
CHANGES = 400
COPY = os.environ["BLOCKFERRY_COPY"]


@pytest.fixture(scope="module")
def world(cloud):
    one = service.Ferry(cloud)
    yield one
    one.source.clean()
    one.close()


def scatter(world, volume, seed):
    """Writes 64 KiB blocks all over the stopped server's volume; returns how many bytes."""
    dice = random.Random(seed)
    blocks = dice.sample(range(16, SIZE_GIB * 16384), CHANGES)
    commands = []
    for at in blocks:
        commands += ["-c", f"write -P {dice.randrange(1, 256)} {at * BLOCK} {BLOCK}"]
    run("qemu-io", "-f", "raw", *commands, f"rbd:volumes-a/volume-{volume}:conf={world.cloud.conf}")
    return CHANGES * BLOCK


def map_seconds(world, image, since):
    """The best of three: asking for a map, a process's start and Ceph's greeting included."""
    def once():
        start = time.monotonic()
        out = run(COPY, "--print-map", *(["--since", since] if since else []), f"rbd:{image}?conf={world.cloud.conf}")
        return time.monotonic() - start, out
    tries = [once() for _ in range(3)]
    return min(seconds for seconds, _ in tries), tries[0][1]


def bytes_written(world):
    """What clients have written to the cluster, by its own count: data and all that goes with it."""
    socket = f"{world.cloud.directory}/ceph/run/osd.0.asok"
    return json.loads(run("ceph", "--admin-daemon", socket, "perf", "dump", "osd"))["osd"]["op_w_in_bytes"]


def test_100_gib(world):
    server, volume = world.server_of_sector("large", "52:54:00:77:03:01", "10.77.1.70", SIZE_GIB)
    world.source.cloud.post("compute", f"/servers/{server}/action", {"os-stop": None})
    world.source.wait_server(server, "SHUTOFF")
    scatter(world, volume, 1)
    one = world.replicate("source", "large", "target", "t", {"storage": "rbd-b", "default_network": "prod"})
    assert one["last_round"]["kind"] == "full" and one["last_round"]["sent_bytes"] <= 1.1 * (CHANGES + 1) * BLOCK
    same_bytes(world, "t", "vda", volume)
    since = world.snapshots("volumes-a", volume)[0]

    changed = scatter(world, volume, 2)
    world.cloud.rbd("snap", "create", f"volumes-a/volume-{volume}@between")
    seconds, out = map_seconds(world, f"volumes-a/volume-{volume}@between", since)
    nothing, _ = map_seconds(world, f"volumes-a/volume-{volume}@between", "between")
    world.cloud.rbd("snap", "rm", f"volumes-a/volume-{volume}@between")
    assert len(out.splitlines()) >= CHANGES * 0.9

    before = bytes_written(world)
    world.daemon.do("t", "sync")
    written = bytes_written(world) - before
    last = world.daemon.show("t")["last_round"]
    same_bytes(world, "t", "vda", volume)
    print(f"100 GiB, {CHANGES} changes, {changed} bytes: map {seconds * 1000:.0f} ms (an empty one "
          f"{nothing * 1000:.0f} ms), sent {last['sent_bytes']}, taken by the OSD {written}")
    assert last["kind"] == "delta" and last["sent_bytes"] <= 1.1 * changed and written <= 1.1 * changed
    assert seconds - nothing <= 0.15

    world.daemon.do("t", "remove")
    assert world.tagged(world.source) == [] and world.tagged(world.target) == []
