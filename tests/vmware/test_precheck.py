# SPDX-License-Identifier: Apache-2.0
"""Every finding of the prechecks, each shown by a machine that has what it warns of."""
import pathlib
import re

import pytest


# One machine for each case: what is set of one is not undone.
CASES = {
    "vmware-template": ("block", {"template": True}),
    "vmware-connection": ("block", {"connection": "disconnected"}),
    "vmware-fault-tolerance": ("block", {"fault_tolerance": "running"}),
    "vmware-suspended": ("warn", {"power": "suspended"}),
    "vmware-consolidation": ("block", {"consolidation": True}),
    "vmware-hardware-version": ("warn", {"version": "vmx-04"}),
    "vmware-cbt-unsupported": ("warn", {"cbt_supported": False}),
    "vmware-cbt-off": ("info", {}),
    "vmware-passthrough": ("block", {"device": "VirtualPCIPassthrough"}),
    "vmware-sriov": ("block", {"device": "VirtualSriovEthernetCard"}),
    "vmware-vtpm": ("warn", {"device": "VirtualTPM"}),
    "vmware-usb": ("warn", {"device": "VirtualUSB"}),
    "vmware-encrypted": ("warn", {"key_id": "k1"}),
    "vmware-secure-boot": ("warn", {"secure_boot": True}),
    "vmware-uefi": ("info", {"secure_boot": False}),
    "vmware-tools": ("warn", {"tools": "guestToolsNotRunning"}),
    "vmware-disk-independent": ("block", {"disk__mode": "independent_persistent"}),
    "vmware-disk-multi-writer": ("block", {"disk__sharing": "sharingMultiWriter"}),
    "vmware-disk-shared-bus": ("block", {"bus__sharing": "physicalSharing"}),
    "vmware-disk-encrypted": ("warn", {"disk__key_id": "k1"}),
    "vmware-disk-rdm-physical": ("block", {"disk__rdm": "physicalMode"}),
    "vmware-disk-rdm-virtual": ("info", {"disk__rdm": "virtualMode"}),
    "vmware-linked-clone": ("info", {"disk__parent": "[LocalDS_0] base/base.vmdk"}),
    "vmware-disk-no-uuid": ("warn", {"disk__uuid": ""}),
    "vmware-disk-size": ("block", {"disk__size": 1000}),
    "vmware-disk-controller": ("info", {"disk__nvme": True}),
    "vmware-name": ("info", {"name": "a%2fb"}),
    "vmware-datastore-type": ("info", {"datastore_type": "NFS41"}),
    "vmware-datastore-space": ("block", {"free_bytes": 1024}),
}
MACHINES = [f"m{n}=1M" for n in range(len(CASES))] + ["twins=1M,1M", "many=" + ",".join(["1M"] * 17),
                                                      "plain=1M", "shares=1M,1M", "other=1M"]


def findings(vc, seam, machine):
    return {f["id"]: f for f in seam.call("source_precheck", machine=vc.moref(machine))["findings"]}


def check(found, severity):
    assert found["severity"] == severity
    assert all(found[part] for part in ("found", "needed", "why", "fix")), found


def test_a_plain_machine(vc, seam):
    """No finding but that tracking is off, and that hosts of the simulator have no address."""
    found = findings(vc, seam, "plain")
    assert set(found) == {"vmware-cbt-off", "vmware-port-902"}
    check(found["vmware-port-902"], "warn")


@pytest.mark.parametrize("number, finding", enumerate(CASES))
def test_finding(vc, seam, number, finding):
    severity, settings = CASES[finding]
    vc.set(f"m{number}", **settings)
    found = findings(vc, seam, f"m{number}")
    assert finding in found, found
    check(found[finding], severity)
    if finding.startswith("vmware-disk"):
        assert found[finding]["subject"] == "2000"
    if finding != "vmware-cbt-off":
        assert finding not in findings(vc, seam, "plain") or finding.startswith("vmware-datastore")


def test_snapshots_of_others(vc, seam):
    machine = vc.moref("twins")
    vc.control(machine="twins", foreign_snapshots=1)
    found = findings(vc, seam, "twins")
    check(found["vmware-foreign-snapshot"], "warn")
    assert '"by hand 1"' in found["vmware-foreign-snapshot"]["found"]
    check(found["vmware-cbt-snapshots"], "warn")
    # Tracking that begins on top of a snapshot loses changes: it is not switched on.
    seam.call("prepare", machine=machine)
    assert vc.control()["calls"].get("ReconfigVM_Task", 0) == 0
    vc.control(machine="twins", foreign_snapshots=30)
    check(findings(vc, seam, "twins")["vmware-snapshot-depth"], "block")


def test_disks_with_one_uuid(vc, seam):
    vc.set("twins", disk__twin=True)
    found = findings(vc, seam, "twins")["vmware-disk-same-uuid"]
    check(found, "warn")
    assert found["subject"] == "2001"


@pytest.mark.parametrize("settings", [
    {"file": "[LocalDS_0] shares/disk2.vmdk"}, {"file": "[LocalDS_0]  ./shares//disk2.vmdk"},
    {"file": "[LocalDS_0] shares/disk3.vmdk", "parent": "[LocalDS_0] shares/disk2.vmdk"}])
def test_two_disks_of_one_file(vc, seam, settings):
    """Or one that stands on the file that the other writes; standing on one that nobody writes is no fault."""
    vc.set("shares", disk__file="[LocalDS_0] shares/disk1.vmdk", disk__parent="[LocalDS_0] base/base.vmdk")
    assert "vmware-disk-same-file" not in findings(vc, seam, "shares")
    vc.set("shares", **{f"disk__{key}": value for key, value in settings.items()})
    found = findings(vc, seam, "shares")["vmware-disk-same-file"]
    check(found, "block")
    assert found["subject"] == "2001" and "disk 2000" in found["found"]


def test_a_file_of_another_machine(vc, seam):
    """Written there it blocks; hanging there as backups attach it, it is a leftover that locks the file."""
    vc.set("shares", disk__file="[LocalDS_0] shares/disk1-000001.vmdk", disk__parent="[LocalDS_0] shares/disk1.vmdk")
    for file in ("shares/disk1.vmdk", "shares/disk1-000001.vmdk"):
        vc.set("other", disk__file=f"[LocalDS_0] {file}", disk__mode="persistent")
        found = findings(vc, seam, "shares")["vmware-disk-elsewhere"]
        check(found, "block")
        assert found["subject"] == "2000" and "machine other" in found["found"]
        vc.set("other", disk__mode="independent_nonpersistent")
        check(findings(vc, seam, "shares")["vmware-disk-elsewhere"], "warn")
    assert "vmware-disk-elsewhere" in findings(vc, seam, "other")
    seam.reopen(mover=vc.moref("other"), mover_address="127.0.0.1:1", mover_certificates="/nowhere")
    assert "vmware-disk-elsewhere" not in findings(vc, seam, "shares")
    seam.reopen()
    # A linked clone stands on what nobody writes any more.
    vc.set("other", disk__file="[LocalDS_0] other/disk1.vmdk", disk__mode="persistent",
           disk__parent="[LocalDS_0] shares/disk1.vmdk")
    assert "vmware-disk-elsewhere" not in findings(vc, seam, "shares")


def test_many_disks(vc, seam):
    check(findings(vc, seam, "many")["vmware-nfc-budget"], "warn")


def test_no_disks(vc, seam):
    vc.set("many", no_disks=True)
    check(findings(vc, seam, "many")["vmware-no-disk"], "block")


def test_question(vc, seam):
    vc.trouble("PowerOffVM_Task", "question")
    seam.call("cancel")
    with pytest.raises(Exception, match="cancelled"):
        seam.call("power_off", machine=vc.moref("many"))
    seam.call("uncancel")
    check(findings(vc, seam, "many")["vmware-question"], "block")


def test_privileges_by_name(vc, seam):
    denied = ["VirtualMachine.State.CreateSnapshot", "VirtualMachine.Provisioning.DiskRandomRead"]
    vc.control(deny=denied + ["VApp.Export"])
    found = findings(vc, seam, "plain")["vmware-privilege"]
    check(found, "block")
    assert found["found"] == ", ".join(denied)
    info = {f["id"]: f for f in seam.call("info")["findings"]}
    check(info["vmware-privilege"], "warn")
    vc.control(deny=[])
    assert "vmware-privilege" not in findings(vc, seam, "plain")


def test_no_library(vc, seam):
    seam.reopen(library_directory="/nonexistent", read_path="vddk")
    found = findings(vc, seam, "plain")["vmware-read-path"]
    check(found, "block")
    assert "/nonexistent" in found["found"]
    assert "vmware-read-path" in {f["id"] for f in seam.call("info")["findings"]}


def test_export_instead(vc, seam):
    """Then one more privilege is needed, and room for whole disks."""
    seam.reopen(library_directory="/nonexistent")
    vc.control(deny=["VApp.Export"])
    found = findings(vc, seam, "plain")
    check(found["vmware-export"], "warn")
    check(found["vmware-port-443"], "warn")  # the hosts of the simulator have no address
    assert "vmware-port-902" not in found
    check(found["vmware-privilege"], "block")
    vc.control(deny=[])
    vc.set("plain", disk__size=1 << 60)
    check(findings(vc, seam, "plain")["vmware-scratch-space"], "warn")


def test_the_page_lists_them():
    """docs/platforms/vmware.md has each finding of the code and each privilege, and no other."""
    top = pathlib.Path(__file__).resolve().parent.parent.parent
    page = (top / "docs/platforms/vmware.md").read_text()
    code = "".join(p.read_text() for p in (top / "connectors/vmware").glob("*.c"))
    table = page[page.index("## Findings"):]
    assert set(re.findall(r"`(vmware-[a-z0-9-]+)`", table)) == set(re.findall(r'"(vmware-[a-z0-9-]+)"', code))
    for privilege in re.findall(r'"((?:System|VirtualMachine|VApp)\.[A-Za-z.]+)"', code):
        assert f"    {privilege}\n" in page or f"  {privilege}" in page, privilege
