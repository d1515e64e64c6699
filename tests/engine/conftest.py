# SPDX-License-Identifier: Apache-2.0
"""Tools of the engine tests: the program, real NBD servers, disks with a known content."""
import json
import os
import random
import shutil
import signal
import subprocess
import tempfile
import threading
import time

import pytest

COPY = os.environ.get("BLOCKFERRY_COPY", "blockferry-copy")
WRAP = os.environ.get("BLOCKFERRY_WRAP", "").split()  # valgrind ...
SLOW = float(os.environ.get("BLOCKFERRY_SLOW", "1"))  # sanitizers and valgrind: more time
KIB, MIB = 1 << 10, 1 << 20

# base/error.c: exit codes by kind
TRANSIENT, INPUT, AUTH, NOT_FOUND, CAPACITY, DATA = "transient", "input", "auth", "not-found", "capacity", "data"


class Result:
    def __init__(self, code, events, stderr):
        self.code = code
        self.events = events
        self.stderr = stderr

    def last(self, name):
        found = [e for e in self.events if e.get("event") == name]
        return found[-1] if found else None

    @property
    def done(self):
        assert self.code == 0, self.stderr
        return self.last("done")

    @property
    def error(self):
        assert self.code != 0, "it was to fail and did not"
        assert "Sanitizer" not in self.stderr and "Assertion" not in self.stderr, self.stderr
        assert self.code > 0, f"died of signal {-self.code}: {self.stderr}"
        last = self.events[-1]
        assert last["event"] == "error", self.events
        return last


def parse_events(text):
    return [json.loads(line) for line in text.splitlines()]


def start_copy(*args, progress="json", program=None, env=None, **kwargs):
    argv = WRAP + [program or COPY, "--progress", progress] + [str(a) for a in args]
    return subprocess.Popen(argv, stdin=kwargs.pop("stdin", subprocess.DEVNULL), stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, env={**os.environ, **(env or {})}, **kwargs)


def wait_done(process, count):
    """Wait until so many bytes are done."""
    process.early = []
    for line in process.stdout:
        process.early.append(line)
        if json.loads(line).get("done", 0) >= count:
            return
    raise AssertionError("it ended too early")


def end_copy(process, timeout=60):
    if hasattr(process, "early"):
        killer = threading.Timer(timeout * SLOW, process.kill)
        killer.start()
        with process.stdout, process.stderr:
            result = Result(0, parse_events("".join(process.early) + process.stdout.read()), process.stderr.read())
        result.code = process.wait()
        killer.cancel()
        return result
    try:
        out, err = process.communicate(timeout=timeout * SLOW)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise AssertionError(f"hangs; it said: {out[-2000:]} {err[-2000:]}")
    return Result(process.returncode, parse_events(out) if out.startswith("{") else [], err)


def run_copy(*args, timeout=60, **kwargs):
    return end_copy(start_copy(*args, **kwargs), timeout)


def listens(path):
    """Is somebody behind the UNIX socket?  Not asked by connecting: a server may serve one client only."""
    with open("/proc/net/unix", encoding="utf-8", errors="replace") as table:
        rows = [line.split() for line in table]
    # The flags' __SO_ACCEPTCON
    return any(row[-1] == path and int(row[3], 16) & 0x10000 for row in rows[1:] if len(row) == 8)


class Server:
    """A server process that listens on a UNIX socket."""

    def __init__(self, argv, socket):
        self.argv = [str(a) for a in argv]
        self.socket = socket
        self.process = None
        self.start()

    @property
    def uri(self):
        return f"nbd+unix:///?socket={self.socket}"

    def start(self):
        if os.path.exists(self.socket):
            os.unlink(self.socket)
        self.process = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.PIPE, start_new_session=True, text=True)
        deadline = time.monotonic() + 10 * SLOW
        while not listens(self.socket):
            assert self.process.poll() is None, f"{self.argv[0]}: {self.process.stderr.read()}"
            assert time.monotonic() < deadline, f"{self.argv[0]} does not start"
            time.sleep(0.01)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def signal(self, number):
        self.process.send_signal(number)

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process.stderr.close()


class Work:
    """A directory, and the servers to be stopped at the end."""

    def __init__(self, directory):
        self.directory = directory
        self.servers = []
        self.count = 0

    def __truediv__(self, name):
        return os.path.join(self.directory, name)

    def server(self, argv_of):
        self.count += 1
        socket = self / f"s{self.count}"
        server = Server(argv_of(socket), socket)
        self.servers.append(server)
        return server

    def nbdkit(self, *args):
        return self.server(lambda s: ["nbdkit", "-f", "-U", s, *args])

    def qemu_nbd(self, path, *args, fmt="raw"):
        return self.server(lambda s: ["qemu-nbd", "-t", "-e", "16", "-f", fmt, "-k", s, *args, path])

    def stop(self):
        for server in self.servers:
            server.stop()


@pytest.fixture
def work():
    # Not in /tmp, which may be a tmpfs without O_DIRECT.
    with tempfile.TemporaryDirectory(prefix="engine-", dir="/var/tmp") as directory:
        tools = Work(directory)
        yield tools
        tools.stop()


def make_disk(path, size, seed=1, step=600000, longest=700000, grain=512):
    """A sparse disk: random data of random length at random places, also at the very end."""
    dice = random.Random(seed)
    with open(path, "wb") as f:
        f.truncate(size)
        at = 0
        while True:
            at += dice.randrange(0, step) // grain * grain
            n = dice.randrange(grain, longest)
            if at + n > size:
                break
            f.seek(at)
            f.write(dice.randbytes(n))
            at += n
        tail = min(size, 100)
        f.seek(size - tail)
        f.write(dice.randbytes(tail))
    return path


def make_dirty(path, size, seed=99):
    """A target full of something else."""
    dice = random.Random(seed)
    block = dice.randbytes(MIB)
    with open(path, "wb") as f:
        left = size
        while left:
            left -= f.write(block[:min(left, MIB)])
    return path


def same(a, b, length=None):
    """Byte compare of two files, the judge of all these tests."""
    with open(a, "rb") as x, open(b, "rb") as y:
        left = length
        while left is None or left:
            n = MIB if left is None else min(left, MIB)
            p, q = x.read(n), y.read(n)
            if p != q:
                return False
            if not p:
                return left is None
            if left is not None:
                left -= len(p)
    return True


def qemu_img(*args):
    subprocess.run(["qemu-img", *[str(a) for a in args]], check=True, stdout=subprocess.DEVNULL)


def need(program):
    assert shutil.which(program), f"{program} is missing (see packages.txt)"
