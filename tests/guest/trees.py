# SPDX-License-Identifier: Apache-2.0
"""Root trees of Linux distributions, made from nothing: the files that a conversion looks at, laid
out as each distribution has them, with this host's kernel modules in them."""
import functools
import io
import pathlib
import subprocess
import tarfile
import zlib

NEEDED = ("virtio_pci", "virtio_blk", "virtio_scsi", "sd_mod")


@functools.lru_cache
def host_kernel():
    """A kernel of this host that has its modules, and their paths by name."""
    for directory in sorted(pathlib.Path("/lib/modules").iterdir(), reverse=True):
        if (directory / "modules.dep").exists():
            return directory
    raise AssertionError("no kernel with modules: install linux-image-amd64")


@functools.lru_cache
def module_files(directory):
    """The modules of virtio and what they need: {path in the directory: content}."""
    lines = [line.split(":") for line in (directory / "modules.dep").read_text().splitlines()]
    needs = {path: rest.split() for path, rest in lines}
    wanted = set()
    for name in NEEDED:
        for path in needs:
            if pathlib.Path(path).name.split(".")[0] == name:
                wanted |= {path} | set(needs[path])
    return {path: (directory / path).read_bytes() for path in wanted}, \
        "".join(f"{path}: {' '.join(needs[path])}\n" for path in sorted(wanted))


def cpio(files):
    """A newc archive; the value of a name is its content, or (mode, content)."""
    out = b""
    for number, (name, content) in enumerate(list(files.items()) + [("TRAILER!!!", b"")]):
        mode, data = content if isinstance(content, tuple) else (0o100755, content)
        links = 2 if mode == "link" else 1
        fields = (number + 1, 0o100755 if mode == "link" else mode, 0, 0, links, 0, len(data), 0, 0,
                  0, 0, len(name) + 1, 0)
        out += b"070701" + b"".join(b"%08x" % field for field in fields) + name.encode() + b"\0"
        out += b"\0" * (-len(out) % 4) + data
        out += b"\0" * (-len(out) % 4)
    return out


def gzip(data):
    packer = zlib.compressobj(6, zlib.DEFLATED, 31)
    return packer.compress(data) + packer.flush()


def initramfs(**more):
    return gzip(cpio({"init": b"#!/bin/sh\n", **more}))


class Tree(dict):
    """{path without leading slash: bytes, text, or ("link", target)}"""

    def kernel(self, version="5.14.0-1.x86_64", image="boot/vmlinuz-{}", initrd="boot/initramfs-{}.img",
               content=None, builtin=""):
        modules, dependencies = module_files(host_kernel())
        base = f"lib/modules/{version}/"
        self.update({base + path: data for path, data in modules.items()})
        self[base + "modules.dep"] = dependencies
        self[base + "modules.builtin"] = builtin
        self[image.format(version)] = b"kernel"
        if initrd:
            self[initrd.format(version)] = initramfs() if content is None else content
        return self

    def tar(self):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as archive:
            for path, content in self.items():
                entry = tarfile.TarInfo("./" + path)
                if path.endswith("/"):
                    entry.type = tarfile.DIRTYPE
                    archive.addfile(entry)
                elif isinstance(content, tuple):
                    entry.type, entry.linkname = tarfile.SYMTYPE, content[1]
                    archive.addfile(entry)
                else:
                    data = content.encode() if isinstance(content, str) else content
                    entry.size = len(data)
                    archive.addfile(entry, io.BytesIO(data))
            seen = set()
            for path in list(self):
                for parent in pathlib.PurePath(path).parents:
                    if str(parent) not in seen | {"."}:
                        seen.add(str(parent))
                        entry = tarfile.TarInfo(f"./{parent}/")
                        entry.type = tarfile.DIRTYPE
                        archive.addfile(entry)
        return out.getvalue()

    def unpack(self, directory):
        subprocess.run(["tar", "-x", "-C", str(directory)], input=self.tar(), check=True)


MENU = "menuentry 'x' {{\n  linux /vmlinuz root={} ro quiet\n  initrd /initrd\n}}\n"


def redhat():
    """RHEL 8 and 9: BLS entries, an environment block, dracut, ifcfg and a keyfile, SELinux."""
    block = "# GRUB Environment Block\nsaved_entry=abc\nkernelopts=root=/dev/sda2 ro crashkernel=auto \n"
    tree = Tree({
        "etc/os-release": 'NAME="Red Hat Enterprise Linux"\nID="rhel"\nVERSION_ID="8.10"\n'
                          'PRETTY_NAME="Red Hat Enterprise Linux 8.10"\n',
        "etc/fstab": "/dev/sda2 / xfs defaults 0 0\n/dev/sda1 /boot xfs defaults 0 0\n",
        "etc/selinux/config": "SELINUX=enforcing\nSELINUXTYPE=targeted\n",
        "etc/dracut.conf.d/": "",
        "usr/lib/systemd/network/99-default.link": "[Link]\n",
        "etc/default/grub": 'GRUB_CMDLINE_LINUX="resume=/dev/sda3 rhgb quiet"\nGRUB_ENABLE_BLSCFG=true\n',
        "boot/grub2/grub.cfg": "blscfg\n",
        "boot/grub2/grubenv": block.ljust(1024, "#"),
        "boot/loader/entries/abc.conf": "title RHEL\nlinux /vmlinuz-5.14.0-1.x86_64\n"
                                        "options root=/dev/sda2 ro resume=/dev/sda3\n",
        "etc/lvm/devices/system.devices": "IDTYPE=sys_wwid IDNAME=naa.6000c29 DEVNAME=/dev/sda2 PVID=x\n",
        "etc/sysconfig/network-scripts/ifcfg-ens192":
            "TYPE=Ethernet\nDEVICE=ens192\nHWADDR=52:54:00:AA:BB:02\nBOOTPROTO=none\n",
        "etc/NetworkManager/system-connections/ens224.nmconnection":
            "[connection]\nid=ens224\ninterface-name=ens224\n\n[ethernet]\n",
        "etc/resolv.conf": "nameserver 192.0.2.1\n",
        "etc/cloud/cloud.cfg": "users: []\n",
    })
    return tree.kernel()


def suse():
    """SLES 11 and 12: names by id, mkinitrd or dracut, wicked, names by udev's rules."""
    disk = "/dev/disk/by-id/scsi-36000c2950a1b2c3d4e5f-part"
    tree = Tree({
        "etc/os-release": 'NAME="SLES"\nPRETTY_NAME="SUSE Linux Enterprise Server 12 SP5"\n',
        "etc/fstab": f"{disk}2 / ext4 acl 1 1\n{disk}1 swap swap defaults 0 0\n"
                     "/dev/disk/by-id/dm-name-vg-data /data xfs defaults 0 0\n",
        "etc/sysconfig/kernel": 'INITRD_MODULES="mptspi ext4"\n',
        "etc/sysconfig/bootloader": f'DEFAULT_APPEND="resume={disk}1 splash=silent"\n',
        "boot/grub2/grub.cfg": MENU.format(disk + "2"),
        "boot/grub/menu.lst": f"title SLES\n    kernel /vmlinuz root={disk}2 resume={disk}1\n",
        "etc/sysconfig/network/ifcfg-eth0": "BOOTPROTO='static'\nIPADDR='192.0.2.5/24'\n",
        "etc/sysconfig/network/ifcfg-eth1": "BOOTPROTO='dhcp'\n",
        "etc/sysconfig/network/ifcfg-lo": "STARTMODE='nfsroot'\n",
        "etc/udev/rules.d/70-persistent-net.rules":
            'SUBSYSTEM=="net", ACTION=="add", DRIVERS=="?*", ATTR{address}=="52:54:00:aa:bb:01", '
            'ATTR{dev_id}=="0x0", ATTR{type}=="1", KERNEL=="eth*", NAME="eth0"\n',
    })
    return tree.kernel("4.12.14-1-default", initrd="boot/initrd-{}")


def ubuntu():
    """Ubuntu: virtio in the kernel, netplan, a merged /usr, cloud-init."""
    tree = Tree({
        "etc/os-release": ("link", "../usr/lib/os-release"),
        "usr/lib/os-release": 'PRETTY_NAME="Ubuntu 22.04.4 LTS"\n',
        "etc/fstab": "/dev/sda2 / ext4 defaults 0 1\n",
        "etc/initramfs-tools/modules": "# list\n",
        "lib/systemd/network/99-default.link": "[Link]\n",
        "boot/grub/grub.cfg": MENU.format("UUID=1-2"),
        "etc/netplan/50-cloud-init.yaml": "network:\n  version: 2\n  ethernets:\n    ens160:\n"
                                          "      dhcp4: true\n",
        "etc/netplan/60-more.yaml": "network:\n  ethernets:\n    lan:\n      match:\n"
                                    "        macaddress: 52:54:00:aa:bb:02\n      set-name: ens192\n",
        "etc/resolv.conf": ("link", "../run/systemd/resolve/stub-resolv.conf"),
    })
    return tree.kernel("5.15.0-1-generic", initrd="boot/initrd.img-{}",
                       builtin="kernel/drivers/virtio/virtio_pci.ko\nkernel/drivers/block/virtio_blk.ko\n")


def arch():
    """Arch: images named by the package, mkinitcpio, systemd-networkd."""
    tree = Tree({
        "etc/os-release": 'PRETTY_NAME="Arch Linux"\n',
        "etc/fstab": "UUID=1-2 / ext4 defaults 0 1\n",
        "etc/mkinitcpio.conf": "MODULES=(ahci)\nHOOKS=(base udev)\n",
        "boot/loader/entries/arch.conf": "linux /vmlinuz-linux\ninitrd /initramfs-linux.img\n"
                                         "options root=/dev/nvme0n1p2 rw\n",
        "usr/lib/systemd/network/99-default.link": "[Link]\n",
        "etc/systemd/network/20-wired.network": "[Match]\nName=enp3s0\n\n[Network]\nDHCP=yes\n",
        "etc/systemd/network/30-old.network": "[Match]\nDriver=vmxnet3\n\n[Network]\nDHCP=yes\n",
    })
    tree.kernel("6.9.1-arch1-1", image="boot/vmlinuz-linux", initrd="boot/initramfs-linux.img")
    tree["lib/modules/6.9.1-arch1-1/pkgbase"] = "linux\n"
    return tree


def debian_old():
    """Debian 7 and 8: no .link files, names by order, a digest of each initramfs."""
    tree = Tree({
        "etc/os-release": 'PRETTY_NAME="Debian GNU/Linux 7 (wheezy)"\n',
        "etc/fstab": "/dev/hda1 / ext3 defaults 0 1\n/dev/hda5 none swap sw 0 0\n",
        "etc/crypttab": "data /dev/hdb1 none luks\n",
        "etc/initramfs-tools/modules": "ext3\n",
        "etc/network/interfaces": "auto lo eth0\niface lo inet loopback\niface eth0 inet dhcp\n"
                                  "iface eth1 inet dhcp\n",
        "etc/udev/rules.d/": "",
        "boot/grub/grub.cfg": MENU.format("/dev/hda1"),
        "var/lib/initramfs-tools/3.2.0-4-amd64": "0123  /boot/initrd.img-3.2.0-4-amd64\n",
    })
    return tree.kernel("3.2.0-4-amd64", initrd="boot/initrd.img-{}")
