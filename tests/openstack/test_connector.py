# SPDX-License-Identifier: Apache-2.0
"""The OpenStack connector through the seam: every call twice, the service killed in between, faults of the cloud."""
import json
import os
import re
import subprocess
import sys
import time
from urllib.parse import urlsplit

import pytest

import proxy
from cloud import ApiError, run

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../connectors"))

from seam import Seam, SeamError, new_tag  # noqa: E402  pylint: disable=wrong-import-position

MIB = 1 << 20
SIZE = 200 * MIB


class CloudSeam(Seam):
    def __init__(self, cloud):
        super().__init__(None)
        self.cloud = cloud

    def open(self, name, p=None, **options):
        options = {"clouds_yaml": self.cloud.clouds, "ceph_conf": self.cloud.conf, "ceph_user": "mover", **options}
        return self.call("open", p=p or name, type="openstack", url=f"cloud:{name}", work=str(self.work),
                         options=options)

    def open_plain(self, p, password="lab-target", **options):
        """Without clouds.yaml, so that endpoints may be named."""
        return self.call("open", p=p, type="openstack", url=self.cloud.lab.url("keystone"), user="target",
                         password=password, work=str(self.work),
                         options={"project_name": "target", "ceph_conf": self.cloud.conf, "ceph_user": "mover",
                                  "region_name": "RegionOne", **options})


@pytest.fixture
def seam(cloud, target, source):  # pylint: disable=unused-argument
    with CloudSeam(cloud) as one:
        one.open("target", p="lab")
        yield one


def fails(code, function, *args, **fields):
    with pytest.raises(SeamError) as refused:
        function(*args, **fields)
    assert refused.value.code == code, refused.value
    return refused.value


def pattern_file(path, size, at=0, length=4 * MIB, seed=b"x"):
    with open(path, "wb") as out:
        out.truncate(size)
        out.seek(at)
        out.write((seed * length)[:length])
    return path


def copy(source, target, *options):
    output = run(os.environ["BLOCKFERRY_COPY"], "--progress", "json", *options, source, target["uri"])
    done = json.loads(output.splitlines()[-1])
    assert done["event"] == "done", output
    return done


def write_round(seam, volume, tag, path, last=None, options=(), p="lab"):
    opened = seam.call("open_volume", p=p, volume=volume, tag=tag, last_point=last)
    options = [*options, *(["--target-is-zero"] if opened["reads_as_zero"] else [])]
    copy(path, opened, *options)
    seam.call("close_volume", p=p, handle=opened["handle"])


def same(seam, volume, point, path, size=SIZE):
    """A point holds these bytes, and zeroes behind them."""
    opened = seam.call("open_point", volume=volume, point=point)
    out = subprocess.run(["cmp", "-n", str(size), str(path), "-"], input=None, check=False,
                         stdin=subprocess.Popen(["rbd", "-c", seam.cloud.conf, "export", "--no-progress",
                                                 opened["uri"][4:].split("?")[0], "-"],
                                                stdout=subprocess.PIPE).stdout, capture_output=True)
    seam.call("close_volume", handle=opened["handle"])
    assert out.returncode == 0, out


def volume_id(ref):
    return json.loads(ref)["volume"]


@pytest.fixture
def volume(seam):
    made = seam.call("create_volume", tag=new_tag(), name="web1 vda", disk="vda", size=SIZE, storage="rbd-b")["volume"]
    yield made
    seam.call("delete_volume", volume=made)
    assert seam.tagged() == []


# --- the platform ---

@pytest.mark.parametrize("name", ["target", "target-app", "target-tls", "target-admin"])
def test_login(cloud, name):
    with CloudSeam(cloud) as seam:
        seam.open(name, p="lab")
        info = seam.call("info")
        assert info["can_source"] and info["can_target"] and info["findings"] == []
        assert {"prod", "isolated"} <= {n["name"] for n in seam.call("resources")["resources"]["networks"]}
        assert seam.call("machines")["machines"] == []


def test_login_refused(cloud):
    with CloudSeam(cloud) as seam:
        fails("tls", seam.open, "target-wrong-ca")
        error = fails("platform-auth", seam.open_plain, "x", password="wrong")
        assert "requires authentication" in error.message and "wrong" not in str(error.error)
        fails("bad-input", seam.open, "nobody")


# --- volumes and points ---

def test_each_call_twice(seam, target, tmp_path):
    tag, first, second = new_tag(), new_tag(), new_tag()
    fields = {"tag": tag, "name": "web1 vda", "disk": "vda", "size": SIZE, "storage": "rbd-b"}
    volume = seam.call("create_volume", **fields)["volume"]
    assert seam.call("create_volume", **fields)["volume"] == volume
    shown = target.cloud.get("volumev3", f"/volumes/{volume_id(volume)}")["volume"]
    assert (shown["status"], shown["size"], shown["volume_type"]) == ("in-use", 1, "rbd-b")
    with pytest.raises(ApiError) as refused:  # nobody takes what we hold
        target.cloud.delete("volumev3", f"/volumes/{volume_id(volume)}")
    assert refused.value.status == 400

    one = pattern_file(tmp_path / "one", SIZE)
    write_round(seam, volume, first, one)
    point = seam.call("make_point", volume=volume, tag=first)["point"]
    assert seam.call("make_point", volume=volume, tag=first)["point"] == point
    two = pattern_file(tmp_path / "two", SIZE, at=32 * MIB, seed=b"yz")
    write_round(seam, volume, second, two, last=point)
    later = seam.call("make_point", volume=volume, tag=second)["point"]
    same(seam, volume, point, one)
    same(seam, volume, later, two)

    clone_tag = new_tag()
    clone = seam.call("clone_point", volume=volume, point=point, tag=clone_tag)["clone"]
    assert seam.call("clone_point", volume=volume, point=point, tag=clone_tag)["clone"] == clone
    fails("in-use", seam.call, "delete_point", volume=volume, point=point)
    assert sorted(t["kind"] for t in seam.tagged()) == ["clone", "layer", "layer", "volume"]
    seam.call("delete_clone", clone=clone)
    seam.call("delete_clone", clone=clone)
    seam.call("delete_point", volume=volume, point=point)
    seam.call("delete_point", volume=volume, point=point)
    seam.call("delete_volume", volume=volume)
    seam.call("delete_volume", volume=volume)
    assert seam.tagged() == [] and target.things()["volumes"] == [] and target.things()["attachments"] == []


def test_a_failed_round_is_taken_back(seam, volume, tmp_path):
    first, failed, third = new_tag(), new_tag(), new_tag()
    good, bad = pattern_file(tmp_path / "good", SIZE), pattern_file(tmp_path / "bad", SIZE, at=2 * MIB, seed=b"bad")
    write_round(seam, volume, first, good)
    point = seam.call("make_point", volume=volume, tag=first)["point"]
    write_round(seam, volume, failed, bad, last=point)
    seam.call("drop_round", volume=volume, tag=failed)
    seam.call("drop_round", volume=volume, tag=failed)
    # Nothing written by the next round: what its point holds is what the last one held.
    opened = seam.call("open_volume", volume=volume, tag=third, last_point=point)
    seam.call("close_volume", handle=opened["handle"])
    same(seam, volume, seam.call("make_point", volume=volume, tag=third)["point"], good)


def test_a_round_nobody_took_back(seam, volume, tmp_path):
    """The service was killed and lost its round: the next one finds the note on the volume."""
    first, lost, third = new_tag(), new_tag(), new_tag()
    good, bad = pattern_file(tmp_path / "good", SIZE), pattern_file(tmp_path / "bad", SIZE, at=2 * MIB, seed=b"bad")
    write_round(seam, volume, first, good)
    point = seam.call("make_point", volume=volume, tag=first)["point"]
    write_round(seam, volume, lost, bad, last=point)
    seam.kill()
    seam.open("target", p="lab")
    opened = seam.call("open_volume", volume=volume, tag=third, last_point=point)
    seam.call("close_volume", handle=opened["handle"])
    same(seam, volume, seam.call("make_point", volume=volume, tag=third)["point"], good)


def test_only_a_new_volume_reads_as_zero(seam, volume, tmp_path):
    first, second = new_tag(), new_tag()
    opened = seam.call("open_volume", volume=volume, tag=first)
    assert opened["reads_as_zero"]
    copy(pattern_file(tmp_path / "a", SIZE), opened, "--target-is-zero")
    seam.call("close_volume", handle=opened["handle"])
    assert seam.call("open_volume", volume=volume, tag=first)["reads_as_zero"]  # the same round goes on
    seam.call("drop_round", volume=volume, tag=first)
    opened = seam.call("open_volume", volume=volume, tag=second)
    assert not opened["reads_as_zero"]
    other = pattern_file(tmp_path / "b", SIZE, at=64 * MIB, seed=b"b")
    copy(other, opened)
    seam.call("close_volume", handle=opened["handle"])
    same(seam, volume, seam.call("make_point", volume=volume, tag=second)["point"], other)


def test_volumes_grow(seam, volume, target):
    seam.call("resize_volume", volume=volume, size=(1 << 30) + 1)
    seam.call("resize_volume", volume=volume, size=(1 << 30) + 1)
    shown = target.cloud.get("volumev3", f"/volumes/{volume_id(volume)}")["volume"]
    assert (shown["status"], shown["size"]) == ("in-use", 2)
    assert seam.call("open_volume", volume=volume, tag=new_tag())["size"] == 2 << 30


def test_storage_must_be_rbd(seam, target):
    fails("no-such-storage", seam.call, "create_volume", tag=new_tag(), name="x", disk="vda", size=SIZE,
          storage="nothing")
    tag = new_tag()
    error = fails("platform-unsupported", seam.call, "create_volume", tag=tag, name="x", disk="vda", size=SIZE,
                  storage="file")
    assert "rbd" in error.message
    left = seam.tagged("volume")
    assert [t["tag"] for t in left] == [tag]  # the ledger's row finds it
    seam.call("delete_volume", volume=left[0]["ref"])
    assert target.things()["volumes"] == []


# --- quotas ---

@pytest.fixture
def admin(cloud):
    return cloud.project("target", admin=True).cloud


def quota(admin, **limits):
    admin.call("volumev3", "PUT", f"/os-quota-sets/{admin.project_id}", {"quota_set": limits})


def test_volume_quotas(seam, admin, volume):
    was = admin.get("volumev3", f"/os-quota-sets/{admin.project_id}")["quota_set"]
    try:
        for name, limit in (("volumes", 1), ("gigabytes", 1)):
            quota(admin, **{name: limit})
            error = fails("quota", seam.call, "create_volume", tag=new_tag(), name="x", disk="vda", size=SIZE,
                          storage="rbd-b")
            assert "1" in error.message, error
            quota(admin, **{name: was[name]})
        quota(admin, snapshots=0)
        tag = new_tag()
        seam.call("close_volume", handle=seam.call("open_volume", volume=volume, tag=tag)["handle"])
        fails("quota", seam.call, "make_point", volume=volume, tag=tag)
        quota(admin, snapshots=was["snapshots"])
        seam.call("make_point", volume=volume, tag=tag)
    finally:
        quota(admin, **{name: was[name] for name in ("volumes", "gigabytes", "snapshots")})


# --- launches ---

def machine(nics=(), memory=128 * MIB, **fields):
    return {"id": "m", "name": "web1", "power": "off", "cpus": 1, "memory_bytes": memory, "firmware": "bios",
            "arch": "x86_64", "chipset": "pc", "guest_os": None, "agent": False, "nics": list(nics),
            "disks": [{"key": "vda", "identity": None, "bus": "virtio", "format": "raw", "source": None,
                       "size_bytes": SIZE, "boot_order": 1, "read_only": False, "shared": False,
                       "removable": False}], **fields}


NIC = {"mac": "52:54:00:77:00:33", "network": "lab", "model": "virtio", "addresses": ["10.77.1.33"]}


@pytest.fixture
def clone(seam, volume):
    tag = new_tag()
    seam.call("close_volume", handle=seam.call("open_volume", volume=volume, tag=tag)["handle"])
    point = seam.call("make_point", volume=volume, tag=tag)["point"]
    made = seam.call("clone_point", volume=volume, point=point, tag=new_tag())["clone"]
    yield made
    seam.call("delete_clone", clone=made)


def create(seam, tag, clone, nics=(NIC,), **fields):
    return seam.call("create_machine", tag=tag, name="web1", machine=machine(nics),
                     clones={"vda": clone}, network="prod", **fields)["machine_ref"]


def test_a_machine_is_off_until_it_is_started(seam, clone, target):
    tag = new_tag()
    ref = create(seam, tag, clone)
    assert create(seam, tag, clone) == ref
    identity = seam.call("machine_id", machine_ref=ref)["id"]
    assert seam.call("power", machine=identity)["power"] == "off"
    assert target.things()["servers"] == [] and target.things()["ports"] == [f"{tag}-0"]
    assert {t["kind"] for t in seam.tagged() if t["tag"] == tag} == {"machine"}
    seam.call("power_on", machine=identity)
    seam.call("power_on", machine=identity)
    assert seam.call("power", machine=identity)["power"] == "on"
    assert target.things()["servers"] == ["web1"]
    port = target.cloud.get("network", f"/ports?name={tag}-0")["ports"][0]
    assert port["mac_address"] == NIC["mac"] and port["fixed_ips"][0]["ip_address"] == "10.77.1.33"
    seam.call("power_off", machine=identity)
    assert seam.call("power", machine=identity)["power"] == "off"
    seam.call("power_on", machine=identity)
    seam.call("delete_machine", machine_ref=ref)
    seam.call("delete_machine", machine_ref=ref)
    assert target.things()["servers"] == [] and target.things()["ports"] == []
    shown = target.cloud.get("volumev3", f"/volumes/{volume_id(clone)}")["volume"]
    assert shown["status"] == "available" and shown["volume_image_metadata"]["hw_disk_bus"] == "virtio"


def test_a_companion_beside_a_sata_disk(seam, clone, target):
    """A small disk on virtio that goes with the machine, also when only its volume is left."""
    tag = new_tag()
    wanted = {"disk_bus": "sata", "companion": True, "nics": ()}
    ref = create(seam, tag, clone, **wanted)
    assert create(seam, tag, clone, **wanted) == ref
    assert [t["kind"] for t in seam.tagged() if t["tag"] == tag] == ["machine"]
    seam.call("power_on", machine=ref)
    server = target.cloud.get("compute", "/servers/detail")["servers"][0]
    xml = seam.cloud.virsh("dumpxml", server["id"])
    assert re.findall(r"<target dev='(\w+)' bus='(\w+)'/>", xml) == [("sda", "sata"), ("vda", "virtio")]
    seam.call("delete_machine", machine_ref=ref)
    assert seam.tagged("machine") == []
    # The service died before the ref was written.
    create(seam, tag, clone, **wanted)
    left, = [t for t in seam.tagged() if t["tag"] == tag]
    assert left["kind"] == "machine"
    seam.call("delete_machine", machine_ref=left["ref"])
    seam.call("delete_machine", machine_ref=left["ref"])
    assert not [t for t in seam.tagged() if t["tag"] == tag]


def test_a_clone_is_opened_for_the_conversion(seam, volume, target, tmp_path):
    tag = new_tag()
    good = pattern_file(tmp_path / "good", SIZE)
    write_round(seam, volume, tag, good)
    point = seam.call("make_point", volume=volume, tag=tag)["point"]
    clone = seam.call("clone_point", volume=volume, point=point, tag=new_tag())["clone"]
    opened = seam.call("open_clone", clone=clone)
    assert opened["uri"].startswith("nbd+unix:") and opened["size"] == 1 << 30
    run("qemu-io", "-f", "raw", "-c", "write -P 0x5a 1M 64k", opened["uri"])
    assert target.cloud.get("volumev3", f"/volumes/{volume_id(clone)}")["volume"]["status"] == "in-use"
    seam.call("close_volume", handle=opened["handle"])
    assert target.cloud.get("volumev3", f"/volumes/{volume_id(clone)}")["volume"]["status"] == "available"
    run("qemu-io", "-r", "-f", "raw", "-c", "read -P 0x5a 1M 64k",
        f"rbd:volumes-b/volume-{volume_id(clone)}:conf={seam.cloud.conf}")
    same(seam, volume, point, good)  # the point is as it was
    # The service dies while it is open.  For half a minute the cluster takes its client for alive, and what is
    # deleted meanwhile would go to the trash.
    seam.call("open_clone", clone=clone)
    seam.kill()
    for path in seam.work.iterdir():  # the socket of the server that died with us
        path.unlink()
    seam.open("target", p="lab")
    seam.call("delete_clone", clone=clone)
    assert seam.cloud.rbd("trash", "ls", "--all", "volumes-b") == ""


def test_what_a_launch_asks_of_nova(seam, clone, target):
    """UEFI, a config drive, security groups: seen at the guest and its port."""
    group = target.cloud.post("network", "/security-groups", {"security_group": {"name": "web"}})["security_group"]
    target.made.append(("network", f"/security-groups/{group['id']}"))
    seam.open("target", p="drive", config_drive="true")
    tag = new_tag()
    ref = seam.call("create_machine", p="drive", tag=tag, name="web1", clones={"vda": clone}, network="prod",
                    machine=machine((NIC,), memory=256 * MIB, firmware="uefi"), security_groups=["web"])["machine_ref"]
    port = target.cloud.get("network", f"/ports?name={tag}-0")["ports"][0]
    assert port["security_groups"] == [group["id"]]
    seam.call("power_on", p="drive", machine=ref)
    server = target.cloud.get("compute", "/servers/detail")["servers"][0]
    assert server["config_drive"] == "True"
    xml = seam.cloud.virsh("dumpxml", server["id"])
    assert "type='pflash'" in xml and "machine='pc-q35" in xml and "disk.config" in xml, xml
    seam.call("delete_machine", p="drive", machine_ref=ref)
    assert target.things()["servers"] == [] and target.things()["ports"] == []


def test_addresses_that_are_taken(seam, clone, target):
    target.port("prod", NIC["mac"], "10.77.1.34")
    tag = new_tag()
    error = fails("exists", create, seam, tag, clone)
    assert NIC["mac"] in error.message
    findings = precheck(seam, [NIC])
    assert findings["openstack-mac-taken"]["severity"] == "block"
    other = {**NIC, "mac": "52:54:00:77:00:44", "addresses": ["10.77.1.34"]}
    fails("exists", create, seam, tag, clone, nics=(other,))
    assert precheck(seam, [other])["openstack-address-taken"]["severity"] == "block"
    left = [t for t in seam.tagged("machine") if t["tag"] == tag]
    for one in left:
        seam.call("delete_machine", machine_ref=one["ref"])


def test_an_address_that_no_subnet_holds(seam, clone, target):
    tag = new_tag()
    ref = create(seam, tag, clone, nics=({**NIC, "addresses": ["192.0.2.1"]},))
    port = target.cloud.get("network", f"/ports?name={tag}-0")["ports"][0]
    assert port["mac_address"] == NIC["mac"] and port["fixed_ips"][0]["ip_address"].startswith("10.77.1.")
    seam.call("delete_machine", machine_ref=ref)


def test_a_flavor_that_is_gone(seam, clone):
    fails("platform-unsupported", create, seam, new_tag(), clone, flavor="m1.gone")
    assert seam.tagged("machine") == []


# --- prechecks ---

def precheck(seam, nics=(NIC,), p="lab", mapping=None, **fields):
    mapping = {"default_network": "prod", "storage": "rbd-b", **(mapping or {})}
    answer = seam.call("target_precheck", p=p, machine=machine(nics, **fields), mapping=mapping)
    for one in answer["findings"]:
        assert all(one[key] for key in ("found", "needed", "why", "fix")), one
    return {one["id"]: one for one in answer["findings"]}


@pytest.mark.parametrize("finding, severity, mapping, fields", [
    ("openstack-no-network", "block", {"default_network": "nothing"}, {}),
    ("openstack-nic-unmapped", "block", {"default_network": None}, {}),
    ("openstack-not-isolated", "warn", {"isolated_network": "prod"}, {}),
    ("openstack-no-volume-type", "block", {"storage": "nothing"}, {}),
    ("openstack-no-zone", "block", {"storage": "rbd-b@moon"}, {}),
    ("openstack-no-flavor", "block", {"flavor": "nothing"}, {}),
    ("openstack-flavor-differs", "info", {}, {"memory": 200 * MIB}),
    ("openstack-flavor-differs", "warn", {"flavor": "tiny"}, {"memory": 1024 * MIB}),
    ("openstack-address-outside", "warn", {}, {"nics": [{**NIC, "addresses": ["192.0.2.1"]}]}),
    ("openstack-size-rounded", "info", {}, {}),
    ("openstack-uefi-fallback", "warn", {}, {"firmware": "uefi"}),
    ("openstack-architecture", "warn", {}, {"arch": "aarch64"}),
    ("openstack-write-path", "info", {}, {}),
])
def test_findings(seam, finding, severity, mapping, fields):
    assert precheck(seam, mapping=mapping, **fields)[finding]["severity"] == severity


def test_nothing_found_where_all_is_well(seam):
    assert {f["severity"] for f in precheck(seam).values()} == {"info"}


@pytest.mark.parametrize("finding, name, more", [
    ("volumes", "volumes", 2), ("gigabytes", "gigabytes", 3), ("snapshots", "snapshots", 1),
    ("volume-size", "per_volume_gigabytes", 1)])
def test_findings_of_quotas(seam, admin, finding, name, more):
    was = admin.get("volumev3", f"/os-quota-sets/{admin.project_id}")["quota_set"][name]
    used = admin.get("volumev3", f"/os-quota-sets/{admin.project_id}?usage=True")["quota_set"][name]["in_use"]
    try:
        quota(admin, **{name: used + more})
        assert f"openstack-quota-{finding}" not in precheck(seam)
        quota(admin, **{name: used + more - 1})
        assert precheck(seam)[f"openstack-quota-{finding}"]["severity"] == "block"
    finally:
        quota(admin, **{name: was})


# --- the cloud's faults ---

@pytest.fixture
def volumes_proxy(cloud, seam, target):
    one = proxy.Proxy({"volume": target.cloud.urls["volumev3"]})
    seam.open_plain("faulty", volume_endpoint=one.endpoints["volume"])
    yield one
    one.close()


@pytest.mark.parametrize("fault, code", [
    (proxy.not_json, "protocol"), (proxy.huge, "protocol"), (proxy.truncated, "platform-unreachable"),
    (proxy.hung_up, "platform-unreachable"), (proxy.answer(503), "platform-unreachable"),
    (proxy.answer(500, b'{"computeFault": {"message": "no"}}'), "platform-error"),
    (proxy.answer(200, b"[]"), "protocol"), (proxy.answer(200, b'{"volumes": {}}'), "protocol"),
    (proxy.answer(429), "busy"), (proxy.answer(302), "platform-error"),
])
def test_wrong_answers(seam, volumes_proxy, fault, code):
    rule = volumes_proxy.rule(None, "/volumes/detail", fault, proxy.ALWAYS)
    fails(code, seam.call, "tagged", p="faulty")
    assert rule.hits
    volumes_proxy.calm()
    assert seam.call("tagged", p="faulty")["tagged"] == []


def test_a_volume_whose_making_nobody_heard_of(seam, volumes_proxy, target):
    """The answer to the POST is lost: it is not sent again, and the next call finds the volume by its tag."""
    fields = {"tag": new_tag(), "name": "x", "disk": "vda", "size": SIZE, "storage": "rbd-b", "p": "faulty"}
    rule = volumes_proxy.rule("POST", "/volumes$", proxy.no_answer, proxy.ALWAYS)
    fails("platform-unreachable", seam.call, "create_volume", **fields)
    assert rule.hits == 1
    volumes_proxy.calm()
    made = seam.call("create_volume", **fields)["volume"]
    assert len(target.things()["volumes"]) == 1
    seam.call("delete_volume", volume=made, p="faulty")


ONE_VOLUME = "/volumes/(?!detail)"


def test_the_api_away_while_a_volume_is_made(seam, volumes_proxy):
    back = time.monotonic() + 5

    def away(handler):
        handler.reply(503, [], b"") if time.monotonic() < back else handler.reply(*handler.forward())
    rule = volumes_proxy.rule("GET", ONE_VOLUME, away, proxy.ALWAYS)
    fields = {"tag": new_tag(), "name": "x", "disk": "vda", "size": SIZE, "storage": "rbd-b", "p": "faulty"}
    made = seam.call("create_volume", **fields)["volume"]
    assert time.monotonic() > back and rule.hits > 1
    seam.call("delete_volume", volume=made, p="faulty")


def test_a_token_that_was_revoked(seam, volumes_proxy):
    """Services remember a token for minutes, so that it is no longer taken is played by the proxy: once."""
    refusal = proxy.answer(401, b'{"error": {"code": 401, "message": "no", "title": "Unauthorized"}}')
    rule = volumes_proxy.rule(None, "/volumes/detail", refusal)
    assert seam.call("tagged", p="faulty")["tagged"] == [] and rule.hits == 1
    volumes_proxy.rule(None, "", proxy.answer(401), proxy.ALWAYS)
    fails("platform-auth", seam.call, "tagged", p="faulty")


def test_a_volume_that_stays_in_creating(seam, volumes_proxy):
    """Cancelled, it is left to the ledger's removal by tag."""
    def creating(handler):
        status, headers, body = handler.forward()
        handler.reply(status, headers, body.replace(b'"available"', b'"creating"'))
    volumes_proxy.rule("GET", ONE_VOLUME, creating, proxy.ALWAYS)
    seam.call("cancel", p="faulty")
    fails("cancelled", seam.call, "create_volume", tag=new_tag(), name="x", disk="vda", size=SIZE, storage="rbd-b",
          p="faulty")
    left = seam.tagged("volume")
    assert len(left) == 1
    seam.call("delete_volume", volume=left[0]["ref"])


def test_pages(seam, volumes_proxy, target):
    """A collection is read to its end, by links whose host is not ours to call."""
    for index in range(3):
        target.volume("rbd-b", name=f"v{index}")
    host = urlsplit(target.cloud.urls["volumev3"]).hostname.encode()

    def by_one(handler):
        path = handler.path + ("&" if "?" in handler.path else "?") + "limit=1" * ("limit=" not in handler.path)
        status, headers, body = handler.forward(path)
        assert host in body or b"links" not in body
        handler.reply(status, headers, body.replace(host, b"192.0.2.1"))
    volumes_proxy.rule(None, "/volumes/detail", by_one, proxy.ALWAYS)
    assert seam.call("tagged", p="faulty")["tagged"] == []
    pages = [path for _, path, _ in volumes_proxy.seen if "/volumes/detail" in path]
    assert len(pages) >= 3 and any("marker=" in path for path in pages), pages
