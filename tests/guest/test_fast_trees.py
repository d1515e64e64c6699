# SPDX-License-Identifier: Apache-2.0
"""What the fast way changes in each distribution's files, and what it leaves to virt-v2v; decided on
trees, without an appliance (plan-tree)."""
import json
import os
import subprocess

import pytest

import trees

MACS = ["52:54:00:aa:bb:01", "52:54:00:aa:bb:02"]
FILESYSTEMS = ["/dev/sda1,ext4,1-1", "/dev/sda2,ext4,1-2", "/dev/sda3,swap,1-3", "/dev/sda5,swap,1-5",
               "/dev/sdb1,crypto_LUKS,2-1", "/dev/vg/data,xfs,3-1",
               "/dev/sda7,ext4,6266deb1-4000-4000-8000-000000000001"]


def ask(tree, macs=(), disks=("/dev/sda",), console=False, root=None):
    argv = [os.environ["PLAN_TREE"]] + (["--root", root] if root else [])
    for mac in macs:
        argv += ["--mac", mac]
    for disk in disks:
        argv += ["--disk", disk]
    for filesystem in FILESYSTEMS:
        argv += ["--filesystem", filesystem]
    answer = subprocess.run(argv + (["--console"] if console else []), input=tree.tar(),
                            stdout=subprocess.PIPE, check=False)
    return json.loads(answer.stdout)


def changes(answer):
    assert "error" not in answer, answer
    return {change["path"]: change for change in answer["changes"]}


def link(mac, name):
    return f"[Match]\nMACAddress={mac}\nDriver=virtio_net\n\n[Link]\nName={name}\n"


def test_redhat():
    answer = ask(trees.redhat(), MACS)
    found = changes(answer)
    assert "15 virtio modules" in found["/boot/initramfs-5.14.0-1.x86_64.img"]["summary"]
    assert found["/etc/fstab"]["text"] == "UUID=1-2 / xfs defaults 0 0\nUUID=1-1 /boot xfs defaults 0 0\n"
    assert found["/boot/loader/entries/abc.conf"]["text"].endswith("root=UUID=1-2 ro resume=UUID=1-3\n")
    block = found["/boot/grub2/grubenv"]["text"]
    assert len(block) == 1024 and "kernelopts=root=UUID=1-2 ro crashkernel=auto \n###" in block
    assert "resume=UUID=1-3" in found["/etc/default/grub"]["text"]
    assert "add_drivers" in found["/etc/dracut.conf.d/90-blockferry-virtio.conf"]["text"]
    assert "LVM" in found["/etc/lvm/devices/system.devices"]["summary"]
    assert found["/etc/systemd/network/70-blockferry-ens192.link"]["text"] == link(MACS[1], "ens192")
    assert found["/etc/systemd/network/70-blockferry-ens224.link"]["text"] == link(MACS[0], "ens224")
    assert len(found) == 9 and answer["warnings"] == []


def test_suse():
    answer = ask(trees.suse(), MACS)
    found = changes(answer)
    assert "virtio modules" in found["/boot/initrd-4.12.14-1-default"]["summary"]
    assert found["/etc/fstab"]["text"] == (
        "UUID=1-2 / ext4 acl 1 1\nUUID=1-1 swap swap defaults 0 0\n"
        "/dev/disk/by-id/dm-name-vg-data /data xfs defaults 0 0\n")
    assert "root=UUID=1-2 ro" in found["/boot/grub2/grub.cfg"]["text"]
    assert "root=UUID=1-2 resume=UUID=1-1" in found["/boot/grub/menu.lst"]["text"]
    assert "resume=UUID=1-1 splash" in found["/etc/sysconfig/bootloader"]["text"]
    assert found["/etc/sysconfig/kernel"]["text"] == \
        'INITRD_MODULES="mptspi ext4 virtio_pci virtio_blk virtio_scsi"\n'
    # eth0 is the rule's; the other card gets the other name, in the same old way.
    rules = found["/etc/udev/rules.d/70-persistent-net.rules"]["text"].splitlines()
    assert len(rules) == 2 and 'NAME="eth0"' in rules[0]
    assert MACS[1] in rules[1] and 'NAME="eth1"' in rules[1] and 'DRIVERS=="virtio*"' in rules[1]
    assert len(found) == 7 and answer["warnings"] == []


def test_ubuntu():
    answer = ask(trees.ubuntu(), MACS)
    found = changes(answer)
    assert set(found) == {"/etc/initramfs-tools/modules", "/etc/fstab",
                          "/etc/systemd/network/70-blockferry-ens160.link"}
    assert link(MACS[0], "ens160") == found["/etc/systemd/network/70-blockferry-ens160.link"]["text"]


def test_arch():
    answer = ask(trees.arch(), MACS[:1])
    found = changes(answer)
    assert "virtio modules" in found["/boot/initramfs-linux.img"]["summary"]
    assert found["/etc/mkinitcpio.conf"]["text"].startswith(
        "MODULES=(ahci virtio_pci virtio_blk virtio_scsi)\n")
    assert "root=UUID=1-2 rw" in found["/boot/loader/entries/arch.conf"]["text"]
    assert "/etc/systemd/network/70-blockferry-enp3s0.link" in found
    assert ["30-old.network matches interfaces by their driver" in text
            for text in answer["warnings"]] == [True]


def test_debian_without_link_files():
    answer = ask(trees.debian_old(), MACS, disks=("/dev/sda", "/dev/sdb"))
    found = changes(answer)
    assert found["/etc/fstab"]["text"].startswith("UUID=1-1 / ext3")
    assert found["/etc/crypttab"]["text"] == "data UUID=2-1 none luks\n"
    assert "digest" in found["/var/lib/initramfs-tools/3.2.0-4-amd64"]["summary"]
    rules = found["/etc/udev/rules.d/70-persistent-net.rules"]["text"].splitlines()
    assert [MACS[i] in rule and f'NAME="eth{i}"' in rule for i, rule in enumerate(rules)] == [True, True]
    assert any("in their order" in text for text in answer["warnings"])


def test_systemd_boot_layout():
    tree = trees.Tree({"etc/fstab": "UUID=1-2 / ext4 defaults 0 1\n"})
    tree.kernel("6.1.1", image="boot/0123abc/{}/linux", initrd="boot/0123abc/{}/initrd")
    assert "/boot/0123abc/6.1.1/initrd" in changes(ask(tree))


@pytest.mark.parametrize("make", [trees.redhat, trees.suse, trees.ubuntu, trees.arch, trees.debian_old])
def test_twice_changes_nothing(make):
    """The changes of text applied, nothing is left to be changed in them."""
    tree = make()
    disks = ("/dev/sda", "/dev/sdb") if make is trees.debian_old else ("/dev/sda",)
    for path, change in changes(ask(tree, MACS, disks, console=True)).items():
        if "LVM" in change["summary"]:
            del tree[path[1:]]
        elif "text" in change and "digest" not in change["summary"]:
            tree[path[1:]] = change["text"]
    again = changes(ask(tree, MACS, disks, console=True))
    assert [path for path, change in again.items()
            if "text" in change and "digest" not in change["summary"]] == []


def test_serial_console_is_one_token():
    tree = trees.redhat()
    plain, found = changes(ask(tree)), changes(ask(tree, console=True))
    for path in ("/boot/loader/entries/abc.conf", "/etc/default/grub", "/boot/grub2/grubenv"):
        assert "console=" not in plain[path]["text"]
        assert found[path]["text"].count("console=ttyS0,115200") == 1
    assert len(found["/boot/grub2/grubenv"]["text"]) == 1024
    assert found["/etc/fstab"] == plain["/etc/fstab"]


def test_a_text_with_nul_bytes_is_left_alone():
    """As a crash leaves them: what stands behind the first one would be lost."""
    tree, name = trees.suse(), "etc/udev/rules.d/70-persistent-net.rules"
    tree["etc/fstab"], tree[name] = tree["etc/fstab"] + "\0\0/dev/sda3 /x\n", tree[name] + "\0"
    answer = ask(tree, MACS)
    assert not {"/etc/fstab", "/" + name} & set(changes(answer))
    assert sum("NUL bytes" in text for text in answer["warnings"]) == 2


def test_warnings_have_an_end():
    tree = trees.ubuntu()
    tree |= {f"etc/netplan/{number}.yaml": "      match:\n        driver: e1000\n" for number in range(300)}
    assert len(ask(trees.Tree(tree), MACS)["warnings"]) == 256


@pytest.mark.parametrize("line,warned", [('filter = [ "a|^/dev/sda[0-9]|", "r|.*|" ]', True),
                                         ('global_filter=["r#x#","a#/dev/disk/by-path/pci-1#"]', True),
                                         ('# filter = [ "a|/dev/sda|" ]', False),
                                         ('filter = [ "a|/dev/mapper/.*|" ]', False)])
def test_lvm_filter(line, warned):
    tree = trees.redhat()
    tree["etc/lvm/lvm.conf"] = "devices {\n    " + line + "\n}\n"
    assert any("filter" in text for text in ask(tree, MACS)["warnings"]) is warned


def test_disks_that_the_guest_counts_otherwise():
    """Its own name of the root's partition leads to another file system than the root was found on."""
    assert "/etc/fstab" in changes(ask(trees.redhat(), MACS, root="/dev/sda2"))
    error = ask(trees.redhat(), MACS, root="/dev/sda1")["error"]
    assert error["code"] == "guest-unsupported" and "another order" in error["message"]


def test_what_the_helper_tells_is_not_trusted(lab, monkeypatch):
    """It has read the guest's disks: a program in its place tells what the real one never would."""
    told = {"guest_os": "Evil\x1b[2J" * 100, "planned": False,
            "changes": ["/etc/\x1b]0;title\x07: written", None, 7] + ["x" * 99999],
            "warnings": ["one\u0085\n", {"a": 1}, None] + ["w" * 9999] * 999}
    program = lab.directory / "blockferry-convert"
    (lab.directory / "told").write_text(json.dumps(told))
    program.write_text(f"#!/bin/sh\ncat >/dev/null\ncp {lab.directory}/told \"$1\"\n")
    program.chmod(0o755)
    monkeypatch.setenv("BLOCKFERRY_LIBEXEC", str(lab.directory))
    report = lab.convert("/nonexistent", mode="fast")
    assert report["guest_os"].startswith("Evil [2J") and len(report["guest_os"]) == 200
    assert report["warnings"][0].split() == ["one"] and len(report["warnings"]) == 64
    assert len(report["log_tail"]) <= 32768
    assert max(map(len, report["warnings"])) == 1000
    texts = report["log_tail"].replace("\n", "") + report["guest_os"] + "".join(report["warnings"])
    assert texts.isprintable()


def with_initrd(content):
    return lambda tree: tree.kernel(content=content)


def put(**files):
    return lambda tree: tree.update({path.replace("__", "/"): text for path, text in files.items()})


def no_modules(tree):
    for path in [path for path in tree if "virtio_blk" in path]:
        del tree[path]
    tree["lib/modules/5.14.0-1.x86_64/modules.dep"] = "kernel/drivers/virtio/virtio_pci.ko:\n"


def other_processor(tree):
    for path in [path for path in tree if "virtio_blk" in path]:
        tree[path] = tree[path][:18] + b"\x03\x00" + tree[path][20:]


UNIFIED = {"boot/efi/EFI/Linux/arch.efi": b"MZ"}
LINKED = trees.gzip(trees.cpio({"bin/busybox": ("link", b""), "init": ("link", b"")}))
ODD = {
    "lilo": (put(**{"etc__lilo.conf": "boot=/dev/sda\n"}), "guest-unsupported", "lilo.conf"),
    "elilo": (put(**{"etc__elilo.conf": "x\n"}), "guest-unsupported", "elilo.conf"),
    "ostree": (put(**{"ostree__": ""}), "guest-unsupported", "ostree"),
    "unified": (lambda tree: tree.update(UNIFIED), "guest-unsupported", "unified kernel image"),
    "signed": (put(**{"boot__grub2__grub.cfg": "set check_signatures=enforce\n"}), "guest-unsupported",
               "checks signatures"),
    "xen": (lambda tree: tree.kernel("2.6.18-8.el5xen"), "guest-unsupported", "made for Xen"),
    "no-modules": (no_modules, "guest-unsupported", "has no module virtio_blk"),
    "i386": (other_processor, "guest-unsupported", "no module for x86-64"),
    "lz4": (with_initrd(b"\x02\x21\x4c\x18" + bytes(range(1, 99))), "guest-unsupported", "unknown kind"),
    "hard-link": (with_initrd(LINKED), "guest-unsupported", "hard link"),
    "no-init": (with_initrd(trees.gzip(trees.cpio({"bin/sh": b"x"}))), "guest-unsupported", "no /init"),
    "cut": (with_initrd(trees.initramfs()[:60]), "guest-initramfs", "damaged or cut"),
    "empty": (with_initrd(b""), "guest-initramfs", "empty"),
    "no-initramfs": (lambda tree: tree.pop("boot/initramfs-5.14.0-1.x86_64.img"), "guest-unsupported",
                     "no known initramfs"),
    "no-kernel": (lambda tree: [tree.pop(path) for path in list(tree) if path.startswith("boot/")],
                  "guest-unsupported", "no kernel"),
    "by-path": (put(etc__fstab="/dev/disk/by-path/pci-0000:00:10.0-scsi-0:0:1:0-part1 / xfs x 0 0\n"),
                "guest-unsupported", "by id or by path"),
    "missing-root": (None, "guest-unsupported", "not on the given disks"),
    "full-block": (None, "guest-unsupported", "no room"),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_guest_is_left_alone(name):
    tree = trees.redhat()
    change, code, text = ODD[name]
    disks = ("/dev/sda", "/dev/sdb") if name == "by-path" else ("/dev/sda",)
    if name == "missing-root":
        tree["boot/grub2/grub.cfg"] = trees.MENU.format("/dev/sdq1")
    elif name == "full-block":
        tree["boot/grub2/grubenv"] = ("# GRUB Environment Block\nkernelopts=root=/dev/sda7 "
                                      ).ljust(1022, "x") + "\n#"
    else:
        change(tree)
    error = ask(tree, MACS, disks)["error"]
    assert error["code"] == code and text in error["message"] and error["fix"], error
