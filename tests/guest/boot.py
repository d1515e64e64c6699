# SPDX-License-Identifier: Apache-2.0
"""Boot disks on virtio and read the serial console."""
import pathlib
import re
import shutil
import subprocess
import time

import disks

MAC = "52:54:00:aa:bb:01"
FIRMWARE = pathlib.Path("/usr/share/OVMF")


def boot(images, pattern, scratch, seconds=240, uefi=False):
    """Boot from virtio-blk with a virtio-net card; the console up to the pattern, or all there was.
    What the guest writes goes to layers of its own."""
    console = scratch / "console"
    argv = ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
            "-machine", "q35", "-accel", "tcg", "-cpu", "max", "-m", "768",
            "-serial", f"file:{console}", "-netdev", "user,id=n,restrict=on",
            "-device", f"virtio-net-pci,netdev=n,mac={MAC}"]
    if uefi:
        variables = scratch / "variables.fd"
        shutil.copyfile(FIRMWARE / "OVMF_VARS_4M.fd", variables)
        argv += ["-drive", f"if=pflash,format=raw,readonly=on,file={FIRMWARE}/OVMF_CODE_4M.fd",
                 "-drive", f"if=pflash,format=raw,file={variables}"]
    for number, image in enumerate(images):
        layer = scratch / f"boot{number}.qcow2"
        layer.unlink(missing_ok=True)
        disks.run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", image, layer)
        argv += ["-drive", f"file={layer},format=qcow2,if=virtio,cache=unsafe"]
    console.unlink(missing_ok=True)
    machine = subprocess.Popen(argv)
    try:
        end = time.monotonic() + seconds
        while time.monotonic() < end and machine.poll() is None:
            text = console.read_text(errors="replace") if console.exists() else ""
            if re.search(pattern, text):
                return text
            time.sleep(0.5)
        return console.read_text(errors="replace")
    finally:
        machine.kill()
        machine.wait()
