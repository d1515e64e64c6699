# SPDX-License-Identifier: Apache-2.0
"""Volumes that are not RBD, written and read through a mover that is a server of the cloud."""
import filecmp
import json
import os
import random

import pytest

from cloud import run
from nova_mover import NovaMover
from test_service import MAC, NAME, World, booted_line, ferry

pytestmark = pytest.mark.timeout(600)
COPY = os.environ.get("BLOCKFERRY_COPY", "blockferry-copy")
GIB, MIB = 1 << 30, 1 << 20


@pytest.fixture(scope="module")
def world(cloud):
    one = World(cloud)
    yield one
    one.close()


@pytest.fixture(scope="module")
def mover(world):
    project = world.cloud.project("target")
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


def test_replica_off_rbd(world, mover):
    """The service: libvirt to a volume type that is not RBD, every byte of it through the mover."""
    daemon = world.daemon
    certificates = {"mover": mover.server, "mover_address": mover.address, "mover_certificates": mover.certificates}
    daemon.post("/platforms", {"name": "files", "type": "openstack", "url": "cloud:target",
                               "options": {"clouds_yaml": world.cloud.clouds, "mover_slots": 2, **certificates}})
    disk = f"{world.directory}/a/images/m.qcow2"
    ferry.run(f"{ferry.LAB}/images", "copy", "tiny", disk, "qcow2", timeout=600)
    world.lab.domain("define", NAME, "--disk", f"{disk},bus=sata,format=qcow2", "--net", "lab", "--mac", MAC,
                     "--memory", "128")
    world.lab.domain("start", NAME)
    world.lab.domain("wait", NAME, "RECORD last=", timeout=200)
    one = world.replicate("kvm", NAME, "files", "m",
                          {"storage": "file", "default_network": "prod", "isolated_network": "isolated"})
    assert one["last_round"]["kind"] == "full"
    daemon.do("m", "sync")
    assert daemon.show("m")["last_round"]["kind"] == "delta"
    daemon.do("m", "cutover", yes=True)
    assert "missing=0" in booted_line(daemon.show("m")["launch"])
    daemon.do("m", "rollback")
    daemon.do("m", "remove", delete_volumes=True)
    assert world.left(world.target) == [] and daemon.ledger() == []
    attached = mover.project.cloud.get("compute", f"/servers/{mover.server}/os-volume_attachments")
    assert len(attached["volumeAttachments"]) == 1  # its own
    assert mover.project.console(mover.server).count("DISK here id=") >= 3
