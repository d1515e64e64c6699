# SPDX-License-Identifier: Apache-2.0
"""The API and the command line on the real service and a real libvirt.

BLOCKFERRYD and BLOCKFERRY_CLI name the programs.
"""
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from urllib.parse import quote

import pytest
import yaml

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../unit/api"))
from ferry import Daemon, Lab  # noqa: E402
from harness import Connection  # noqa: E402

CLI = os.environ.get("BLOCKFERRY_CLI", "")
SECRET = "correct horse battery"
NAME = "shop web ü 1"


@pytest.fixture(scope="module")
def lab():
    directory = tempfile.mkdtemp(prefix="bfl-", dir="/tmp")
    one = Lab(directory)
    one.machine(NAME, start=False)
    one.machine("other", start=False)
    yield one
    one.stop()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture()
def daemon():
    directory = tempfile.mkdtemp(prefix="bfd-", dir="/tmp")
    one = Daemon(directory)
    one.start()
    yield one
    one.stop()
    shutil.rmtree(directory, ignore_errors=True)


def ask(daemon, method, path, body=None, headers=()):
    connection = Connection(daemon.socket, 60)
    try:
        return connection.ask(method, path, body, headers)
    finally:
        connection.close()


def refused(answer, status, code, *words):
    error = answer.json()["error"]
    assert (answer.status, error["code"]) == (status, code), answer.body
    for word in words:
        assert word in error["message"], error["message"]


def add_platforms(daemon, lab):
    for name in ("old", "new"):
        body = {"name": name, "type": "libvirt", "url": lab.uri}
        assert ask(daemon, "POST", "/v1/platforms", body).status == 201


def cli(daemon, *words):
    done = subprocess.run([CLI, "--socket", daemon.socket, *words], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=120, check=False,
                          env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"})
    return done.returncode, done.stdout, done.stderr


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.2)


def test_platforms(daemon):
    for name in ("with space", "Büro Ärger €", "100%", "x?y#z", "日本", "+"):
        body = {"name": name, "type": "libvirt", "url": "test:///default", "user": "me", "password": SECRET,
                "options": None}
        answer = ask(daemon, "POST", "/v1/platforms", body)
        assert answer.status == 201, answer.body
        assert SECRET.encode() not in answer.body and answer.json()["has_password"] is True
        path = "/v1/platforms/" + quote(name, safe="")
        assert ask(daemon, "GET", path).json()["name"] == name
        refused(ask(daemon, "POST", "/v1/platforms", body), 409, "exists")
        assert ask(daemon, "DELETE", path).status == 204
        refused(ask(daemon, "GET", path), 404, "no-such-platform")


def test_secret_is_nowhere_in_clear(daemon):
    body = {"name": "p", "type": "libvirt", "url": "test:///default", "user": "me", "password": SECRET}
    assert ask(daemon, "POST", "/v1/platforms", body).status == 201
    for path in ("/v1/platforms", "/v1/platforms/p", "/v1/events", "/v1/status", "/metrics"):
        assert SECRET.encode() not in ask(daemon, "GET", path).body
    daemon.stop()
    seen = 0
    for folder, _, files in os.walk(daemon.directory):
        for name in files:
            with open(os.path.join(folder, name), "rb") as file:
                assert SECRET.encode() not in file.read(), name
            seen += 1
    assert seen >= 2
    daemon.start()
    assert ask(daemon, "GET", "/v1/platforms/p").json()["has_password"] is True


@pytest.mark.parametrize("change,code,words", [
    ({"name": ""}, "bad-input", "name"), ({"name": "a/b"}, "bad-input", "name"),
    ({"name": "x" * 5000}, "bad-input", "name"),
    ({"name": "a\u0007"}, "bad-input", "name"), ({"type": "vbox"}, "platform-type", "libvirt"),
    ({"url": ""}, "bad-input", "url"), ({"frob": 1}, "bad-json", "frob"), ({"options": []}, "bad-json", "options"),
    ({"password": 5}, "bad-json", "password")])
def test_bad_platforms(daemon, change, code, words):
    body = {"name": "p", "type": "libvirt", "url": "test:///default", **change}
    refused(ask(daemon, "POST", "/v1/platforms", body), 400, code, words)
    assert ask(daemon, "GET", "/v1/platforms").json()["platforms"] == []


def test_machines_and_resources(daemon, lab):
    add_platforms(daemon, lab)
    names = {one["name"] for one in ask(daemon, "GET", "/v1/platforms/old/machines").json()["machines"]}
    assert {NAME, "other"} <= names
    machine = ask(daemon, "GET", "/v1/platforms/old/machines/" + quote(NAME)).json()
    assert machine["disks"][0]["size_bytes"] == 16 << 20
    assert ask(daemon, "GET", "/v1/platforms/old/machines/" + machine["id"]).json()["name"] == NAME
    refused(ask(daemon, "GET", "/v1/platforms/old/machines/nope"), 404, "no-such-machine", "nope")
    resources = ask(daemon, "GET", "/v1/platforms/new/resources").json()
    assert "lab" in json.dumps(resources["networks"]) and resources["storages"]
    assert ask(daemon, "POST", "/v1/platforms/old/test", {}).json()["ok"] is True


def test_unreachable_platform(daemon):
    body = {"name": "gone", "type": "libvirt", "url": "qemu+unix:///system?socket=/nonexistent/sock"}
    assert ask(daemon, "POST", "/v1/platforms", body).status == 201
    for method, path in (("GET", "/machines"), ("GET", "/resources"), ("POST", "/test")):
        refused(ask(daemon, method, "/v1/platforms/gone" + path), 503, "platform-unreachable")
    code, _, err = cli(daemon, "machine", "list", "gone")
    assert code == 9 and "cause:" in err and "fix:" in err


def test_silent_platform_holds_nothing_up(daemon):
    """Something accepts connections and never says a word."""
    silent = socket.socket()
    silent.bind(("127.0.0.1", 0))
    silent.listen(50)
    url = f"qemu+tcp://127.0.0.1:{silent.getsockname()[1]}/system"
    assert ask(daemon, "POST", "/v1/platforms", {"name": "mute", "type": "libvirt", "url": url}).status == 201
    waiting = [Connection(daemon.socket, 60) for _ in range(5)]
    for connection in waiting:
        connection.send(b"GET /v1/platforms/mute/machines HTTP/1.1\r\nHost: x\r\n\r\n")
    time.sleep(0.5)
    begin = time.monotonic()
    for _ in range(20):
        assert ask(daemon, "GET", "/v1/status").status == 200
    assert time.monotonic() - begin < 3, "a question held the loop up"
    for connection in waiting[:3]:
        connection.close()  # gone before the answer
    begin = time.monotonic()
    daemon.stop()  # two clients and five questions are still there
    assert time.monotonic() - begin < 40
    silent.close()
    daemon.start()


@pytest.mark.parametrize("change,code,words", [
    ({"source": "nope"}, "no-such-platform", "nope"), ({"target": "nope"}, "no-such-platform", "nope"),
    ({"machine": "nope"}, "no-such-machine", "nope"), ({"policy": {"frob": 1}}, "bad-json", "policy.frob"),
    ({"policy": {"keep_points": "3"}}, "bad-json", "policy.keep_points"),
    ({"policy": {"interval": "soon"}}, "bad-input", "policy.interval"),
    ({"policy": {"windows": ["Someday"]}}, "bad-input", "policy.windows"),
    ({"policy": {"quiesce": "maybe"}}, "bad-input", "policy.quiesce"),
    ({"policy": {"rate": "fast"}}, "bad-input", "policy.rate"),
    ({"mapping": {"frob": 1}}, "bad-json", "mapping.frob"),
    ({"mapping": {"networks": {"lab": 1}}}, "bad-json", "mapping.networks"), ({"name": "a/b"}, "bad-input", "name"),
    ({"start": 1}, "bad-json", "start")])
def test_bad_replications(daemon, lab, change, code, words):
    add_platforms(daemon, lab)
    body = {"source": "old", "target": "new", "machine": NAME, "start": False, **change}
    answer = ask(daemon, "POST", "/v1/replications", body)
    error = answer.json()["error"]
    assert 400 <= answer.status < 500 and error["code"] == code, answer.body
    assert words in error["message"] or words in json.dumps(error["evidence"]), error
    assert ask(daemon, "GET", "/v1/replications").json()["replications"] == []


def test_a_disk_that_the_machine_lacks(daemon, lab):
    add_platforms(daemon, lab)
    body = {"source": "old", "target": "new", "machine": NAME, "mapping": {"disks": ["sda", "sdz"]}}
    row = ask(daemon, "POST", "/v1/replications", {**body, "start": False}).json()
    path = "/v1/replications/" + quote(row["name"], safe="")
    assert row["state"] == "blocked"
    [found] = [one for one in row["findings"] if one["severity"] == "block"]
    assert (found["id"], found["subject"], found["needed"]) == ("mapping-no-disk", "sdz", "sda")
    refused(ask(daemon, "POST", path + "/check", {"waive": [1]}), 400, "bad-json", "waive[0]")
    code, out, err = cli(daemon, "check", row["name"])
    assert code == 5 and "mapping-no-disk block: sdz" in out, (out, err)
    code, out, err = cli(daemon, "check", row["name"], "--waive", "mapping-no-disk")
    assert code == 0 and "mapping-no-disk block (waived): sdz" in out, (out, err)
    assert ask(daemon, "GET", path).json()["state"] == "checked"
    assert cli(daemon, "check", row["name"])[0] == 0, "what was waived stays so while it is found"
    assert ask(daemon, "PATCH", path, {"mapping": {"disks": ["sda"]}}).status == 200
    code, out, err = cli(daemon, "check", row["name"])
    assert code == 0 and "sdz" not in out, (out, err)
    assert ask(daemon, "GET", path).json()["state"] == "checked"
    code, out, err = cli(daemon, "remove", row["name"], "--delete-volumes", "--yes", "--wait")
    assert code == 0, err


def test_life_of_a_replication(daemon, lab):
    add_platforms(daemon, lab)
    code, out, err = cli(daemon, "replicate", NAME, "--source", "old", "--target", "new", "--interval", "none",
                         "--network", "lab=lab", "--no-start")
    assert code == 0, err
    row = ask(daemon, "GET", "/v1/replications").json()["replications"][0]
    name = row["name"]
    assert row["machine"]["name"] == NAME and row["state"] in ("checked", "blocked") and name in out
    path = "/v1/replications/" + quote(name, safe="")
    body = {"source": "old", "target": "new", "machine": NAME, "start": False}
    refused(ask(daemon, "POST", "/v1/replications", body), 409, "already-replicated")
    refused(ask(daemon, "POST", path + "/confirm", {}), 409, "state-forbids", "check")
    refused(ask(daemon, "POST", path + "/cutover", {"yes": True}), 409, "state-forbids")
    refused(ask(daemon, "POST", path + "/sync", {"kind": "some"}), 400, "bad-input", "kind")
    refused(ask(daemon, "PATCH", path, {"policy": {"nope": 1}}), 400, "bad-json", "policy.nope")
    assert ask(daemon, "PATCH", path, {"policy": {"keep_points": 2}}).json()["policy"]["keep_points"] == 2
    refused(ask(daemon, "DELETE", "/v1/platforms/old"), 409, "in-use")
    for words in (["show", name], ["rounds", name], ["points", name], ["list"], ["events"], ["ledger"], ["status"],
                  ["report", name], ["report", name, "--html"], ["check", name]):
        code, out, err = cli(daemon, *words)
        assert code == 0 and out, (words, out, err)
    for rest in ("rounds", "points", "launches", "jobs", "report"):
        assert ask(daemon, "GET", f"{path}/{rest}").status == 200
    page = ask(daemon, "GET", path + "/report?format=html")
    assert page.body.startswith(b"<!") and NAME.encode() in page.body
    assert f'blockferry_failures{{replication="{name}"}} 0' in ask(daemon, "GET", "/metrics").body.decode()
    code, out, err = cli(daemon, "remove", name, "--delete-volumes", "--yes", "--wait")
    assert code == 0 and "removed" in out, err
    assert ask(daemon, "GET", path).status == 404
    assert ask(daemon, "GET", "/v1/ledger").json()["ledger"] == []


# --- docs/openapi.yaml against what is answered ------------------------------------------------------

TYPES = {"string": str, "integer": int, "number": (int, float), "boolean": bool, "object": dict, "array": list,
         "null": type(None)}


class Told:
    """Answers against the document's schemas, both ways: what is answered is told, and what is told is answered."""

    def __init__(self):
        with open(os.path.join(HERE, "../../docs/openapi.yaml"), encoding="utf-8") as file:
            self.document = yaml.safe_load(file)
        self.seen = {}

    def schema(self, schema):
        while "$ref" in schema:
            schema = self.document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
        return schema

    def check(self, value, schema, where):
        schema = self.schema(schema)
        if "oneOf" in schema:
            schema = {"type": "null"} if value is None else self.schema(schema["oneOf"][0])
        kinds = schema.get("type", [])
        kinds = kinds if isinstance(kinds, list) else [kinds]
        fits = [kind for kind in kinds if isinstance(value, TYPES[kind]) and
                not (isinstance(value, bool) and kind != "boolean")]
        assert fits or not kinds, f"{where}: {value!r} is no {kinds}"
        assert value in schema.get("enum", [value]), f"{where}: {value!r} is not in {schema['enum']}"
        if isinstance(value, list):
            for one in value:
                self.check(one, schema.get("items", {}), where + "[]")
        if isinstance(value, dict) and "properties" in schema:
            self.seen.setdefault(where, (set(schema["properties"]), set()))[1].update(value)
            for name, one in value.items():
                assert name in schema["properties"], f"{where}.{name} is not told"
                self.check(one, schema["properties"][name], f"{where}.{name}")

    def answer(self, daemon, method, path, route):
        answer = ask(daemon, method, path, {} if method == "POST" else None)
        told = self.document["paths"][route][method.lower()]["responses"]
        content = told[str(answer.status)].get("content", {})
        if "application/json" in content:
            self.check(answer.json(), content["application/json"]["schema"], route)
        return answer


def test_openapi_tells_what_is_answered(daemon, lab):
    add_platforms(daemon, lab)
    told = Told()
    code, out, err = cli(daemon, "replicate", NAME, "--source", "old", "--target", "new", "--network", "lab=lab",
                         "--isolated-network", "isolated", "--interval", "none", "--convert", "none",
                         "--boot-evidence", "none", "--json", "--wait")
    assert code == 0, err
    name = json.loads(out)["name"]
    policy = told.schema({"$ref": "#/components/schemas/policy"})["properties"]
    given = {"interval": None, "convert": "none", "boot_evidence": "none"}
    for field, value in json.loads(out)["policy"].items():
        assert value == given.get(field, policy[field]["default"]), field
    code, out, err = cli(daemon, "drill", name, "--wait", "--json")
    assert code == 0, err
    path = "/v1/replications/" + quote(name, safe="")
    route = "/v1/replications/{name}"
    for rest in ("", "/rounds", "/points", "/launches", "/jobs", "/report", "/plan"):
        assert told.answer(daemon, "GET", path + rest, route + rest).status == 200
    for rest in ("status", "platforms", "replications", "limits", "ledger", "events"):
        assert told.answer(daemon, "GET", "/v1/" + rest, "/v1/" + rest).status == 200
    for rest in ("", "/machines", "/resources"):
        assert told.answer(daemon, "GET", "/v1/platforms/new" + rest, "/v1/platforms/{name}" + rest).status == 200
    told.answer(daemon, "GET", "/v1/platforms/old/machines/" + quote(NAME), "/v1/platforms/{name}/machines/{id}")
    told.answer(daemon, "POST", "/v1/platforms/old/test", "/v1/platforms/{name}/test")
    told.answer(daemon, "POST", "/v1/reconcile", "/v1/reconcile")
    told.answer(daemon, "POST", path + "/drill-end", route + "/drill-end")
    for where, (there, seen) in told.seen.items():
        optional = {"place", "first", "waived"}  # of adoptions, of the boot ladder, of what an admin waived
        assert there - seen <= optional, f"{where}: never answered: {sorted(there - seen - optional)}"
    wait_for(lambda: not ask(daemon, "GET", path).json()["job"])
    code, out, err = cli(daemon, "remove", name, "--delete-volumes", "--yes", "--wait")
    assert code == 0, err


def read_events(daemon, count, last=None):
    """The ids and names of the next events of a stream."""
    connection = Connection(daemon.socket, 20)
    extra = f"Last-Event-ID: {last}\r\n" if last is not None else ""
    connection.send(f"GET /v1/events HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n{extra}\r\n".encode())
    assert connection.head()[0] == 200
    text = ""
    while text.count("\ndata: ") < count:
        text += connection.chunk().decode()
    connection.close()
    return [int(line[4:]) for line in text.split("\n") if line.startswith("id: ")]


def test_events_survive_a_restart(daemon):
    for name in ("a", "b", "c"):
        body = {"name": name, "type": "libvirt", "url": "test:///default"}
        assert ask(daemon, "POST", "/v1/platforms", body).status == 201
    wait_for(lambda: len(ask(daemon, "GET", "/v1/events").json()["events"]) >= 3)
    ids = [one["id"] for one in ask(daemon, "GET", "/v1/events").json()["events"]]
    assert ids == sorted(set(ids))
    assert read_events(daemon, 2, last=ids[0]) == ids[1:3]
    daemon.process.send_signal(signal.SIGKILL)
    daemon.process.wait()
    assert os.path.exists(daemon.socket), "a socket file is left behind, as it should be for this test"
    daemon.start()
    assert read_events(daemon, 1, last=ids[1]) == ids[2:3]
    assert ask(daemon, "DELETE", "/v1/platforms/a").status == 204
    assert read_events(daemon, 1, last=ids[-1])[0] > ids[-1]


def test_second_daemon_is_refused(daemon):
    done = subprocess.run([os.environ["BLOCKFERRYD"], "--state", f"{daemon.directory}/state", "--run",
                           f"{daemon.directory}/run2", "--socket", f"{daemon.directory}/second"],
                          capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 5, done.stderr
    done = subprocess.run([os.environ["BLOCKFERRYD"], "--state", f"{daemon.directory}/state2", "--run",
                           f"{daemon.directory}/run2", "--socket", daemon.socket],
                          capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 5 and "another process answers" in done.stderr
    assert ask(daemon, "GET", "/v1/status").status == 200


def test_random_bodies(daemon, lab):
    add_platforms(daemon, lab)
    seed = int(os.environ.get("SEED", "0")) or random.randrange(1 << 30)
    print(f"SEED={seed}")
    rng = random.Random(seed)
    values = [None, True, 0, -1, 3.5, 1 << 70, "", "x", "15m", "\0", "ü" * 300, [], [None], {}, {"lab": None},
              [[["x"]]]]
    policy = {"interval": "5m", "windows": ["Mon-Fri 20:00-06:00"], "keep_points": 2, "quiesce": "off",
              "verify": "10%", "convert": "none", "shutdown_timeout": "1m", "shutdown": "off",
              "boot_timeout": "1m", "boot_pattern": "x", "rate": "5M", "on_failure": "leave-off", "retries": 1,
              "boot_evidence": "agent", "drill_every": 2, "grow": True, "serial_console": False,
              "boot_ladder": "sata-first", "nope": 1}
    mapping = {"networks": {"lab": "lab"}, "default_network": "lab", "isolated_network": "isolated",
               "machine_name": "z", "cpus": 1, "memory_bytes": 1 << 27, "disk_bus": "virtio", "nope": 1}

    def some(known):
        return {field: known[field] if rng.random() < 0.8 else rng.choice(values)
                for field in rng.sample(list(known), rng.randrange(4))}

    made = 0
    for _ in range(120):
        body = {"source": "old", "target": "new", "machine": NAME, "start": False, "policy": some(policy),
                "mapping": some(mapping)}
        for field in rng.sample(list(body), rng.random() < 0.3):
            body[field] = rng.choice(values)
        answer = ask(daemon, "POST", "/v1/replications", body)
        assert answer.status in (201, 400, 404, 409), (body, answer.body)
        if answer.status == 201:
            made += 1
            name = quote(answer.json()["name"], safe="")
            patch = {"policy": some(policy), "mapping": some(mapping)}
            assert ask(daemon, "PATCH", f"/v1/replications/{name}", patch).status in (200, 400), patch
            assert ask(daemon, "POST", f"/v1/replications/{name}/remove", {"delete_volumes": True}).status in (202, 409)
            wait_for(lambda gone=name: ask(daemon, "GET", f"/v1/replications/{gone}").status == 404)
    assert made > 10, "hardly one was let in: the test shows little"
    assert ask(daemon, "GET", "/v1/status").status == 200


def test_manual_knows_every_option():
    help_text = subprocess.run([os.environ["BLOCKFERRYD"], "--help"], capture_output=True, text=True, check=True).stdout
    with open(os.path.join(HERE, "../../docs/blockferryd.8"), encoding="utf-8") as file:
        manual = file.read().split(".Sh THE SERVICE")[0]
    told = [line.split()[3] for line in manual.splitlines() if line.startswith(".It Fl Fl ")]
    there = [line.split()[0].lstrip("-") for line in help_text.splitlines() if line.startswith("  --")]
    assert told == there
