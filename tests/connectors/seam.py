# SPDX-License-Identifier: Apache-2.0
"""The seam program as an object, the lab, and one replication's steps as the service takes them."""
import itertools
import json
import os
import pathlib
import subprocess
import tempfile

LAB = pathlib.Path(__file__).resolve().parent.parent / "lab"
COMMAND_TIMEOUT_S = 240

_numbers = itertools.count(1)


def new_tag():
    """A ledger row's tag; unique in this run."""
    return f"bf-{os.getpid():08x}{next(_numbers):08x}"


def run(*args, timeout=120, **kwargs):
    done = subprocess.run([str(a) for a in args], capture_output=True, text=True, timeout=timeout,
                          check=False, **kwargs)
    assert done.returncode == 0, f"{args}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout.strip()


class Lab:
    def __init__(self, directory):
        self.dir = directory
        self.uri = None

    def up(self):
        self.uri = run(LAB / "libvirt", "up", self.dir, timeout=180)

    def stop(self):
        run(LAB / "libvirt", "stop", self.dir, timeout=180)

    def restart(self, *flags):
        run(LAB / "libvirt", "restart", self.dir, *flags, timeout=180)

    def restart_dead(self):
        """Start a libvirtd that was killed; guests kept running."""
        self.up()

    def pids(self, name):
        lines = run(LAB / "libvirt", "pids", self.dir).splitlines()
        return [int(line.split()[0]) for line in lines if line.split()[1].startswith(name)]

    def virsh(self, *args, check=True):
        done = subprocess.run(["virsh", "-q", "-c", self.uri, *map(str, args)],
                              capture_output=True, text=True, timeout=120, check=False)
        assert not check or done.returncode == 0, done.stderr
        return done.stdout.strip()

    def domain(self, verb, name, *args, timeout=180):
        return run(LAB / "domain", verb, self.uri, name, *args, timeout=timeout)

    def image(self, name, size="64M", fmt="qcow2", where="images", backing=None):
        path = self.dir / where / name
        extra = ["-b", backing, "-F", "qcow2"] if backing else []
        run("qemu-img", "create", "-q", "-f", fmt, *extra, path, *([] if backing else [size]))
        return path

    def guest(self, name, *disks, start=True, net=True):
        """A paused guest: it takes no CPU, its disks can be written through QEMU all the same."""
        arguments = [a for disk in disks for a in ("--disk", disk)]
        if net:
            arguments += ["--net", "lab"]
        self.domain("define", name, *arguments)
        if start:
            self.domain("start", name, "--paused")
        return self.virsh("domuuid", name)

    def write(self, name, dev, offset, length, pattern):
        self.domain("write", name, dev, offset, length, pattern)

    def clean(self):
        """After a failed test: what it left must not fail the next one."""
        for name in self.virsh("list", "--all", "--name").splitlines():
            self.forget(name)
        for where in ("pool", "pool-small", "images"):
            for path in (self.dir / where).iterdir():
                path.unlink()
            if where != "images":
                self.virsh("pool-refresh", "default" if where == "pool" else "small")

    def forget(self, name):
        self.domain("destroy", name, "--undefine")


class SeamError(Exception):
    def __init__(self, error):
        super().__init__(f"{error['code']}: {error['message']} | {error.get('evidence')}")
        self.code = error["code"]
        self.message = error["message"]
        self.error = error


class Seam:
    def __init__(self, lab):
        self.lab = lab
        # Not below the lab: the work directory is the service's.
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="bfw-", dir="/tmp"))
        self.process = None

    def __enter__(self):
        self.process = subprocess.Popen([os.environ["SEAM"]], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *exc):
        self.process.stdin.close()
        code = self.process.wait(timeout=COMMAND_TIMEOUT_S)
        left = os.listdir(self.work)
        for name in left:
            (self.work / name).unlink()
        self.work.rmdir()
        if exc[0] is None:
            assert code == 0, f"seam ended with {code}"
            assert not left, f"left in the work directory: {left}"

    def kill(self):
        """As the service dies: nothing is closed."""
        self.process.kill()
        self.process.wait(timeout=30)
        self.process.stdout.close()
        self.__enter__()

    def open_lab(self, p="lab", **options):
        self.call("open", p=p, url=self.lab.uri, work=str(self.work),
                  options=options or None)

    def call(self, do, p="lab", **fields):
        self.process.stdin.write(json.dumps({"do": do, "p": p, **fields}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, f"seam ended at {do}: {self.process.wait(timeout=30)}"
        answer = json.loads(line)
        if not answer["ok"]:
            raise SeamError(answer["error"])
        return answer

    def tagged(self, kind=None):
        return [t for t in self.call("tagged")["tagged"] if kind is None or t["kind"] == kind]


def copy(source, target, timeout=180):
    """One disk of a round by blockferry-copy; returns its last line ("done")."""
    args = [os.environ["BLOCKFERRY_COPY"], "--progress", "json"]
    if source["map"] == "bitmap":
        args += ["--dirty-bitmap", source["map_name"]]
    if source["map"] == "file":
        args += ["--map", source["map_name"]]
    if source.get("tls"):
        args += ["--tls-certificates", source["tls"]]
    if target["reads_as_zero"]:
        args += ["--target-is-zero"]
    output = run(*args, source["uri"], target["uri"], timeout=timeout)
    done = [json.loads(line) for line in output.splitlines()][-1]
    assert done["event"] == "done", output
    return done


class Replication:
    """The steps of rounds in the order the service keeps, for all disks of one machine."""

    def __init__(self, seam, machine, disks, storage=None):
        self.seam = seam
        self.machine = machine
        self.disks = disks
        self.storage = storage
        self.baseline = None
        self.volumes = {}
        self.points = {disk: [] for disk in disks}
        self.last_tag = None

    def create_volumes(self):
        described = self.seam.call("machine", machine=self.machine)["machine"]
        sizes = {disk["key"]: disk["size_bytes"] for disk in described["disks"]}
        for disk in self.disks:
            self.volumes[disk] = self.seam.call("create_volume", tag=new_tag(), disk=disk,
                                                name=f"test {disk}", storage=self.storage,
                                                size=sizes[disk])["volume"]

    def snapshot(self, tag=None, **fields):
        self.last_tag = tag or new_tag()
        return self.seam.call("snapshot", machine=self.machine, tag=self.last_tag,
                              disks=self.disks, baseline=self.baseline, **fields)

    def copy_disk(self, snapshot, disk):
        delta = snapshot["disks"][disk]["delta"]
        last = self.points[disk][-1] if delta else None
        source = self.seam.call("open_disk", ref=snapshot["ref"], disk=disk)
        target = self.seam.call("open_volume", volume=self.volumes[disk], tag=self.last_tag,
                                last_point=last)
        done = copy(source, target)
        self.seam.call("close_volume", handle=target["handle"])
        self.seam.call("close_disk", handle=source["handle"])
        point = self.seam.call("make_point", volume=self.volumes[disk], tag=self.last_tag)
        self.points[disk].append(point["point"])
        return done

    def complete(self, snapshot):
        self.seam.call("release", machine=self.machine, ref=snapshot["ref"])
        if self.baseline:
            self.seam.call("drop_baseline", machine=self.machine, baseline=self.baseline)
        self.baseline = snapshot["baseline"]

    def round(self, **fields):
        """A whole round; returns (snapshot, {disk: done})."""
        if not self.volumes:
            self.create_volumes()
        snapshot = self.snapshot(**fields)
        done = {disk: self.copy_disk(snapshot, disk) for disk in self.disks}
        self.complete(snapshot)
        return snapshot, done

    def compare(self, disk, path, fmt="qcow2", point=-1):
        """The point holds the same bytes as an image of the source that nobody writes now."""
        opened = self.seam.call("open_point", volume=self.volumes[disk],
                                point=self.points[disk][point])
        try:
            run("qemu-img", "compare", "-U", "-f", fmt, "-F", "raw", path, opened["uri"])
        finally:
            self.seam.call("close_volume", handle=opened["handle"])

    def remove(self):
        if self.baseline:
            self.seam.call("drop_baseline", machine=self.machine, baseline=self.baseline)
        for volume in self.volumes.values():
            self.seam.call("delete_volume", volume=volume)
