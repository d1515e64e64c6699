# SPDX-License-Identifier: Apache-2.0
"""What goes wrong in a cloud while the service works in it: the right end, or an error that says what to do.

After each fault the cloud itself is asked what is left in it.  The fault is the cloud's own where it
can be made to show it (its services are killed, quotas lowered, things deleted under the service); the
proxy only finds the moment, and gives the answers that a healthy service does not give.
"""
import contextlib
import sqlite3
import threading
import time

import pytest

import proxy
import service
from cloud import PROJECTS
from ferry import ApiError
from service import tag_of
from test_service import ADDRESS, SERVER_MAC

pytestmark = pytest.mark.timeout(600)

NAME = "f"
MAC = "52:54:00:77:01:01"
MAP = {"storage": "rbd-b", "default_network": "prod", "isolated_network": "isolated"}
QUICK = {"boot_timeout": "60s", "shutdown": "off", "shutdown_timeout": "2s", "quiesce": "off", "retries": 0}


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


def clones_in(world, *statuses):
    return [v for v in world.target.cloud.get("volumev3", "/volumes/detail")["volumes"]
            if v["metadata"].get("blockferry_kind") == "clone" and v["status"] in statuses]


def say(world, volumes, status):
    """Let Cinder say so of volumes, as an admin may."""
    for one in volumes:
        world.admin.cloud.post("volumev3", f"/volumes/{one['id']}/action", {"os-reset_status": {"status": status}})


def note(world, volume, status):
    """As Cinder itself notes it: "deleting" is no status that an admin may set."""
    with contextlib.closing(sqlite3.connect(f"{world.cloud.directory}/db/cinder.db", timeout=30)) as base, base:
        base.execute("UPDATE volumes SET status = ? WHERE id = ?", (status, volume))


def clone_says(world, status):
    """A rule: the clone that is asked for has that status as soon as it is there."""
    def harm():
        say(world, service.wait_until(lambda: clones_in(world, "available"), 30, "no clone"), status)
    return world.proxy.rule("POST", "/volumes$", proxy.after(harm))


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


def test_token_revoked_in_a_round(world, seeded):
    """When the point is asked for: a new one, and nothing is noticed.  Cinder keeps what it knows of a token
    for minutes, so it is made to forget that."""
    write(world, 18)

    def revoke():
        token = world.proxy.seen[-1][2]
        world.admin.cloud.request("DELETE", world.admin.cloud.urls["identity"] + "/auth/tokens", None,
                                  {"X-Auth-Token": world.admin.cloud.token, "X-Subject-Token": token})
        world.cloud.call("kill", "cinder")
        start_cinder(world)
    world.proxy.calm()
    rule = world.proxy.rule("POST", "/snapshots$", proxy.before(revoke))
    world.daemon.do(seeded, "sync")
    assert rule.hits == 1
    posted = [token for method, path, token in world.proxy.seen if method == "POST" and path.endswith("/snapshots")]
    assert len(posted) == 2 and posted[0] != posted[1]
    assert world.proxy.seen[-1][2] == posted[1]
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


@pytest.fixture(scope="module")
def server(world):
    """In the project source, as a source whose addresses are known."""
    one = world.server_of_sector("addressed", SERVER_MAC, ADDRESS, metadata={"os_shutdown_timeout": "6"})
    yield one
    world.source.clean()


def test_address_taken_and_subnet_mismatch(world, server):
    volume = server[1]
    world.target.port("prod", "52:54:00:77:01:99", ADDRESS)
    with pytest.raises(ApiError) as error:
        world.replicate("source", "addressed", "target", "a", MAP, **QUICK)
    assert error.value.code == "precheck-blocked" and "openstack-address-taken" in str(error.value), error.value
    world.target.clean()

    # The other project's network "isolated" has another subnet: said so, and the port gets an address of it.
    world.replicate("source", "addressed", "target", "a", {**MAP, "default_network": "isolated"}, **QUICK)
    found = {one["id"]: one for one in world.daemon.show("a")["findings"]}
    assert found["openstack-address-outside"]["severity"] == "warn", found
    world.daemon.do("a", "drill")
    addresses = world.servers(world.target)["addressed-drill"]["addresses"]["isolated"]
    assert [(one["addr"].rsplit(".", 1)[0], one["OS-EXT-IPS-MAC:mac_addr"]) for one in addresses] == \
        [("10.77.2", SERVER_MAC)]
    world.daemon.do("a", "drill-end")
    world.check_clean()

    # Somebody deletes the baseline: the next round compares everything, and says why.
    snapshots = world.source.cloud.get("volumev3", f"/snapshots?volume_id={volume}")["snapshots"]
    for one in snapshots:
        world.source.remove("volumev3", f"/snapshots/{one['id']}")
    world.daemon.do("a", "sync")
    last = world.daemon.show("a")["last_round"]
    assert last["kind"] == "compare" and "no delta" in last["disks"][0]["note"], last
    world.check_clean()


def test_source_that_stops_too_late(world, server):
    """Nova's stop cannot be called back: the cutover that did not wait for it starts the source after it."""
    def source():
        return world.source.cloud.get("compute", f"/servers/{server[0]}")["server"]
    world.daemon.call("PATCH", "/replications/a", {"policy": {"shutdown": "ask", "shutdown_timeout": "1s"}})
    failure = world.fails("a", "cutover", yes=True)
    assert failure["code"] == "shutdown-refused", failure
    assert world.daemon.show("a")["state"] == "rolled-back"
    service.wait_until(lambda: source()["OS-EXT-STS:task_state"] is None, 30, "the source does not come to rest")
    assert source()["status"] == "ACTIVE"
    world.daemon.do("a", "remove", delete_volumes=True)
    world.check_clean()


# --- killed while the cloud is at it ---

def test_killed_while_cinder_removes(world, seeded):
    """Cinder refuses to remove what it is removing already, as the killed one asked for: that is waited for."""
    going = {}

    def begin(handler):
        going["id"] = handler.path.split("/")[-1]
        note(world, going["id"], "deleting")
        handler.reply(202, [], b"")

    def asked():
        return [1 for method, path, _ in world.proxy.seen if method == "DELETE" and path.endswith(going["id"])]
    world.daemon.do(seeded, "drill")
    rule = world.proxy.rule("DELETE", "/volumes/[^/?]+$", begin)
    job = world.daemon.verb(seeded, "drill-end")["job"]
    assert rule.hit.wait(60)
    world.daemon.kill()
    world.daemon.start()
    service.wait_until(lambda: len(asked()) > 1, 60, "the job does not go on")
    time.sleep(1)
    note(world, going["id"], "available")
    world.admin.cloud.delete("volumev3", f"/volumes/{going['id']}")
    done = world.daemon.wait_job(seeded, job)
    assert done["state"] == "done", done
    world.check_clean()


def asked_for_servers(world):
    return [1 for method, path, _ in world.proxy.seen if (method, path.split("/")[-1]) == ("POST", "servers")]


def test_killed_while_nova_is_asked(world, seeded):
    """Nova makes the server that the killed one asked for just before it is asked again: that one is taken."""
    late = threading.Event()
    first = world.proxy.rule("POST", "/servers$", proxy.hold(late))
    second = world.proxy.rule("POST", "/servers$", proxy.before(lambda: (late.set(), first.hit.wait(60))))
    job = world.daemon.verb(seeded, "drill")["job"]
    service.wait_until(lambda: asked_for_servers(world), 60, "no server is asked for")
    world.daemon.kill()
    world.daemon.start()
    done = world.daemon.wait_job(seeded, job)
    assert done["state"] == "done" and second.hits == 1, done
    assert len(world.servers(world.target)) == 1
    world.daemon.do(seeded, "drill-end")
    world.check_clean()


def test_cancelled_while_nova_is_asked(world, seeded):
    """The server comes up after the service has looked for it: it goes all the same, and then the source runs."""
    late = threading.Event()
    first = world.proxy.rule("POST", "/servers$", proxy.hold(late))
    job = world.daemon.verb(seeded, "cutover", yes=True)["job"]
    service.wait_until(lambda: asked_for_servers(world), 60, "no server is asked for")
    look = world.proxy.rule("GET", "/servers/detail.tags=", proxy.after(lambda: (late.set(), first.hit.wait(60))))
    world.daemon.verb(seeded, "cancel")
    ended = world.daemon.wait_job(seeded, job)
    assert look.hits == 1 and ended["error"]["code"] == "cancelled", ended
    assert world.lab.virsh("domstate", "sector") == "running"
    assert world.servers(world.target) == {}
    assert world.daemon.show(seeded)["state"] == "rolled-back"
    world.check_clean()


# --- snapshots and images ---

def test_point_deleted_by_somebody(world, seeded):
    """A launch from it says so, the next one from a newer point is none the worse; what the ledger knows of
    the lost ones goes with their points."""
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
    world.daemon.call("PATCH", f"/replications/{seeded}", {"policy": {"keep_points": 1}})
    world.daemon.do(seeded, "sync")
    world.check_clean()


def test_image_locked_by_another_client(world, seeded):
    image = f"volumes-b/volume-{world.replica(seeded)['id']}"
    world.cloud.rbd("lock", "add", image, "stranger")
    try:
        write(world, 20)
        error = world.fails(seeded, "sync")
        assert error["code"] == "in-use", error
    finally:
        for row in world.cloud.rbd("lock", "ls", image).splitlines():
            if "stranger" in row:
                world.cloud.rbd("lock", "rm", image, "stranger", row.split()[0])
    world.daemon.do(seeded, "sync")
    assert world.daemon.show(seeded)["last_round"]["kind"] == "delta"
    world.check_clean()


def test_osd_killed_in_a_round(world, seeded):
    """Clients of Ceph wait for it: the round ends well when it is back."""
    write(world, 21)
    ceph = f"{world.cloud.directory}/ceph"

    def kill():
        service.run(f"{service.ferry.LAB}/ceph", "kill-osd", ceph)
    rule = world.proxy.rule("GET", "/attachments/", proxy.after(kill))
    job = world.daemon.verb(seeded, "sync")["job"]
    assert rule.hit.wait(60)
    time.sleep(2)
    assert world.daemon.show(seeded)["job"], "the round did not wait for the OSD"
    service.run(f"{service.ferry.LAB}/ceph", "start-osd", ceph)
    done = world.daemon.wait_job(seeded, job)
    assert done["state"] == "done", done
    world.check_clean()


# --- Cinder away ---

def start_cinder(world):
    world.cloud.call("start", "cinder")


def test_stuck_in_creating(world, seeded):
    """A volume that stays in "creating", as Cinder's own admin call makes it: a cancel ends the wait; the
    volume goes as soon as Cinder lets it go, and not before."""
    rule = clone_says(world, "creating")
    job = world.daemon.verb(seeded, "drill")["job"]
    assert rule.hit.wait(60)
    time.sleep(1)
    stuck = clones_in(world, "creating")
    assert stuck and world.daemon.show(seeded)["job"]
    world.daemon.verb(seeded, "cancel")
    time.sleep(3)
    assert clones_in(world, "creating") and "clone" in [row["kind"] for row in world.daemon.ledger()]
    say(world, stuck, "available")
    ended = world.daemon.wait_job(seeded, job)
    assert ended["error"]["code"] == "cancelled", ended
    world.check_clean()


def test_error_status(world, seeded):
    """A volume that ends in "error" is told with its id, and taken away."""
    clone_says(world, "error")
    error = world.fails(seeded, "drill")
    assert error["code"] == "platform-error" and '"error"' in error["message"], error
    world.check_clean()


def is_forgotten(world, volume):
    """A killed Cinder counts as alive for half a minute: an image that it had open is moved to the cluster's
    trash when it is deleted meanwhile, and holds the snapshot that it is a clone of."""
    image = f"volume-{volume['id']}"
    return (image not in world.cloud.rbd("ls", "volumes-b").split()
            or "Watchers: none" in world.cloud.rbd("status", f"volumes-b/{image}"))


def test_cinder_killed_in_a_creation(world, seeded):
    """The volume was asked for: back again, Cinder makes it or calls it an error.  What was on its way between
    Cinder's parts is lost for good, and stays "creating" until an admin says that it is an error."""
    def restart():
        world.cloud.call("kill", "cinder")
        start_cinder(world)
        stuck = clones_in(world, "creating")
        for one in stuck:
            service.wait_until(lambda volume=one: is_forgotten(world, volume), 60, "Cinder's watch goes on")
        say(world, stuck, "error")
    rule = world.proxy.rule("POST", "/volumes$", proxy.after(restart))
    job = world.daemon.wait_job(seeded, world.daemon.verb(seeded, "drill")["job"])
    assert rule.hits == 1
    if job["state"] == "done":
        world.daemon.do(seeded, "drill-end")
    else:
        assert job["error"]["code"] == "platform-error", job
    world.check_clean()
    world.daemon.do(seeded, "drill")
    world.daemon.do(seeded, "drill-end")
    world.check_clean()


def test_cinder_away_for_30_s(world, seeded):
    """In a round, while the point is asked for: the round is tried again by itself, and is a delta."""
    write(world, 22)
    world.daemon.call("PATCH", f"/replications/{seeded}", {"policy": {"retries": 3}})

    def complete():
        return [one["id"] for one in world.daemon.list(seeded, "rounds") if one["state"] == "complete"]

    def kill():
        world.cloud.call("kill", "cinder")
        threading.Timer(25, start_cinder, [world]).start()  # it serves 5 s later
    rule = world.proxy.rule("POST", "/snapshots$", proxy.before(kill))
    before = complete()
    assert world.fails(seeded, "sync")["code"] == "platform-unreachable" and rule.hits == 1
    service.wait_until(lambda: set(complete()) - set(before), 120, "no round ended well")
    assert world.daemon.show(seeded)["last_round"]["kind"] == "delta"
    world.check_clean()


# --- the end ---

def test_hand_over_refused_for_good(world, seeded):
    """A cloud's policy may forbid it: what is left is named, and is the admin's by the admin's word."""
    world.daemon.do(seeded, "cutover", yes=True)
    server, = world.servers(world.target).values()
    volume = server["os-extended-volumes:volumes_attached"][0]["id"]
    rule = world.proxy.rule("DELETE", "/servers/[^/]+/metadata/", proxy.answer(403), proxy.ALWAYS)
    error = world.fails(seeded, "confirm")
    assert rule.hits and error["code"] == "hand-over-unfinished", error
    assert f"blockferry's: machine {server['name']} ({tag_of(server)})" in error["message"], error
    assert "disk" not in error["message"] and "confirm NAME --force" in error["fix"], error
    with pytest.raises(ApiError) as refused:
        world.daemon.verb(seeded, "rollback")
    assert refused.value.code == "state-forbids"
    world.daemon.do(seeded, "confirm", force=True)
    assert world.daemon.show(seeded)["state"] == "done"
    assert any("handed over by force" in one["message"] and tag_of(server) in one["message"]
               for one in world.daemon.get("/events?last=20")["events"])
    assert {kind for kind, _ in world.ledgered(("proxied",))} == {"volume", "layer"}
    found = world.servers(world.target)[server["name"]]
    assert found["status"] == "ACTIVE" and tag_of(found) == tag_of(server)
    assert world.lab.virsh("domstate", "sector") == "shut off"
    marked = world.tagged(world.target)
    assert ("machine", tag_of(server)) in marked and not [tag for kind, tag in marked if kind == "clone"], marked
    world.target.remove("compute", f"/servers/{server['id']}")
    world.target.remove("volumev3", f"/volumes/{volume}")
    for port in world.target.cloud.get("network", f"/ports?mac_address={MAC}")["ports"]:
        world.target.cloud.delete("network", f"/ports/{port['id']}")


def test_removed_without_a_trace(world, seeded):
    """Said by the cloud's own client as well."""
    world.daemon.do(seeded, "remove", delete_volumes=True)
    assert world.daemon.ledger() == []
    for project in (world.source, world.target):
        assert world.tagged(project) == []
    for kind in (["server"], ["volume"], ["volume", "snapshot"], ["port"]):
        assert world.cloud.client("target", *kind, "list", "-f", "value") == ""
