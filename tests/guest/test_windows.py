# SPDX-License-Identifier: Apache-2.0
"""Windows guests: inspection and our own conversion (guest/windows.h) on synthetic disks, in a real
appliance.  No real Windows is started: what is proven is recognition, refusals, files and registry."""
import functools
import json
import os
import subprocess

import pytest

import disks
from disks import changed_clusters
from windows_tree import contents, difference, mounted

MAC = disks.ADAPTER_MAC
make_2022 = functools.partial(disks.windows, version="2022", uefi=True, tools=True)
make_2012 = functools.partial(disks.windows, version="2012r2", tools=True)
hibernated = functools.partial(disks.windows, hibernated=True)
dirty = functools.partial(disks.windows, dirty_hive=True, dirty_ntfs=True)
whole_luks = functools.partial(disks.luks, whole=True)


def act(lab, disk, *actions, drivers=None):
    """The results of several actions in one session of the appliance."""
    environment = dict(os.environ, LIBGUESTFS_BACKEND="direct", LIBGUESTFS_TMPDIR=str(lab.work),
                       LIBGUESTFS_BACKEND_SETTINGS="force_tcg", LIBGUESTFS_CACHEDIR=str(lab.cache))
    options = ["--virtio-win", drivers] if drivers else []
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


def test_inspected_and_converted_and_again(lab, made, drivers):
    """UEFI, drivers from an ISO: the plan, the conversion, and a second one that changes nothing."""
    iso = lab.directory / "drivers.iso"
    disks.virtio_win_iso(iso, drivers)
    base = made("2022-tools", make_2022)
    clone = lab.clone(base)
    plan, report, again, after = act(lab, clone, "inspect", "convert", "convert", "inspect",
                                     drivers=iso)
    assert plan["os"] == {"type": "windows", "product": "Windows Server 2022 Standard",
                          "version": "10.0.20348", "arch": "x86_64"}
    assert (plan["firmware"], plan["root"]) == ("uefi", "/dev/sda2")
    assert findings(plan) == {"guest-vmware-tools": "info"}
    assert [d["from"] for d in plan["drivers"]] == [
        f"{name}/2k22/amd64/" for name in ("viostor", "vioscsi", "NetKVM", "Balloon")]
    assert any("EFI/Boot/bootx64.efi" in text for text in report["changes"])
    assert report["warnings"] == [] and again["changes"] == []
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
    """What a check shows; the disk is opened read-only."""
    base = made("2012r2-tools", make_2012)
    clone = lab.clone(base)
    plan = lab.convert(clone, mode="windows", inspect=True, virtio_win=drivers, mac=MAC)
    assert plan["method"] == "windows" and plan["os"]["product"].endswith("2012 R2 Standard")
    assert (plan["firmware"], plan["root"]) == ("bios", "/dev/sda1")
    assert findings(plan) == {"guest-vmware-tools": "info"}
    assert "viostor starts at boot" in {change["what"] for change in plan["changes"]}
    assert plan["facts"]["windows"]["adapters"][0]["guid"] == disks.ADAPTER
    assert changed_clusters(clone) == 0


def test_drivers_of_another_version(lab, made):
    """The tree has none for this Windows: named in the plan and in the error."""
    tree = lab.directory / "drivers"
    disks.virtio_win(tree, systems=("2k16",))
    clone = lab.clone(made("2012r2-tools", make_2012))
    plan, report = act(lab, clone, "inspect", "convert", drivers=tree)
    assert findings(plan)["convert-no-drivers"] == "block"
    assert report["error"]["code"] == "convert-no-drivers"
    assert f"{tree} has no viostor/2k12R2/amd64/viostor.inf" in report["error"]["message"]
    assert changed_clusters(clone) == 0


@pytest.mark.parametrize("name,make,found,code", [
    ("hibernated", hibernated, {"guest-hibernated": "warn"}, "guest-hibernated"),
    ("dirty", dirty, {"guest-registry-dirty": "warn", "guest-ntfs-dirty": "warn"},
     "guest-registry-dirty"),
])
def test_states_that_are_refused(lab, made, drivers, name, make, found, code):
    clone = lab.clone(made(f"windows-{name}", make))
    plan, report = act(lab, clone, "inspect", "convert", drivers=drivers)
    assert findings(plan) == found
    assert report["error"]["code"] == code
    assert changed_clusters(clone) == 0


@pytest.mark.parametrize("name,make,code", [
    ("blank", disks.blank, "guest-unknown"),
    ("bitlocker", disks.bitlocker, "guest-encrypted"),
    ("whole-luks", whole_luks, "guest-encrypted"),
    ("alpine", disks.alpine, "guest-unknown"),
])
def test_odd_disk_has_its_own_error(lab, made, name, make, code):
    """Through the whole interface: mode windows of guest/convert.h."""
    clone = lab.clone(made(name, make))
    error = lab.error(clone, mode="windows")
    assert error["code"] == code
    assert changed_clusters(clone) == 0


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
    """{"windows" | "v2v": [seconds, ...]}, measured in turn."""
    return {"windows": [], "v2v": []}


@pytest.mark.parametrize("version", ["2012r2", "2016", "2022"])
def test_beside_virt_v2v(lab, made, drivers, seconds, version):
    """The same disk by both ways: what is equal, and every difference."""
    base = made(f"windows-{version}", functools.partial(disks.windows, version=version))
    files, hives = contents(base)
    new_files, new_hives = {}, {}
    for mode in ("windows", "v2v"):
        clone = lab.clone(base, f"{mode}.qcow2")
        report = lab.convert(clone, mode=mode, virtio_win=drivers, mac=MAC)
        assert report["method"] == mode and report["virtio"] is True
        seconds[mode].append(report["seconds"])
        after_files, after_hives = contents(clone)
        new_files[mode] = difference(files, after_files)
        new_hives[mode] = {name: difference(hives[name], after_hives[name]) for name in hives}
    compare_files(new_files["windows"], new_files["v2v"])
    compare_software(new_hives["windows"]["SOFTWARE"], new_hives["v2v"]["SOFTWARE"])
    compare_system(new_hives["windows"]["SYSTEM"], new_hives["v2v"]["SYSTEM"])


def test_own_way_takes_at_most_0_6_of_virt_v2v(seconds):
    if not seconds["v2v"]:
        pytest.skip("measured by the test before")
    print("seconds, in turn:", seconds)
    assert sum(seconds["windows"]) <= 0.6 * sum(seconds["v2v"]), seconds
