# SPDX-License-Identifier: Apache-2.0
"""blockferryd under test on a private libvirt lab, and a small client of its API.

BLOCKFERRYD names the daemon; the directory of blockferry-copy is in BLOCKFERRY_LIBEXEC.  Everything
lies below one directory under /tmp, as UNIX sockets need short paths.
"""
import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from urllib.parse import quote

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LAB = os.path.join(TOP, "tests/lab")
DAEMON = os.environ.get("BLOCKFERRYD", "")
TROUBLE = re.compile(r"Sanitizer|runtime error|Assertion .* failed|panic", re.IGNORECASE)
DEADLINE_S = 240


def run(*argv, check=True, timeout=300, **kwargs):
    done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout, check=False,
                          **kwargs)
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(argv)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout.strip()


def boot_sector(mark="BOOTMARK sector"):
    """512 bytes that say the mark on the first serial port and stop: a guest for tests of the service itself."""
    code = bytes.fromhex("31c0 8ed8 be407c ac 84c0 7412 88c4 bafd03 ec a820 74fb 88e0 baf803 ee ebe9 f4 ebfd")
    text = f"\r\n{mark}\r\n".encode() + b"\0"
    return code.ljust(0x40, b"\0") + text.ljust(510 - 0x40, b"\0") + b"\x55\xaa"


def appliance_cache():
    """An option of the daemon: libguestfs's appliance takes minutes to build, tests share one."""
    cache = os.path.join(os.environ.get("BLOCKFERRY_CACHE", "/var/cache/blockferry-lab"),
                         "appliance")
    os.makedirs(cache, exist_ok=True)
    return ["--cache", cache]


class ApiError(Exception):
    """An error body of the API."""

    def __init__(self, status, error):
        super().__init__(f"{status} {error.get('code')}: {error.get('message')}")
        self.status = status
        self.error = error
        self.code = error.get("code")


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Lab:
    """A private libvirtd."""

    def __init__(self, directory):
        self.directory = directory
        self.uri = run(f"{LAB}/libvirt", "up", directory)

    def stop(self):
        run(f"{LAB}/libvirt", "stop", self.directory, check=False)

    def restart(self, *options):
        run(f"{LAB}/libvirt", "restart", self.directory, *options)

    @contextlib.contextmanager
    def held(self):
        """Nothing is answered meanwhile; what is asked waits."""
        listed = run(f"{LAB}/libvirt", "pids", self.directory).splitlines()
        pid = next(int(line.split()[0]) for line in listed if line.split()[1] == "libvirtd")
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def virsh(self, *argv, check=True):
        return run("virsh", "-q", "-c", self.uri, *argv, check=check)

    def domain(self, verb, name, *argv, **kwargs):
        return run(f"{LAB}/domain", verb, self.uri, name, *argv, **kwargs)

    def machine(self, name, sizes=("16M",), start=True, bus="sata", fmt="qcow2", extra=()):
        """A machine with empty disks, its CPU stopped: it exists for its disks alone."""
        disks = []
        for i, size in enumerate(sizes):
            path = f"{self.directory}/images/{name}-{i}.{fmt}".replace(" ", "_")
            run("qemu-img", "create", "-q", "-f", fmt, path, size)
            disks += ["--disk", f"{path},bus={bus},format={fmt}"]
        self.domain("define", name, *disks, "--net", "lab", "--memory", "64", *extra)
        if start:
            self.domain("start", name, "--paused")

    def write(self, name, offset, length, pattern, disk="sda"):
        self.domain("write", name, disk, str(offset), str(length), str(pattern))

    def checkpoints(self, name):
        return self.virsh("checkpoint-list", name, "--name", check=False).split()

    def has_backup_job(self, name):
        return "Operation" in self.virsh("domjobinfo", name, check=False) and \
            "Backup" in self.virsh("domjobinfo", name, check=False)


class Daemon:
    """One blockferryd, started and ended by hand."""

    def __init__(self, directory, env=None):
        self.directory = directory
        self.socket = f"{directory}/api.sock"
        self.log = f"{directory}/log"
        self.env = {**os.environ, **(env or {})}
        self.process = None
        self.options = []

    def start(self, wait=True):
        with open(self.log, "a", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                [DAEMON, "--state", f"{self.directory}/state", "--run", f"{self.directory}/run",
                 "--socket", self.socket, "--log-level", "debug", *self.options],
                stderr=log, stdout=log, stdin=subprocess.DEVNULL, env=self.env)
        if wait:
            self.wait_until(self.answers, 30, "the daemon to answer")

    def answers(self):
        if self.process.poll() is not None:
            raise AssertionError(f"blockferryd ended with {self.process.returncode}: "
                                 + self.tail())
        try:
            self.get("/status")
            return True
        except OSError:
            return False

    def tail(self, count=40):
        with open(self.log, encoding="utf-8", errors="replace") as log:
            return "".join(log.readlines()[-count:])

    def stop(self):
        if not self.process:
            return
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(60)
        self.process = None
        with open(self.log, encoding="utf-8", errors="replace") as log:
            text = log.read()
        assert not TROUBLE.search(text), TROUBLE.search(text).group(0) + "\n" + self.tail()
        assert code == 0, f"exit code {code}\n{self.tail()}"

    def kill(self):
        self.process.kill()
        self.process.wait(30)
        self.process = None

    # --- the API ---

    def call(self, method, path, body=None, timeout=60):
        connection = UnixConnection(self.socket, timeout)
        try:
            text = None if body is None else json.dumps(body)
            headers = {} if body is None else {"Content-Type": "application/json"}
            connection.request(method, "/v1" + path, text, headers)
            answer = connection.getresponse()
            data = answer.read()
        finally:
            connection.close()
        value = json.loads(data) if data else None
        if answer.status >= 400:
            raise ApiError(answer.status, value["error"])
        return value

    def get(self, path, **kwargs):
        return self.call("GET", path, **kwargs)

    def post(self, path, body=None, **kwargs):
        return self.call("POST", path, {} if body is None else body, **kwargs)

    def show(self, name):
        return self.get(f"/replications/{quote(name)}")

    def list(self, name, what):
        return self.get(f"/replications/{quote(name)}/{what}")[what]

    def verb(self, name, verb, **body):
        return self.post(f"/replications/{quote(name)}/{verb}", body)

    def ledger(self, everything=False):
        return self.get("/ledger" + ("?all=1" if everything else ""))["ledger"]

    # --- waiting ---

    @staticmethod
    def wait_until(test, seconds=DEADLINE_S, what="it"):
        end = time.monotonic() + seconds
        while True:
            value = test()
            if value:
                return value
            if time.monotonic() > end:
                raise AssertionError(f"waited {seconds} s for {what}")
            time.sleep(0.05)

    def wait_job(self, name, job, seconds=DEADLINE_S):
        """The end of a job; its object."""
        def ended():
            try:
                jobs = self.list(name, "jobs")
            except ApiError as error:
                if error.code == "no-such-replication":
                    return {"state": "done", "error": None}
                raise
            return next((j for j in jobs if j["id"] == job and j["ended_at"]), None)
        return self.wait_until(ended, seconds, f"job {job}")

    def do(self, name, verb, **body):
        """A verb and its job, which has to succeed."""
        job = self.wait_job(name, self.verb(name, verb, **body)["job"])
        assert job["state"] == "done", json.dumps(job, indent=1) + self.tail()
        return job

    def wait_state(self, name, *states, seconds=DEADLINE_S):
        def reached():
            one = self.show(name)
            if one["state"] == "failed" and "failed" not in states:
                raise AssertionError(json.dumps(one["error"], indent=1) + "\n" + self.tail())
            return one if one["state"] in states and not one["job"] else None
        return self.wait_until(reached, seconds, f"{name} to be {' or '.join(states)}")

    def wait_rounds(self, name, count, seconds=DEADLINE_S):
        """Until so many rounds have ended."""
        def ended():
            rounds = [r for r in self.list(name, "rounds") if r["ended_at"]]
            return rounds if len(rounds) >= count and not self.show(name)["job"] else None
        return self.wait_until(ended, seconds, f"{count} rounds of {name}")


class World:
    """Lab and daemon together; source and target are one libvirt unless told otherwise."""

    def __init__(self, two_labs=False, options=()):
        self.directory = tempfile.mkdtemp(prefix="bf-", dir="/tmp")
        self.source = Lab(f"{self.directory}/a")
        self.target = Lab(f"{self.directory}/b") if two_labs else self.source
        self.daemon = Daemon(f"{self.directory}/d")
        self.daemon.options = list(options)
        os.mkdir(f"{self.directory}/d")
        self.daemon.start()
        for name, lab in (("src", self.source), ("dst", self.target)):
            self.daemon.post("/platforms", {"name": name, "type": "libvirt", "url": lab.uri})

    def close(self):
        try:
            if self.daemon.process:
                self.daemon.stop()
        finally:
            self.source.stop()
            if self.target is not self.source:
                self.target.stop()
            if not os.environ.get("BLOCKFERRY_KEEP"):
                shutil.rmtree(self.directory, ignore_errors=True)

    def replicate(self, machine, name=None, start=True, source="src", **policy):
        body = {"source": source, "machine": machine, "target": "dst", "name": name,
                "mapping": {"default_network": "lab", "isolated_network": "isolated"},
                "policy": {"interval": None, "convert": "none", "quiesce": "off",
                           "shutdown": "off", "shutdown_timeout": "2s", **policy},
                "start": start}
        one = self.daemon.post("/replications", body)
        if start:
            return self.daemon.wait_state(one["name"], "idle")
        return one

    # --- what is on disk ---

    def disk_files(self, lab, machine):
        xml = lab.virsh("dumpxml", machine)
        return re.findall(r"<source file='([^']+)'", xml)
