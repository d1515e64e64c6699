# SPDX-License-Identifier: Apache-2.0
"""The API's server over its socket: right answers, wrong requests, rude clients."""
import json
import os
import random
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
import time

import pytest
import yaml

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import HERE, STUB, Server  # noqa: E402

OPENAPI = os.path.join(HERE, "../../../docs/openapi.yaml")
SHOP = "/v1/replications/shop-web-1"


@pytest.fixture(scope="module")
def server():
    one = Server()
    assert one.ready, one.output()
    yield one
    assert one.end() == 0


@pytest.fixture()
def fresh():
    one = Server()
    assert one.ready, one.output()
    yield one
    assert one.end() == 0


def refused(answer, status, code, *words):
    error = answer.json()["error"]
    assert (answer.status, error["code"]) == (status, code), answer.body
    assert set(error) == {"code", "kind", "message", "cause", "fix", "retry", "evidence"}
    for word in words:
        assert word in error["message"], error["message"]


# --- right answers ---------------------------------------------------------------------------------

@pytest.mark.parametrize("path,key", [
    ("/v1/status", "version"), ("/v1/platforms", "platforms"), ("/v1/platforms/old", "url"),
    ("/v1/platforms/old/machines", "machines"), ("/v1/platforms/old/machines/shop%20web%201", "cpus"),
    ("/v1/platforms/old/resources", "storages"), ("/v1/replications", "replications"), (SHOP, "policy"),
    (SHOP + "/rounds", "rounds"), (SHOP + "/rounds?limit=1", "rounds"), (SHOP + "/points", "points"),
    (SHOP + "/launches", "launches"), (SHOP + "/jobs", "jobs"), (SHOP + "/report", "replication"),
    ("/v1/ledger", "ledger"), ("/v1/ledger?all=1", "ledger"), ("/v1/events", "events"),
    ("/v1/events?replication=buero&after=1&limit=5", "events")])
def test_get(server, path, key):
    answer = server.ask("GET", path)
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["blockferry-version"]
    assert answer.headers["cache-control"] == "no-store"
    assert key in answer.json()


def test_filters_reach_the_service(server):
    assert len(server.ask("GET", SHOP + "/rounds?limit=1").json()["rounds"]) == 1
    assert len(server.ask("GET", "/v1/ledger").json()["ledger"]) == 2
    assert len(server.ask("GET", "/v1/ledger?all=1").json()["ledger"]) == 3
    for query, ids in (("last=2", [3, 4]), ("last=9", [1, 2, 3, 4]), ("last=0", []), ("last=3&after=3", [4]),
                       ("last=2&replication=shop-web-1", [2, 4]), ("last=3&limit=1", [2])):
        assert [e["id"] for e in server.ask("GET", "/v1/events?" + query).json()["events"]] == ids, query
    assert {e["replication"] for e in server.ask("GET", "/v1/events?replication=buero").json()["events"]} == {"buero"}


def test_report_as_page(server):
    answer = server.ask("GET", SHOP + "/report?format=html")
    assert answer.status == 200 and answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.body.startswith(b"<!DOCTYPE html>")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    refused(server.ask("GET", SHOP + "/report?format=pdf"), 400, "bad-input", "format")


def test_one_connection_many_requests(server):
    with server.connect() as connection:
        for _ in range(50):
            assert connection.ask("GET", "/v1/status").status == 200
            assert connection.ask("GET", "/v1/nope").status == 404
            assert connection.ask("POST", SHOP + "/pause", {}).status == 202


def test_pipelined_requests(server):
    with server.connect() as connection:
        begin = time.monotonic()
        connection.send(b"GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n" * 20)
        for _ in range(20):
            assert connection.answer().status == 200
        assert time.monotonic() - begin < 2, "the loop was woken by its clock only"


def test_an_answer_goes_out_when_it_is_there(server):
    """What a platform is asked for answers after 20 ms here; the loop's clock turns once a second."""
    begin = time.monotonic()
    for _ in range(10):
        assert server.ask("GET", "/v1/platforms/old/machines").status == 200
    assert time.monotonic() - begin < 3, "the loop was woken by its clock only"


def test_head_has_no_body(server):
    with server.connect() as connection:
        head = connection.ask("HEAD", "/v1/replications")
        got = connection.ask("GET", "/v1/replications")
        assert head.status == 200
        assert head.headers["content-length"] == got.headers["content-length"]


def test_options_and_allow(server):
    answer = server.ask("OPTIONS", "/v1/platforms")
    assert answer.status == 204 and answer.headers["allow"] == "GET, HEAD, POST, OPTIONS"
    for method in ("PUT", "DELETE", "PATCH", "TRACE", "BREW"):
        answer = server.ask(method, "/v1/platforms", b"{}")
        refused(answer, 405, "method-not-allowed")
        assert answer.headers["allow"] == "GET, HEAD, POST, OPTIONS"


def test_change_verbs_and_conflicts(fresh):
    body = {"name": "third", "type": "libvirt", "url": "qemu:///system", "password": "s3cret"}
    answer = fresh.ask("POST", "/v1/platforms", body)
    assert answer.status == 201 and b"s3cret" not in answer.body
    refused(fresh.ask("POST", "/v1/platforms", body), 409, "exists")
    assert fresh.ask("DELETE", "/v1/platforms/third").status == 204
    refused(fresh.ask("GET", "/v1/platforms/third"), 404, "no-such-platform")
    refused(fresh.ask("DELETE", "/v1/platforms/old"), 409, "in-use")
    answer = fresh.ask("PATCH", "/v1/platforms/old", {"password": "s3cret", "options": {"pool": "x"}})
    assert answer.status == 200 and answer.json()["options"] == {"pool": "x"} and b"s3cret" not in answer.body
    refused(fresh.ask("PATCH", "/v1/platforms/old", {"url": "x"}), 400, "confirm-needed")
    refused(fresh.ask("PATCH", "/v1/platforms/old", {"name": "x"}), 400, "bad-json", "name: unknown field")
    refused(fresh.ask("PATCH", "/v1/platforms/old", b""), 400, "bad-json", "missing")
    refused(fresh.ask("PATCH", "/v1/platforms/nope", {"url": "x"}), 404, "no-such-platform")
    assert fresh.ask("PATCH", SHOP, {"policy": {"interval": "5m"}}).json()["policy"]["interval"] == "5m"
    refused(fresh.ask("POST", SHOP + "/cutover", {}), 400, "confirm-needed")
    assert fresh.ask("POST", SHOP + "/sync").json()["job"] == "job-1"
    refused(fresh.ask("POST", SHOP + "/sync", {"kind": "full"}), 409, "busy")


# --- names -----------------------------------------------------------------------------------------

def test_names_with_spaces_and_utf8(fresh):
    for name in ("with space", "Büro Ärger €", "a/b", "100%", "x?y#z", "../../etc/passwd", "日本", "+"):
        body = {"name": name, "type": "libvirt", "url": "test:///default"}
        assert fresh.ask("POST", "/v1/platforms", body).status == 201
        path = "/v1/platforms/" + "".join(f"%{byte:02x}" for byte in name.encode())
        assert fresh.ask("GET", path).json()["name"] == name
        assert fresh.ask("DELETE", path.upper().replace("/V1/PLATFORMS", "/v1/platforms")).status == 204


@pytest.mark.parametrize("name", ["%", "%4", "%zz", "a%", "a%f", "%00", "%ff", "%c3%28", "%ed%a0%80"])
def test_badly_encoded_names(server, name):
    refused(server.ask("GET", "/v1/platforms/" + name), 400, "bad-input")
    refused(server.ask("GET", f"/v1/events?replication={name}"), 400, "bad-input")


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/", "/v2/status", "/v1/status/", "/v1//platforms", "/v1/platforms/",
                                  "/v1/platforms//test", "/v1/replications/shop-web-1/nope", "/v1/platforms/a/b/c/d",
                                  "/V1/status", "/v1/platforms%2fold"])
def test_unknown_paths(server, path):
    refused(server.ask("GET", path), 404, "unknown-route")


# --- queries and bodies ----------------------------------------------------------------------------

@pytest.mark.parametrize("path", [SHOP + "/rounds?limit=", SHOP + "/rounds?limit=-1", SHOP + "/rounds?limit=1x",
                                  SHOP + "/rounds?limit=99999999999999999999", SHOP + "/rounds?limit=100001",
                                  SHOP + "/rounds?limit=1&limit=2", SHOP + "/rounds?lim=1", SHOP + "?x",
                                  "/v1/status?a=1",
                                  "/v1/ledger?all=yes", "/v1/events?after=-3", "/metrics?x=1"])
def test_bad_queries(server, path):
    refused(server.ask("GET", path), 400, "bad-input")


DEEP = b'{"mapping":' * 40 + b"1" + b"}" * 40


@pytest.mark.parametrize("body,words", [
    (b"[]", "expected object"), (b'"text"', "expected object"), (b"null", "expected object"),
    (b"17", "expected object"),
    (b"{", ""), (b"{}{}", ""), (b"{} x", ""), (b"{'policy':{}}", ""), (b'{"policy":{},}', ""), (b"\xff\xfe", ""),
    (b'{"policy": "\xc3\x28"}', ""), (b'{"policy":[]}', "policy: expected object"),
    (b'{"mapping":"x"}', "mapping: expected object"),
    (b'{"nope":1}', "nope: unknown field"), (b'{"policy":{"nope":1}}', "policy.nope: unknown field"), (b"", "missing"),
    (DEEP, ""), (b"[" * 100000, ""), (b"\0", ""), (b'{"policy":{}}\0', "")])
def test_bad_bodies(server, body, words):
    refused(server.ask("PATCH", SHOP, body), 400, "bad-json", words)


@pytest.mark.parametrize("change,words", [
    ({"source": 1}, "source: expected string"), ({"machine": {}}, "machine: expected string"),
    ({"start": "yes"}, "start: expected boolean"), ({"waive": "x"}, "waive: expected array"),
    ({"waive": [1]}, "waive[0]: expected string"), ({"mapping": []}, "mapping: expected object"),
    ({"source": None}, "source: missing"), ({"extra": True}, "extra: unknown field")])
def test_bad_replicate(server, change, words):
    body = {"source": "old", "machine": "shop web 1", "target": "new", "name": None, **change}
    refused(server.ask("POST", "/v1/replications", body), 400, "bad-json", words)


def test_bad_verb_bodies(server):
    refused(server.ask("POST", SHOP + "/drill", {"point": "3"}), 400, "bad-json", "point: expected integer")
    refused(server.ask("POST", SHOP + "/drill", {"point": 3.5}), 400, "bad-json", "point: expected integer")
    refused(server.ask("POST", SHOP + "/cutover", {"yes": 1}), 400, "bad-json", "yes: expected boolean")
    refused(server.ask("POST", SHOP + "/pause", {"x": 1}), 400, "bad-json", "x: unknown field")
    refused(server.ask("GET", SHOP, b"{}"), 400, "bad-input", "takes no body")


def test_large_body_is_refused_and_the_connection_survives(server):
    with server.connect() as connection:
        for size in (1024 * 1024 + 1, 10 * 1024 * 1024):
            refused(connection.ask("POST", "/v1/platforms", b"x" * size), 413, "too-large")
            assert connection.ask("GET", "/v1/status").status == 200


def test_large_body_by_chunks(server):
    with server.connect() as connection:
        connection.send(b"POST /v1/platforms HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(160):
            connection.send(b"10000\r\n" + b"x" * 65536 + b"\r\n")
        connection.send(b"0\r\n\r\n")
        refused(connection.answer(), 413, "too-large")


def test_endless_body_is_cut_off(server):
    with server.connect() as connection, pytest.raises(OSError):
        connection.send(b"POST /v1/platforms HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(1000):
            connection.send(b"10000\r\n" + b"x" * 65536 + b"\r\n")


def test_announced_giant_is_refused_before_it_is_sent(server):
    with server.connect() as connection:
        connection.send(b"POST /v1/platforms HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n")
        refused(connection.answer(), 413, "too-large")
    with server.connect() as connection:
        connection.send(b"POST /v1/platforms HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
                        b"Content-Length: 2000000\r\n\r\n")
        refused(connection.answer(), 413, "too-large")


def test_floods_of_headers(server):
    """More than a request may need is refused; what is refused costs little and nobody else anything."""
    floods = {"one that is long": b"X: " + b"y" * 300000 + b"\r\n", "many": b"X: y\r\n" * 40000,
              "a long path": None}
    for name, headers in floods.items():
        first = b"GET /" + b"z" * 300000 + b" HTTP/1.1\r\n" if headers is None else b"GET /v1/status HTTP/1.1\r\n"
        with server.connect() as connection:
            try:
                connection.send(first + (headers or b"") + b"Host: x\r\n\r\n")
                assert connection.answer().status in (413, 414, 431), name
            except (OSError, EOFError):
                pass  # it hung up
        assert server.ask("GET", "/v1/status").status == 200, name


# --- rude clients ----------------------------------------------------------------------------------

def drip(server, first, piece, seconds):
    """Send a bit now and then; returns how long the server put up with it."""
    begin = time.monotonic()
    with server.connect(timeout=1) as connection:
        try:
            connection.send(first)
            while time.monotonic() - begin < seconds:
                connection.send(piece)
                try:
                    if not connection.socket.recv(4096):
                        break
                except socket.timeout:
                    pass
        except OSError:
            pass
    return time.monotonic() - begin


def test_slow_clients_time_out_and_disturb_nobody(server):
    head = b"POST /v1/platforms HTTP/1.1\r\nHost: x\r\n"
    cases = {"silent": (b"", b""), "half a line": (b"GET /v1/sta", b""),
             "slow header": (b"GET /v1/status HTTP/1.1\r\n", b"X: y\r\n"),
             "no body": (head + b"Content-Length: 50\r\n\r\n", b""),
             "slow body": (head + b"Content-Length: 50\r\n\r\n", b" ")}
    took = {}

    def one(name, first, piece):
        took[name] = drip(server, first, piece, 30)

    threads = [threading.Thread(target=one, args=(name, *case)) for name, case in cases.items()]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        begin = time.monotonic()
        assert server.ask("GET", "/v1/status").status == 200
        assert time.monotonic() - begin < 2
        time.sleep(0.5)
    assert all(8 < seconds < 25 for seconds in took.values()), took


def test_own_delay_cuts_nobody(fresh):
    """The service is held up for longer than a client may take: within an answer, or altogether."""
    def begun():
        connection = fresh.connect(timeout=60)
        connection.send(b"GET /v1/st")
        return connection
    half = [begun(), begun()]
    time.sleep(0.3)  # they are accepted, and have a deadline
    slow = fresh.connect(timeout=60)
    slow.send(b"GET /v1/replications/slow%20disk/points HTTP/1.1\r\nHost: x\r\n\r\n")
    time.sleep(0.3)
    half[0].send(b"atus HTTP/1.1\r\nHost: x\r\n\r\n")
    refused(slow.answer(), 404, "no-such-replication")
    assert half[0].answer().status == 200
    half[1].send(b"atus HTTP/1.1\r\nHost: x\r\n\r\n")
    assert half[1].answer().status == 200
    stopped = begun()
    time.sleep(0.3)
    fresh.process.send_signal(signal.SIGSTOP)
    stopped.send(b"atus HTTP/1.1\r\nHost: x\r\n\r\n")
    time.sleep(11)
    fresh.process.send_signal(signal.SIGCONT)
    assert stopped.answer().status == 200


def test_three_hundred_connections(fresh):
    # More than are allowed at a time: those that are too many wait, and are served in the end.
    connections = [fresh.connect(timeout=60) for _ in range(300)]
    for connection in connections:
        connection.send(b"GET /v1/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert [connection.answer().status for connection in connections] == [200] * 300
    for connection in connections:
        connection.close()
    idle = [fresh.connect(timeout=60) for _ in range(300)]
    begin = time.monotonic()
    assert fresh.ask("GET", "/v1/status").status == 200  # when the first idle ones were cut off
    assert time.monotonic() - begin < 20
    for connection in idle:
        connection.close()
    assert fresh.alive()


def test_client_leaves_while_the_platform_is_asked(fresh):
    assert fresh.ask("POST", "/v1/platforms", {"name": "slow", "type": "libvirt", "url": "x"}).status == 201
    for _ in range(30):
        connection = fresh.connect()
        connection.send(b"GET /v1/platforms/slow/machines HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(0.005)
        connection.close()
    with fresh.connect() as connection:
        connection.send(b"GET /v1/platforms/slow/machines HTTP/1.1\r\nHost: x\r\n\r\n")
        begin = time.monotonic()
        assert fresh.ask("GET", "/v1/status").status == 200
        assert time.monotonic() - begin < 1, "a question held the loop up"
        assert connection.answer().status == 200
    # Some are still waiting when the server is stopped.
    for _ in range(5):
        connection = fresh.connect()
        connection.send(b"GET /v1/platforms/slow/machines HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(0.01)


def test_platform_error_keeps_its_evidence(fresh):
    assert fresh.ask("POST", "/v1/platforms", {"name": "gone", "type": "libvirt", "url": "x"}).status == 201
    answer = fresh.ask("GET", "/v1/platforms/gone/machines")
    refused(answer, 503, "platform-unreachable", "Connection refused")
    assert "failed to connect" in answer.json()["error"]["evidence"]


def test_random_requests(fresh):
    seed = int(os.environ.get("SEED", "0")) or random.randrange(1 << 30)
    print(f"SEED={seed}")
    rng = random.Random(seed)
    routes = json.loads(subprocess.check_output([STUB, "--routes"]))
    pieces = ["shop-web-1", "old", "%20", "%", "%c3", "..", "/", "?", "&", "=", "limit=", "after=9", "#", "\t", "é",
              "x" * 3000, "{}"]
    values = ["null", "1", "-1", "1e400", '"x"', '"\\u0000"', "[]", "{}", "true", "[[[[]]]]", '"\\ud800"', "1.5",
              '"' + "y" * 5000 + '"']
    for number in range(1500):
        route = rng.choice(routes)
        path = re.sub(r"\{[a-z]+\}", lambda _: rng.choice(pieces[:5]), route["path"])
        if rng.random() < 0.3:
            path += rng.choice(["", "?", "/"]) + "".join(rng.choices(pieces, k=rng.randrange(4)))
        method = route["method"] if rng.random() < 0.8 else rng.choice(["GET", "POST", "PUT", "", "A B", "x" * 100])
        names = list(route["fields"] or {}) + ["nope", ""]
        body = "{" + ",".join(f'"{rng.choice(names)}":{rng.choice(values)}' for _ in range(rng.randrange(4))) + "}"
        length = len(body.encode())
        raw = bytearray(f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}".encode())
        if rng.random() < 0.2:
            for _ in range(rng.randrange(1, 6)):
                raw[rng.randrange(len(raw))] = rng.randrange(256)
        if rng.random() < 0.1:
            raw = raw[:rng.randrange(len(raw))]
        with fresh.connect(timeout=0.5) as connection:
            try:
                connection.send(bytes(raw))
                if rng.random() < 0.7:
                    status = connection.answer(method).status
                    assert 200 <= status < 500 or status in (501, 503, 505), status
            except (OSError, EOFError, ValueError):
                pass  # it hung up, or waits for the rest
        if number % 250 == 0:
            assert fresh.alive()
    assert fresh.alive()


# --- the event stream ------------------------------------------------------------------------------

class Stream:
    def __init__(self, server, query="", last=None, timeout=20):
        self.connection = server.connect(timeout)
        extra = f"Last-Event-ID: {last}\r\n" if last is not None else ""
        self.connection.send((f"GET /v1/events{query} HTTP/1.1\r\nHost: x\r\n"
                              f"Accept: text/event-stream\r\n{extra}\r\n").encode())
        self.status, self.headers = self.connection.head()
        self.text = b""

    def event(self):
        """The next event as (id, name, data); comments and retry lines are passed over."""
        while True:
            while b"\n\n" not in self.text:
                self.text += self.connection.chunk()
            block, self.text = self.text.split(b"\n\n", 1)
            fields = dict(line.split(": ", 1) for line in block.decode().split("\n") if not line.startswith(":"))
            if "data" in fields:
                return int(fields.get("id", 0)), fields["event"], json.loads(fields["data"])

    def close(self):
        self.connection.close()


def test_stream_is_live_and_resumes(fresh):
    live = Stream(fresh)
    assert live.status == 200 and live.headers["content-type"].startswith("text/event-stream")
    resumed = Stream(fresh, last=2)
    assert [resumed.event()[0] for _ in range(2)] == [3, 4]
    newest = Stream(fresh, query="?last=1")
    assert newest.event()[0] == 4
    newest.close()
    asked = Stream(fresh, query="?after=0&replication=buero")
    assert asked.event()[2]["replication"] == "buero"
    fresh.ask("POST", SHOP + "/pause")
    for stream in (live, resumed):
        number, name, data = stream.event()
        assert (number, name, data["id"], data["message"]) == (5, "event", 5, "pause")
    asked.connection.socket.settimeout(0.5)
    with pytest.raises(socket.timeout):
        asked.event()
    for stream in (live, resumed, asked):
        stream.close()


def test_stream_tells_progress(fresh):
    stream = Stream(fresh, query="?replication=shop-web-1")
    fresh.ask("POST", SHOP + "/sync")
    seen = [stream.event() for _ in range(5)]
    assert all(number == 0 and name == "progress" for number, name, _ in seen)
    done = [data["data"]["progress"]["done_bytes"] for _, _, data in seen]
    assert done == sorted(done) and done[0] < done[-1]
    stream.close()


def test_stream_keep_alive(fresh):
    stream = Stream(fresh, timeout=20)
    text = stream.connection.chunk()
    while b"keep-alive" not in text:
        text += stream.connection.chunk()
    fresh.ask("POST", SHOP + "/pause")
    assert stream.event()[0] == 5
    stream.close()


def test_stream_slow_reader_loses_nothing(fresh):
    slow = Stream(fresh)
    count = 4000
    with fresh.connect() as connection:
        for _ in range(count // 50):
            connection.send((f"POST {SHOP}/pause HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n" * 50).encode())
            for _ in range(50):
                assert connection.answer().status == 202
    assert [slow.event()[0] for _ in range(count)] == list(range(5, 5 + count))
    fresh.ask("POST", SHOP + "/resume")
    assert slow.event()[0] == 5 + count
    slow.close()


def test_stream_limits_and_bad_ids(fresh):
    accept = "Accept: text/event-stream"
    refused(fresh.ask("GET", "/v1/events", None, [accept, "Last-Event-ID: x"]), 400, "bad-input", "Last-Event-ID")
    refused(fresh.ask("GET", "/v1/events?replication=nope", None, [accept]), 404, "no-such-replication")
    streams = [Stream(fresh) for _ in range(128)]
    refused(fresh.ask("GET", "/v1/events", None, [accept]), 409, "busy")
    for stream in streams:
        stream.close()
    assert fresh.alive()


def test_stream_disconnects(fresh):
    for number in range(60):
        stream = Stream(fresh, last=number % 5)
        if number % 3:
            fresh.ask("POST", SHOP + "/pause")
        stream.close()
    with fresh.connect() as connection:
        assert connection.ask("HEAD", "/v1/events", None, ["Accept: text/event-stream"]).status == 200
        assert connection.ask("GET", "/v1/status").status == 200
    kept = Stream(fresh)  # open when the server stops
    assert kept.status == 200
    assert fresh.alive()


# --- metrics ---------------------------------------------------------------------------------------

def test_metrics(fresh):
    answer = fresh.ask("GET", "/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    samples = {}
    typed = set()
    for line in answer.body.decode().splitlines():
        if line.startswith("# TYPE "):
            typed.add(line.split()[2])
        elif not line.startswith("#"):
            match = re.fullmatch(r'([a-z_]+)(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? (\S+)', line)
            assert match and match[1] in typed, line
            samples[match[1] + (match[2] or "")] = float(match[4])
    assert samples['blockferry_replications{state="idle"}'] == 1
    assert samples['blockferry_failures{replication="buero"}'] == 4
    assert samples['blockferry_lag_seconds{replication="shop-web-1"}'] == 432
    sent = 73400320 + 1048576 + 12884901888
    assert samples['blockferry_sent_bytes_total{replication="shop-web-1"}'] == sent
    assert samples['blockferry_rounds_total{replication="shop-web-1",result="complete"}'] == 2
    again = fresh.ask("GET", "/metrics").body.decode()
    assert f'sent_bytes_total{{replication="shop-web-1"}} {sent}\n' in again, "rounds were counted twice"


# --- the socket ------------------------------------------------------------------------------------

def test_socket_mode_and_removal(fresh):
    assert stat.S_IMODE(os.stat(fresh.path).st_mode) == 0o600
    directory = fresh.directory
    assert fresh.end() == 0
    assert not os.path.exists(fresh.path)
    grouped = Server("daemon", directory=directory)
    assert grouped.ready
    assert stat.S_IMODE(os.stat(grouped.path).st_mode) == 0o660
    assert grouped.end() == 0
    wrong = Server("no-such-group", directory=directory)
    assert not wrong.ready and "no-such-group does not exist" in wrong.output()
    wrong.end()
    fresh.__init__(directory=directory)


def test_socket_in_the_way(fresh):
    second = Server(directory=fresh.directory)
    assert not second.ready and "another process answers" in second.output()
    second.end()
    assert fresh.alive()
    fresh.end(signal.SIGKILL)
    assert os.path.exists(fresh.path)
    again = Server(directory=fresh.directory)
    assert again.ready and again.alive()
    again.end()
    with open(fresh.path, "w", encoding="utf-8") as file:
        file.write("precious")
    third = Server(directory=fresh.directory)
    assert not third.ready and "is in the way" in third.output()
    third.end()
    with open(fresh.path, encoding="utf-8") as file:
        assert file.read() == "precious"
    os.unlink(fresh.path)
    fresh.__init__(directory=fresh.directory)


# --- docs/openapi.yaml -----------------------------------------------------------------------------

def test_openapi_is_the_route_table():
    with open(OPENAPI, encoding="utf-8") as file:
        document = yaml.safe_load(file)
    told = {}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method == "parameters":
                continue
            schema = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
            fields = None
            if schema is not None:
                if "$ref" in schema:
                    schema = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
                assert schema["additionalProperties"] is False, path
                required = schema.get("required", [])
                fields = {name: {"type": field_type(document, field), "required": name in required}
                          for name, field in schema.get("properties", {}).items()}
            query = [resolve(document, one)["name"] for one in operation.get("parameters", [])
                     if resolve(document, one)["in"] == "query"]
            told[method.upper(), path] = (operation["summary"], sorted(query), fields)
            names = re.findall(r"\{([a-z]+)\}", path)
            given = [resolve(document, one)["name"] for one in item.get("parameters", [])]
            assert names == given, path
    table = {(route["method"], route["path"]):
             (route["summary"], sorted((route["query"] or "").split()), route["fields"])
             for route in json.loads(subprocess.check_output([STUB, "--routes"]))}
    assert set(told) == set(table)
    for key, value in table.items():
        assert told[key] == value, key


def resolve(document, one):
    if "$ref" in one:
        kind, name = one["$ref"].split("/")[-2:]
        return document["components"][kind][name]
    return one


def field_type(document, field):
    kind = resolve(document, field)["type"]
    return [one for one in kind if one != "null"][0] if isinstance(kind, list) else kind


def test_openapi_references_exist():
    with open(OPENAPI, encoding="utf-8") as file:
        document = yaml.safe_load(file)

    def walk(node):
        if isinstance(node, dict):
            if "$ref" in node:
                kind, name = node["$ref"].split("/")[-2:]
                assert name in document["components"][kind], node["$ref"]
                used.add((kind, name))
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)

    used = set()
    walk(document)
    there = {(kind, name) for kind, items in document["components"].items() for name in items}
    assert there == used, "components nobody refers to"
