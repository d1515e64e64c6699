# SPDX-License-Identifier: Apache-2.0
"""Windows guests: inspection and our own conversion (guest/windows.h) on synthetic disks, in a real
appliance.  No real Windows is started: what is proven is recognition, refusals, files and registry."""
import functools
import json
import os
import statistics
import subprocess

import pytest

import disks
import ntfs
from boot import nbd_server
from disks import changed_clusters
from windows_tree import contents, difference, mounted

MAC = disks.ADAPTER_MAC
windows = functools.partial(functools.partial, disks.windows)
make_2022 = windows(version="2022", uefi=True, tools=True, state=ntfs.unclean)
make_2012 = windows(version="2012r2", tools=True, fast_startup=True, policy=True, vault=True)


def act(lab, disk, *actions, beside=(), drivers=None):
    """The results of several actions in one session of the appliance, each on the disk and then on those
    beside, as if each were the only one."""
    environment = dict(os.environ, LIBGUESTFS_BACKEND="direct", LIBGUESTFS_TMPDIR=str(lab.work),
                       LIBGUESTFS_BACKEND_SETTINGS="force_tcg", LIBGUESTFS_CACHEDIR=str(lab.cache))
    options = ["--virtio-win", drivers] if drivers else []
    for other in beside:
        options += ["--beside", other]
    argv = [os.environ["WINDOWS_GUEST"], "--mac", MAC, *options, disk, *actions]
    done = subprocess.run([str(a) for a in argv], check=True, text=True, timeout=300,
                          stdout=subprocess.PIPE, env=environment)
    return json.loads(done.stdout)


def findings(plan):
    return {item["id"]: item["severity"] for item in plan["findings"]}


@pytest.fixture(scope="session")
def drivers(store):
    path = store / "drivers"
    disks.virtio_win(path)
    return path


def without_drivers(tree, plan, report, size):
    """The tree has none for this Windows: named in the plan and in the error, and nothing is written."""
    assert findings(plan) == {"guest-ntfs-unclean": "info", "guest-vmware-tools": "info",
                              "convert-no-drivers": "block"}
    assert report["error"]["code"] == "convert-no-drivers"
    assert f"{tree} has no viostor/2k22/amd64/viostor.inf" in report["error"]["message"]
    assert report["disk_bytes"] == size


def test_inspected_and_converted_and_again(lab, made, drivers):
    """UEFI, a snapshot of a running guest, drivers of another version, then from an ISO: the plan, the
    conversion, and a second one that changes nothing."""
    other, iso = lab.directory / "other", lab.directory / "drivers.iso"
    disks.virtio_win(other, systems=("2k16",))
    disks.virtio_win_iso(iso, drivers)
    base = made("2022-tools", make_2022)
    clone = lab.clone(base)
    size = clone.stat().st_size
    lacking, refused, plan, report, again, after = act(
        lab, clone, other, "inspect", "convert", iso, "inspect", "convert", "convert", "inspect", drivers=iso)
    without_drivers(other, lacking, refused, size)
    assert plan["os"] == {"type": "windows", "product": "Windows Server 2022 Standard",
                          "version": "10.0.20348", "arch": "x86_64"}
    assert (plan["firmware"], plan["root"]) == ("uefi", "/dev/sda2")
    assert findings(plan) == {"guest-ntfs-unclean": "info", "guest-vmware-tools": "info"}
    assert [d["from"] for d in plan["drivers"]] == [
        f"{name}/2k22/amd64/" for name in ("viostor", "vioscsi", "NetKVM", "Balloon")]
    assert any("EFI/Boot/bootx64.efi" in text for text in report["changes"])
    assert report["warnings"] == ["NTFS's log of /dev/sda2 held changes, which were dropped"]
    assert again["warnings"] == [] and findings(after) == {"guest-vmware-tools": "info"}
    assert report["disk_bytes"] > size
    assert again["changes"] == [] and again["disk_bytes"] == report["disk_bytes"]
    assert set(after["facts"]["windows"]["services"]) == {"viostor", "vioscsi"}
    assert changed_clusters(clone) <= 64
    with mounted(clone, 2) as root:
        for name in ("viostor", "vioscsi"):
            source = (drivers / name / "2k22/amd64" / f"{name}.sys").read_bytes()
            assert (root / f"Windows/System32/drivers/{name}.sys").read_bytes() == source
        staged = {p.name for p in (root / "Windows/Drivers/VirtIO").iterdir()}
        assert staged == {f"{name}.{ending}" for ending in ("inf", "sys", "cat")
                          for name in ("viostor", "vioscsi", "netkvm", "balloon")}
        assert (root / "Windows/blockferry/firstboot.exe").read_bytes().startswith(b"MZ")
        steps = (root / "Windows/blockferry/steps.txt").read_text().splitlines()
    assert steps[0] == "blockferry-firstboot 1" and "/add-driver" in steps[1]
    mac = MAC.upper()
    assert steps[2:] == [
        f"address {mac} 10.1.2.3 255.255.255.0", f"address {mac} 10.1.2.4 255.255.255.0",
        f"gateway {mac} 10.1.2.1", f"dns {mac} 10.1.0.53", f"dns {mac} 10.1.0.54",
        f'run 900 "%SystemRoot%\\System32\\msiexec.exe" /x {disks.TOOLS} /qn /norestart']


def test_plan_by_the_whole_interface(lab, made, drivers):
    """What a check shows; the disk is opened read-only.  A policy of the domain forbids the drivers, a volume
    is BitLocker's, and which of two new cards has the address of the one adapter, nobody can tell."""
    base = made("2012r2-tools", make_2012)
    clone = lab.clone(base)
    plan = lab.convert("--mac", "52:54:00:aa:bb:01", "--mac", "52:54:00:aa:bb:02", clone, mode="windows",
                       inspect=True, virtio_win=drivers)
    assert plan["method"] == "windows" and plan["os"]["product"].endswith("2012 R2 Standard")
    assert (plan["firmware"], plan["root"]) == ("bios", "/dev/sda1")
    assert findings(plan) == {"guest-vmware-tools": "info", "guest-fast-startup": "info", "guest-address": "warn",
                              "guest-driver-policy": "block", "guest-encrypted-volume": "warn"}
    address, = [item for item in plan["findings"] if item["id"] == "guest-address"]
    assert "10.1.2.3" in address["found"] and address["fix"]
    assert "viostor starts at boot" in {change["what"] for change in plan["changes"]}
    assert plan["facts"]["windows"]["adapters"][0]["guid"] == disks.ADAPTER
    assert changed_clusters(clone) == 0


REFUSED = {
    "hibernated": (windows(hibernated=True), {"guest-hibernated": "warn"}, "guest-hibernated", "Fast Startup"),
    "dirty": (windows(dirty_hive=True, dirty_ntfs=True),
              {"guest-registry-dirty": "warn", "guest-ntfs-dirty": "warn"}, "guest-registry-dirty", "SYSTEM"),
    "without-log": (windows(state=ntfs.lose_log), {"guest-ntfs": "block"}, "guest-damaged", "is inconsistent"),
    "torn": (windows(state=ntfs.tear), {}, "guest-damaged", "is inconsistent and cannot be mounted"),
    "bitlocker": (disks.bitlocker, {}, "guest-encrypted", "BitLocker"),
    "alpine": (disks.alpine, {}, "guest-unknown", "no Windows"),
    "giant-hive": (windows(giant_hive=True), {}, "guest-registry", f"SOFTWARE has {1 << 40} bytes"),
}


def test_what_is_refused(lab, made, drivers):
    """By the plan (where an error is the inspection's too, it finds nothing) and by the conversion."""
    clones = [lab.clone(made(f"refused-{name}", how[0]), f"{name}.qcow2") for name, how in REFUSED.items()]
    results = act(lab, *clones[:1], "inspect", "convert", beside=clones[1:], drivers=drivers)
    plans, reports = (dict(zip(REFUSED, part)) for part in (results, results[len(clones):]))
    assert {name: (findings(plans[name]), reports[name].get("error", {}).get("code")) for name in REFUSED} == \
        {name: (found, code) for name, (_, found, code, _) in REFUSED.items()}
    for name, (_, found, code, text) in REFUSED.items():
        assert text in reports[name]["error"]["message"], reports[name]
        assert found or plans[name]["error"]["code"] == code, plans[name]
    assert [changed_clusters(clone) for clone in clones] == [0] * len(clones)


def compare_files(own, v2v):
    """Drivers are the same; ours leaves the debugging symbols out, has both storage drivers where boot
    drivers are loaded from, and its first boot."""
    assert {path for path in v2v if path not in own} == \
        {f"Windows/Drivers/VirtIO/{name}.pdb" for name in ("viostor", "vioscsi", "netkvm", "balloon")}
    assert {path for path in own if path not in v2v} == {
        "Windows/System32/drivers/vioscsi.sys", "Windows/blockferry/firstboot.exe",
        "Windows/blockferry/steps.txt"}
    assert all(own[path] == v2v[path] for path in set(own) & set(v2v))


def compare_software(own, v2v):
    """The same path; ours is of the type that Windows expands."""
    (key, mine), = own.items()
    (other_key, theirs), = v2v.items()
    assert key == other_key and key.endswith("\\DevicePath")
    assert (mine[0], theirs[0]) == (2, 1) and mine[1] == theirs[1]


def as_ours(key, value):
    """What virt-v2v wrote in our names: a package a driver, ids of any board's vendor."""
    for old, new in (("guestor", "bfviostor"), ("subsys_00021af4&", ""), ("subsys_11001af4&", "")):
        key = key.replace(old, new)
    return key, (value[0], value[1].replace("guestor".encode("utf-16-le"),
                                            "bfviostor".encode("utf-16-le")))


def compare_system(own, v2v):
    """Ours has all of virt-v2v's, and beside: vioscsi, the other control set, the drivers' parameters,
    and the first boot's service."""
    theirs = dict(as_ours(key, value) for key, value in v2v.items())
    assert len(theirs) == 15
    assert {key: own.get(key) for key in theirs} == theirs
    more = ("vioscsi", "controlset002\\", "viostor\\parameters\\", "blockferry-firstboot\\")
    assert [key for key in own if key not in theirs and not any(part in key for part in more)] == []


@pytest.fixture(scope="session")
def seconds():
    """{"windows" | "v2v": [seconds, ...]}, measured in turn on disks that are files."""
    return {"windows": [], "v2v": []}


def timed(lab, clone, mode, drivers, seconds):
    report = lab.convert(clone, mode=mode, virtio_win=drivers, mac=MAC)
    seconds[mode].append(report["seconds"])
    return report


def over_nbd_with_a_second_disk(lab, clone, drivers, blank):
    """Two disks, both by NBD sockets, refused by the fast way and given to virt-v2v."""
    data = lab.clone(blank, "data.qcow2")
    with nbd_server(clone, lab.directory / "a.sock") as first, nbd_server(data, lab.directory / "b.sock") as second:
        report = lab.convert(first, second, mode="auto", form="raw", virtio_win=drivers)
    assert any("Guest Agent MSI" in text for text in report["warnings"])
    assert any("not converted the fast way" in text for text in report["warnings"])
    assert any("Opening the source" in line for line in report["progress"])
    return report


@pytest.mark.parametrize("version", ["2012r2", "2016", "2022"])
def test_beside_virt_v2v(lab, made, drivers, seconds, version):
    """The same disk by both ways: what is equal, and every difference.  virt-v2v's is there after the end
    also where it went over NBD."""
    base = made(f"windows-{version}", windows(version=version))
    before, (files, hives) = disks.digest(base), contents(base)
    new_files, new_hives = {}, {}
    for mode in ("windows", "v2v"):
        clone = lab.clone(base, f"{mode}.qcow2")
        if mode == "v2v" and version == "2016":
            report = over_nbd_with_a_second_disk(lab, clone, drivers, made("blank", disks.blank))
        else:
            report = timed(lab, clone, mode, drivers, seconds)
        assert report["method"] == mode and report["virtio"] is True
        assert report["guest_os"].startswith("Windows Server 20")
        after_files, after_hives = contents(clone)
        new_files[mode] = difference(files, after_files)
        new_hives[mode] = {name: difference(hives[name], after_hives[name]) for name in hives}
    assert disks.digest(base) == before
    compare_files(new_files["windows"], new_files["v2v"])
    compare_software(new_hives["windows"]["SOFTWARE"], new_hives["v2v"]["SOFTWARE"])
    compare_system(new_hives["windows"]["SYSTEM"], new_hives["v2v"]["SYSTEM"])


def test_own_way_takes_at_most_0_6_of_virt_v2v(seconds):
    if not seconds["v2v"]:
        pytest.skip("measured by the test before")
    print("seconds, in turn:", seconds)
    assert statistics.mean(seconds["windows"]) <= 0.6 * statistics.mean(seconds["v2v"]), seconds
