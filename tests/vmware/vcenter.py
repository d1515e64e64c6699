# SPDX-License-Identifier: Apache-2.0
"""The vCenter of the tests (tests/lab/vmware), machines that write their disks, and the stand-in
for VMware's library."""
import json
import os
import pathlib
import random
import shutil
import ssl
import subprocess
import tempfile
import urllib.error
import urllib.request

import pytest

from seam import LAB, Seam, SeamError, copy, new_tag, run

GRAIN = 64 << 10


class VCenter:
    def __init__(self, *machines, **flags):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="bfv-", dir="/tmp"))
        self.arguments = list(machines)
        if flags.get("fill"):
            self.arguments += ["--fill", flags["fill"]]
        if flags.get("esx"):
            self.arguments += ["--esx"]
        if flags.get("cluster"):
            self.arguments += ["--cluster"]
        self.arguments += ["--mover"] * int(flags.get("mover", 0))
        self.url = None
        self.library = self.dir / "vddk"
        (self.library / "lib64").mkdir(parents=True)
        (self.dir / "disks").mkdir()
        shutil.copy(os.environ["VDDK_STANDIN"], self.library / "lib64/libvixDiskLib.so.8")
        self.standin()

    def up(self):
        self.url = run(LAB / "vmware", "up", self.dir, *self.arguments, timeout=180)

    def stop(self):
        run(LAB / "vmware", "stop", self.dir)

    def read(self, name):
        return (self.dir / name).read_text().strip()

    def standin(self, **settings):
        """How the library behaves in processes that start from now on."""
        lines = [f"root={self.dir}"] + [f"{key}={value}" for key, value in settings.items()]
        (self.library / "standin.conf").write_text("\n".join(lines) + "\n")

    @property
    def options(self):
        return {"ca_file": f"{self.dir}/tls/cert.pem", "library_directory": str(self.library)}

    def control(self, **order):
        """An order to the front; its state as it is then."""
        context = ssl.create_default_context(cafile=f"{self.dir}/tls/cert.pem")
        request = urllib.request.Request(self.url + "/lab", json.dumps(order).encode(),
                                         {"X-Lab": self.read("token")})
        try:
            with urllib.request.urlopen(request, context=context, timeout=30) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()) from error

    def trouble(self, method, kind, **more):
        self.control(trouble={"method": method, "kind": kind, **more})

    def set(self, machine, **values):
        self.control(machine=machine, set={k.replace("__", "."): v for k, v in values.items()})

    def count_connections(self):
        """From now on; the answer says how many disks were open at a time at most."""
        log = self.dir / "connections"
        log.write_text("")

        def most():
            now = top = 0
            for line in log.read_text().splitlines():
                now += 1 if line == "open" else -1
                top = max(top, now)
            return top
        return most

    def moref(self, machine):
        return self.control()["machines"][machine]

    def snapshots(self):
        return self.control()["snapshot_names"]

    # --- the machines' disks ---

    def disk(self, machine, number):
        return self.dir / f"disks/{machine}-{number}.raw"

    def write(self, machine, number, offset, data):
        with open(self.disk(machine, number), "r+b") as raw:
            raw.seek(offset)
            raw.write(data)

    def scribble(self, machine, seed, disks=(1, 2), writes=12):
        """As a guest that works: here and there, of odd lengths."""
        rng = random.Random(seed)
        for number in disks:
            size = self.disk(machine, number).stat().st_size
            for _ in range(writes):
                length = rng.choice((512, 4096, GRAIN, 3 * GRAIN + 512))
                offset = rng.randrange(0, (size - length) // 512) * 512
                self.write(machine, number, offset, rng.randbytes(length))

    def frozen(self, machine, number):
        """The image of the one snapshot that there is."""
        found = list((self.dir / "frozen").glob(f"*/{machine}_disk{number}.vmdk.raw"))
        assert len(found) == 1, found
        return found[0]

    def close(self):
        self.stop()
        shutil.rmtree(self.dir, ignore_errors=True)


class VMwareSeam(Seam):
    """The seam program with the vCenter opened as "vc"."""

    def open(self, p="vc", password=None, **options):
        vc = self.lab
        return self.call("open", p=p, type="vmware", url=vc.url, user=vc.read("user"),
                         password=password or vc.read("password"), work=str(self.work),
                         options={**vc.options, **options})

    def reopen(self, **options):
        self.call("close")
        return self.open(**options)

    def call(self, do, p="vc", **fields):
        return super().call(do, p, **fields)


class Rounds:
    """Rounds of one machine into raw files, in the order that the service keeps."""

    def __init__(self, seam, vc, machine, disks=("2000", "2001")):
        self.seam, self.vc, self.name = seam, vc, machine
        self.machine = vc.moref(machine)
        self.disks = list(disks)
        self.baseline = None
        self.target = {d: vc.dir / f"target-{machine}-{d}.raw" for d in self.disks}

    def snapshot(self, tag=None, **fields):
        self.seam.call("prepare", machine=self.machine)
        return self.seam.call("snapshot", machine=self.machine, tag=tag or new_tag(),
                              disks=self.disks, baseline=self.baseline, **fields)

    def copy(self, snapshot):
        done = {}
        for number, disk in enumerate(self.disks, 1):
            source = self.seam.call("open_disk", ref=snapshot["ref"], disk=disk)
            try:
                delta = snapshot["disks"][disk]["delta"]
                assert source["map"] == ("file" if delta else "allocation")
                if not delta:
                    self.target[disk].unlink(missing_ok=True)
                done[disk] = copy(source | {"reads_as_zero": False},
                                  {"uri": str(self.target[disk]), "reads_as_zero": False})
            finally:
                self.seam.call("close_disk", handle=source["handle"])
            run("cmp", self.vc.frozen(self.name, number), self.target[disk])
        return done

    def complete(self, snapshot):
        self.seam.call("release", machine=self.machine, ref=snapshot["ref"])
        self.baseline = snapshot["baseline"]

    def round(self, meanwhile=None, **fields):
        snapshot = self.snapshot(**fields)
        if meanwhile:
            meanwhile()
        done = self.copy(snapshot)
        self.complete(snapshot)
        return snapshot, done

    def full_and_five_deltas(self):
        """The machine writes between the rounds, and after each snapshot: that is the next round's."""
        self.vc.scribble(self.name, 1, writes=40)
        snapshot, _ = self.round(meanwhile=lambda: self.vc.scribble(self.name, 2))
        assert self.deltas(snapshot) == [False] * len(self.disks)
        for n in range(5):
            self.vc.scribble(self.name, 10 + n)
            snapshot, done = self.round(meanwhile=lambda: self.vc.scribble(self.name, 50 + n))
            assert self.deltas(snapshot) == [True] * len(self.disks)
            assert all(0 < done[d]["sent"] < 8 << 20 for d in self.disks)

    def deltas(self, snapshot):
        return [snapshot["disks"][d]["delta"] for d in self.disks]


def pids_below(directory):
    """Processes whose command line names a directory."""
    out = subprocess.run(["pgrep", "-f", str(directory)], capture_output=True, text=True,
                         check=False).stdout
    return [int(p) for p in out.split() if int(p) != os.getpid()]


def fails(code, word, call, *args, **fields):
    with pytest.raises(SeamError) as failed:
        call(*args, **fields)
    assert failed.value.code == code and word in str(failed.value), failed.value
