# SPDX-License-Identifier: Apache-2.0
"""What the service guards: its socket, its directories, its secrets, its database of another version."""
import json
import os
import shutil
import socket
import sqlite3
import stat
import subprocess
import sys
import tempfile
import time

import pytest

from ferry import ApiError, Daemon

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../unit/api"))
from harness import Connection  # noqa: E402

DAEMON = os.environ.get("BLOCKFERRYD", "")
SECRET = "correct horse battery"
PLATFORM = {"name": "p", "type": "libvirt", "url": "test:///default"}


@pytest.fixture()
def directory():
    path = tempfile.mkdtemp(prefix="bfg-", dir="/tmp")
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture()
def daemon(directory):
    one = Daemon(directory)
    one.start()
    yield one
    one.stop()


def refused(call, code, *words):
    with pytest.raises(ApiError) as caught:
        call()
    assert caught.value.code == code, caught.value
    for word in words:
        assert word in str(caught.value), caught.value


def attempt(directory, *options, passed=None):
    """Start the daemon where it has to refuse; its exit code and what it said."""
    command = [DAEMON, "--state", f"{directory}/state", "--run", f"{directory}/run", *options]
    if passed:
        command = ["sh", "-c", 'LISTEN_FDS=1 LISTEN_PID=$$ exec "$0" "$@"', *command]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=False,
                          close_fds=not passed,
                          preexec_fn=(lambda: os.dup2(passed.fileno(), 3)) if passed else None)
    return done.returncode, done.stderr


# --- the socket -------------------------------------------------------------------------------------

def test_a_network_socket_is_refused(directory):
    with socket.socket() as network:
        network.bind(("127.0.0.1", 0))
        network.listen()
        code, said = attempt(directory, passed=network)
    assert code == 2 and "no listening UNIX socket" in said, said
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(f"{directory}/bound")
        code, said = attempt(directory, passed=silent)
    assert code == 2 and "no listening UNIX socket" in said, said


# --- directories ------------------------------------------------------------------------------------

@pytest.mark.parametrize("which", ["state", "run"])
def test_directories_of_others(directory, which):
    path = f"{directory}/{which}"
    os.mkdir(path, 0o700)
    os.chown(path, 65534, 65534)
    code, said = attempt(directory)
    assert code == 2 and f"--{which}: {path} belongs to another user" in said, said
    os.chown(path, os.geteuid(), -1)
    os.chmod(path, 0o777)
    code, said = attempt(directory)
    assert code == 2 and f"--{which}: {path} is writable by everybody" in said, said
    assert os.listdir(path) == [], "nothing was made there"


def test_links_in_the_way(directory):
    """What lies in the state directory as a link is not written through."""
    victim = f"{directory}/victim"
    for name in ("blockferry.db", "blockferry.lock", "seal.key"):
        os.mkdir(f"{directory}/state", 0o700)
        with open(victim, "w", encoding="utf-8") as file:
            file.write("precious")
        os.symlink(victim, f"{directory}/state/{name}")
        code, said = attempt(directory)
        assert code != 0, (name, said)
        with open(victim, encoding="utf-8") as file:
            assert file.read() == "precious", name
        shutil.rmtree(f"{directory}/state")


def test_modes_of_files(daemon):
    daemon.post("/platforms", {**PLATFORM, "password": SECRET})
    for folder, _, files in os.walk(daemon.directory + "/state"):
        assert stat.S_IMODE(os.stat(folder).st_mode) & 0o077 == 0, folder
        for name in files:
            assert stat.S_IMODE(os.stat(os.path.join(folder, name)).st_mode) & 0o077 == 0, name
    assert stat.S_IMODE(os.stat(daemon.socket).st_mode) == 0o600


# --- secrets ----------------------------------------------------------------------------------------

@pytest.mark.parametrize("change", [
    {"url": f"qemu+tls://me:{SECRET}@host/system"}, {"url": f"https://me:{SECRET}@cloud/v3"},
    {"options": {"password": SECRET}}, {"options": {"application_credential_secret": SECRET}},
    {"options": {"API-Token": SECRET}}, {"url": "qemu:///system\n"}, {"user": "a\u001b[31m"}, {"user": "x" * 300}])
def test_secrets_where_they_are_shown(daemon, change):
    refused(lambda: daemon.post("/platforms", {**PLATFORM, **change}), "bad-input", list(change)[0])
    daemon.post("/platforms", PLATFORM)
    refused(lambda: daemon.call("PATCH", "/platforms/p", {**change, "yes": True}), "bad-input", list(change)[0])
    daemon.stop()
    for folder, _, files in os.walk(daemon.directory):
        for name in files:
            with open(os.path.join(folder, name), "rb") as file:
                assert SECRET.encode() not in file.read(), name
    daemon.start()


def sealed(daemon):
    with sqlite3.connect(f"file:{daemon.directory}/state/blockferry.db?mode=ro", uri=True) as base:
        return base.execute("SELECT sealed_password FROM platforms").fetchone()[0]


def test_a_platform_is_changed(daemon):
    daemon.post("/platforms", {**PLATFORM, "user": "me", "password": "old", "options": {"pool": "a", "accel": "qemu"}})
    before = sealed(daemon)
    for change in ({"url": "qemu+tcp://mine/system"}, {"options": {"pool": "b"}}):
        refused(lambda patch=change: daemon.call("PATCH", "/platforms/p", {**patch, "yes": True}), "bad-input",
                "password", "anew")
    assert daemon.get("/platforms/p")["options"]["pool"] == "a", "what is stored is sent nowhere else"
    row = daemon.call("PATCH", "/platforms/p", {"password": SECRET, "options": {"pool": "b", "accel": None}})
    assert (row["url"], row["user"], row["options"]) == (PLATFORM["url"], "me", {"pool": "b"})
    assert sealed(daemon) != before and SECRET not in json.dumps(row)
    row = daemon.call("PATCH", "/platforms/p", {"url": "qemu:///system", "user": "you", "password": "x"})
    assert (row["url"], row["user"], row["has_password"]) == ("qemu:///system", "you", True), "nothing uses it"
    assert daemon.get("/events?last=1")["events"][0]["message"] == "platform p is changed: url, user, password"
    assert daemon.call("PATCH", "/platforms/p", {"user": "me"})["user"] == "me"
    for body, words in (({"frob": 1}, "frob"), ({"password": 1}, "password"), ({"options": []}, "options"),
                        ({"type": "vmware"}, "type")):
        refused(lambda patch=body: daemon.call("PATCH", "/platforms/p", patch), "bad-json", words)
    refused(lambda: daemon.call("PATCH", "/platforms/p", {"url": ""}), "bad-input", "url")
    refused(lambda: daemon.call("PATCH", "/platforms/q", {"user": "x"}), "no-such-platform")


def test_wrong_options_are_refused_at_once(daemon):
    """Not when the platform is asked for the first time, which may be days later."""
    wrong = (({"pol": "a"}, "options.pol", "pool"), ({"accel": "fast"}, "options.accel", "kvm"),
             ({"nbd_port_first": "x"}, "options.nbd_port_first", "65535"))
    for options, *words in wrong:
        refused(lambda one=options: daemon.post("/platforms", {**PLATFORM, "options": one}), "bad-input", *words)
    assert daemon.get("/platforms")["platforms"] == []
    daemon.post("/platforms", {**PLATFORM, "options": {"nbd_port_first": "65000"}})
    for options, *words in wrong + (({"nbd_port_count": 1000}, "not a range"),):
        refused(lambda one=options: daemon.call("PATCH", "/platforms/p", {"options": one}), "bad-input", *words)
    assert daemon.get("/platforms/p")["options"] == {"nbd_port_first": "65000"}
    row = daemon.call("PATCH", "/platforms/p", {"options": {"nbd_port_first": None, "nbd_port_count": 1000}})
    assert row["options"] == {"nbd_port_count": 1000}


def add_replication(daemon, platform, number, name):
    """A row that nothing is known of: no platform has to answer for this."""
    daemon.stop()
    with sqlite3.connect(f"{daemon.directory}/state/blockferry.db") as base:
        base.execute("INSERT INTO replications (id, name, source_platform_id, target_platform_id, machine_id, mapping,"
                     " policy, state, checked_us, next_round_us, failures, created_us, changed_us)"
                     " VALUES (?1, ?2, ?3, ?3, 'm', '{}', '{}', 'paused', 0, 0, 0, 0, 0)", [number, name, platform])
    daemon.start()


def test_another_address_of_a_platform_in_use(daemon):
    """On another platform nothing of the ledger would be found: it would count as removed."""
    made = daemon.post("/platforms", PLATFORM)
    add_replication(daemon, made["id"], "the-id", "the-name")
    refused(lambda: daemon.call("PATCH", "/platforms/p", {"url": "qemu:///system"}), "confirm-needed", "in use")
    assert daemon.get("/platforms/p")["url"] == PLATFORM["url"]
    assert daemon.call("PATCH", "/platforms/p", {"url": PLATFORM["url"], "user": "x"})["user"] == "x", "the same one"
    assert daemon.call("PATCH", "/platforms/p", {"url": "qemu:///system", "yes": True})["url"] == "qemu:///system"


def test_report_by_id(daemon):
    made = daemon.post("/platforms", PLATFORM)
    add_replication(daemon, made["id"], "the-id", "the-name")
    daemon.call("PATCH", "/replications/the-name", {"policy": {"keep_points": 2}})
    for name in ("the-name", "the-id"):
        assert len(daemon.get(f"/events?replication={name}")["events"]) == 1, name
        assert len(daemon.get(f"/replications/{name}/report")["events"]) == 1, name


def test_many_rounds_hold_nothing_up(daemon):
    """A scrape and the ledger's list run on the main loop: their cost does not follow what is long over."""
    made = daemon.post("/platforms", PLATFORM)
    add_replication(daemon, made["id"], "the-id", "the-name")
    daemon.stop()
    with sqlite3.connect(f"{daemon.directory}/state/blockferry.db") as base:
        base.executemany("INSERT INTO rounds (id, replication_id, number, kind, state, quiesced, snapshot_us,"
                         " started_us, ended_us, to_send_bytes, sent_bytes, zero_bytes)"
                         " VALUES (?1, 'the-id', ?1, 'delta', 'complete', 1, 0, 1, 2, 3, 3, 0)",
                         ([number] for number in range(1, 60001)))
        base.executemany("INSERT INTO ledger (id, platform_id, replication_id, kind, state, created_us, changed_us)"
                         " VALUES (printf('%016x', ?1), ?2, 'the-id', 'layer', 'gone', ?1, ?1)",
                         ([number, made["id"]] for number in range(20000)))
    daemon.start()
    begin = time.monotonic()
    with Connection(daemon.socket) as connection:
        scraped = connection.ask("GET", "/metrics").body.decode()
    assert time.monotonic() - begin < 1.5
    assert 'rounds_total{replication="the-name",result="complete"} 60000' in scraped
    assert 'sent_bytes_total{replication="the-name"} 180000' in scraped
    begin = time.monotonic()
    assert len(daemon.ledger(everything=True)) == 20000
    assert time.monotonic() - begin < 3


def test_points_that_are_not_there(daemon):
    """Told at once, not by a job that fails later."""
    made = daemon.post("/platforms", PLATFORM)
    add_replication(daemon, made["id"], "the-id", "the-name")
    refused(lambda: daemon.verb("the-name", "drill", point=7), "no-such-point", "the-name has no point 7")
    refused(lambda: daemon.verb("the-name", "cutover", point=7, yes=True), "no-such-point")
    assert daemon.show("the-name")["state"] == "paused" and daemon.list("the-name", "jobs") == []


def test_limits_are_told_in_words(daemon):
    limits = [{"rate": "50M", "windows": ["Mon-Fri 08:00-18:00", "Sun"]}, {"rate": "200M"}]
    daemon.call("PATCH", "/limits", {"scope": "service", "limits": limits})
    assert daemon.get("/events?last=1")["events"][0]["message"] == \
        "rate limits of service: 50 MiB/s Mon-Fri 08:00-18:00, Sun; 200 MiB/s"


# --- databases of other versions --------------------------------------------------------------------

def make_version(directory, version):
    os.mkdir(f"{directory}/state", 0o700)
    path = f"{directory}/state/blockferry.db"
    base = sqlite3.connect(path)
    for number in range(1, version + 1):
        with open(f"{HERE}/../unit/store/golden/version-{number}.sql", encoding="utf-8") as file:
            base.executescript(file.read())
    base.close()
    return path


def test_an_older_database(directory):
    path = make_version(directory, 1)
    one = Daemon(directory)
    one.start()
    newest = one.get("/status")["schema"]
    assert newest > 1
    assert "web-1" in [row["name"] for row in one.get("/replications")["replications"]]
    one.stop()
    assert f"schema 1 becomes {newest}; a copy of what it was is {path}.schema-1" in one.tail(1000)
    # The way back that the manual tells: what was kept is the older version's database.
    with sqlite3.connect(path + ".schema-1") as base:
        assert base.execute("PRAGMA user_version").fetchone() == (1,)
        assert base.execute("SELECT name FROM replications").fetchall() == [("web-1",)]
    one.start()
    one.stop()
    assert one.tail(1000).count("a copy of what it was") == 1, "only when something is changed"


def test_a_newer_database(daemon):
    path = f"{daemon.directory}/state/blockferry.db"
    daemon.post("/platforms", PLATFORM)
    known = daemon.get("/status")["schema"]
    daemon.stop()
    with sqlite3.connect(path) as base:
        base.execute(f"PRAGMA user_version = {known + 1}")
    with open(path, "rb") as file:
        before = file.read()
    code, said = attempt(daemon.directory)
    assert code == 5 and f"has schema {known + 1}, this version knows up to {known}" in said, said
    assert f"{path}.schema-N" in said and "blockferryd(8)" in said
    with open(path, "rb") as file:
        assert file.read() == before
    with sqlite3.connect(path) as base:
        base.execute(f"PRAGMA user_version = {known}")
    daemon.start()


def test_a_backup_of_a_running_service(daemon):
    """As blockferryd(8) tells it."""
    daemon.post("/platforms", {**PLATFORM, "password": SECRET})
    copy = f"{daemon.directory}/copy"
    os.mkdir(copy, 0o700)
    with sqlite3.connect(f"{daemon.directory}/state/blockferry.db") as base, \
            sqlite3.connect(f"{copy}/blockferry.db") as kept:
        base.backup(kept)
    shutil.copy2(f"{daemon.directory}/state/seal.key", copy)
    daemon.call("DELETE", "/platforms/p")
    daemon.stop()
    shutil.rmtree(f"{daemon.directory}/state")
    os.rename(copy, f"{daemon.directory}/state")
    daemon.start()
    assert daemon.get("/platforms/p")["has_password"] is True
