# SPDX-License-Identifier: Apache-2.0
"""The mover's guest: its program, with the disks that the vCenter of the tests has attached to its machine."""
import os
import pathlib
import socket
import subprocess
import time

from seam import run


def certificates(directory):
    """As mover/build makes them: a CA, the server's and one client's."""
    directory.mkdir()
    ca, key = directory / "ca-cert.pem", directory / "ca-key.pem"
    new = ("openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    run(*new, "-x509", "-days", "30", "-subj", "/CN=mover-ca", "-keyout", key, "-out", ca)
    for name, usage in (("server", "serverAuth"), ("client", "clientAuth")):
        extra = directory / f"{name}.ext"
        extra.write_text(f"extendedKeyUsage={usage}\nsubjectAltName=IP:127.0.0.1\n")
        run(*new, "-subj", f"/CN=mover-{name}", "-keyout", directory / f"{name}-key.pem",
            "-out", directory / f"{name}.csr")
        run("openssl", "x509", "-req", "-in", directory / f"{name}.csr", "-CA", ca, "-CAkey", key, "-set_serial",
            "1" if name == "server" else "2", "-days", "30", "-extfile", extra, "-out", directory / f"{name}-cert.pem")


class Guest:
    def __init__(self, vc, number=""):
        """number: "2" for the second mover."""
        self.vc, self.number = vc, number
        self.pki, self.exports = vc.dir / f"pki{number}", vc.dir / f"exports{number}"
        certificates(self.pki)
        self.exports.mkdir()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.log = vc.dir / f"mover{number}.log"
        self.process = None
        self.start()

    def start(self, *parameters):
        """Parameters are nbdkit's.  -w: what stands for disks here are files, which have no read-only flag."""
        with open(self.log, "w", encoding="ascii") as log:
            self.process = subprocess.Popen(
                [os.environ["MOVER_SERVE"], "-p", str(self.port), "-w", "-r", str(self.vc.dir / f"guest{self.number}"),
                 str(self.exports), "nbdkit", "--single", "--readonly", "--tls=require",
                 f"--tls-certificates={self.pki}", "--tls-verify-peer", *self.filters(parameters), "file",
                 f"dir={self.exports}", *parameters],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + 10
        while "MOVERMARK" not in self.log.read_text():
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)

    @staticmethod
    def filters(parameters):
        return ["--filter=delay"] if parameters else []

    def stop(self):
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        for pid in [*map(int, children.split()), self.process.pid]:
            try:
                os.kill(pid, 9)
            except ProcessLookupError:
                pass
        self.process.wait()

    @property
    def options(self):
        name = f"mover{self.number}"
        return {"library_directory": "/nonexistent", name: self.vc.moref(name),
                f"{name}_address": f"127.0.0.1:{self.port}", f"{name}_certificates": str(self.pki)}
