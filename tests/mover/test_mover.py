# SPDX-License-Identifier: Apache-2.0
"""The mover's image under QEMU, its disks plugged in and out by QEMU's monitor, read and written by blockferry-copy."""
import filecmp
import os

import nbd
import pytest

from mover import ADDRESS, PORT, build, copy, scan

pytestmark = pytest.mark.timeout(300)
WHO = "6f9619ff-8b86-d011-b42d-00c04fc964ff"


def test_reads(run_mover, disk, work):
    machine, certificates = run_mover()
    assert "mode=ro disks=0" in machine.mark  # its own disk is not one
    tls = ("--tls-certificates", certificates)
    one, two = disk("one"), disk("two", seed=2)
    name = machine.attach(one, WHO[:20])
    machine.attach(two, WHO, bus="scsi")
    out = os.path.join(work, "out")
    for path, identity in ((one, WHO[:20]), (two, WHO)):
        assert copy(*tls, machine.uri(identity), out)["event"] == "done"
        assert filecmp.cmp(path, out, shallow=False)
        os.unlink(out)
    # By its world wide name, too.
    assert "naa.5000c50000000002" in machine.console()

    # Nothing else listens.
    assert scan(ADDRESS) == [PORT]

    # Nothing is written.
    error = copy(*tls, two, machine.uri(WHO[:20]))
    assert error["event"] == "error" and "read-only" in str(error), error

    # Certificates of another mover, none, and no TLS at all.
    other = os.path.join(work, "other")
    build(os.path.join(work, "other.raw"), other)
    assert copy("--tls-certificates", other, machine.uri(WHO), out)["event"] == "error"
    stranger(certificates, other)
    assert copy("--tls-certificates", other, machine.uri(WHO), out)["event"] == "error"
    assert copy(f"nbd://{ADDRESS}:{PORT}/{WHO}", out)["event"] == "error"
    assert copy(*tls, machine.uri("vda"), out)["event"] == "error"

    # A disk that is pulled out while it is open costs its own connection only.
    with Nbd(certificates, WHO[:20]) as first, Nbd(certificates, WHO) as second:
        assert first.read(0, 512) == head(one) and second.read(0, 512) == head(two)
        machine.detach(name)
        machine.wait_console(f"DISK gone id={WHO[:20]}", 20)
        with pytest.raises(OSError):
            first.read(1 << 20, 512)
        assert second.read(0, 512) == head(two)
    assert copy(*tls, machine.uri(WHO[:20]), out)["event"] == "error"
    machine.attach(disk("three", seed=3), WHO[:20])
    assert copy(*tls, machine.uri(WHO[:20]), out)["event"] == "done"

    # Of two disks of one id neither is served: bytes of the wrong disk would be worse than none.
    seen = len(machine.console())
    machine.attach(disk("four", seed=4), WHO[:20], bus="scsi", wait=False)
    machine.wait_console(f"DISK gone id={WHO[:20]}", 20, after=seen)
    assert copy(*tls, machine.uri(WHO[:20]), out)["event"] == "error"
    assert copy(*tls, machine.uri("naa.5000c50000000004"), out)["event"] == "done"


def test_writes(run_mover, disk):
    machine, certificates = run_mover("--writable")
    assert "mode=rw" in machine.mark
    one, blank, other = disk("one"), disk("blank", seed=0), disk("other", seed=0)
    machine.attach(blank, "volume-1")
    machine.attach(other, "volume-2", bus="scsi")
    for identity in ("volume-1", "volume-2"):
        assert copy("--tls-certificates", certificates, one, machine.uri(identity))["event"] == "done"
    # The copy has flushed: what the files hold now is what counts, whatever becomes of the mover.
    machine.stop()
    assert filecmp.cmp(one, blank, shallow=False) and filecmp.cmp(one, other, shallow=False)


def head(path):
    with open(path, "rb") as file:
        return file.read(512)


def stranger(certificates, other):
    """The other mover's client, which trusts this mover's CA: only the server can refuse it."""
    with open(os.path.join(certificates, "ca-cert.pem")) as ours, \
            open(os.path.join(other, "ca-cert.pem"), "w") as theirs:
        theirs.write(ours.read())


class Nbd:
    """One connection, by the smallest client: what it asks is answered or the connection is lost."""

    def __init__(self, certificates, export):
        self.certificates = certificates
        self.export = export

    def __enter__(self):
        self.handle = nbd.NBD()
        self.handle.set_tls(nbd.TLS_REQUIRE)
        self.handle.set_tls_certificates(self.certificates)
        self.handle.set_export_name(self.export)
        self.handle.connect_tcp(ADDRESS, str(PORT))
        return self

    def read(self, offset, count):
        try:
            return bytes(self.handle.pread(count, offset))
        except nbd.Error as error:
            raise OSError(str(error)) from error

    def __exit__(self, *_):
        self.handle = None
