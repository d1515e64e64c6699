# SPDX-License-Identifier: Apache-2.0
"""A libvirt that is not on this host as far as the connector can tell: TLS, user and password by
SASL, backup jobs over TCP."""
import os
import subprocess

import pytest

from listen import PASSWORD, USER
from seam import Replication, SeamError, new_tag

LISTEN = True


def open_far(lab, seam, url=None, user=USER, password=PASSWORD, p="far"):
    seam.call("open", p=p, url=url or lab.listener.url(), work=str(seam.work), user=user,
              password=password, options={"nbd_address": "127.0.0.1"})


@pytest.fixture
def remote(lab, seam):
    open_far(lab, seam)
    return seam


@pytest.mark.parametrize("user, password", [(USER, "wrong"), ("nobody", PASSWORD), (None, None)])
def test_wrong_credentials(lab, seam, user, password):
    with pytest.raises(SeamError) as refused:
        open_far(lab, seam, user=user, password=password)
    assert refused.value.code == "platform-auth", refused.value.error
    assert PASSWORD not in str(refused.value.error) and "wrong" not in str(refused.value.error)


def test_wrong_authority(lab, seam):
    with pytest.raises(SeamError) as refused:
        open_far(lab, seam, url=lab.listener.url("other"))
    assert refused.value.code == "tls", refused.value.error


@pytest.mark.parametrize("extra", ["&no_verify=1", "&No_Verify=1", "&no%5fverify=1",
                                   "&command=/bin/true", "&netcat=/bin/true"])
def test_unsafe_parameters_are_refused(lab, seam, extra):
    with pytest.raises(SeamError) as refused:
        open_far(lab, seam, url=lab.listener.url(extra=extra))
    assert refused.value.code == "bad-input", refused.value.error


def test_unsafe_transport_is_refused(lab, seam):
    with pytest.raises(SeamError) as refused:
        open_far(lab, seam, url="qemu+ext://far/system?command=/bin/true")
    assert refused.value.code == "bad-input", refused.value.error


def test_password_is_not_to_be_seen(lab, seam, remote):
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    assert PASSWORD not in listed.stdout
    with open(f"/proc/{seam.process.pid}/environ", "rb") as environ:
        assert PASSWORD.encode() not in environ.read()
    assert os.path.exists(lab.dir / "log" / "libvirtd.log")
    assert PASSWORD not in (lab.dir / "log" / "libvirtd.log").read_text(errors="replace")


class Far:
    """Calls of the source go to the remote platform, those of the target stay."""

    def __init__(self, seam):
        self.seam = seam

    def call(self, do, **fields):
        source = {"snapshot", "open_disk", "release", "release_tag", "drop_baseline", "power_off"}
        return self.seam.call(do, p="far" if do in source else "lab", **fields)


def test_rounds_over_tcp(lab, seam, remote):
    images = [lab.image(f"{i}.qcow2") for i in range(2)]
    machines = [lab.guest(f"far{i}", image) for i, image in enumerate(images)]
    far = [Replication(Far(seam), machine, ["sda"]) for machine in machines]
    for i, replication in enumerate(far):
        lab.write(f"far{i}", "sda", "1M", "64k", 0x11)
        replication.round()
        replication.compare("sda", images[i])
        lab.write(f"far{i}", "sda", "3M", "64k", 0x12)
    # Two jobs at once: each has a port of its own.
    snapshots = [replication.snapshot() for replication in far]
    for i, replication in enumerate(far):
        assert snapshots[i]["disks"]["sda"]["delta"]
        assert replication.snapshot(tag=replication.last_tag) == snapshots[i]
        done = replication.copy_disk(snapshots[i], "sda")
        assert done["sent"] == 65536
        replication.complete(snapshots[i])
        replication.compare("sda", images[i])
    for replication in far:
        replication.remove()
    assert seam.tagged() == []


def test_what_remote_cannot(lab, seam, remote):
    image = lab.image("off.qcow2")
    machine = lab.guest("off", image, start=False)
    found = {f["id"] for f in
             remote.call("source_precheck", p="far", machine=machine)["findings"]}
    assert "libvirt-remote-off" in found
    with pytest.raises(SeamError) as error:
        remote.call("snapshot", p="far", machine=machine, tag=new_tag(), disks=["sda"])
    assert error.value.code == "machine-state"
    described = remote.call("machine", p="far", machine=machine)["machine"]
    found = {f["id"]: f["severity"] for f in
             remote.call("target_precheck", p="far", machine=described)["findings"]}
    assert found["libvirt-target-not-local"] == "block"
    with pytest.raises(SeamError) as error:
        remote.call("create_volume", p="far", tag=new_tag(), name="x", disk="sda", size=1 << 20)
    assert error.value.code == "platform-unsupported"
    assert not remote.call("info", p="far")["can_target"]
