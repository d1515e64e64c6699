# SPDX-License-Identifier: Apache-2.0
"""The rows of `bench` that need a cluster: tests/lab/ceph, started for them."""
import contextlib
import os
import random
import shlex
import subprocess

GIB = 1 << 30
KIB = 1 << 10


class RbdRows:
    """Part of Bench, which has the rest."""

    @contextlib.contextmanager
    def cluster(self):
        lab = os.path.join(self.top, "tests/lab/ceph")
        directory = self.path("ceph")
        done = subprocess.run([lab, "up", directory], check=True, stdout=subprocess.PIPE, text=True)
        os.environ["CEPH_CONF"] = done.stdout.strip()
        try:
            yield
        finally:
            del os.environ["CEPH_CONF"]
            subprocess.run([lab, "destroy", directory], check=True)

    @staticmethod
    def rbd(*args, check=True, **options):
        subprocess.run(["rbd", *map(str, args)], check=check, stdout=subprocess.DEVNULL, **options)

    def same_as_image(self, path, image):
        """By qemu's own RBD driver, which skips what is a hole on both sides."""
        if subprocess.run(["qemu-img", "compare", "-q", "-f", "raw", "-F", "raw", path, f"rbd:{image}"],
                          check=False).returncode != 0:
            raise SystemExit(f"{path} and {image} differ: the result of a run is wrong")

    def row_rbd(self):
        source = self.sparse_disk()
        sock = self.path("rbd.sock")
        uri = f"nbd+unix:///?socket={sock}"
        ours = [self.copy, "--progress", "none", "--target-is-zero", "--journal", self.path("journal"),
                "--digest", self.path("digest"), uri, "rbd:volumes/target"]

        def prepare():
            for name in ("journal", "digest"):
                if os.path.exists(self.path(name)):
                    os.unlink(self.path(name))
            for image in ("target", "import"):
                self.rbd("rm", "--no-progress", f"volumes/{image}", check=False, stderr=subprocess.DEVNULL)
            self.rbd("create", "--size", "4G", "volumes/target")

        def check(_):
            self.same_as_image(source, "volumes/target")

        def check_import(label):
            self.same_as_image(source, "volumes/target" if label == "ours" else "volumes/import")

        what = "full copy, 4 GiB sparse with 25 % data, NBD -> RBD, flushed, journal + digest"
        with self.cluster(), self.server(["nbdkit", "-f", "-U", sock, "file", source], sock):
            self.row(what, "qemu-img convert -n -W -m 16 -t none --target-is-zero",
                     self.pairs_of(ours, ["qemu-img", "convert", "-n", "-W", "-m", "16", "-t", "none",
                                          "--target-is-zero", "-f", "raw", "-O", "raw", uri, "rbd:volumes/target"],
                                   prepare, check), {"wall": 0.90, "cpu": 0.7, "memory": 40},
                     "the OSD, which has the same two cores and gets the same bytes from all; of the memory, "
                     "librbd and librados with their threads are 35 MiB, the rest are buffers")
            self.row(what, "rbd import (of the file itself)",
                     self.pairs_of(ours, ["rbd", "import", "--no-progress", source, "volumes/import"],
                                   prepare, check_import), {"wall": 0.60},
                     "the OSD; and rbd import reads the file itself while the copy has a server beside it")

    def row_rbd_delta(self):
        source = self.sparse_disk()
        wanted = self.path("rbd-wanted.raw")
        # Both leave a snapshot on the target: import-diff by itself.
        ours = shlex.join([self.copy, "--progress", "none", "--since", "s0", "rbd:volumes/source@s1",
                           "rbd:replicas/target"]) + " && rbd snap create --no-progress replicas/target@s1"
        theirs = ("set -o pipefail; rbd export-diff --no-progress --from-snap s0 volumes/source@s1 - | "
                  "rbd import-diff --no-progress - replicas/target")

        def prepare():
            self.rbd("snap", "rm", "--no-progress", "replicas/target@s1", check=False, stderr=subprocess.DEVNULL)
            self.rbd("snap", "rollback", "--no-progress", "replicas/target@s0")

        def check(_):
            self.same_as_image(wanted, "replicas/target@s1")

        with self.cluster():
            for image in ("volumes/source", "replicas/target"):
                self.rbd("import", "--no-progress", source, image)
                self.rbd("snap", "create", "--no-progress", f"{image}@s0")
            chance = random.Random(4)
            offsets = sorted(chance.sample(range(4 * GIB // (64 * KIB)), 1310))
            commands = "".join(f"write -q -P {1 + i % 250} {o * 64 * KIB} 64k\n" for i, o in enumerate(offsets))
            subprocess.run(["qemu-io", "-f", "raw", "rbd:volumes/source"], input=commands.encode(), check=True,
                           stdout=subprocess.DEVNULL)
            self.rbd("snap", "create", "--no-progress", "volumes/source@s1")
            self.rbd("export", "--no-progress", "volumes/source@s1", wanted)
            self.row("RBD delta 2 %, 64 KiB blocks, snapshot to snapshot in another pool",
                     "rbd export-diff | import-diff",
                     self.pairs_of(["bash", "-c", ours], ["bash", "-c", theirs], prepare, check), {"wall": 0.50},
                     "the OSD, which reads, clones for the snapshot and writes the same objects for both; "
                     "each process of ours starts librados anew")
