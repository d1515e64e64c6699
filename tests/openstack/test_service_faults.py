# SPDX-License-Identifier: Apache-2.0
"""What goes wrong in a cloud while the service works in it: the right end, or an error that says what to do.

After each fault the cloud itself is asked what is left in it.  The fault is the cloud's own where it
can be made to show it (quotas lowered, things deleted or taken under the service); the
proxy only finds the moment, and gives the answers that a healthy service does not give.
"""
import pytest

import proxy
import service
from cloud import PROJECTS
from ferry import ApiError

pytestmark = pytest.mark.timeout(600)

NAME = "f"
MAC = "52:54:00:77:01:01"
MAP = {"storage": "rbd-b", "default_network": "prod", "isolated_network": "isolated"}
QUICK = {"boot_timeout": "60s", "shutdown": "off", "quiesce": "off", "retries": 0}


@pytest.fixture(scope="module")
def world(cloud):
    one = service.Ferry(cloud)
    one.proxy = proxy.Proxy.of(one.target.cloud)
    one.daemon.post("/platforms", {
        "name": "proxied", "type": "openstack", "url": f"{cloud.lab.url('keystone')}/v3",
        "user": "target", "password": PROJECTS["target"],
        "options": {"project_name": "target", "project_domain_id": "default", "user_domain_id": "default",
                    "region_name": "RegionOne", "ceph_conf": cloud.conf, "ceph_user": "mover",
                    **{f"{kind}_endpoint": url for kind, url in one.proxy.endpoints.items()}}})
    one.admin = cloud.project("target", admin=True)
    one.machine("sector", MAC)
    yield one
    one.proxy.close()
    one.close()


@pytest.fixture(scope="module")
def seeded(world):
    world.replicate("kvm", "sector", "proxied", NAME, MAP, **QUICK)
    world.check_clean()
    return NAME


@pytest.fixture(autouse=True)
def calm(world):
    yield
    world.proxy.calm()


def use_up(world, kind, limit):
    """Lower a quota of the project target to what is used of it; returns what puts it back."""
    project = world.target.cloud.project_id
    if kind == "network":
        path, key, usage = f"/quotas/{project}", "quota", "/details"
    else:
        path, key, usage = f"/os-quota-sets/{project}", "quota_set", "?usage=True"
    old = world.admin.cloud.get(kind, path)[key][limit]
    now = world.admin.cloud.get(kind, path + usage)[key][limit]

    def put(value):
        world.admin.cloud.call(kind, "PUT", path, {key: {limit: value}})
    put(now.get("in_use", now.get("used")))
    return lambda: put(old)


def write(world, pattern):
    world.lab.write("sector", 4 * service.MIB, 2 * service.MIB, pattern)


# --- login and answers ---

def test_wrong_ca(world):
    def add(name, cloud_name):
        return world.daemon.post("/platforms", {
            "name": name, "type": "openstack", "url": f"cloud:{cloud_name}",
            "options": {"clouds_yaml": world.cloud.clouds, "ceph_conf": world.cloud.conf}})
    with pytest.raises(ApiError) as error:
        add("wrong", "target-wrong-ca")
        world.daemon.post("/platforms/wrong/test")
    assert error.value.code == "tls" and "CA" in error.value.error["fix"], error.value.error
    add("right", "target-tls")
    world.daemon.post("/platforms/right/test")


@pytest.mark.parametrize("harm,code", [(proxy.truncated, "platform-unreachable"), (proxy.not_json, "protocol"),
                                       (proxy.huge, "protocol")])
def test_broken_answers(world, harm, code):
    """To a question: an error of its own.  The service's memory does not grow by what is sent."""
    rule = world.proxy.rule("GET", "/types", harm, count=9)
    with pytest.raises(ApiError) as error:
        world.daemon.get("/platforms/proxied/resources")
    assert error.value.code == code, error.value.error
    assert rule.hits >= 1
    with open(f"/proc/{world.daemon.process.pid}/status", encoding="ascii") as status:
        peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    assert peak < 200 * 1024, f"{peak} KiB"


@pytest.mark.parametrize("harm", [proxy.truncated, proxy.not_json])
def test_broken_answer_to_a_creation(world, seeded, harm):
    """The snapshot was made, but nobody was told its id: it is found by its tag, and not made twice."""
    write(world, 17)
    rule = world.proxy.rule("POST", "/snapshots$", harm)
    error = world.fails(seeded, "sync")
    assert rule.hits == 1 and error["code"] in ("protocol", "platform-unreachable"), error
    world.daemon.do(seeded, "sync")
    assert world.daemon.show(seeded)["last_round"]["kind"] == "delta"
    world.check_clean()


# --- quotas, flavors, addresses ---

@pytest.mark.parametrize("kind,limit", [("volumev3", "volumes"), ("volumev3", "gigabytes"), ("network", "port")])
def test_quota_is_checked_first(world, seeded, kind, limit):
    """Before anything is made: blocked, with what there is and what is needed."""
    put_back = use_up(world, kind, limit)
    try:
        world.daemon.do(seeded, "check")
        name = {"port": "ports"}.get(limit, limit)
        finding = next(one for one in world.daemon.show(seeded)["findings"] if one["id"] == f"openstack-quota-{name}")
        assert finding["severity"] == "block" and "used" in finding["found"] and "more" in finding["needed"], finding
    finally:
        put_back()
    world.daemon.do(seeded, "check")


@pytest.mark.parametrize("kind,limit", [("volumev3", "volumes"), ("volumev3", "gigabytes"), ("network", "port")])
def test_quota_used_up_by_a_launch(world, seeded, kind, limit):
    """Lowered after the check: the drill ends with the quota's error and leaves nothing."""
    put_back = use_up(world, kind, limit)
    try:
        error = world.fails(seeded, "drill")
        assert error["code"] == "quota" and "uota" in error["message"], error
        assert world.daemon.show(seeded)["state"] == "idle"
    finally:
        put_back()
    world.check_clean()


def test_flavor_gone(world, seeded):
    made = world.admin.cloud.post("compute", "/flavors", {"flavor": {
        "name": "brief", "ram": 128, "vcpus": 1, "disk": 0}})["flavor"]["id"]
    world.daemon.call("PATCH", f"/replications/{seeded}", {"mapping": {**MAP, "flavor": "brief"}})
    world.admin.cloud.delete("compute", f"/flavors/{made}")
    error = world.fails(seeded, "drill")
    assert error["code"] == "platform-unsupported" and "brief" in error["message"], error
    world.daemon.call("PATCH", f"/replications/{seeded}", {"mapping": {**MAP, "flavor": None}})
    world.check_clean()


def test_mac_taken_on_the_way(world, seeded):
    """Between check and launch: the cutover fails, the source goes on, the stranger's port stays."""
    rule = world.proxy.rule("POST", "/ports$", proxy.before(lambda: world.target.port("prod", MAC, "10.77.1.201")))
    error = world.fails(seeded, "cutover", yes=True)
    assert rule.hits == 1 and error["code"] == "exists" and MAC in error["message"], error
    assert world.daemon.show(seeded)["state"] == "rolled-back"
    assert world.lab.virsh("domstate", "sector") == "running"
    assert len(world.target.cloud.get("network", f"/ports?mac_address={MAC}")["ports"]) == 1
    world.target.clean()
    world.check_clean()


# --- snapshots and images ---

def test_point_deleted_by_somebody(world, seeded):
    """A launch from it says so; the next round makes the replica whole again."""
    replica = world.replica(seeded)["id"]
    for one in world.target.cloud.get("volumev3", f"/snapshots?volume_id={replica}")["snapshots"]:
        world.target.remove("volumev3", f"/snapshots/{one['id']}")
    error = world.fails(seeded, "drill")
    assert error["code"] == "no-such-point", error
    write(world, 19)
    world.daemon.do(seeded, "sync")
    world.daemon.do(seeded, "drill")
    assert service.booted(world.daemon.show(seeded)["launch"])
    world.daemon.do(seeded, "drill-end")
    ferry_rows = [row for row in world.daemon.ledger() if row["kind"] == "layer"]
    assert len(ferry_rows) <= 3, ferry_rows
