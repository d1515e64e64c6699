# SPDX-License-Identifier: Apache-2.0
"""Tools of the mover's tests: its image, a QEMU that runs it, disks that come and go."""
import ctypes
import json
import os
import select
import socket
import subprocess
import time

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.path.join(HERE, "../../mover/build")
SERVE = os.environ.get("MOVER_SERVE", "mover-serve")
COPY = os.environ.get("BLOCKFERRY_COPY", "blockferry-copy")
ADDRESS, HOST = "10.78.0.2", "10.78.0.1"
PORT = 10809
CLONE_NEWNET = 0x40000000
MIB = 1 << 20


def private_network():
    """This process gets a network of its own, with nothing in it but a tap device for the mover."""
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.unshare(CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
    for words in ("link set lo up", "tuntap add tap0 mode tap", f"address add {HOST}/24 dev tap0",
                  "link set tap0 up"):
        subprocess.run(["ip", *words.split()], check=True)


def build(out, certificates, *options):
    done = subprocess.run([BUILD, "--address", ADDRESS, *options, out, certificates], check=False, text=True,
                          capture_output=True, env={**os.environ, "MOVER_SERVE": SERVE}, timeout=60)
    assert done.returncode == 0, done.stderr


def copy(*args, timeout=120):
    """blockferry-copy; returns its last event."""
    done = subprocess.run([COPY, "--progress", "json", *map(str, args)], check=False, text=True, timeout=timeout,
                          capture_output=True, stdin=subprocess.DEVNULL)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert events and (events[-1]["event"] == "done") == (done.returncode == 0), (events, done.stderr)
    return events[-1]


class Monitor:
    """QMP, as a platform's API would be: devices are added to the running machine and removed."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(20)
        self.socket.connect(path)
        self.lines = self.socket.makefile("r")
        json.loads(self.lines.readline())
        self.events = []
        self.ask("qmp_capabilities")

    def ask(self, command, **arguments):
        self.socket.sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        while True:
            answer = json.loads(self.lines.readline())
            if "event" in answer:
                self.events.append(answer)
            else:
                assert "return" in answer, answer
                return answer["return"]

    def wait_event(self, name, seconds=20, **data):
        deadline = time.monotonic() + seconds
        while True:
            for event in self.events:
                if event["event"] == name and all(event.get("data", {}).get(k) == v for k, v in data.items()):
                    self.events.remove(event)
                    return
            assert time.monotonic() < deadline, f"no {name}"
            answer = json.loads(self.lines.readline())
            if "event" in answer:
                self.events.append(answer)


class Mover:
    """A mover's machine under QEMU."""

    def __init__(self, directory, image):
        self.directory = directory
        self.console_path = os.path.join(directory, "console")
        self.monitor_path = os.path.join(directory, "monitor")
        argv = ["qemu-system-x86_64", "-machine", "q35,accel=tcg", "-m", "256", "-nodefaults", "-display", "none",
                "-no-user-config", "-serial", f"file:{self.console_path}", "-snapshot",
                "-qmp", f"unix:{self.monitor_path},server=on,wait=off",
                "-drive", f"file={image},format=raw,if=virtio",
                "-netdev", "tap,id=net,ifname=tap0,script=no,downscript=no",
                "-device", "virtio-net-pci,netdev=net", "-device", "virtio-scsi-pci,id=scsi"]
        for at in range(4):
            argv += ["-device", f"pcie-root-port,id=slot{at},chassis={at + 1}"]
        self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL)
        self.monitor = None
        self.count = 0

    def console(self):
        try:
            with open(self.console_path, errors="replace") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def wait_console(self, word, seconds=90, after=0):
        deadline = time.monotonic() + seconds
        while word not in self.console()[after:]:
            assert self.process.poll() is None, "qemu ended"
            assert time.monotonic() < deadline, f"no {word}: {self.console()[-2000:]}"
            time.sleep(0.05)
        return next(line for line in self.console()[after:].splitlines() if word in line)

    def ready(self):
        mark = self.wait_console("MOVERMARK")
        self.monitor = Monitor(self.monitor_path)
        return mark

    def attach(self, path, identity, bus="virtio", wait=True):
        """A raw file becomes a disk of this id."""
        self.count += 1
        name = f"d{self.count}"
        seen = len(self.console())
        self.monitor.ask("blockdev-add", driver="raw", **{"node-name": name}, file={"driver": "file", "filename": path})
        if bus == "virtio":
            self.monitor.ask("device_add", driver="virtio-blk-pci", drive=name, id=f"dev-{name}", serial=identity,
                             bus=f"slot{self.count % 4}")
        else:
            self.monitor.ask("device_add", driver="scsi-hd", drive=name, id=f"dev-{name}", serial=identity,
                             bus="scsi.0", wwn=0x5000c50000000000 + self.count)
        if wait:
            self.wait_console(f"DISK here id={identity} ", 20, after=seen)
        return name

    def detach(self, name):
        self.monitor.ask("device_del", id=f"dev-{name}")
        self.monitor.wait_event("DEVICE_DELETED", device=f"dev-{name}")
        self.monitor.ask("blockdev-del", **{"node-name": name})

    def uri(self, identity):
        return f"nbds://{ADDRESS}:{PORT}/{identity}"

    def stop(self):
        self.process.kill()
        self.process.wait()


def scan(address, first=1, last=65535, batch=512):
    """TCP ports that accept a connection."""
    found = []
    for start in range(first, last + 1, batch):
        waiting = {}
        for port in range(start, min(start + batch, last + 1)):
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex((address, port))
            waiting[sock.fileno()] = (sock, port)
        poll = select.poll()
        for number in waiting:
            poll.register(number, select.POLLOUT)
        deadline = time.monotonic() + 20
        while waiting:
            events = poll.poll(1000)
            assert events or time.monotonic() < deadline, f"{len(waiting)} ports give no answer"
            for number, _ in events:
                sock, port = waiting.pop(number)
                poll.unregister(number)
                if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                    found.append(port)
                sock.close()
    return found
