# SPDX-License-Identifier: Apache-2.0
"""A server of a real cloud as a source, through the seam: snapshots of several disks, deltas, what is in the way."""
import json

import pytest

import proxy
from cloud import image
from test_connector import CloudSeam, copy, fails, new_tag

KEYS = ["vda", "vdb"]


@pytest.fixture(scope="module")
def project(cloud):
    one = cloud.project("source")
    yield one
    one.clean()


@pytest.fixture(scope="module")
def server(project):
    root, data = project.boot_volume("rbd-a", image("tiny")), project.volume("rbd-a")
    made = project.server([root, data], name="source")
    project.wait_console(made, "BOOTMARK", 200)
    return {"id": made, "vda": root, "vdb": data}


@pytest.fixture
def seam(cloud, server):
    with CloudSeam(cloud) as one:
        one.open("source", p="lab")
        yield one
        for row in one.tagged():
            one.call("release_tag", machine=server["id"], tag=row["tag"])


def snapshot(seam, server, tag=None, baseline=None, p="lab", disks=None, **fields):
    return seam.call("snapshot", p=p, machine=server["id"], tag=tag or new_tag(), disks=disks or KEYS,
                     baseline=baseline, **fields)


def snapshots(project):
    return project.cloud.get("volumev3", "/snapshots/detail")["snapshots"]


def status_of(project, server):
    return project.cloud.get("compute", f"/servers/{server['id']}")["server"]["status"]


def test_found_again_by_its_tag(seam, server, project):
    tag = new_tag()
    one = snapshot(seam, server, tag)
    again = snapshot(seam, server, tag)
    assert again["ref"] == one["ref"] and again["baseline"] == one["baseline"]
    assert len(snapshots(project)) == 2
    assert [(t["kind"], t["tag"]) for t in seam.tagged()] == [("baseline", tag)]
    seam.call("release", machine=server["id"], ref=one["ref"])
    seam.call("drop_baseline", machine=server["id"], baseline=one["baseline"])
    seam.call("drop_baseline", machine=server["id"], baseline=one["baseline"])
    assert snapshots(project) == [] and seam.tagged() == []


def test_half_a_set_is_another_moment(seam, server, project):
    """The service died between the two disks: what it made is not half of the next set."""
    tag = new_tag()
    one = snapshot(seam, server, tag)
    lost = json.loads(one["ref"])["disks"]["vdb"]["snapshot"]
    project.remove("volumev3", f"/snapshots/{lost}")
    fails("snapshot-failed", seam.call, "open_disk", ref=one["ref"], disk="vdb")
    two = snapshot(seam, server, tag)
    assert two["ref"] != one["ref"]
    assert not {d["snapshot"] for d in json.loads(one["ref"])["disks"].values()} & {
        d["snapshot"] for d in json.loads(two["ref"])["disks"].values()}
    seam.call("release_tag", machine=server["id"], tag=tag)
    seam.call("release_tag", machine=server["id"], tag=tag)
    assert snapshots(project) == []


def test_deltas(seam, server, cloud, tmp_path):
    one = snapshot(seam, server)
    two = snapshot(seam, server, baseline=one["baseline"])
    assert {k: d["delta"] for k, d in two["disks"].items()} == {"vda": True, "vdb": True}
    opened = seam.call("open_disk", ref=two["ref"], disk="vdb")
    assert opened["map"] == "since" and opened["size"] == 1 << 30
    (tmp_path / "out").write_bytes(b"")
    (tmp_path / "out").open("r+b").truncate(1 << 30)
    done = copy(opened["uri"], {"uri": str(tmp_path / "out")}, "--since", opened["map_name"])
    assert done["sent"] + done["zero"] == 0  # nobody writes to it
    seam.call("close_disk", handle=opened["handle"])
    # Without its snapshot a disk has no delta, and the reason is told.
    lost = json.loads(one["baseline"])["disks"]["vda"]["snapshot"]
    cloud.project("source").remove("volumev3", f"/snapshots/{lost}")
    three = snapshot(seam, server, baseline=one["baseline"])
    assert not three["disks"]["vda"]["delta"] and lost in three["disks"]["vda"]["reason"]
    assert three["disks"]["vdb"]["delta"]
    other = json.dumps({**json.loads(one["baseline"]), "disks": {"vdb": {
        **json.loads(one["baseline"])["disks"]["vdb"], "volume": "another"}}})
    four = snapshot(seam, server, baseline=other)
    assert not four["disks"]["vda"]["delta"] and "another volume" in four["disks"]["vdb"]["reason"]


def test_only_ours_is_removed(seam, server, project):
    made = project.cloud.post("volumev3", "/snapshots", {"snapshot": {
        "volume_id": server["vdb"], "name": "somebody's", "force": True}})["snapshot"]["id"]
    forged = {"tag": new_tag(), "machine": server["id"], "disks": {"vdb": {"snapshot": made}}}
    seam.call("drop_baseline", machine=server["id"], baseline=json.dumps(forged))
    assert [s["name"] for s in snapshots(project)] == ["somebody's"]
    project.remove("volumev3", f"/snapshots/{made}")


def test_pause(cloud, seam, server, project):
    seam.open("source", p="pausing", multi_disk="pause")
    one = snapshot(seam, server, p="pausing", quiesce="off")
    assert not one["quiesced"] and status_of(project, server) == "ACTIVE"
    actions = project.cloud.get("compute", f"/servers/{server['id']}/os-instance-actions")["instanceActions"]
    assert [a["action"] for a in actions[:2]] == ["unpause", "pause"]
    # The snapshots fail: it goes on all the same.
    faulty = proxy.Proxy({"volume": project.cloud.urls["volumev3"]})
    rule = faulty.rule("POST", "/snapshots$", proxy.answer(500), proxy.ALWAYS)
    seam.call("open", p="faulty", type="openstack", url=cloud.lab.url("keystone"), user="source",
              password="lab-source", work=str(seam.work),
              options={"project_name": "source", "multi_disk": "pause", "volume_endpoint": faulty.endpoints["volume"]})
    fails("snapshot-failed", snapshot, seam, server, p="faulty", quiesce="off")
    assert rule.hits
    assert status_of(project, server) == "ACTIVE"
    faulty.close()


def test_paused_by_one_who_died(seam, server, project):
    tag = new_tag()
    project.cloud.post("compute", f"/servers/{server['id']}/metadata", {"metadata": {"blockferry_paused": tag}})
    project.cloud.post("compute", f"/servers/{server['id']}/action", {"pause": None})
    project.wait_server(server["id"], "PAUSED")
    seam.call("release_tag", machine=server["id"], tag=tag)
    assert status_of(project, server) == "ACTIVE"
    shown = project.cloud.get("compute", f"/servers/{server['id']}")["server"]
    assert "blockferry_paused" not in shown["metadata"]


def test_a_pause_that_is_not_ours(seam, server, project):
    project.cloud.post("compute", f"/servers/{server['id']}/action", {"pause": None})
    project.wait_server(server["id"], "PAUSED")
    snapshot(seam, server)
    assert status_of(project, server) == "PAUSED"
    project.cloud.post("compute", f"/servers/{server['id']}/action", {"unpause": None})
    project.wait_server(server["id"], "ACTIVE")


def image_metadata(project, server, **metadata):
    project.cloud.post("volumev3", f"/volumes/{server['vda']}/action", {"os-set_image_metadata": {
        "metadata": metadata}})


def test_by_an_image_of_novas(seam, server, project):
    """The way that freezes a guest with an agent; this one has none, and Nova goes on without."""
    fails("quiesce-failed", snapshot, seam, server, quiesce="require")
    assert snapshots(project) == []
    image_metadata(project, server, hw_qemu_guest_agent="yes")
    try:
        tag = new_tag()
        one = snapshot(seam, server, tag, disks=["vdb"])
        assert not one["quiesced"] and "os_require_quiesce" in one["quiesce_note"]
        assert [(s["volume_id"], s["metadata"]["blockferry"]) for s in snapshots(project)] == [(server["vdb"], tag)]
        assert project.cloud.get("image", "/images")["images"] == []
    finally:
        project.cloud.post("volumev3", f"/volumes/{server['vda']}/action", {"os-unset_image_metadata": {
            "key": "hw_qemu_guest_agent"}})


def findings(seam, server, p="lab"):
    found = seam.call("source_precheck", p=p, machine=server["id"])["findings"]
    for one in found:
        assert all(one[key] for key in ("found", "needed", "why", "fix")), one
    return {one["id"]: one["severity"] for one in found}


def test_findings(cloud, seam, server, project):
    usual = {"openstack-no-agent": "info", "openstack-disks-apart": "warn"}
    assert findings(seam, server) == usual
    seam.open("source", p="no key", ceph_user="nobody")
    assert findings(seam, server, "no key") == {**usual, "openstack-ceph-access": "block"}
    seam.open("source", p="pause", multi_disk="pause")
    assert findings(seam, server, "pause") == {"openstack-no-agent": "info"}
    image_metadata(project, server, hw_qemu_guest_agent="yes", hw_firmware_type="uefi")
    assert findings(seam, server) == {"openstack-quiesce-unsure": "info", "openstack-uefi-variables": "warn"}
    for key in ("hw_qemu_guest_agent", "hw_firmware_type"):
        project.cloud.post("volumev3", f"/volumes/{server['vda']}/action", {"os-unset_image_metadata": {"key": key}})
    project.cloud.post("compute", f"/servers/{server['id']}/action", {"lock": None})
    assert findings(seam, server) == {**usual, "openstack-server-locked": "warn"}
    project.cloud.post("compute", f"/servers/{server['id']}/action", {"unlock": None})
    admin = cloud.project("source", admin=True).cloud
    was = admin.get("volumev3", f"/os-quota-sets/{admin.project_id}")["quota_set"]["snapshots"]
    admin.call("volumev3", "PUT", f"/os-quota-sets/{admin.project_id}", {"quota_set": {"snapshots": 3}})
    assert findings(seam, server) == {**usual, "openstack-source-quota": "block"}
    admin.call("volumev3", "PUT", f"/os-quota-sets/{admin.project_id}", {"quota_set": {"snapshots": was}})


def test_power(seam, server, project):
    seam.call("shut_down", machine=server["id"], ms=90000)
    seam.call("shut_down", machine=server["id"], ms=90000)
    assert seam.call("power", machine=server["id"])["power"] == "off"
    one = snapshot(seam, server, quiesce="require")
    assert one["quiesced"]  # nobody writes
    seam.call("power_on", machine=server["id"])
    seam.call("power_on", machine=server["id"])
    assert status_of(project, server) == "ACTIVE"
    seam.call("power_off", machine=server["id"])
    assert seam.call("power", machine=server["id"])["power"] == "off"
    fails("no-such-machine", seam.call, "power", machine="0b0e7a5e-0000-4000-8000-000000000000")
