# SPDX-License-Identifier: Apache-2.0
"""A libvirt that is not on this host as far as the connector can tell: backup jobs over TCP.

libvirt's "ext" transport runs a program that carries its protocol; here one that connects to the
lab's socket."""
import pytest

from seam import Replication, SeamError, new_tag

RELAY = """#!/usr/bin/python3
import os, select, socket, sys
s = socket.socket(socket.AF_UNIX); s.connect(%r)
while True:
    ready, _, _ = select.select([0, s], [], [])
    for side in ready:
        data = os.read(0, 65536) if side == 0 else s.recv(65536)
        if not data:
            sys.exit(0)
        if side == 0:
            s.sendall(data)
        else:
            at = 0
            while at < len(data):
                at += os.write(1, data[at:])
"""


@pytest.fixture
def remote(lab, seam):
    relay = lab.dir / "relay"
    relay.write_text(RELAY % str(lab.dir / "run" / "libvirt-sock"))
    relay.chmod(0o755)
    seam.call("open", p="far", url=f"qemu+ext://elsewhere/system?command={relay}",
              work=str(seam.work), options={"nbd_address": "127.0.0.1"})
    return seam


class Far:
    """Calls of the source go to the remote platform, those of the target stay."""

    def __init__(self, seam):
        self.seam = seam

    def call(self, do, **fields):
        source = {"snapshot", "open_disk", "release", "release_tag", "drop_baseline", "power_off"}
        return self.seam.call(do, p="far" if do in source else "lab", **fields)


def test_rounds_over_tcp(lab, seam, remote):
    images = [lab.image(f"{i}.qcow2") for i in range(2)]
    machines = [lab.guest(f"far{i}", image) for i, image in enumerate(images)]
    far = [Replication(Far(seam), machine, ["sda"]) for machine in machines]
    for i, replication in enumerate(far):
        lab.write(f"far{i}", "sda", "1M", "64k", 0x11)
        replication.round()
        replication.compare("sda", images[i])
        lab.write(f"far{i}", "sda", "3M", "64k", 0x12)
    # Two jobs at once: each has a port of its own.
    snapshots = [replication.snapshot() for replication in far]
    for i, replication in enumerate(far):
        assert snapshots[i]["disks"]["sda"]["delta"]
        assert replication.snapshot(tag=replication.last_tag) == snapshots[i]
        done = replication.copy_disk(snapshots[i], "sda")
        assert done["sent"] == 65536
        replication.complete(snapshots[i])
        replication.compare("sda", images[i])
    for replication in far:
        replication.remove()
    assert seam.tagged() == []


def test_what_remote_cannot(lab, seam, remote):
    image = lab.image("off.qcow2")
    machine = lab.guest("off", image, start=False)
    found = {f["id"] for f in
             remote.call("source_precheck", p="far", machine=machine)["findings"]}
    assert "libvirt-remote-off" in found
    with pytest.raises(SeamError) as error:
        remote.call("snapshot", p="far", machine=machine, tag=new_tag(), disks=["sda"])
    assert error.value.code == "machine-state"
    described = remote.call("machine", p="far", machine=machine)["machine"]
    found = {f["id"]: f["severity"] for f in
             remote.call("target_precheck", p="far", machine=described)["findings"]}
    assert found["libvirt-target-not-local"] == "block"
    with pytest.raises(SeamError) as error:
        remote.call("create_volume", p="far", tag=new_tag(), name="x", disk="sda", size=1 << 20)
    assert error.value.code == "platform-unsupported"
    assert not remote.call("info", p="far")["can_target"]
