# SPDX-License-Identifier: Apache-2.0
"""The findings that no other test meets: by the cloud's own state where it can be brought about in a second, else by
an answer of it that is changed on its way."""
import json
import re

import pytest

import proxy
from cloud import ADMIN_PASSWORD, PROJECTS, run
from test_connector import SIZE, CloudSeam, fails, machine, new_tag

NOBODY = "0b0e7a5e-0000-4000-8000-000000000000"
MOVER = {"mover": NOBODY, "mover_address": "192.0.2.1", "mover_certificates": "/nonexistent"}
MAP = {"default_network": "prod", "storage": "rbd-b"}


@pytest.fixture(scope="module")
def seam(cloud):
    with CloudSeam(cloud) as one:
        one.is_open = False
        yield one


@pytest.fixture
def between():
    """proxy.Proxy, which ends with the test."""
    made = []

    def make(urls):
        made.append(proxy.Proxy(urls))
        return made[-1]
    yield make
    for one in made:
        one.close()


def open_as(seam, project, admin=False, url=None, **options):
    """In place of what was open."""
    user, password = ("admin", ADMIN_PASSWORD) if admin else (project, PROJECTS[project])
    if seam.is_open:
        seam.call("close", p="lab")
    seam.is_open = True
    seam.call("open", p="lab", type="openstack", url=url or seam.cloud.lab.url("keystone"), user=user,
              password=password, work=str(seam.work),
              options={"project_name": project, "region_name": "RegionOne", "ceph_conf": seam.cloud.conf,
                       "ceph_user": "mover", **options})


def by_id(found):
    for one in found:
        assert all(one[key] for key in ("found", "needed", "why", "fix")), one
    return {one["id"]: one["severity"] for one in found}


# --- the platform ---

@pytest.mark.parametrize("missing, finding, severity", [
    ("network", "openstack-no-service", "block"), ("image", "openstack-no-image-service", "info")])
def test_a_service_that_is_not_there(seam, between, missing, finding, severity):
    identity = between({"identity": seam.cloud.lab.url("keystone") + "/v3"})

    def forget(answer):
        catalog = answer["token"]["catalog"]
        answer["token"]["catalog"] = [one for one in catalog if one["type"] != missing]
    identity.rule("POST", "/auth/tokens$", proxy.changed(forget), proxy.ALWAYS)
    open_as(seam, "target", url=identity.endpoints["identity"])
    info = seam.call("info", p="lab")
    assert by_id(info["findings"]) == {finding: severity} and info["can_target"] is (severity == "info")


def test_a_service_that_is_too_old(seam, target, between):
    volumes = between({"volume": target.cloud.urls["volumev3"]})

    def age(answer):
        for one in answer["versions"]:
            one["version"] = re.sub(r"\.\d+", ".27", one["version"])
    rule = volumes.rule("GET", "/v3/$", proxy.changed(age), proxy.ALWAYS)
    open_as(seam, "target", volume_endpoint=volumes.endpoints["volume"])
    assert by_id(seam.call("info", p="lab")["findings"]) == {"openstack-too-old": "block"} and rule.hits


def test_no_ceph_conf(seam):
    open_as(seam, "target", ceph_conf="/nonexistent/ceph.conf")
    assert by_id(seam.call("info", p="lab")["findings"]) == {"openstack-no-ceph-conf": "warn"}


# --- the target ---

def target_findings(seam, mapping=None, nics=(), **fields):
    answer = seam.call("target_precheck", p="lab", machine=machine(nics, **fields), mapping={**MAP, **(mapping or {})})
    return by_id(answer["findings"])


def disks(count, size=SIZE):
    return [{**machine()["disks"][0], "key": f"vd{chr(97 + at)}", "size_bytes": size} for at in range(count)]


@pytest.mark.parametrize("finding, severity, options, mapping, fields", [
    ("openstack-type-not-rbd", "block", {"admin": True}, {"storage": "file"}, {}),
    ("openstack-pool-space", "warn", {"admin": True}, {}, {"disks": disks(1, 100 << 40)}),
    ("openstack-mover", "warn", MOVER, {}, {}),
    ("openstack-mover", "block", {"admin": True, **MOVER}, {"storage": "file"}, {}),
    ("openstack-mover-certificates", "warn", MOVER, {}, {}),
    ("openstack-mover-slots", "warn", {"mover_slots": "1", **MOVER}, {}, {"disks": disks(2)}),
    ("openstack-points", "info", MOVER, {"keep_points": 3}, {}),
    ("openstack-points", "warn", {"admin": True, **MOVER}, {"storage": "file", "keep_points": 3}, {}),
    ("openstack-no-security-group", "block", {}, {"security_groups": ["default", "nothing"]}, {}),
    ("openstack-devices", "warn", {"instance": NOBODY, "devices": "/nonexistent"}, {}, {}),
    ("openstack-boot-ladder", "block", {"boot": "image"}, {"companion": True}, {}),
])
def test_target(seam, finding, severity, options, mapping, fields):
    open_as(seam, "target", **options)
    assert target_findings(seam, mapping, **fields)[finding] == severity


def test_not_found_where_it_is_well(seam):
    open_as(seam, "target", admin=True, **MOVER)
    found = target_findings(seam, {"keep_points": 3, "companion": True})
    assert not {"openstack-mover", "openstack-points", "openstack-pool-space"} & set(found), "the volume type is on RBD"
    open_as(seam, "target", mover_slots="2", **MOVER)
    found = target_findings(seam, {"keep_points": 1, "security_groups": ["default"]}, disks=disks(2))
    assert not {"openstack-mover-slots", "openstack-points", "openstack-no-security-group"} & set(found)


def test_the_ladder_and_an_image(seam):
    """Not only the precheck refuses it: nothing is made."""
    open_as(seam, "target", boot="image")
    error = fails("platform-unsupported", seam.call, "create_machine", p="lab", tag=new_tag(), name="x",
                  machine=machine(), clones={"vda": json.dumps({"volume": NOBODY})}, network="prod", disk_bus="sata",
                  companion=True)
    assert "boot_ladder" in error.message


def test_two_networks_of_a_name(seam, target):
    made = target.cloud.post("network", "/networks", {"network": {"name": "prod"}})["network"]["id"]
    target.made.append(("network", f"/networks/{made}"))
    open_as(seam, "target")
    assert target_findings(seam, nics=[{"mac": "52:54:00:77:05:01", "network": "x", "model": "virtio",
                                        "addresses": []}])["openstack-network-ambiguous"] == "block"


@pytest.mark.parametrize("name", ["instances", "cores", "ram"])
def test_quotas_of_nova(seam, cloud, name):
    admin = cloud.project("target", admin=True).cloud
    path = f"/os-quota-sets/{admin.project_id}"
    was = admin.get("compute", path)["quota_set"][name]
    open_as(seam, "target")
    assert f"openstack-quota-{name}" not in target_findings(seam)
    admin.call("compute", "PUT", path, {"quota_set": {name: 0}})
    try:
        assert target_findings(seam)[f"openstack-quota-{name}"] == "block"
    finally:
        admin.call("compute", "PUT", path, {"quota_set": {name: was}})


@pytest.mark.parametrize("name, needs", [("volumes", 2), ("gigabytes", 3)])
def test_the_ladders_companion_counts(seam, cloud, name, needs):
    admin = cloud.project("target", admin=True).cloud
    path = f"/os-quota-sets/{admin.project_id}"
    was = admin.get("volumev3", path)["quota_set"][name]
    used = admin.get("volumev3", path + "?usage=True")["quota_set"][name]["in_use"]
    open_as(seam, "target")
    admin.call("volumev3", "PUT", path, {"quota_set": {name: used + needs}})
    try:
        assert f"openstack-quota-{name}" not in target_findings(seam)
        assert target_findings(seam, {"companion": True})[f"openstack-quota-{name}"] == "block"
        admin.call("volumev3", "PUT", path, {"quota_set": {name: used + needs + 1}})
        assert f"openstack-quota-{name}" not in target_findings(seam, {"companion": True})
    finally:
        admin.call("volumev3", "PUT", path, {"quota_set": {name: was}})


# --- the source ---

@pytest.fixture(scope="module")
def server(cloud):
    """With a disk that is on RBD, and one that is not."""
    project = cloud.project("source")
    volumes = [project.volume("rbd-a"), project.volume("file")]
    project.cloud.post("volumev3", f"/volumes/{volumes[0]}/action", {"os-set_bootable": {"bootable": True}})
    made = project.server(volumes, flavor="tiny", name="checked")
    yield {"id": made, "volumes": volumes}
    project.clean()


def source_findings(seam, server):
    return by_id(seam.call("source_precheck", p="lab", machine=server["id"])["findings"])


def test_a_disk_that_is_not_on_rbd(seam, server):
    open_as(seam, "source")
    assert source_findings(seam, server)["openstack-not-rbd"] == "block"


def put(*path_and_value):
    """Sets a member of an answer: put("server", "status", "ERROR")."""
    *path, last, value = path_and_value

    def change(answer):
        for name in path:
            answer = answer[name]
        answer[last] = value
    return change


@pytest.mark.parametrize("finding, severity, service, pattern, change", [
    ("openstack-server-status", "block", "compute", "/servers/[^/]*$", put("server", "status", "RESIZE")),
    ("openstack-root-on-image", "block", "compute", "/servers/[^/]*$", put("server", "image", {"id": NOBODY})),
    ("openstack-volume-status", "block", "volumev3", "/volumes/[^/]*$", put("volume", "status", "retyping")),
    ("openstack-encrypted", "block", "volumev3", "/volumes/[^/]*$", put("volume", "encrypted", True)),
    ("openstack-multiattach", "warn", "volumev3", "/volumes/[^/]*$", put("volume", "multiattach", True)),
    ("openstack-connection-hidden", "block", "volumev3", "/attachments/", put("attachment", "connection_info", {})),
    ("openstack-other-cluster", "block", "volumev3", "/get_pools",
     lambda answer: [one["capabilities"].update(location_info=f"ceph:/c:{NOBODY}:u:volumes-a")
                     for one in answer["pools"]]),
])
def test_source(seam, server, cloud, between, finding, severity, service, pattern, change):
    option = {"volumev3": "volume_endpoint", "compute": "compute_endpoint"}[service]
    api = cloud.project("source", admin=True).cloud
    front = between({"it": api.urls[service]})
    rule = front.rule("GET", pattern, proxy.changed(change), proxy.ALWAYS)
    open_as(seam, "source", admin=True)
    assert finding not in source_findings(seam, server)
    open_as(seam, "source", admin=True, **{option: front.endpoints["it"]})
    assert source_findings(seam, server)[finding] == severity and rule.hits


def test_an_image_without_an_object_map(seam, server, cloud):
    open_as(seam, "source")
    assert "openstack-no-fast-diff" not in source_findings(seam, server)
    cloud.rbd("feature", "disable", f"volumes-a/volume-{server['volumes'][0]}", "fast-diff", "object-map")
    assert source_findings(seam, server)["openstack-no-fast-diff"] == "warn"


# --- adoption ---

@pytest.mark.parametrize("finding, severity, options, place", [
    ("openstack-adopt-store", "block", {}, {"store": "another"}),
    ("openstack-adopt-pool", "block", {}, {"pool": "elsewhere"}),
    ("openstack-adopt-access", "block", {"ceph_user": "nobody"}, {}),
    ("openstack-adopt-boot", "block", {"boot": "image"}, {}),
    ("openstack-adopt-parent", "info", {}, {"parent": True}),
])
def test_adoption(seam, server, cloud, finding, severity, options, place):
    good = {"store": "ceph-rbd", "cluster": run("ceph", "-c", cloud.conf, "fsid"), "pool": "volumes-a",
            "image": f"volume-{server['volumes'][0]}", "snapshots": 0, "parent": False}

    def found(place):
        return by_id(seam.call("adopt_precheck", p="lab", disk="vda", place=json.dumps(place))["findings"])
    open_as(seam, "target", admin=True)
    assert found(good) == {}
    open_as(seam, "target", admin=True, **options)
    assert found({**good, **place}) == {finding: severity}
