# SPDX-License-Identifier: Apache-2.0
"""Findings about a mover, each shown by one that has what it warns of."""
import shutil

import pytest

from guest import certificates
from test_precheck import check, findings

# Of the machine; what is set of one is not undone.
OF_MACHINE = {
    "vmware-mover-bus": ("warn", {"disk__nvme": True}),
    "vmware-mover-same-uuid": ("block", {"disk__uuid": ""}),
    "vmware-mover-encrypted": ("block", {"key_id": "k1"}),
}
# Of the mover, with what undoes it.
OF_MOVER = [
    ("vmware-mover", "block", {"power": "poweredOff"}, {"power": "poweredOn"}),
    ("vmware-mover", "block", {"template": True}, {"template": False}),
    ("vmware-mover", "block", {"connection": "disconnected"}, {"connection": "connected"}),
    ("vmware-mover-state", "block", {"cbt": True}, {"cbt": False}),
    ("vmware-mover-state", "block", {"fault_tolerance": "running"}, {"fault_tolerance": "notConfigured"}),
    ("vmware-mover-uuid", "block", {"enable_uuid": "FALSE"}, {"enable_uuid": "TRUE"}),
    ("vmware-mover-datacenter", "block", {"parent": "group-d1"}, {"parent": ""}),
    ("vmware-mover-datastore", "block", {"host_mounts": False}, {"host_mounts": True}),
    ("vmware-mover-space", "block", {"free_bytes": 1 << 29}, {"free_bytes": 1 << 40}),
    ("vmware-mover-controllers", "block", {"pvscsi": False}, {"pvscsi": True}),
]
MACHINES = [f"m{n}=1M" for n in range(len(OF_MACHINE))] + ["plain=1M", "nfs=1M", "vsan=1M", "twins=1M,1M",
                                                           "many=" + ",".join(["1M"] * 15)]
FLAGS = {"mover": True}


@pytest.fixture
def moved(vc, seam, guest):
    """With the role that docs/platforms/vmware.md asks for."""
    seam.reopen(**guest.options)
    vc.control(deny=["Datastore.FileManagement"], deny_on={vc.moref("mover"): ["VirtualMachine.Inventory.Delete"]})
    return seam


def test_nothing_to_say(vc, moved):
    """But that a mover is used, and that it cannot fall back on clones."""
    assert set(findings(vc, moved, "plain")) == {"vmware-cbt-off", "vmware-mover-read", "vmware-mover-clones"}
    info = {f["id"] for f in moved.call("info")["findings"]}
    assert "vmware-export" not in info


@pytest.mark.parametrize("number, finding", enumerate(OF_MACHINE))
def test_of_the_machine(vc, moved, number, finding):
    severity, settings = OF_MACHINE[finding]
    vc.set(f"m{number}", **settings)
    check(findings(vc, moved, f"m{number}")[finding], severity)


@pytest.mark.parametrize("finding, severity, settings, undo", OF_MOVER)
def test_of_the_mover(vc, moved, finding, severity, settings, undo):
    vc.set("mover", **settings)
    try:
        found = findings(vc, moved, "plain")
    finally:
        vc.set("mover", **undo)
    check(found[finding], severity)
    assert finding not in findings(vc, moved, "plain")


def test_twins(vc, moved):
    vc.set("twins", disk__twin=True)
    found = findings(vc, moved, "twins")["vmware-mover-same-uuid"]
    check(found, "block")
    assert found["subject"] == "2001"


def test_kinds_of_datastores(vc, moved):
    vc.set("nfs", datastore_type="NFS", host="host-elsewhere")
    check(findings(vc, moved, "nfs")["vmware-mover-nfs"], "warn")
    assert "vmware-mover-nfs" not in findings(vc, moved, "plain")
    vc.set("vsan", datastore_type="vsan")
    assert "vmware-mover-vsan" not in findings(vc, moved, "vsan")
    vc.set("mover", datastores=False)
    check(findings(vc, moved, "vsan")["vmware-mover-vsan"], "block")
    vc.set("mover", datastores=True)
    vc.set("vsan", datastore_type="VMFS")


def test_a_mover_with_snapshots_and_the_mover_itself(vc, moved):
    check(findings(vc, moved, "mover")["vmware-mover"], "block")
    vc.control(machine="mover", foreign_snapshots=1)
    check(findings(vc, moved, "plain")["vmware-mover-state"], "block")
    vc.control(machine="mover", vanish=True)


def test_slots_and_strangers(vc, moved, guest):
    moved.reopen(**guest.options, mover_slots="3")
    check(findings(vc, moved, "many")["vmware-mover-slots"], "warn")
    assert "vmware-mover-slots" not in findings(vc, moved, "plain")
    snapshot = moved.call("snapshot", machine=vc.moref("plain"), tag="bf-00000000000000ac", disks=["2000"])
    vc.control(machine="mover", attach="[LocalDS_0] plain/disk1.vmdk")
    found = findings(vc, moved, "twins")["vmware-mover-foreign-disk"]
    check(found, "warn")
    assert found["found"] == "[LocalDS_0] plain/disk1.vmdk"
    vc.control(machine="mover", detach=True)
    moved.call("release", machine=vc.moref("plain"), ref=snapshot["ref"])


@pytest.mark.parametrize("finding, word, options", [
    ("vmware-mover", "no such machine", {"mover": "vm-0"}),
    ("vmware-mover-certificates", "No such file", {"mover_certificates": "/nonexistent"}),
    ("vmware-mover-port", "", {"mover_address": "127.0.0.1:1"}),
    ("vmware-mover-clones", "group-v0", {"mover_clone_folder": "group-v0"})])
def test_options_that_lead_nowhere(vc, moved, guest, finding, word, options):
    moved.reopen(**{**guest.options, **options})
    found = findings(vc, moved, "plain")[finding]
    check(found, "block")
    assert word in found["found"]


def test_certificates_of_another_mover(vc, moved, guest):
    """Ours do not know it, or it does not know ours."""
    assert "vmware-mover-tls" not in findings(vc, moved, "plain")
    others = vc.dir / "others"
    certificates(others)
    for name in ("others", "mixed"):
        if name == "mixed":
            (vc.dir / name).mkdir()
            for file in ("ca-cert.pem", "client-cert.pem", "client-key.pem"):
                shutil.copy((guest.pki if file == "ca-cert.pem" else others) / file, vc.dir / name / file)
        moved.reopen(**guest.options | {"mover_certificates": str(vc.dir / name)})
        check(findings(vc, moved, "plain")["vmware-mover-tls"], "block")


def test_the_role(vc, moved, guest):
    """It can attach and detach, and cannot delete; clones need more, in their folder only."""
    mover, folder = vc.moref("mover"), vc.control()["folder"]
    vc.control(deny=[], deny_on={})
    found = [f for f in moved.call("source_precheck", machine=vc.moref("plain"))["findings"]
             if f["id"] == "vmware-mover-may-delete"]
    assert [f["severity"] for f in found] == ["block", "warn"]
    assert [f["found"] for f in found] == ["VirtualMachine.Inventory.Delete", "Datastore.FileManagement"]
    for privilege in ("VirtualMachine.Config.AddExistingDisk", "VirtualMachine.Config.RemoveDisk",
                      "VirtualMachine.Config.AdvancedConfig"):
        vc.control(deny_on={mover: [privilege]})
        found = findings(vc, moved, "plain")["vmware-mover-privilege"]
        check(found, "block")
        assert found["found"] == privilege
    moved.reopen(**guest.options, mover_clone_folder=folder)
    vc.control(deny_on={folder: ["VirtualMachine.Inventory.Delete"]})
    found = findings(vc, moved, "plain")["vmware-mover-privilege"]
    assert found["found"] == "VirtualMachine.Inventory.Delete" and folder in found["needed"]
    assert "vmware-mover-clones" not in findings(vc, moved, "plain")
    vc.control(deny_on={vc.moref("plain"): ["VirtualMachine.Provisioning.Clone"]})
    assert findings(vc, moved, "plain")["vmware-mover-privilege"]["found"] == "VirtualMachine.Provisioning.Clone"
