# SPDX-License-Identifier: Apache-2.0
"""Disks for the conversion's tests, made from nothing: no appliance, no loop device.

Each maker takes a path and writes a raw disk there.  The Windows disks hold just what inspection
looks at (hives, one program header); they prove recognition and edits, never that Windows starts.
"""
import hashlib
import json
import os
import pathlib
import shutil
import struct
import subprocess
import tempfile

import hive

MIB = 1 << 20


def run(*argv, **kwargs):
    subprocess.run([str(a) for a in argv], check=True, stdin=kwargs.pop("stdin", subprocess.DEVNULL),
                   stdout=subprocess.DEVNULL, **kwargs)


def blank(path, size=64 * MIB):
    with open(path, "wb") as disk:
        disk.truncate(size)


def _blocks(disk):
    """(offset, content) of what is not zero, in 1 MiB blocks; holes are not read."""
    end, at = disk.seek(0, os.SEEK_END), 0
    while at < end:
        try:
            at = os.lseek(disk.fileno(), at, os.SEEK_DATA) // MIB * MIB
        except OSError:
            return  # a hole up to the end
        block = os.pread(disk.fileno(), MIB, at)
        if block.count(0) != len(block):
            yield at, block
        at += MIB


def digest(path):
    """Of the content, however much of it is holes."""
    whole = hashlib.sha256(str(os.stat(path).st_size).encode())
    with open(path, "rb") as disk:
        for offset, block in _blocks(disk):
            whole.update(offset.to_bytes(8, "big") + block)
    return whole.hexdigest()


def overlay(path, base, size=None):
    """A clone of a point: a qcow2 layer on the base, of its size or a larger one."""
    form = "qcow2" if pathlib.Path(base).suffix == ".qcow2" else "raw"
    run("qemu-img", "create", "-q", "-f", "qcow2", "-F", form, "-b", pathlib.Path(base).resolve(),
        path, *([size] if size else []))


def _told(*argv):
    return json.loads(subprocess.run([str(a) for a in argv], check=True, stdout=subprocess.PIPE).stdout)


def changed_clusters(image):
    """How many 64 KiB clusters of its base a layer holds itself."""
    base = _told("qemu-img", "info", "--backing-chain", "--output=json", image)[1]["virtual-size"]
    rows = _told("qemu-img", "map", "--output=json", image)
    return sum(min(row["start"] + row["length"], base) - row["start"] for row in rows
               if row["depth"] == 0 and (row["start"] < base)) // 65536


def ext4_script(disk, offset, *commands):
    """Let debugfs change the ext4 at the offset of a raw disk."""
    run("debugfs", "-w", "-f", "/dev/stdin", f"{disk}?offset={offset}",
        stdin=text_file("\n".join(commands) + "\n"), stderr=subprocess.DEVNULL)


def luks(path, whole=False):
    """An encrypted partition, or with `whole` an encrypted disk."""
    with tempfile.TemporaryDirectory() as scratch:
        part = path if whole else pathlib.Path(scratch) / "part"
        blank(part)
        subprocess.run(["cryptsetup", "luksFormat", "-q", "--type", "luks1",
                        "--pbkdf-force-iterations", "1000", str(part), "-"],
                       input=b"pass", check=True)
        if not whole:
            _partitioned(path, part, "83")


def _partitioned(path, part, kind):
    """One partition from 1 MiB on, holding the image `part`."""
    size = pathlib.Path(part).stat().st_size
    blank(path, size + 2 * MIB)
    run("sfdisk", "-q", path, stdin=text_file(f"label: dos\nstart=2048, size={size // 512}, "
                                              f"type={kind}, bootable\n"))
    run("dd", f"if={part}", f"of={path}", "bs=1M", "seek=1", "conv=notrunc,sparse", "status=none")


def partitions(path):
    """Where the partitions of a raw disk begin, in bytes."""
    table = json.loads(subprocess.run(["sfdisk", "--json", str(path)], check=True,
                                      stdout=subprocess.PIPE).stdout)["partitiontable"]
    return [part["start"] * 512 for part in table["partitions"]]


def text_file(text):
    file = tempfile.TemporaryFile()
    file.write(text.encode())
    file.seek(0)
    return file


def ext4(path, tree, size=128 * MIB):
    """A disk with one ext4 partition that holds a tree."""
    with tempfile.TemporaryDirectory() as scratch:
        part = pathlib.Path(scratch) / "part"
        blank(part, size)
        run("mke2fs", "-q", "-t", "ext4", "-F", "-d", tree, part)
        _partitioned(path, part, "83")


def shrunk(path, disk, mib):
    """The ext4 of a disk's first partition, made as small, on a disk of its own without a boot sector."""
    with tempfile.TemporaryDirectory() as scratch:
        part = pathlib.Path(scratch) / "part"
        run("dd", f"if={disk}", f"of={part}", "bs=1M", "skip=1", "conv=sparse", "status=none")
        run("e2fsck", "-fy", part, stderr=subprocess.DEVNULL)
        run("resize2fs", part, f"{mib}M", stderr=subprocess.DEVNULL)
        os.truncate(part, mib * MIB)
        _partitioned(path, part, "83")


def alpine(path):
    """A Linux that virt-v2v knows and does not convert."""
    with tempfile.TemporaryDirectory() as scratch:
        tree = pathlib.Path(scratch)
        for name in ("bin", "boot", "dev", "etc", "lib/apk/db", "proc", "usr/bin", "var"):
            (tree / name).mkdir(parents=True)
        (tree / "etc/os-release").write_text('NAME="Alpine Linux"\nID=alpine\nVERSION_ID=3.18.4\n'
                                             'PRETTY_NAME="Alpine Linux v3.18"\n')
        (tree / "etc/alpine-release").write_text("3.18.4\n")
        (tree / "etc/fstab").write_text("/dev/sda1 / ext4 defaults 0 1\n")
        (tree / "lib/apk/db/installed").write_text("P:busybox\nV:1.36.1-r2\nA:x86_64\n\n")
        for name in ("busybox", "ls", "sh"):
            shutil.copy("/bin/busybox", tree / "bin" / name)
        ext4(path, tree)


def _program():
    """The header of a 64-bit Windows console program: tells the architecture."""
    dos = b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", 0x80)
    coff = b"PE\0\0" + struct.pack("<HHIIIHH", 0x8664, 0, 0, 0, 0, 0xF0, 0x22)
    optional = struct.pack("<HBBIIIII", 0x20B, 14, 0, 0, 0, 0, 0, 0).ljust(68, b"\0")
    optional += struct.pack("<H", 3)
    return (dos.ljust(0x80, b"\0") + coff + optional).ljust(1024, b"\0")


def _registry(root, keys):
    """Registry editor text; every parent key is named first, as hivexregedit wants it."""
    lines, made = ["Windows Registry Editor Version 5.00", ""], set()
    for key, values in keys.items():
        parts = key.split("\\")
        for depth in range(1, len(parts) + 1):
            name = "\\".join(parts[:depth])
            if name in made:
                continue
            made.add(name)
            lines += [f"[HKEY_LOCAL_MACHINE\\{root}\\{name}]"]
            if depth == len(parts):
                lines += [f'"{k}"={v}' for k, v in values.items()]
            lines += [""]
    return "\n".join(lines)


def _hive(path, root, keys):
    path.write_bytes(hive.empty())
    with tempfile.NamedTemporaryFile("w", suffix=".reg") as text:
        text.write(_registry(root, keys))
        text.flush()
        run("hivexregedit", "--merge", "--prefix", f"HKEY_LOCAL_MACHINE\\{root}", "--encoding",
            "UTF-16LE", path, text.name)


WINDOWS = {
    "2022": ("Windows Server 2022 Standard", "6.3", "20348", (10, 0)),
    "2016": ("Windows Server 2016 Standard", "6.3", "14393", (10, 0)),
    "2012r2": ("Windows Server 2012 R2 Standard", "6.3", "9600", None),
    "2008r2": ("Windows Server 2008 R2 Standard", "6.1", "7601", None),
}
ADAPTER = "{6B29FC40-CA47-1067-B31D-00DD010662DA}"
ADAPTER_MAC = "00:50:56:ab:12:34"
TOOLS = "{FE2F6A2C-196E-4210-9C04-2B1BC21F07EF}"
NET_CLASS = "{4d36e972-e325-11ce-bfc1-08002be10318}"


def _multi(*texts):
    """A REG_MULTI_SZ for the registry editor's text."""
    data = "".join(text + "\0" for text in texts).encode("utf-16-le") + b"\0\0"
    return "hex(7):" + ",".join(f"{byte:02x}" for byte in data)


def _quoted(text):
    return '"' + text.replace("\\", "\\\\") + '"'


def software_keys(version, tools=False):
    """What the hive SOFTWARE of a Windows server holds, with VMware Tools or without."""
    product, number, build, major = WINDOWS[version]
    current = {"ProductName": f'"{product}"', "CurrentVersion": f'"{number}"',
               "InstallationType": '"Server"', "CurrentBuildNumber": f'"{build}"',
               "CurrentBuild": f'"{build}"', "EditionID": '"ServerStandard"',
               "SystemRoot": _quoted("C:\\Windows")}
    if major:
        current["CurrentMajorVersionNumber"] = f"dword:{major[0]:08x}"
        current["CurrentMinorVersionNumber"] = f"dword:{major[1]:08x}"
    uninstall = "Microsoft\\Windows\\CurrentVersion\\Uninstall"
    program = f"{uninstall}\\{TOOLS}" if tools else uninstall
    return {"Microsoft\\Windows NT\\CurrentVersion": current,
            "Microsoft\\Windows\\CurrentVersion": {
                "ProgramFilesDir": _quoted("C:\\Program Files"),
                "DevicePath": _quoted("%SystemRoot%\\inf")},
            program: {"DisplayName": '"VMware Tools"',
                      "UninstallString": f'"MsiExec.exe /I{TOOLS}"'} if tools else {}}


def system_keys(version):
    """What the hive SYSTEM of a Windows server with one card of a static address holds."""
    control = "ControlSet001\\Control"
    keys = {"Select": {"Current": "dword:00000001", "Default": "dword:00000001",
                       "LastKnownGood": "dword:00000002", "Failed": "dword:00000000"},
            "ControlSet001\\Services\\Tcpip\\Parameters": {"Hostname": '"WINSRV01"'},
            f"ControlSet001\\Services\\Tcpip\\Parameters\\Interfaces\\{ADAPTER}": {
                "EnableDHCP": "dword:00000000", "IPAddress": _multi("10.1.2.3", "10.1.2.4"),
                "SubnetMask": _multi("255.255.255.0", "255.255.255.0"),
                "DefaultGateway": _multi("10.1.2.1"), "NameServer": '"10.1.0.53,10.1.0.54"'},
            f"{control}\\Class\\{NET_CLASS}\\0000": {
                "NetCfgInstanceId": '"{00000000-0000-0000-0000-000000000001}"',
                "DeviceInstanceID": _quoted("SW\\{eeab7790}\\loop")},
            f"{control}\\Class\\{NET_CLASS}\\0001": {
                "NetCfgInstanceId": f'"{ADAPTER}"', "DriverDesc": '"vmxnet3 Ethernet Adapter"',
                "DeviceInstanceID": _quoted(
                    "PCI\\VEN_15AD&DEV_07B0&SUBSYS_07B015AD&REV_01\\005056FFFFAB123400")},
            f"{control}\\Network\\{NET_CLASS}\\{ADAPTER}\\Connection": {"Name": '"Ethernet0"'},
            f"{control}\\CriticalDeviceDatabase": {},
            "ControlSet002\\Services": {}, "MountedDevices": {}}
    if version != "2008r2":
        keys.update({"DriverDatabase\\DeviceIds\\PCI": {}, "DriverDatabase\\DriverInfFiles": {},
                     "DriverDatabase\\DriverPackages": {}})
    return keys


def windows_hives(directory, version, software=None, system=None, tools=False):
    """The hives SYSTEM and SOFTWARE in a directory; software and system are keys to add."""
    for name, keys in (("SOFTWARE", software_keys(version, tools) | (software or {})),
                       ("SYSTEM", system_keys(version) | (system or {}))):
        _hive(pathlib.Path(directory) / name, name, keys)


def make_dirty(path):
    """The hive as it is while its newest changes are in the log files only."""
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, 4, struct.unpack_from("<I", data, 8)[0] + 1)
    path.write_bytes(hive.with_checksum(data))


FAST_STARTUP = {"ControlSet001\\Control\\Session Manager\\Power": {"HiberbootEnabled": "dword:00000001"}}


RESTRICTIONS = "Policies\\Microsoft\\Windows\\DeviceInstall\\Restrictions"
SCSI_CLASS = "{4D36E97B-E325-11CE-BFC1-08002BE10318}"
POLICY = {RESTRICTIONS: {"DenyDeviceClasses": "dword:00000001"},
          f"{RESTRICTIONS}\\DenyDeviceClasses": {"1": f'"{SCSI_CLASS}"'}}


def _fill_windows(root, version, hibernated, dirty_hive, tools, fast_startup, giant_hive, policy):
    system32 = root / "Windows/System32"
    for name in ("Windows/System32/config", "Windows/System32/drivers", "Windows/inf", "Windows/Temp",
                 "Program Files", "Users"):
        (root / name).mkdir(parents=True)
    (system32 / "cmd.exe").write_bytes(_program())
    with tempfile.TemporaryDirectory() as scratch:
        windows_hives(scratch, version, tools=tools, system=FAST_STARTUP if fast_startup else None,
                      software=POLICY if policy else None)
        if dirty_hive:
            make_dirty(pathlib.Path(scratch) / "SYSTEM")
        for name in ("SOFTWARE", "SYSTEM"):
            shutil.copyfile(pathlib.Path(scratch) / name, system32 / "config" / name)
    if giant_hive:
        os.truncate(system32 / "config/SOFTWARE", 1 << 40)
    if hibernated:
        (root / "hiberfil.sys").write_bytes(b"hibr".ljust(4096, b"\0"))


def _efi_partition(path):
    """A FAT file system with Windows's boot loader, and without the fallback's."""
    blank(path, 40 * MIB)
    run("mkfs.vfat", path)
    run("mmd", "-i", path, "::EFI", "::EFI/Microsoft", "::EFI/Microsoft/Boot")
    with tempfile.NamedTemporaryFile() as loader:
        loader.write(_program())
        loader.flush()
        run("mcopy", "-i", path, loader.name, "::EFI/Microsoft/Boot/bootmgfw.efi")


BASIC_DATA = "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7"


def _gpt(path, parts):
    """A disk of (type, image) partitions."""
    lines, start = ["label: gpt"], 2048
    for kind, part in parts:
        size = pathlib.Path(part).stat().st_size
        lines.append(f"start={start}, size={size // 512}, type={kind}")
        start += size // 512
    blank(path, (start + 2048) * 512)
    run("sfdisk", "-q", path, stdin=text_file("\n".join(lines) + "\n"))
    start = 1
    for _, part in parts:
        run("dd", f"if={part}", f"of={path}", "bs=1M", f"seek={start}", "conv=notrunc,sparse",
            "status=none")
        start += pathlib.Path(part).stat().st_size // MIB


def windows(path, version="2016", hibernated=False, dirty_hive=False, dirty_ntfs=False, uefi=False,
            tools=False, fast_startup=False, giant_hive=False, policy=False, vault=False, state=None):
    """A disk that is recognised as a Windows server; `vault`: with a BitLocker volume beside; `state`: one
    of ntfs.py, in which its volume is."""
    with tempfile.TemporaryDirectory() as scratch:
        part, mount = pathlib.Path(scratch) / "part", pathlib.Path(scratch) / "mount"
        blank(part, 256 * MIB)
        mount.mkdir()
        run("mkntfs", "-q", "-F", "-f", "-s", "512", "-p", "2048", "-H", "16", "-S", "63", part,
            stderr=subprocess.DEVNULL)
        run("ntfs-3g", part, mount)
        try:
            _fill_windows(mount, version, hibernated, dirty_hive, tools, fast_startup, giant_hive, policy)
        finally:
            run("umount", mount)
        if dirty_ntfs:
            run("ntfsfix", part)
        if state:
            state(part)
        if uefi:
            esp = pathlib.Path(scratch) / "esp"
            _efi_partition(esp)
            _gpt(path, [("C12A7328-F81F-11D2-BA4B-00A0C93EC93B", esp), (BASIC_DATA, part)])
        elif vault:
            _bitlocker_volume(pathlib.Path(scratch) / "vault")
            _gpt(path, [(BASIC_DATA, part), (BASIC_DATA, pathlib.Path(scratch) / "vault")])
        else:
            _partitioned(path, part, "7")


def _bitlocker_volume(path):
    """It begins as a BitLocker volume does."""
    blank(path)
    with open(path, "r+b") as volume:
        volume.write(b"\xeb\x58\x90-FVE-FS-\x00\x02\x08\x00\x00".ljust(510, b"\0") + b"\x55\xaa")


def bitlocker(path):
    with tempfile.TemporaryDirectory() as scratch:
        part = pathlib.Path(scratch) / "part"
        _bitlocker_volume(part)
        _partitioned(path, part, "7")


def virtio_win(path, systems=("2k12R2", "2k16", "2k22"), agent=False):
    """A tree of (empty) virtio drivers in the layout of the virtio-win ISO."""
    tree = pathlib.Path(path)
    if agent:
        (tree / "guest-agent").mkdir(parents=True)
        (tree / "guest-agent/qemu-ga-x86_64.msi").write_bytes(b"msi")
    for driver in ("viostor", "vioscsi", "NetKVM", "Balloon"):
        for system in systems:
            folder = tree / driver / system / "amd64"
            folder.mkdir(parents=True)
            for ending in ("inf", "sys", "cat", "pdb"):
                name = f"{driver.lower()}.{ending}"
                (folder / name).write_bytes(f"{name} of {system}\r\n".encode() * 64)


def virtio_win_iso(path, tree):
    run("xorriso", "-as", "mkisofs", "-quiet", "-J", "-r", "-o", path, tree)
