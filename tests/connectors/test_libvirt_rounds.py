# SPDX-License-Identifier: Apache-2.0
"""Rounds of a running machine: content, change maps, points."""
from seam import Replication

MIB = 1 << 20


def test_full_and_delta_rounds_are_exact(lab, seam):
    a, b = lab.image("a.qcow2", "256M"), lab.image("b.qcow2", "64M")
    machine = lab.guest("two disks", a, b)
    lab.write("two disks", "sda", "1M", "3M", 0x11)
    lab.write("two disks", "sdb", "0", "64k", 0x21)
    replication = Replication(seam, machine, ["sda", "sdb"])

    snapshot, done = replication.round()
    assert not snapshot["disks"]["sda"]["delta"]
    assert snapshot["disks"]["sda"]["reason"] is None
    assert done["sda"]["sent"] == 3 * MIB
    replication.compare("sda", a)
    replication.compare("sdb", b)

    for i in range(3):
        lab.write("two disks", "sda", f"{8 + i}M", "1M", 0x31 + i)
        lab.write("two disks", "sda", "2M", "64k", 0x41 + i)
        snapshot, done = replication.round()
        assert snapshot["disks"]["sda"]["delta"] and snapshot["disks"]["sdb"]["delta"]
        assert done["sda"]["sent"] == MIB + 65536
        assert done["sdb"]["sent"] == 0
        replication.compare("sda", a)
        replication.compare("sdb", b)

    assert len(lab.virsh("checkpoint-list", "two disks", "--name").split()) == 1
    replication.remove()
    assert seam.tagged() == []
    lab.forget("two disks")
