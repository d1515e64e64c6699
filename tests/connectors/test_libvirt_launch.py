# SPDX-License-Identifier: Apache-2.0
"""Launches: clones of points, machines made from them, and what becomes of both."""
import time

import pytest

from seam import LAB, Replication, SeamError, new_tag, run


def wait_console(seam, machine_ref, wanted, timeout=120):
    deadline = time.monotonic() + timeout
    while True:
        text = seam.call("console", machine_ref=machine_ref)["text"] or ""
        lines = [line for line in text.splitlines() if wanted in line]
        if lines:
            return lines[-1]
        assert time.monotonic() < deadline, f"no {wanted} on the console:\n{text[-2000:]}"
        time.sleep(0.5)


def test_launch_boots_from_a_clone_and_detaches(lab, seam, tcg):
    image = lab.dir / "images" / "tiny.qcow2"
    run(LAB / "images", "copy", "tiny", image, "qcow2", timeout=600)
    machine = lab.guest("source", image)
    replication = Replication(seam, machine, ["sda"])
    replication.round()
    described = seam.call("machine", machine=machine)["machine"]

    clone_tag, machine_tag = new_tag(), new_tag()
    clone = seam.call("clone_point", volume=replication.volumes["sda"],
                      point=replication.points["sda"][0], tag=clone_tag)["clone"]
    again = seam.call("clone_point", volume=replication.volumes["sda"],
                      point=replication.points["sda"][0], tag=clone_tag)["clone"]
    assert again == clone
    request = {"tag": machine_tag, "name": "ziel mit Umlaut ü", "machine": described,
               "clones": {"sda": clone}, "network": "isolated", "drill": True}
    ref = seam.call("create_machine", **request)["machine_ref"]
    assert seam.call("create_machine", **request)["machine_ref"] == ref
    machine_id = seam.call("machine_id", machine_ref=ref)["id"]
    assert seam.call("power", machine=machine_id)["power"] == "off"
    assert seam.call("console", machine_ref=ref)["text"] is None

    seam.call("power_on", machine=machine_id)
    line = wait_console(seam, ref, "BOOTMARK")
    assert "disk=virtio_blk" in line and "virtio_net" in line
    assert described["nics"][0]["mac"] in line
    assert [t["tag"] for t in seam.tagged("machine")] == [machine_tag]
    assert [t["tag"] for t in seam.tagged("clone")] == [clone_tag]

    # The replica is needed until the clone is detached, also for a machine that runs.
    with pytest.raises(SeamError) as used:
        seam.call("delete_point", volume=replication.volumes["sda"],
                  point=replication.points["sda"][0])
    assert used.value.code == "in-use"
    with pytest.raises(SeamError) as used:
        seam.call("delete_volume", volume=replication.volumes["sda"])
    assert used.value.code == "in-use"
    with pytest.raises(SeamError) as used:
        seam.call("delete_clone", clone=clone)
    assert used.value.code == "in-use"
    seam.call("detach_clone", machine_ref=ref, clone=clone)
    seam.call("detach_clone", machine_ref=ref, clone=clone)
    replication.remove()
    before = wait_console(seam, ref, "RECORD")
    time.sleep(3)
    assert wait_console(seam, ref, "RECORD") != before, "the guest stopped with its replica"

    seam.call("shut_down", machine=machine_id, ms=120000)
    assert seam.call("power", machine=machine_id)["power"] == "off"
    seam.call("delete_machine", machine_ref=ref)
    seam.call("delete_machine", machine_ref=ref)
    seam.call("delete_clone", clone=clone)
    seam.call("delete_clone", clone=clone)
    assert seam.tagged() == []
    assert not list((lab.dir / "pool").iterdir())
    lab.forget("source")


def prepare(lab, seam, name="quelle"):
    image = lab.image(f"{name}.qcow2", "32M")
    machine = lab.guest(name, image, start=False)
    replication = Replication(seam, machine, ["sda"])
    replication.round()
    tag = new_tag()
    clone = seam.call("clone_point", volume=replication.volumes["sda"],
                      point=replication.points["sda"][0], tag=tag)["clone"]
    return replication, clone, seam.call("machine", machine=machine)["machine"]


@pytest.mark.parametrize("firmware", ["uefi", "uefi-secure"])
def test_uefi_machine_is_defined_and_removed(lab, seam, firmware):
    replication, clone, described = prepare(lab, seam)
    described["firmware"] = firmware
    ref = seam.call("create_machine", tag=new_tag(), name="uefi", machine=described,
                    clones={"sda": clone}, network="isolated", cpus=3,
                    memory_bytes=512 << 20)["machine_ref"]
    made = seam.call("machine", machine="uefi")["machine"]
    assert made["firmware"] == firmware and made["chipset"] == "q35"
    assert made["cpus"] == 3 and made["memory_bytes"] == 512 << 20
    # QEMU itself takes what was defined; started paused it takes no CPU.
    lab.domain("start", "uefi", "--paused")
    assert list((lab.dir / "lib" / "qemu" / "nvram").glob("*uefi*"))
    seam.call("delete_machine", machine_ref=ref)
    assert not list((lab.dir / "lib" / "qemu" / "nvram").glob("*uefi*"))
    seam.call("delete_clone", clone=clone)
    replication.remove()
    assert seam.tagged() == []


@pytest.mark.parametrize("bus, dev", [("sata", "sda"), ("scsi", "sda"), ("virtio", "vda")])
def test_disk_buses(lab, seam, bus, dev):
    replication, clone, described = prepare(lab, seam)
    ref = seam.call("create_machine", tag=new_tag(), name="bus", machine=described,
                    clones={"sda": clone}, network="isolated", disk_bus=bus)["machine_ref"]
    lab.domain("start", "bus", "--paused")
    disk = seam.call("machine", machine="bus")["machine"]["disks"][0]
    assert (disk["bus"], disk["key"]) == (bus, dev)
    seam.call("delete_machine", machine_ref=ref)


def test_companion_beside_a_sata_disk(lab, seam):
    """A small disk on virtio that goes with the machine, also when only its file is left."""
    replication, clone, described = prepare(lab, seam)
    tag = new_tag()
    request = {"tag": tag, "name": "two", "machine": described, "clones": {"sda": clone},
               "network": "isolated", "disk_bus": "sata", "companion": True}
    ref = seam.call("create_machine", **request)["machine_ref"]
    assert seam.call("create_machine", **request)["machine_ref"] == ref
    lab.domain("start", "two", "--paused")
    buses = {disk["key"]: (disk["bus"], disk["size_bytes"])
             for disk in seam.call("machine", machine="two")["machine"]["disks"]}
    assert buses == {"sda": ("sata", 32 << 20), "vdz": ("virtio", 8 << 20)}
    companion = lab.dir / "pool" / f"{tag}-companion.img"
    assert companion.stat().st_blocks == 0
    seam.call("delete_machine", machine_ref=ref)
    assert not companion.exists()
    companion.touch()
    left, = seam.tagged("machine")
    assert left["tag"] == tag
    seam.call("delete_machine", machine_ref=left["ref"])
    assert not companion.exists()
    seam.call("delete_clone", clone=clone)
    replication.remove()
    assert seam.tagged() == []


def test_machine_handed_over_is_no_longer_ours(lab, seam):
    replication, clone, described = prepare(lab, seam)
    ref = seam.call("create_machine", tag=new_tag(), name="mine", machine=described,
                    clones={"sda": clone}, network="isolated")["machine_ref"]
    # Off: qemu-img makes the clone independent.
    seam.call("detach_clone", machine_ref=ref, clone=clone)
    seam.call("hand_over_machine", machine_ref=ref)
    seam.call("hand_over_machine", machine_ref=ref)
    replication.remove()
    assert seam.tagged() == []
    with pytest.raises(SeamError) as error:
        seam.call("delete_machine", machine_ref=ref)
    assert error.value.code == "in-use"
    lab.domain("start", "mine", "--paused")


def test_name_taken_on_the_target(lab, seam):
    replication, clone, described = prepare(lab, seam)
    with pytest.raises(SeamError) as error:
        seam.call("create_machine", tag=new_tag(), name="quelle", machine=described,
                  clones={"sda": clone}, network="isolated")
    assert error.value.code == "exists"
    with pytest.raises(SeamError) as error:
        seam.call("create_machine", tag=new_tag(), name="x", machine=described,
                  clones={"sda": clone}, network="isolated", disk_bus="floppy")
    assert error.value.code in ("launch-failed", "platform-unsupported")
