# SPDX-License-Identifier: Apache-2.0
"""mover-serve alone, on files that stand for disks."""
import contextlib
import os
import signal
import socket
import subprocess
import time

import nbd
import pytest

from mover import SERVE

pytestmark = pytest.mark.timeout(60)


class Serve:
    def __init__(self, work, *options):
        self.root, self.exports = os.path.join(work, "root"), os.path.join(work, "exports")
        for path in (f"{self.root}/sys/block", f"{self.root}/dev", self.exports):
            os.makedirs(path)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.log = os.path.join(work, "log")
        self.options = options
        self.process = None

    def disk(self, name, content=b"x", **files):
        os.makedirs(f"{self.root}/sys/block/{name}/device")
        for file, data in files.items():
            with open(f"{self.root}/sys/block/{name}/{file.replace('__', '/')}", "wb") as out:
                out.write(data)
        with open(f"{self.root}/dev/{name}", "wb") as out:
            out.write(content * 65536)

    def start(self):
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                [SERVE, "-p", str(self.port), "-w", "-r", self.root, *self.options, self.exports,
                 "nbdkit", "--single", "file", f"dir={self.exports}"], stdin=subprocess.DEVNULL, stdout=log)
        self.wait(lambda: "MOVERMARK" in self.text())
        return self

    def text(self):
        with open(self.log) as log:
            return log.read()

    @staticmethod
    def wait(check):
        deadline = time.monotonic() + 10
        while not check():
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def connect(self, export):
        handle = nbd.NBD()
        handle.set_export_name(export)
        handle.connect_tcp("127.0.0.1", str(self.port))
        return handle

    def servers(self):
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children") as file:
            return [int(pid) for pid in file.read().split()]


@pytest.fixture
def serve(work):
    made = []

    def make(*options):
        made.append(Serve(work, *options))
        return made[0]

    yield make
    for one in made:
        if one.process:
            for pid in [*one.servers(), one.process.pid]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            one.process.wait()


def test_ids(serve):
    """What becomes an export's name, and what does not."""
    it = serve("-x", "bf00a0ff")
    it.disk("vda", b"a", serial=b"volume-1\n")
    it.disk("vdb", b"b", serial=b"  ../../etc/passwd %s \n")
    it.disk("sda", b"c", device__vpd_pg80=b"\0\x80\0\x06abc-12\0\0", device__wwid=b"naa.6000c29f\n")
    it.disk("sdb", b"d", device__wwid=b"naa.6000c29f\n", serial=b"d")  # a linked clone's twin
    it.disk("vdc", b"e", serial=b"\n")
    it.disk("sr0", b"f", serial=b"cdrom\n")
    it.disk("vdd", serial=b"own\n")
    with open(f"{it.root}/dev/vdd", "r+b") as own:
        own.seek(440)
        own.write(bytes.fromhex("ffa000bf"))
    it.start()
    assert sorted(os.listdir(it.exports)) == ["_._.._etc_passwd__s", "abc-12", "d", "volume-1"]
    assert it.connect("volume-1").pread(4, 0) == b"aaaa" and it.connect("abc-12").pread(4, 0) == b"cccc"
    with pytest.raises(nbd.Error):
        it.connect("naa.6000c29f")
    # They come and go while it runs.
    it.disk("vde", b"g", serial=b"new\n")
    assert it.connect("new").pread(1, 0) == b"g"
    os.unlink(f"{it.root}/sys/block/vde/serial")
    it.wait(lambda: "new" not in os.listdir(it.exports))


def test_one_process_a_connection(serve):
    """Killing one costs one; too many are refused."""
    it = serve("-n", "3")
    it.disk("vda", b"a", serial=b"one\n")
    it.start()
    handles, pids = [], []
    for _ in range(3):
        handles.append(it.connect("one"))
        pids += [pid for pid in it.servers() if pid not in pids]
    assert len(pids) == 3
    with pytest.raises(nbd.Error):
        it.connect("one")
    os.kill(pids[1], signal.SIGKILL)
    with pytest.raises(nbd.Error):
        handles[1].pread(1, 0)
    assert handles[0].pread(1, 0) == handles[2].pread(1, 0) == b"a"
    it.wait(lambda: f"CONNECTION lost pid={pids[1]} signal=9" in it.text())
    assert it.connect("one").pread(1, 0) == b"a"
