# SPDX-License-Identifier: Apache-2.0
"""Inspection and its plan, on the lab's Debian and on odd disks."""
import json
import signal
import subprocess
import time

import pytest

import disks

MAC = "52:54:00:aa:bb:01"


@pytest.fixture(scope="module")
def planned(debian, store):
    """The Debian's plan, and how long it took; made once."""
    import conftest
    directory = store / "plan"
    directory.mkdir()
    lab = conftest.Lab(directory, store / "cache")
    clone = lab.clone(debian)
    before, began = disks.digest(clone), time.monotonic()
    plan = lab.convert(clone, mode="auto", mac=MAC, inspect=True)
    assert disks.digest(clone) == before, "looking has written"
    plan["took"] = time.monotonic() - began
    path = store / "plan.json"
    path.write_text(json.dumps(plan))
    return plan, path


def test_a_plan_says_what_will_be_done(lab, debian, planned):
    plan, _ = planned
    assert plan["version"] == 1 and plan["method"] == "fast" and plan["findings"] == []
    assert plan["os"]["type"] == "linux" and plan["os"]["arch"] == "x86_64"
    assert plan["os"]["product"].startswith("Debian GNU/Linux 12")
    assert plan["firmware"] == "bios" and plan["bootloader"] == "grub2"
    facts = plan["facts"]
    assert [m["mountpoint"] for m in facts["mounts"]] == ["/"] and facts["mounts"][0]["uuid"]
    assert facts["generator"] == "initramfs-tools" and facts["generator_generic"] is False
    kernel, = facts["kernels"]
    assert kernel["virtio"] == "missing"
    paths = [c["path"] for c in plan["changes"]]
    assert kernel["initramfs"] in paths and "/etc/initramfs-tools/modules" in paths
    assert plan["drivers"][0]["from"] == "/lib/modules/" + kernel["version"]
    assert 0 < plan["expected_seconds"] < 600


def test_a_plan_stands_in_for_the_inspection(lab, debian, planned):
    clone = lab.clone(debian)
    report = lab.convert(clone, mode="auto", mac=MAC, plan=planned[1])
    assert report["method"] == "fast" and report["planned"] is True and report["warnings"] == []
    assert not any("Inspecting" in line for line in report["progress"])
    print("# with a plan", report["seconds"], report["progress"])
    changed = {line.split(":")[0] for line in report["log_tail"].splitlines()}
    assert changed == {c["path"] for c in planned[0]["changes"]}
    # Converted, it needs nothing more, now and after its next kernel.
    after = lab.convert(clone, mode="auto", mac=MAC, inspect=True)
    assert after["method"] == "none" and after["changes"] == [], after
    assert after["facts"]["kernels"][0]["virtio"] == "added"


def test_a_guest_that_changed_is_inspected_again(lab, debian, planned):
    plan = json.loads(planned[1].read_text())
    plan["facts"]["fstab_digest"] = "0" * 64
    other = lab.directory / "other.json"
    other.write_text(json.dumps(plan))
    report = lab.convert(lab.clone(debian), mode="auto", mac=MAC, plan=other)
    assert report["method"] == "fast" and report["planned"] is False
    assert any("not as planned (/etc/fstab has changed)" in w for w in report["warnings"])
    assert {line.split(":")[0] for line in report["log_tail"].splitlines()} == \
        {c["path"] for c in plan["changes"]}


def test_what_cannot_be_converted_is_a_finding(lab, made):
    plan = lab.convert(lab.clone(made("blank", disks.blank)), mode="auto", inspect=True)
    finding, = plan["findings"]
    assert finding["id"] == "guest-unknown" and finding["severity"] == "block" and finding["fix"]
    assert "no operating system" in finding["found"]


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
