# SPDX-License-Identifier: Apache-2.0
"""Tools of the Ceph tests: the lab's cluster, images, and those of the engine tests."""
import contextlib
import importlib.util
import os
import random
import subprocess
import sys
import tempfile
import time

import rados
import rbd

HERE = os.path.dirname(os.path.abspath(__file__))
LAB = os.path.join(HERE, "../lab/ceph")
MIB = 1 << 20


def load_engine_tools():
    """tests/engine/conftest.py under a name that is not taken here."""
    spec = importlib.util.spec_from_file_location("engine_tools", os.path.join(HERE, "../engine/conftest.py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules["engine_tools"] = module
    spec.loader.exec_module(module)
    return module


engine = load_engine_tools()


class Lab:
    def __init__(self):
        self.directory = tempfile.mkdtemp(prefix="bf-ceph.", dir="/var/tmp")
        self.conf = self.run("up")

    def run(self, verb, *args):
        done = subprocess.run([LAB, verb, self.directory, *args], capture_output=True, text=True, timeout=240,
                              check=False)
        assert done.returncode == 0, f"lab/ceph {verb}: {done.stderr}"
        return done.stdout.strip()

    def destroy(self):
        self.run("destroy")
        assert not os.path.exists(self.directory)

    def pid(self, name):
        return next(int(line.split()[0]) for line in self.run("pids").splitlines() if line.endswith(name))


class Cluster:
    """The lab, and a connection to it."""

    def __init__(self):
        self.lab = Lab()
        self.count = 0
        self.connect()

    def connect(self):
        # What a test has killed is not to hang the tests.
        self.rados = rados.Rados(conffile=self.lab.conf, conf={"rbd_cache": "false"})
        self.rados.connect(timeout=30)
        self.pools = {name: self.rados.open_ioctx(name) for name in ("volumes", "replicas")}

    def close(self):
        for pool in self.pools.values():
            pool.close()
        self.rados.shutdown()
        self.lab.destroy()

    def uri(self, spec, user="mover", conf=None):
        return f"rbd:{spec}?conf={conf or self.lab.conf}&id={user}"

    def tool(self, program, *args):
        done = subprocess.run([program, "-c", self.lab.conf, *map(str, args)], check=False, timeout=120,
                              capture_output=True, text=True)
        assert done.returncode == 0, f"{program} {args}: {done.stderr}"
        return done.stdout

    def rbd(self, *args):
        return self.tool("rbd", *args)

    def ceph(self, *args):
        return self.tool("ceph", *args)

    def new(self, size, pool="volumes", features=None):
        """A new empty image; returns its name "pool/image"."""
        self.count += 1
        name = f"i{self.count}"
        rbd.RBD().create(self.pools[pool], name, size, old_format=False, features=features)
        return f"{pool}/{name}"

    @contextlib.contextmanager
    def image(self, spec, snapshot=None):
        pool, name = spec.split("/")
        with rbd.Image(self.pools[pool], name, snapshot=snapshot, read_only=snapshot is not None) as image:
            yield image

    def snapshot(self, spec, name):
        """Make it; returns its id."""
        with self.image(spec) as image:
            image.create_snap(name)
            return image.snap_get_id(name)

    def fill(self, spec, seed=1, size=None):
        """Overwrite the whole image with something."""
        dice = random.Random(seed)
        block = dice.randbytes(4 * MIB)
        with self.image(spec) as image:
            size = size or image.size()
            for at in range(0, size, len(block)):
                image.write(block[:size - at], at)

    def upload(self, path, pool="volumes"):
        """An image with the file's content, made by rbd import."""
        self.count += 1
        spec = f"{pool}/i{self.count}"
        self.rbd("import", "--no-progress", path, spec)
        return spec

    def is_like(self, spec, path):
        """Judge: is the image byte for byte the file?  (Both of one length.)"""
        with tempfile.TemporaryDirectory(prefix="ceph-", dir="/var/tmp") as directory:
            out = os.path.join(directory, "export")
            self.export(spec, out)
            return engine.same(out, path)

    def export(self, spec, path):
        if os.path.exists(path):
            os.unlink(path)
        self.rbd("export", "--no-progress", spec, path)
        return path

    def objects(self, spec):
        """Numbers of the objects that the image's head has."""
        with self.image(spec) as image:
            prefix = f"rbd_data.{image.id()}."
        pool = self.pools[spec.split("/")[0]]
        return sorted(int(o.key[len(prefix):], 16) for o in pool.list_objects() if o.key.startswith(prefix))

    def watchers(self, spec):
        with self.image(spec) as image:
            return len(list(image.watchers_list())) - 1

    def wait_unwatched(self, spec, seconds):
        deadline = time.monotonic() + seconds
        while self.watchers(spec):
            assert time.monotonic() < deadline, "somebody has it open still"
            time.sleep(0.5)
