# SPDX-License-Identifier: Apache-2.0
"""The lab itself: what the tests of the connector stand on."""
import subprocess
import time

import pytest

from cloud import ApiError, CloudLab, image

pytestmark = pytest.mark.timeout(600)


def test_boots_from_rbd(cloud, source):
    """A guest with its MAC, from an RBD volume; a volume of files comes and goes while it runs."""
    volume = source.boot_volume("rbd-a", image("tiny"))
    port = source.port("prod", "52:54:00:aa:bb:01", "10.77.1.50")
    server = source.server([volume], [{"port": port}])
    mark = source.wait_console(server, "BOOTMARK")
    assert "disk=virtio_blk" in mark and "net=eth0:virtio_net,52:54:00:aa:bb:01" in mark
    assert f"volume-{volume}" in cloud.rbd("ls", "volumes-a").split()

    disk = source.volume("file")
    where = f"/servers/{server}/os-volume_attachments"
    source.cloud.post("compute", where, {"volumeAttachment": {"volumeId": disk}})
    source.wait_volume(disk, "in-use")
    source.cloud.delete("compute", f"{where}/{disk}")
    source.wait_volume(disk, "available")


def test_projects_are_apart(cloud, source, target):
    """Neither sees the other's volumes; a member is no admin; backends are two pools."""
    volume = target.volume("rbd-b")
    assert f"volume-{volume}" in cloud.rbd("ls", "volumes-b").split()
    assert f"volume-{volume}" not in cloud.rbd("ls", "volumes-a").split()
    with pytest.raises(ApiError) as error:
        source.cloud.get("volumev3", f"/volumes/{volume}")
    assert error.value.status == 404
    with pytest.raises(ApiError) as error:
        target.cloud.get("volumev3", "/os-services")
    assert error.value.status == 403
    admin = cloud.project("target", admin=True)
    assert len(admin.cloud.get("volumev3", "/os-services")["services"]) == 4


def test_logins(cloud):
    """Application credential; https with the right CA, and not with another."""
    for name in ("source-app", "target-tls"):
        assert "prod" in cloud.client(name, "network", "list", "-f", "value", "-c", "Name").split()
    with pytest.raises(AssertionError, match="CERTIFICATE_VERIFY_FAILED"):
        cloud.client("source-wrong-ca", "network", "list")


def test_service_killed_and_started(cloud, source):
    cloud.call("kill", "cinder")
    with pytest.raises(OSError):
        source.cloud.get("volumev3", "/volumes")
    cloud.call("start", "cinder")
    source.volume("rbd-a")


def test_two_clouds_and_nothing_left():
    """A second one beside the first keeps its data over a stop and leaves no process, mount or bridge."""
    lab = CloudLab()
    try:
        assert {"keystone", "placement", "cinder", "glance", "neutron", "nova", "tls", "ceph-osd", "libvirtd"} <= \
            set(lab.pids())
        project = lab.project("source")
        port = project.port("prod", "52:54:00:aa:bb:02", "10.77.1.51")
        volume = project.boot_volume("rbd-a", image("tiny"))
        server = project.server([volume], [{"port": port}])
        assert set(bridges(lab)) & set(links())
        lab.call("stop")
        assert lab.pids() == {}
        start = time.monotonic()
        lab.call("up")
        assert time.monotonic() - start < 60
        assert lab.project("source").cloud.get("compute", f"/servers/{server}")["server"]["id"] == server
        gone = bridges(lab)
    finally:
        lab.close()
    assert lab.pids() == {}
    assert not set(gone) & set(links())
    with open("/proc/mounts") as mounts:
        assert lab.directory not in mounts.read()


def links():
    done = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True)
    return [line.split()[1].split("@")[0].rstrip(":") for line in done.stdout.splitlines()]


def bridges(lab):
    with open(lab.lab / "etc/networks") as file:
        return [f"brq{line[:11]}" for line in file.read().split()]
