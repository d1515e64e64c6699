# SPDX-License-Identifier: Apache-2.0
"""The fast way on disks made from trees: labels, growing, and disks that end in an error each."""
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

import pytest

import disks
import trees

MACS = ["52:54:00:aa:bb:01", "52:54:00:aa:bb:02"]
PROTO = pathlib.Path(os.environ["IMAGES"]).parent / "guest/lvm-proto"
LABEL = "system_u:object_r:etc_t:s0"


def disk_of(path, tree, more=lambda directory: None):
    """One ext4 partition, /dev/sda1, that holds the tree and what `more` puts into its directory."""
    for name in ("dev/", "usr/bin/"):
        tree.setdefault(name, "")
    with tempfile.TemporaryDirectory() as directory:
        tree.unpack(directory)
        more(pathlib.Path(directory))
        disks.ext4(path, directory)


ODD_NAME = b"\x1b[31mred\xff.conf"


def put_odd_entry(directory):
    """A boot entry whose name is no text, and would colour a terminal."""
    name = os.fsencode(directory / "srv/boot/loader/entries") + b"/" + ODD_NAME
    pathlib.Path(os.fsdecode(name)).write_text("options root=/dev/sda1 ro resume=/dev/sda1\n")


def redhat(path):
    """The Red Hat tree on one partition, with labels on what will be written and around it; an absolute
    symlink for /boot, others that lead nowhere or out, names and words that are no UTF-8."""
    tree = trees.redhat()
    for name in list(tree):
        if isinstance(tree[name], str):
            tree[name] = tree[name].replace("/dev/sda2", "/dev/sda1")
    tree["etc/fstab"] = b"/dev/sda1 / ext4 defaults 0 0\n//server/B\xfcro /mnt cifs noauto 0 0\n"
    tree["etc/crypttab"] = "data UUID=0-0 none luks\n"
    tree["etc/netplan/loop.yaml"] = ("link", "loop.yaml")
    tree["etc/netplan/out.yaml"] = ("link", "/../../../../etc/hostname")
    tree["usr/bin/vmtoolsd"] = ""
    tree["bin/ls"] = pathlib.Path("/bin/busybox").read_bytes()
    del tree["boot/grub2/grubenv"]
    tree["boot/grub2/grubenv"] = trees.redhat()["boot/grub2/grubenv"].replace("sda2", "sda1")
    tree["etc/default/grub"] = tree["boot/loader/entries/abc.conf"] = "options root=/dev/sda1 ro\n"
    for name in [name for name in tree if name.startswith("boot/")]:
        tree["srv/" + name] = tree.pop(name)
    tree["boot"] = ("link", "/srv/boot")
    disk_of(path, tree, put_odd_entry)
    disks.ext4_script(path, 1 << 20, *[
        f'ea_set {name} security.selinux "{label}"' for name, label in (
            ("/etc", LABEL), ("/etc/fstab", LABEL.replace("etc_t", "fstab_t")),
            ("/etc/dracut.conf.d", LABEL.replace("etc_t", "dracut_t")))])


def look(image, scratch, *commands):
    """What debugfs says of the guest's file system."""
    raw = scratch / "look.raw"
    disks.run("qemu-img", "convert", "-O", "raw", image, raw)
    said = [subprocess.run(["debugfs", "-R", command, f"{raw}?offset=1048576"], check=True, text=True,
                           errors="replace", stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
            for command in commands]
    raw.unlink()
    return said


def test_redhat_keeps_its_labels(lab, made):
    base = made("redhat", redhat)
    before = disks.digest(base)
    clone = lab.clone(base)
    argv = ["--mac", MACS[0], "--mac", MACS[1]]
    report = lab.convert(*argv, clone, mode="fast")
    assert report["guest_os"] == "Red Hat Enterprise Linux 8.10" and report["warnings"] == []
    assert disks.changed_clusters(clone) <= 64
    link = "/etc/systemd/network/70-blockferry-ens192.link"
    fstab, fstab_label, conf_label, link_label, relabel, block, resolv = look(
        clone, lab.directory, "cat /etc/fstab", "ea_get /etc/fstab security.selinux",
        "ea_get /etc/dracut.conf.d/90-blockferry-virtio.conf security.selinux",
        f"ea_get {link} security.selinux", "stat /.autorelabel", "cat /boot/grub2/grubenv",
        "cat /etc/resolv.conf")
    root, share = fstab.splitlines()
    uuid = re.fullmatch(r"(UUID=[0-9a-f-]{36}) / ext4 defaults 0 0", root)[1]
    assert share == "//server/B\ufffdro /mnt cifs noauto 0 0"
    assert "/boot/loader/entries/ [31mred?.conf: device names by UUID" in report["log_tail"]
    assert "fstab_t" in fstab_label and "dracut_t" in conf_label and "etc_t" in link_label
    assert relabel == "" and len(block) == 1024 and "root=UUID=" in block
    assert resolv == "nameserver 192.0.2.1\n"
    looked_at_again(lab.convert(*argv, clone, mode="auto", inspect=True), uuid)
    assert disks.digest(base) == before


def looked_at_again(plan, uuid):
    """Nothing is left to be changed; what an inspection tells of it."""
    assert plan["method"] == "none" and plan["changes"] == plan["findings"] == [], plan
    assert (plan["os"]["product"], plan["os"]["version"]) == ("Red Hat Enterprise Linux 8.10", "8.10")
    assert (plan["firmware"], plan["bootloader"], plan["root"]) == ("bios", "grub2", "/dev/sda1")
    facts = plan["facts"]
    assert facts["kernels"] == [{"version": "5.14.0-1.x86_64", "virtio": "added",
                                 "initramfs": "/boot/initramfs-5.14.0-1.x86_64.img"}]
    assert facts["fstab"] == [uuid, "//server/B?ro"] and facts["crypttab"] == ["UUID=0-0"]
    assert set(facts["kernel_command_line"]) == {f"root={uuid}", f"resume={uuid}"}
    assert facts["network"] == ["ifcfg", "networkmanager", "netplan", "networkd"]
    assert facts["interfaces"] == ["ens192", "ens224"]
    assert (facts["generator"], facts["generator_generic"], facts["lvm"]) == ("dracut", False, [])
    assert [facts[name] for name in ("selinux", "vmware_tools", "guest_agent", "cloud_init")] == \
        [True, True, False, True]


def suse_on_xfs(path):
    """GPT with an ext4 /boot and the root as the last partition, XFS."""
    tree = trees.suse()
    with tempfile.TemporaryDirectory() as scratch:
        boot, root = f"{scratch}/boot", f"{scratch}/root"
        proto, image = f"{scratch}/proto", f"{scratch}/image"
        subprocess.run(["mkdir", boot, root], check=True)
        link = "/dev/disk/by-path/pci-0000:00:10.0-scsi-0:0:0:0-part"
        tree["etc/fstab"] = f"{link}2 / xfs defaults 0 0\n{link}1 /boot ext4 defaults 0 0\n"
        tree["boot/grub/menu.lst"] = tree["etc/sysconfig/bootloader"] = f"root={link}2\n"
        tree["boot/grub2/grub.cfg"] = trees.MENU.format(link + "2")
        for name in ("dev/", "usr/bin/"):
            tree[name] = ""
        tree.unpack(root)
        for name in ("grub", "grub2", "initrd-4.12.14-1-default", "vmlinuz-4.12.14-1-default"):
            shutil.move(f"{root}/boot/{name}", f"{boot}/{name}")
        with open(proto, "w", encoding="utf-8") as out:
            subprocess.run(["/usr/bin/python3", PROTO, root], check=True, stdout=out)
        disks.blank(path, 400 * disks.MIB)
        disks.run("sfdisk", "-q", path, stdin=disks.text_file(
            "label: gpt\nstart=2048, size=65536, type=L\nstart=67584, size=696320, type=L\n"))
        disks.run("mke2fs", "-q", "-F", "-t", "ext4", "-E", "offset=1048576", "-d", boot, path, "32M",
                  stderr=subprocess.DEVNULL)
        disks.blank(image, 340 * disks.MIB)
        disks.run("mkfs.xfs", "-q", "-p", proto, image)
        disks.run("dd", f"if={image}", f"of={path}", "bs=1M", "seek=33", "conv=notrunc,sparse",
                  "status=none")


def test_suse_by_path_grows_on_gpt(lab, made):
    clone = lab.clone(made("suse", suse_on_xfs), size="1G")
    report = lab.convert("--mac", MACS[0], clone, mode="fast", grow=True)
    assert "error" not in report, report["error"]["message"]
    changes = report["log_tail"]
    for text in ("/etc/fstab: device names by UUID", "/boot/grub2/grub.cfg: device names by UUID",
                 "/etc/sysconfig/kernel", "/dev/sda2: the partition ends where the disk does",
                 "/dev/sda2: the file system fills it"):
        assert text in changes, changes
    raw = lab.directory / "raw"
    disks.run("qemu-img", "convert", "-O", "raw", clone, raw)
    assert "No problems found" in subprocess.run(["sgdisk", "-v", str(raw)], check=True, text=True,
                                                 stdout=subprocess.PIPE).stdout
    disks.run("dd", f"if={raw}", f"of={raw}.xfs", "bs=1M", "skip=33", "conv=sparse", "status=none")
    said = subprocess.run(["xfs_db", "-r", "-c", "sb 0", "-c", "p dblocks", f"{raw}.xfs"], check=True,
                          text=True, stdout=subprocess.PIPE).stdout
    assert int(said.split()[-1]) == (1024 - 34) * 256
    disks.run("xfs_repair", "-n", f"{raw}.xfs", stderr=subprocess.DEVNULL)


def damaged(path):
    """The superblock is what it was; the group descriptors behind it are noise."""
    redhat(path)
    with open(path, "r+b") as disk:
        disk.seek((1 << 20) + 2048)
        disk.write(bytes(range(256)) * 64)


def giant(path):
    """Files with holes, larger than this host's disks: they are not taken, and not spooled."""
    def grow(directory):
        for name in ("boot/initramfs-5.14.0-1.x86_64.img", "etc/netplan/big.yaml"):
            (directory / name).parent.mkdir(exist_ok=True)
            with open(directory / name, "ab") as file:
                file.truncate(1 << 40)
    tree = trees.redhat()
    tree["etc/fstab"] = "/dev/sda1 / ext4 defaults 0 0\n"
    disk_of(path, tree, grow)


@pytest.mark.parametrize("name,make,code,text", [
    ("damaged", damaged, "guest-damaged", "/dev/sda1 (ext4) cannot be mounted"),
    ("giant", giant, "guest-unsupported", f"has {1 << 40} bytes"),
])
def test_odd_disk_has_its_own_error(lab, made, name, make, code, text):
    base = made(name, make)
    before = disks.digest(base)
    clone = lab.clone(base)
    error = lab.error(clone, mode="fast")
    assert error["code"] == code and text in error["message"] and error["fix"]
    assert disks.digest(base) == before
