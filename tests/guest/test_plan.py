# SPDX-License-Identifier: Apache-2.0
"""Inspection and its plan, on the lab's guest of LVM and UEFI and on odd disks."""
import json
import signal
import subprocess
import time

import pytest

import disks
from boot import MAC, Machine, mark_of


def clones_of(lab, lvm):
    return [lab.clone(disk, f"clone{number}.qcow2") for number, disk in enumerate(lvm)]


@pytest.fixture(scope="module")
def planned(lvm, store):
    """The guest's plan, and how long it took; made once."""
    import conftest
    directory = store / "plan"
    directory.mkdir()
    lab = conftest.Lab(directory, store / "cache")
    clones, began = clones_of(lab, lvm), time.monotonic()
    before = [disks.digest(clone) for clone in clones]
    plan = lab.convert(*clones, mode="auto", mac=MAC, uefi=True, inspect=True)
    assert [disks.digest(clone) for clone in clones] == before, "looking has written"
    plan["took"] = time.monotonic() - began
    path = store / "plan.json"
    path.write_text(json.dumps(plan))
    return plan, path


def test_a_plan_says_what_will_be_done(planned):
    plan, _ = planned
    assert plan["version"] == 1 and plan["method"] == "fast" and plan["findings"] == []
    assert plan["os"]["type"] == "linux" and plan["os"]["arch"] == "x86_64"
    assert plan["os"]["product"].startswith("Debian GNU/Linux 12")
    assert (plan["firmware"], plan["bootloader"], plan["root"]) == ("uefi", "grub2", "/dev/vg/root")
    facts = plan["facts"]
    assert {m["mountpoint"]: m["type"] for m in facts["mounts"] if m["uuid"]} == \
        {"/": "xfs", "/boot": "ext4", "/boot/efi": "vfat"}
    assert facts["fstab"] == ["/dev/mapper/vg-root", "/dev/sda2", "UUID=6266-E5F1"]
    assert facts["lvm"] == ["/dev/vg/root"] and facts["interfaces"] == ["ens192"]
    assert facts["kernel_command_line"] == ["root=/dev/mapper/vg-root"]
    assert facts["generator"] == "initramfs-tools" and facts["generator_generic"] is False
    kernel, = facts["kernels"]
    assert kernel["virtio"] == "missing"
    paths = [c["path"] for c in plan["changes"]]
    assert kernel["initramfs"] in paths and "/etc/initramfs-tools/modules" in paths
    assert plan["drivers"][0]["from"] == "/lib/modules/" + kernel["version"]
    assert 0 < plan["expected_seconds"] < 600


def convert_lvm(lab, lvm, planned, scratch):
    """GPT's second header is where the disk once ended: the guest boots all the same."""
    clones = [lab.clone(lvm[0], "a.qcow2", "2G"), lab.clone(lvm[1], "b.qcow2", "1G")]
    report = lab.convert(*clones, mode="auto", mac=MAC, uefi=True, plan=planned[1])
    assert report["method"] == "fast" and report["planned"] is True and report["warnings"] == []
    assert not any("Inspecting" in line for line in report["progress"])
    print("# with a plan", report["seconds"], report["progress"])
    assert "gzip" in report["log_tail"] and "/etc/fstab: device names by UUID" in report["log_tail"]
    changed = {line.split(":")[0] for line in report["log_tail"].splitlines()}
    assert changed == {c["path"] for c in planned[0]["changes"]}
    assert sum(disks.changed_clusters(clone) for clone in clones) <= 64
    # Converted, it needs nothing more but what is asked for anew; on layers of its own, while the guest boots.
    layers = [lab.clone(clone, f"{clone.stem}-again.qcow2") for clone in clones]
    with Machine(clones, scratch / "machine", uefi=True) as machine:
        again = lab.convert(*layers, mode="fast", mac=MAC, uefi=True, grow=True)
        mark = mark_of(machine)
    assert "root=/dev/mapper/vg-root disk=virtio_blk" in mark
    assert f"net=ens192:virtio_net,{MAC} " in mark and "failed=0" in mark
    assert again["log_tail"].splitlines() == [
        "/dev/sda3: the partition ends where the disk does",
        "/dev/sda3: its volume group has the new room",
        "/dev/sdb: its volume group has the new room"]
    raw = lab.directory / "grown.raw"
    disks.run("qemu-img", "convert", "-O", "raw", layers[0], raw)
    assert "No problems found" in subprocess.run(["sgdisk", "-v", str(raw)], check=True, text=True,
                                                 stdout=subprocess.PIPE).stdout


def test_a_plan_stands_in_for_the_inspection(lab, lvm, planned, tmp_path):
    """So converted it boots from larger volumes; as it was it does not (a control beside, which mostly
    waits)."""
    before = [disks.digest(disk) for disk in lvm]
    with Machine(lvm, tmp_path / "control", uefi=True) as control:
        convert_lvm(lab, lvm, planned, tmp_path)
        console = control.wait(r"BOOTMARK|ALERT!")
    assert "ALERT!" in console and "BOOTMARK" not in console
    assert [disks.digest(disk) for disk in lvm] == before


def test_what_cannot_be_converted_is_a_finding(lab, made):
    """(A blank disk is one of tests/daemon/test_plan.py.)"""
    plan = lab.convert(lab.clone(made("luks", disks.luks)), mode="auto", inspect=True)
    finding, = plan["findings"]
    assert finding["id"] == "guest-encrypted" and finding["severity"] == "block" and finding["fix"]
    assert "/dev/sda1 is encrypted (crypto_LUKS)" in finding["found"]


def test_what_the_policy_does_not_allow_is_a_finding(lab, made):
    """A Linux that only virt-v2v may know; two of them are one too many."""
    alpine = lab.clone(made("alpine", disks.alpine))
    plan = lab.convert(alpine, mode="fast", inspect=True)
    assert plan["method"] == "v2v" and plan["os"]["product"] == "Alpine Linux v3.18"
    assert {item["id"]: item["severity"] for item in plan["findings"]} == \
        {"fast-not-possible": "info", "convert-policy": "block"}
    plan = lab.convert(alpine, lab.clone(made("alpine", disks.alpine), "second.qcow2"), mode="auto", inspect=True)
    finding, = plan["findings"]
    assert (finding["id"], finding["severity"]) == ("guest-several-systems", "block") and finding["fix"]


def test_nothing_to_do_opens_no_disk(lab):
    """Not even one that is not there."""
    plan = lab.directory / "none.json"
    plan.write_text(json.dumps({"version": 1, "method": "none", "os": {"product": "Tiny 1"}}))
    report = lab.convert("/nonexistent/disk", mode="auto", plan=plan)
    assert report["method"] == "none" and report["virtio"] is True and report["planned"] is True
    assert report["seconds"] <= 0.2


def test_a_disk_that_never_answers_ends_by_the_deadline(lab, debian):
    """Its server answers the first reads, which the appliance's start makes, and then holds back."""
    socket, before = lab.directory / "sock", disks.digest(debian)
    server = subprocess.Popen(
        ["nbdkit", "-f", "--exit-with-parent", "-r", "-U", socket, "--filter=delay", "file",
         debian, "rdelay=3600"], stdin=subprocess.DEVNULL)
    try:
        while not socket.exists():
            assert server.poll() is None
            time.sleep(0.05)
        began = time.monotonic()
        error = lab.error(f"nbd+unix:///?socket={socket}", mode="auto", form="raw", inspect=True,
                          deadline=15)
        assert error["code"] == "guest-timeout" and "Starting the appliance" in error["evidence"], error
        assert time.monotonic() - began < 30
    finally:
        server.send_signal(signal.SIGKILL)
        server.wait()
    assert disks.digest(debian) == before


def test_a_damaged_file_system_ends_in_a_finding_or_an_error(lab, debian):
    """Every second block of the root's first megabytes is noise."""
    copy = lab.directory / "damaged.raw"
    disks.run("qemu-img", "convert", "-O", "raw", debian, copy)
    with open(copy, "r+b") as disk:
        for block in range(1024 * 1024 + 4096, 24 * 1024 * 1024, 8192):
            disk.seek(block)
            disk.write(bytes((block // 4096 * 37 + i * 11) % 251 for i in range(4096)))
    before = disks.digest(copy)
    result = lab.convert(copy, mode="auto", form="raw", inspect=True, deadline=200)
    print("#", result.get("error"), result.get("findings"))
    assert "error" in result and result["error"]["code"] in ("convert-failed", "guest-timeout") \
        or result["findings"]
    assert disks.digest(copy) == before
