# SPDX-License-Identifier: Apache-2.0
"""The registry's part of a Windows conversion (guest/windows_registry.h), without an appliance."""
import json
import os
import pathlib
import subprocess
import tempfile

import hivex
import pytest

import disks

DRIVERS = {"boot_drivers": ["viostor", "vioscsi"], "device_path": True, "first_boot": True}
IDS = {"viostor": ("VEN_1AF4&DEV_1001&REV_00", "VEN_1AF4&DEV_1042&REV_01"),
       "vioscsi": ("VEN_1AF4&DEV_1004&REV_00", "VEN_1AF4&DEV_1048&REV_01")}
POLICY = "Policies\\Microsoft\\Windows\\DeviceInstall\\Restrictions"
SCSI = "{4D36E97B-E325-11CE-BFC1-08002BE10318}"


def call(*argv, user=None):
    done = subprocess.run([os.environ["WINDOWS_HIVES"], *map(str, argv)], check=False, text=True,
                          stdout=subprocess.PIPE, timeout=120, user=user, group=user)
    return json.loads(done.stdout)


def facts(directory, version, **more):
    disks.windows_hives(directory, version, **more)
    return call("facts", directory)


def edit(directory, **wanted):
    known = call("facts", directory)
    (directory.parent / "input.json").write_text(json.dumps(DRIVERS | wanted | {"facts": known}))
    return call("edit", directory, directory.parent / "input.json")


def tree(path):
    """{key: {value: (type, bytes)}} of a hive, keys in lower case."""
    found, hive = {}, hivex.Hivex(str(path))

    def walk(node, name):
        found[name] = {hive.value_key(v): hive.value_value(v) for v in hive.node_values(node)}
        for child in hive.node_children(node):
            walk(child, f"{name}\\{hive.node_name(child)}".lstrip("\\").lower())
    walk(hive.root(), "")
    return found


def text(value):
    return value[1].decode("utf-16-le").rstrip("\0")


def number(value):
    assert value[0] == 4
    return int.from_bytes(value[1], "little")


@pytest.fixture
def directory(tmp_path):
    path = tmp_path / "hives"
    path.mkdir()
    return path


@pytest.mark.parametrize("version", ["2012r2", "2022"])
def test_driver_database(directory, version):
    disks.windows_hives(directory, version)
    report = edit(directory)
    system, software = tree(directory / "SYSTEM"), tree(directory / "SOFTWARE")
    for control_set in ("controlset001", "controlset002"):
        for name, bus in (("viostor", 1), ("vioscsi", 10)):
            service = system[f"{control_set}\\services\\{name}"]
            assert [number(service[v]) for v in ("Type", "Start", "ErrorControl")] == [1, 0, 1]
            assert text(service["ImagePath"]) == f"system32\\drivers\\{name}.sys"
            assert text(service["Group"]) == "SCSI miniport"
            assert number(system[f"{control_set}\\services\\{name}\\parameters"]["BusType"]) == bus
        own = system[f"{control_set}\\services\\blockferry-firstboot"]
        assert (number(own["Type"]), number(own["Start"])) == (0x10, 2)
        assert text(own["ImagePath"]) == "%SystemRoot%\\blockferry\\firstboot.exe"
    for name, ids in IDS.items():
        package = f"driverdatabase\\driverpackages\\bf{name}.inf_tmp"
        assert len(system[package]["Version"][1]) == 48
        assert text(system[f"{package}\\configurations\\bf{name}_conf"]["Service"]) == name
        for pci in ids:
            key = f"driverdatabase\\deviceids\\pci\\{pci.lower()}"
            assert system[key] == {f"bf{name}.inf": (3, b"\x01\xff\0\0")}
            assert text(system[f"{package}\\descriptors\\pci\\{pci.lower()}"]["Configuration"]) \
                == f"bf{name}_conf"
    assert not any("criticaldevicedatabase\\" in key for key in system)
    path = software["microsoft\\windows\\currentversion"]["DevicePath"]
    assert path[0] == 2 and text(path) == "%SystemRoot%\\inf;%SystemRoot%\\Drivers\\VirtIO"
    assert any(line.startswith("SYSTEM\\ControlSet001\\Services\\viostor: Type, Start")
               for line in report["changes"])


def test_critical_device_database(directory):
    """Windows before 8 has no DriverDatabase, and gets none."""
    disks.windows_hives(directory, "2008r2")
    edit(directory)
    system = tree(directory / "SYSTEM")
    for name, ids in IDS.items():
        for pci in ids:
            for control_set in ("controlset001", "controlset002"):
                entry = system[f"{control_set}\\control\\criticaldevicedatabase\\pci#{pci.lower()}"]
                assert text(entry["Service"]) == name and text(entry["ClassGUID"]) == SCSI
    assert not any(key.startswith("driverdatabase") for key in system)


def test_second_edit_writes_nothing(directory):
    disks.windows_hives(directory, "2022")
    first = edit(directory)
    assert first["SYSTEM"] and first["SOFTWARE"]
    before = [(directory / name).read_bytes() for name in ("SYSTEM", "SOFTWARE")]
    again = edit(directory)
    assert again == {"changes": [], "SYSTEM": False, "SOFTWARE": False}
    assert before == [(directory / name).read_bytes() for name in ("SYSTEM", "SOFTWARE")]


def test_a_wrong_value_is_set_right_and_an_override_goes(directory):
    viostor = "ControlSet001\\Services\\viostor"
    disks.windows_hives(directory, "2022", system={
        viostor: {"Start": "dword:00000003", "ImagePath": '"\\\\old.sys"'},
        f"{viostor}\\StartOverride": {"0": "dword:00000003"}})
    edit(directory)
    system = tree(directory / "SYSTEM")
    assert number(system[viostor.lower()]["Start"]) == 0
    assert system[viostor.lower()]["ImagePath"][0] == 2
    assert f"{viostor.lower()}\\startoverride" not in system


def test_facts(directory):
    known = facts(directory, "2022", tools=True)
    assert (known["product"], known["version"], known["build"], known["client"]) == \
        ("Windows Server 2022 Standard", "10.0", 20348, False)
    assert known["control_sets"] == [1, 2] and known["database"] is True
    assert known["vmware_tools"] == [disks.TOOLS] and known["denied"] == []
    adapter, = known["adapters"]
    assert adapter["guid"] == disks.ADAPTER and adapter["name"] == "Ethernet0"
    assert adapter["addresses"] == [{"address": "10.1.2.3", "mask": "255.255.255.0"},
                                    {"address": "10.1.2.4", "mask": "255.255.255.0"}]
    assert adapter["gateways"] == ["10.1.2.1"] and adapter["dns"] == ["10.1.0.53", "10.1.0.54"]


@pytest.mark.parametrize("system,on", [(disks.FAST_STARTUP, True), ({}, False)])
def test_fast_startup(directory, system, on):
    assert facts(directory, "2022", system=system)["fast_startup"] is on


def test_windows_11_says_that_it_is_windows_10(directory):
    key = "Microsoft\\Windows NT\\CurrentVersion"
    current = disks.software_keys("2022")[key] | {
        "ProductName": '"Windows 10 Pro"', "CurrentBuildNumber": '"22631"',
        "InstallationType": '"Client"'}
    known = facts(directory, "2022", software={key: current})
    assert known["product"] == "Windows 11 Pro" and known["client"] is True


@pytest.mark.parametrize("values,keys,denied", [
    ({"DenyUnspecified": "dword:00000001"}, {}, 2),
    ({"DenyUnspecified": "dword:00000001", "AllowDeviceClasses": "dword:00000001"},
     {"AllowDeviceClasses": {"1": f'"{SCSI}"', "2": f'"{disks.NET_CLASS}"'}}, 0),
    ({"DenyDeviceClasses": "dword:00000001"}, {"DenyDeviceClasses": {"1": f'"{SCSI}"'}}, 1),
    ({"DenyDeviceClasses": "dword:00000000"}, {"DenyDeviceClasses": {"1": f'"{SCSI}"'}}, 0),
    ({"DenyDeviceIDs": "dword:00000001"},
     {"DenyDeviceIDs": {"1": '"USB\\\\X"', "2": '"pci\\\\ven_1af4&dev_1000"'}}, 1),
])
def test_policies(directory, values, keys, denied):
    more = {POLICY: values} | {f"{POLICY}\\{name}": entry for name, entry in keys.items()}
    assert len(facts(directory, "2022", software=more)["denied"]) == denied


def test_hives_that_are_none(directory):
    disks.windows_hives(directory, "2022")
    (directory / "SYSTEM").write_bytes(b"regf".ljust(8192, b"\0"))
    assert call("facts", directory)["error"]["code"] == "guest-registry"
    disks.windows_hives(directory, "2022", software={"Microsoft\\Windows NT\\CurrentVersion": {}})
    error = call("facts", directory)["error"]
    assert error["code"] == "guest-registry" and "no version" in error["message"]


def test_damaged_hives_are_edited_or_refused(directory):
    """Never an endless loop, never a crash of ours; the process that parses answers each time."""
    disks.windows_hives(directory, "2022")
    done = call("damage", directory, 200, 7)
    assert done["edited"] + done["refused"] == 200 and done["ended"] == 0
    assert done["edited"] > 20 and done["refused"] > 20


@pytest.mark.parametrize("user", [None, 65533])
def test_the_process_is_confined(directory, user):
    """Whoever starts it: its root directory is its own; as root it works as nobody."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to be another user in turn")
    with tempfile.TemporaryDirectory(dir="/tmp") as outside:
        place = pathlib.Path(outside)
        place.chmod(0o755)
        (place / "hives").mkdir()
        disks.windows_hives(place / "hives", "2022")
        # Readable for everybody, but not within the directory.
        (place / "hives/SYSTEM").rename(place / "SYSTEM")
        (place / "SYSTEM").chmod(0o644)
        (place / "hives/SYSTEM").symlink_to(place / "SYSTEM")
        if user:
            for path in (place / "hives", place / "hives/SOFTWARE"):
                os.chown(path, user, user)
        error = call("facts", place / "hives", user=user)["error"]
        assert error["code"] == "guest-registry" and "SYSTEM" in error["message"]
        assert os.stat(place / "hives/SOFTWARE").st_uid == (user or 65534)
        assert os.stat(place / "SYSTEM").st_uid == 0
        (place / "hives/SYSTEM").unlink()
        (place / "SYSTEM").rename(place / "hives/SYSTEM")
        assert call("facts", place / "hives", user=user)["build"] == 20348
