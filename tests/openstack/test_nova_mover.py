# SPDX-License-Identifier: Apache-2.0
"""Volumes that are not RBD, written and read through a mover that is a server of the cloud."""
import filecmp
import json
import os
import random

import pytest

from cloud import run
from nova_mover import NovaMover


pytestmark = pytest.mark.timeout(600)
COPY = os.environ.get("BLOCKFERRY_COPY", "blockferry-copy")
GIB, MIB = 1 << 30, 1 << 20


@pytest.fixture(scope="module")
def mover(cloud):
    project = cloud.project("target")
    yield NovaMover(project, "--writable")
    project.clean()


def test_volume_of_files(cloud, mover, tmp_path):
    """Written over TLS, detached, attached again, read back; and the file behind it is the disk."""
    assert "mode=rw" in mover.mark
    disk, back = tmp_path / "disk", tmp_path / "back"
    dice = random.Random(5)
    with open(disk, "wb") as file:
        file.truncate(GIB)
        for at in (0, 300 * MIB, 700 * MIB + 4096, GIB - MIB):
            file.seek(at)
            file.write(dice.randbytes(MIB))
    volume = mover.project.volume("file")
    mover.attach(volume)
    tls = ("--progress", "json", "--tls-certificates", mover.certificates)
    run(COPY, *tls, "--target-is-zero", disk, mover.uri(volume))
    mover.detach(volume)
    stored = cloud.lab / f"nfs/upper/volume-{volume}"
    assert filecmp.cmp(disk, stored, shallow=False)
    assert os.stat(stored).st_blocks * 512 < 16 * MIB  # it stayed thin
    mover.attach(volume)
    # A device has no allocation map, and emulated TLS is slow: only a part is read back.
    parts = tmp_path / "map"
    parts.write_text("".join(json.dumps({"offset": at, "length": 2 * MIB, "type": "data"}) + "\n"
                             for at in (0, 300 * MIB, 700 * MIB)))
    run(COPY, *tls, "--map", parts, mover.uri(volume), back)
    with open(disk, "rb") as ours, open(back, "rb") as theirs:
        for at in (0, 300 * MIB, 700 * MIB):
            ours.seek(at)
            theirs.seek(at)
            assert ours.read(2 * MIB) == theirs.read(2 * MIB)
    mover.detach(volume)


def content(cloud, volume):
    """What Cinder's driver holds now, as format and file: raw, or qcow2 on top of a snapshot."""
    directory = cloud.lab / "nfs/upper"
    info = f"{directory}/volume-{volume}.info"
    active = f"volume-{volume}"
    if os.path.exists(info):
        with open(info) as file:
            active = json.load(file)["active"]
    path = f"{directory}/{active}"
    return json.loads(run("qemu-img", "info", "--output=json", "-U", path))["format"], path
