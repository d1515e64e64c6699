# SPDX-License-Identifier: Apache-2.0
"""Volumes that are not RBD, written and read through a mover that is a server of the cloud."""
import filecmp
import json
import os
import random

import pytest

from cloud import run
from nova_mover import NovaMover
from test_connector import SIZE, CloudSeam, copy, new_tag, pattern_file, volume_id, write_round

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


def test_rounds_through_a_mover(cloud, mover, tmp_path):
    """The seam: full, delta, a round that is dropped, one taken up again after a kill, clone, removal."""
    tls = ("--target-tls-certificates", mover.certificates)
    options = {"mover": mover.server, "mover_address": mover.address, "mover_certificates": mover.certificates}

    def same(volume, path):
        kind, stored = content(cloud, volume)
        run("qemu-img", "compare", "-f", "raw", "-F", kind, path, stored)

    with CloudSeam(cloud) as seam:
        seam.open("target", p="lab", mover_slots="2", **options)
        made = seam.call("create_volume", tag=new_tag(), name="web1 vda", disk="vda", size=SIZE,
                         storage="file")["volume"]
        volume = volume_id(made)
        one = pattern_file(tmp_path / "one", SIZE, at=8 * MIB)
        first, second, lost = new_tag(), new_tag(), new_tag()
        write_round(seam, made, first, one, options=tls)
        point = seam.call("make_point", volume=made, tag=first)["point"]
        same(volume, one)

        two = pattern_file(tmp_path / "two", SIZE, at=16 * MIB, seed=b"y")
        write_round(seam, made, lost, two, last=point, options=tls)
        seam.call("drop_round", volume=made, tag=lost)
        same(volume, one)

        seam.call("open_volume", volume=made, tag=second, last_point=point)
        seam.kill()
        seam.open("target", p="lab", mover_slots="2", **options)
        write_round(seam, made, second, two, last=point, options=tls)
        later = seam.call("make_point", volume=made, tag=second)["point"]
        same(volume, two)

        clone = seam.call("clone_point", volume=made, point=later, tag=new_tag())["clone"]
        opened = seam.call("open_clone", clone=clone)
        assert opened["uri"] == mover.uri(volume_id(clone)).replace(":10809", "")  # the usual port is not written
        copy(one, opened, *tls)
        seam.call("close_volume", handle=opened["handle"])
        same(volume_id(clone), one)
        same(volume, two)
        seam.call("delete_clone", clone=clone)
        seam.call("delete_point", volume=made, point=point)
        seam.call("delete_volume", volume=made)
        assert seam.tagged() == []
    attached = mover.project.cloud.get("compute", f"/servers/{mover.server}/os-volume_attachments")
    assert len(attached["volumeAttachments"]) == 1  # its own
