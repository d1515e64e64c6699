# SPDX-License-Identifier: Apache-2.0
"""Disks for the conversion's tests, made from nothing: no appliance, no loop device.

Each maker takes a path and writes a raw disk there.  The Windows disks hold just what inspection
looks at (hives, one program header); they prove recognition and edits, never that Windows starts.
"""
import hashlib
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


def digest(path):
    with open(path, "rb") as disk:
        return hashlib.file_digest(disk, "sha256").hexdigest()


def overlay(path, base):
    """A clone of a point: a qcow2 layer on the base."""
    run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", pathlib.Path(base).resolve(),
        path)


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
    run("sfdisk", "-q", path, stdin=_text(f"label: dos\nstart=2048, size={size // 512}, "
                                          f"type={kind}, bootable\n"))
    run("dd", f"if={part}", f"of={path}", "bs=1M", "seek=1", "conv=notrunc,sparse", "status=none")


def _text(text):
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
    "2016": ("Windows Server 2016 Standard", "6.3", "14393", (10, 0)),
    "2012r2": ("Windows Server 2012 R2 Standard", "6.3", "9600", None),
}


def _software(version):
    product, number, build, major = WINDOWS[version]
    current = {"ProductName": f'"{product}"', "CurrentVersion": f'"{number}"',
               "InstallationType": '"Server"', "CurrentBuildNumber": f'"{build}"',
               "CurrentBuild": f'"{build}"', "EditionID": '"ServerStandard"',
               "SystemRoot": '"C:\\\\Windows"'}
    if major:
        current["CurrentMajorVersionNumber"] = f"dword:{major[0]:08x}"
        current["CurrentMinorVersionNumber"] = f"dword:{major[1]:08x}"
    return {"Microsoft\\Windows NT\\CurrentVersion": current,
            "Microsoft\\Windows\\CurrentVersion": {
                "ProgramFilesDir": '"C:\\\\Program Files"', "DevicePath": '"%SystemRoot%\\\\inf"'},
            "Microsoft\\Windows\\CurrentVersion\\Uninstall": {}}


def _system():
    return {"Select": {"Current": "dword:00000001", "Default": "dword:00000001"},
            "ControlSet001\\Services\\Tcpip\\Parameters": {"Hostname": '"WINSRV01"'},
            "ControlSet001\\Control\\CriticalDeviceDatabase": {},
            "DriverDatabase\\DeviceIds\\PCI": {}, "DriverDatabase\\DriverInfFiles": {},
            "DriverDatabase\\DriverPackages": {}, "MountedDevices": {}}


def _fill_windows(root, version, hibernated):
    system32 = root / "Windows/System32"
    for name in ("Windows/System32/config", "Windows/System32/drivers", "Windows/inf",
                 "Program Files", "Users"):
        (root / name).mkdir(parents=True)
    (system32 / "cmd.exe").write_bytes(_program())
    for name, keys in (("SOFTWARE", _software(version)), ("SYSTEM", _system())):
        with tempfile.TemporaryDirectory() as scratch:
            made = pathlib.Path(scratch) / name
            _hive(made, name, keys)
            shutil.copyfile(made, system32 / "config" / name)
    if hibernated:
        (root / "hiberfil.sys").write_bytes(b"hibr".ljust(4096, b"\0"))


def windows(path, version="2016", hibernated=False):
    """A disk that is recognised as a Windows server."""
    with tempfile.TemporaryDirectory() as scratch:
        part, mount = pathlib.Path(scratch) / "part", pathlib.Path(scratch) / "mount"
        blank(part, 256 * MIB)
        mount.mkdir()
        run("mkntfs", "-q", "-F", "-f", "-s", "512", "-p", "2048", "-H", "16", "-S", "63", part,
            stderr=subprocess.DEVNULL)
        run("ntfs-3g", part, mount)
        try:
            _fill_windows(mount, version, hibernated)
        finally:
            run("umount", mount)
        _partitioned(path, part, "7")


def virtio_win(path, systems=("2k12R2", "2k16"), agent=False):
    """A tree of (empty) virtio drivers in the layout of the virtio-win ISO."""
    tree = pathlib.Path(path)
    if agent:
        (tree / "guest-agent").mkdir(parents=True)
        (tree / "guest-agent/qemu-ga-x86_64.msi").write_bytes(b"msi")
    for driver in ("viostor", "vioscsi", "netkvm", "Balloon"):
        for system in systems:
            folder = tree / driver / system / "amd64"
            folder.mkdir(parents=True)
            for ending in ("inf", "sys", "cat"):
                (folder / f"{driver.lower()}.{ending}").write_bytes(b"driver\r\n" * 64)
