# SPDX-License-Identifier: Apache-2.0
"""A target whose servers do not boot from volumes: an image of the launch's boot volume, and a server from that."""
import pytest

import service

pytestmark = pytest.mark.timeout(600)

NAME, MAC = "imaged", "52:54:00:77:03:01"
MAP = {"storage": "rbd-b", "default_network": "prod", "isolated_network": "isolated"}


@pytest.fixture(scope="module")
def world(cloud):
    one = service.Ferry(cloud)
    one.daemon.post("/platforms", {
        "name": "imaging", "type": "openstack", "url": "cloud:target",
        "options": {"clouds_yaml": cloud.clouds, "ceph_conf": cloud.conf, "ceph_user": "mover", "boot": "image"}})
    one.admin = cloud.project("target", admin=True)
    one.machine(NAME, MAC, more=["16M"])
    yield one
    for image in images(one):
        one.target.remove("image", f"/images/{image['id']}")
    one.admin.clean()
    one.close()


def images(world):
    api = world.target.cloud
    return api.get("image", f"/images?owner={api.project_id}")["images"]


def check_server(world, name):
    """It runs from the one image, whose hardware is the launch's, with the second disk as a volume."""
    server = world.servers(world.target)[name]
    image = images(world)[0]
    assert len(images(world)) == 1 and server["image"]["id"] == image["id"] and server["status"] == "ACTIVE"
    assert image["status"] == "active" and image["hw_disk_bus"] == "virtio" and image["visibility"] == "private"
    assert len(server["os-extended-volumes:volumes_attached"]) == 1
    return server


def test_a_local_disk_is_needed(world):
    """All flavors of the lab have none."""
    body = {"source": "kvm", "machine": NAME, "target": "imaging", "name": NAME, "start": False, "mapping": MAP,
            "policy": {"boot_ladder": "sata-first"}}
    found = {one["id"]: one for one in world.daemon.post("/replications", body)["findings"]}
    assert found["openstack-no-flavor"]["severity"] == "block" and "local disk of 1 GiB" in \
        found["openstack-no-flavor"]["found"]
    assert found["openstack-boot-image"]["severity"] == "info"
    assert found["openstack-boot-ladder"]["severity"] == "block"  # what the first boot installs would be lost
    world.daemon.do(NAME, "remove")
    flavor = {"name": "local", "ram": 128, "vcpus": 1, "disk": 1}
    made = world.admin.cloud.post("compute", "/flavors", {"flavor": flavor})
    world.admin.made.append(("compute", f"/flavors/{made['flavor']['id']}"))


def test_flavor_gone(world):
    """An image is all that was made of the machine when the launch fails: it goes."""
    world.replicate("kvm", NAME, "imaging", NAME, MAP, boot_timeout="60s", shutdown="off", shutdown_timeout="1s")
    world.daemon.call("PATCH", f"/replications/{NAME}", {"mapping": {**MAP, "flavor": "none such"}})
    assert world.fails(NAME, "drill")["code"] == "platform-unsupported"
    world.wait_until(world.settled)
    assert images(world) == []
    world.daemon.call("PATCH", f"/replications/{NAME}", {"mapping": {**MAP, "flavor": None}})


def test_drill(world):
    world.daemon.do(NAME, "drill")
    assert service.booted(world.daemon.show(NAME)["launch"])
    check_server(world, f"{NAME}-drill")
    world.daemon.do(NAME, "drill-end")
    assert images(world) == [] and world.servers(world.target) == {}
    world.wait_until(world.settled)
    assert world.tagged(world.target) == world.ledgered(("imaging",))


def test_confirmed(world):
    """The image stays, as Nova may want it again; the volume that it was made of is of no use."""
    world.daemon.do(NAME, "cutover", yes=True)
    server = check_server(world, NAME)
    world.daemon.do(NAME, "confirm")
    assert world.daemon.ledger() == [] and world.left(world.target) == []
    assert world.servers(world.target)[NAME]["id"] == server["id"] and len(images(world)) == 1
    volumes = world.target.cloud.get("volumev3", "/volumes")["volumes"]
    assert [one["id"] for one in volumes] == [one["id"] for one in server["os-extended-volumes:volumes_attached"]]
    world.daemon.do(NAME, "remove")
