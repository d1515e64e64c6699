# SPDX-License-Identifier: Apache-2.0
"""Freezing by a real guest agent."""
import os
import time

import pytest

from seam import LAB, Replication, SeamError, run

NAME = "agent"


@pytest.fixture(scope="module")
def debian(lab):
    """A Debian that runs, with its agent."""
    image = lab.dir / "images" / "debian.qcow2"
    run(LAB / "images", "copy", "debian", image, "qcow2", timeout=900)
    lab.domain("define", NAME, "--disk", image, "--channel-agent", "--memory", "512")
    return image


def last_record(lab):
    text = (lab.dir / "console" / f"{NAME}.log").read_text(errors="replace")
    lines = [line for line in text.splitlines() if line.startswith("RECORD last=")]
    return int(lines[-1].split("=")[1]) if lines else 0


def assert_writes(lab):
    before = last_record(lab)
    deadline = time.monotonic() + 60
    while last_record(lab) <= before:
        assert time.monotonic() < deadline, "the guest does not write: still frozen?"
        time.sleep(0.5)


def test_quiesce(lab, seam, debian, tcg):
    assert os.path.exists(debian)
    lab.domain("start", NAME)
    lab.domain("wait", NAME, "RECORD last", "--timeout", "300", timeout=320)
    deadline = time.monotonic() + 120
    while "state='connected'" not in lab.virsh("dumpxml", NAME):
        assert time.monotonic() < deadline, "no agent"
        time.sleep(1)
    machine = lab.virsh("domuuid", NAME)
    ids = [f["id"] for f in seam.call("source_precheck", machine=machine)["findings"]]
    assert "libvirt-no-agent" not in ids

    replication = Replication(seam, machine, ["sda"])
    snapshot, _ = replication.round(quiesce="require")
    assert snapshot["quiesced"] and snapshot["quiesce_note"] is None
    assert_writes(lab)
    snapshot = replication.snapshot()
    assert snapshot["quiesced"] and snapshot["disks"]["sda"]["delta"]
    # Found again by its tag, it still knows.
    assert replication.snapshot(tag=replication.last_tag) == snapshot
    replication.copy_disk(snapshot, "sda")
    replication.complete(snapshot)
    assert_writes(lab)

    # The service died between freeze and thaw: giving the round up thaws the guest.
    lab.virsh("domfsfreeze", NAME)
    seam.call("release_tag", machine=machine, tag=replication.last_tag)
    assert_writes(lab)
    # That took the baseline of this tag along; the next round is full, and says so.
    snapshot, _ = replication.round()
    assert not snapshot["disks"]["sda"]["delta"]

    # An agent that is there but does not answer.
    lab.virsh("qemu-agent-command", NAME, '{"execute":"guest-fsfreeze-freeze"}')
    with pytest.raises(SeamError) as error:
        replication.snapshot(quiesce="require")
    assert error.value.code == "quiesce-failed"
    assert_writes(lab)

    seam.call("shut_down", machine=machine, ms=120000)
    assert seam.call("power", machine=machine)["power"] == "off"
    snapshot, _ = replication.round()
    assert snapshot["disks"]["sda"]["delta"]
    replication.compare("sda", debian)
    replication.remove()
    assert seam.tagged() == []
