# SPDX-License-Identifier: Apache-2.0
"""Boot disks on virtio and read the serial console."""
import contextlib
import pathlib
import re
import shutil
import subprocess
import time

import disks

MAC = "52:54:00:aa:bb:01"
FIRMWARE = pathlib.Path("/usr/share/OVMF")


class Machine:
    """Boots from virtio-blk with a virtio-net card.  What the guest writes goes to layers in `scratch`, a
    directory of the machine's own.  A context: at its end the machine is gone."""

    def __init__(self, images, scratch, uefi=False):
        scratch.mkdir(exist_ok=True)
        self.console = scratch / "console"
        self.console.unlink(missing_ok=True)
        argv = ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
                "-machine", "q35", "-accel", "tcg", "-cpu", "max", "-m", "768",
                "-serial", f"file:{self.console}", "-netdev", "user,id=n,restrict=on",
                "-device", f"virtio-net-pci,netdev=n,mac={MAC}"]
        if uefi:
            variables = scratch / "variables.fd"
            shutil.copyfile(FIRMWARE / "OVMF_VARS_4M.fd", variables)
            argv += ["-drive", f"if=pflash,format=raw,readonly=on,file={FIRMWARE}/OVMF_CODE_4M.fd",
                     "-drive", f"if=pflash,format=raw,file={variables}"]
        for number, image in enumerate(images):
            layer = scratch / f"boot{number}.qcow2"
            layer.unlink(missing_ok=True)
            form = "qcow2" if image.suffix == ".qcow2" else "raw"
            disks.run("qemu-img", "create", "-q", "-f", "qcow2", "-F", form, "-b", image.resolve(), layer)
            argv += ["-drive", f"file={layer},format=qcow2,if=virtio,cache=unsafe"]
        self.process = subprocess.Popen(argv)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def text(self):
        return self.console.read_text(errors="replace") if self.console.exists() else ""

    def wait(self, pattern, seconds=240):
        """The console up to the pattern, or all there was."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.process.poll() is None:
            if re.search(pattern, self.text()):
                break
            time.sleep(0.5)
        return self.text()


def mark_of(machine):
    """What the guest tells of itself when it has booted."""
    console = machine.wait(r"BOOTMARK .*failed=\S+")
    mark = re.search(r"BOOTMARK .*failed=\S+", console)
    assert mark, console[-3000:]
    assert "Initramfs unpacking failed" not in console
    return mark[0]


def boot(images, pattern, scratch, seconds=240, uefi=False):
    with Machine(images, scratch / "machine", uefi) as machine:
        return machine.wait(pattern, seconds)


@contextlib.contextmanager
def nbd_server(image, socket):
    """A qcow2 by a UNIX socket; its URI."""
    server = subprocess.Popen(["qemu-nbd", "-f", "qcow2", "-t", "-k", str(socket), "-x", "disk",
                               str(image)])
    try:
        while not socket.exists():
            assert server.poll() is None
            time.sleep(0.05)
        yield f"nbd+unix:///disk?socket={socket}"
    finally:
        server.terminate()
        assert server.wait(timeout=20) == 0
