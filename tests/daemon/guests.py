# SPDX-License-Identifier: Apache-2.0
"""The tiny guest with the files of an installed system beside its records, so that an inspection
recognises it.  Its kernel and initramfs are those it boots from, so what they hold is true."""
import os
import subprocess
import tempfile

import ferry

RECORDS = 25 * 1024 * 1024  # where the partition begins
RECORDS_UUID = "6266da7a-0000-4000-8000-000000000002"
MODULES = "/lib/modules"


def _debugfs(image, partition, *commands):
    with tempfile.NamedTemporaryFile("w", suffix=".debugfs") as script:
        script.write("\n".join(commands) + "\n")
        script.flush()
        ferry.run("debugfs", "-w", "-f", script.name, f"{image}?offset={partition}")


def make_recognised(raw, generator="most"):
    """`generator` is what initramfs-tools is configured to make: "most" holds virtio, "dep" may not, so
    that a conversion has its configuration to change."""
    work = tempfile.mkdtemp(prefix="bf-tiny-")
    version = os.path.basename(max(
        (d for d in os.listdir(MODULES) if os.path.exists(f"{MODULES}/{d}/modules.dep"))))
    texts = {"/etc/os-release": 'ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Tiny 12"\n',
             "/etc/debian_version": "12.0\n",
             "/etc/hostname": "tiny\n",
             "/etc/fstab": f"UUID={RECORDS_UUID} / ext4 defaults 0 1\n",
             "/etc/initramfs-tools/initramfs.conf": f"MODULES={generator}\n",
             "/etc/initramfs-tools/modules": "# none\n",
             "/etc/default/grub": 'GRUB_CMDLINE_LINUX="quiet"\n',
             "/boot/extlinux/extlinux.conf": f"LABEL tiny\n  APPEND root=UUID={RECORDS_UUID} ro\n"}
    for part in ("vmlinuz", "initrd"):
        _debugfs(raw, 1024 * 1024, f"dump /{part} {work}/{part}")
    commands, made = [], set()

    def put(local, path):
        parts = path.strip("/").split("/")
        for i in range(1, len(parts)):
            directory = "/" + "/".join(parts[:i])
            if directory not in made:
                commands.append(f"mkdir {directory}")
                made.add(directory)
        commands.append(f"write {local} {path}")

    for number, (path, text) in enumerate(texts.items()):
        with open(f"{work}/{number}", "w", encoding="utf-8") as out:
            out.write(text)
        put(f"{work}/{number}", path)
    put(f"{work}/vmlinuz", f"/boot/vmlinuz-{version}")
    put(f"{work}/initrd", f"/boot/initrd.img-{version}")
    for name in ("modules.dep", "modules.builtin"):
        put(f"{MODULES}/{version}/{name}", f"{MODULES}/{version}/{name}")
    for path in ("/bin/ls", "/bin/sh"):
        put("/bin/busybox", path)
    _debugfs(raw, RECORDS, *commands)
    subprocess.run(["rm", "-rf", work], check=True)


def recognised_tiny(image, room=None, **kwargs):
    """A private copy of it at `image`, qcow2; its disk ends `room` ("64M") behind the last partition."""
    raw = f"{image}.raw"
    ferry.run(f"{ferry.LAB}/images", "copy", "tiny", raw, "raw", timeout=600)
    make_recognised(raw, **kwargs)
    if room:
        ferry.run("qemu-img", "resize", "-q", "-f", "raw", raw, f"+{room}")
    ferry.run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, image)
    os.unlink(raw)


def silent_debian(image, room):
    """The lab's Debian at `image`, qcow2, without its serial console; its disk ends `room` behind the last
    partition."""
    raw, menu = f"{image}.raw", f"{image}.cfg"
    ferry.run(f"{ferry.LAB}/images", "copy", "debian", raw, "raw", timeout=1500)
    _debugfs(raw, 1024 * 1024, f"dump /boot/grub/grub.cfg {menu}")
    with open(menu, encoding="utf-8") as file:
        text = file.read()
    assert text.count(" console=ttyS0,115200") == 1
    with open(menu, "w", encoding="utf-8") as file:
        file.write(text.replace(" console=ttyS0,115200", ""))
    _debugfs(raw, 1024 * 1024, "rm /boot/grub/grub.cfg", f"write {menu} /boot/grub/grub.cfg")
    ferry.run("qemu-img", "resize", "-q", "-f", "raw", raw, f"+{room}")
    ferry.run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, image)
    os.unlink(raw)
