# SPDX-License-Identifier: Apache-2.0
"""The command line against a stub of the service: what it prints, refuses and returns."""
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../api"))
from harness import TROUBLE, Server  # noqa: E402

TOP = os.path.join(HERE, "../../..")
CLI = os.environ.get("BLOCKFERRY_CLI", "")
SHOP = "shop-web-1"
UMASK = os.umask(0o022)
os.umask(UMASK)


@pytest.fixture()
def server():
    one = Server()
    assert one.ready, one.output()
    yield one
    assert one.end() == 0


class Done:
    def __init__(self, code, out, err):
        self.code = code
        self.out = out
        self.err = err


def cli(server, *words, stdin=subprocess.DEVNULL, env=None, pass_fds=()):
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "TZ": "UTC", **(env or {})}
    if server:
        environment["BLOCKFERRY_SOCKET"] = server.path
    done = subprocess.run([CLI, *words], stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          env=environment, timeout=60, check=False, pass_fds=pass_fds)
    assert not TROUBLE.search(done.stderr), done.stderr
    assert "\033" not in done.stdout, "colours in a pipe"
    return Done(done.returncode, done.stdout, done.stderr)


class Terminal:
    """The command line on a terminal of its own."""

    def __init__(self, server, *words, columns=100):
        self.text = ""
        environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "TERM": "xterm", "TZ": "UTC",
                       "BLOCKFERRY_SOCKET": server.path}
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
            os.execve(CLI, [CLI, *words], environment)

    def read(self, seconds):
        ready, _, _ = select.select([self.fd], [], [], seconds)
        if not ready:
            return False
        try:
            piece = os.read(self.fd, 65536)
        except OSError:
            return False
        self.text += piece.decode(errors="replace")
        return bool(piece)

    def expect(self, regex, seconds=20):
        deadline = time.monotonic() + seconds
        while not re.search(regex, self.text):
            assert time.monotonic() < deadline, f"no {regex!r} in {self.text!r}"
            self.read(1)

    def type(self, text):
        os.write(self.fd, text.encode())

    def end(self):
        while self.read(10):
            pass
        _, status = os.waitpid(self.pid, 0)
        os.close(self.fd)
        assert not TROUBLE.search(self.text), self.text
        return os.waitstatus_to_exitcode(status)


# --- what it prints --------------------------------------------------------------------------------

@pytest.mark.parametrize("words,parts", [
    (["platform", "list"], ["NAME", "old", "qemu+tls://new.example.org/system", "mover"]),
    (["platform", "show", "new"], ["type", "libvirt", "pool=images", "has password"]),
    (["platform", "test", "old"], ["old answers"]),
    (["machine", "list", "old"], ["shop web 1", "Büro Ärger €", "2 GiB", "2: 120 GiB", "uefi"]),
    (["machine", "show", "old", "Büro Ärger €"], ["512 MiB", "vda", "5 GiB", "no nics"]),
    (["list"], [SHOP, "idle", "7 min 12 s", "buero", "failed", "No space left on device"]),
    (["show", SHOP], ["shop-web-1: idle", "every 15m", "Mon-Fri 20:00-06:00", "lab to lab", "70 MiB in 11 s",
                      "about 1 min 35 s", "convert 1 min 00 s", "libvirt-agent-silent warn:"]),
    (["show", "buero"], ["error: volume", "cause: the target has no space left", "fix: free space",
                         "    pool images: 0 of", "4 in a row", "no point yet"]),
    (["rounds", SHOP], ["delta", "schedule", "70 MiB", "0.06%", "60.00%", "cancelled", "no baseline yet"]),
    (["rounds", "buero"], ["failed", "No space left on device"]),
    (["points", SHOP], ["7d5e1c3a9b2f4e6680112233445566aa", "100 GiB"]),
    (["points", "buero"], ["No points yet."]),
    (["ledger"], ["bf-0123456789abcdef", "volume", "baseline"]),
    (["events"], ["checked -> seeding", "round 3 complete"]),
    (["events", "--replication", "buero", "--last", "1"], ["round 1 failed"]),
    (["reconcile"], ["Nothing of ours"]),
    (["status"], ["blockferryd"]),
    (["platform", "resources", "new"], ["images", "512 GiB", "1 TiB", "isolated", "yes"]),
    (["list", "--state", "failed", "--state", "paused"], ["buero"]), (["list", "--platform", "new"], [SHOP, "buero"]),
    (["list", "--state", "paused"], ["No replication is so."]),
    (["show", SHOP], ["shown by try within 5m, disks virtio", "ask within 5m, after a failure restart-source",
                      "retries", "at most 50M/s"]),
    (["report", SHOP], [SHOP, "in the ledger"])])
def test_screens(server, words, parts):
    done = cli(server, *words)
    assert (done.code, done.err) == (0, "")
    for part in parts:
        assert part in done.out, done.out


def test_ledger_all(server):
    assert "gone" not in cli(server, "ledger").out
    assert "gone" in cli(server, "ledger", "--all").out


@pytest.mark.parametrize("words,key", [
    (["platform", "list"], "platforms"), (["platform", "show", "old"], "url"), (["machine", "list", "old"], "machines"),
    (["machine", "show", "old", "shop web 1"], "disks"), (["list"], "replications"), (["show", SHOP], "policy"),
    (["rounds", SHOP], "rounds"), (["points", SHOP], "points"), (["ledger"], "ledger"), (["events"], "events"),
    (["status"], "version"), (["report", SHOP], "replication"), (["check", SHOP], "findings"),
    (["sync", SHOP], "job"), (["pause", SHOP], "state"), (["set", SHOP, "--interval", "5m"], "policy"),
    (["sync", SHOP, "--wait"], "ended_at")])
def test_json(server, words, key):
    for line in (["--json", *words], [*words, "--json"]):
        done = cli(server, *line)
        assert done.code == 0, done.err
        assert key in json.loads(done.out)
        if words[0] == "sync":
            return


def test_check_tells_findings(server):
    done = cli(server, "check", SHOP)
    assert done.code == 0
    assert done.out.splitlines()[:4] == [
        "libvirt-agent-silent warn: guest agent configured, no answer within 5 s",
        "  needed  an answering qemu-guest-agent",
        "  why     without it a point is crash-consistent only",
        "  fix     start qemu-guest-agent in the guest, or set quiesce to off"]


def test_a_waived_finding_does_not_block(server):
    done = cli(server, "check", "buero", "--waive", "libvirt-lun-disk")
    assert done.code == 0, "what was waived does not block"
    assert "libvirt-lun-disk block (waived): vda: a LUN" in done.out, done.out


def test_report_as_page(server, tmp_path):
    page = tmp_path / "shop.html"
    assert cli(server, "report", SHOP, "--html", str(page)).code == 0
    assert page.read_text().startswith("<!DOCTYPE html>")
    assert page.stat().st_mode & 0o777 == 0o666 & ~UMASK
    os.umask(0o077)
    try:
        assert cli(server, "report", SHOP, "--html", str(page)).code == 0
    finally:
        os.umask(UMASK)
    assert page.stat().st_mode & 0o777 == 0o600, "consoles of guests are in it"
    for words in (["report", SHOP, "--html"], ["report", "--html", SHOP], ["report", SHOP, "--html=-"]):
        assert cli(server, *words).out.startswith("<!DOCTYPE html>")
    assert cli(server, "report", SHOP, "--html", "/nonexistent/x.html").code == 1


# --- changes ---------------------------------------------------------------------------------------

def test_secrets_by_file_and_descriptor(server, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("pass wörd\n")
    add = ["--type", "libvirt", "--url", "qemu+tls://x/system", "--user", "u", "--json"]
    done = cli(server, "platform", "add", "a b/ü", *add, "--password-file", str(secret), "--option", "pool=x=y")
    assert json.loads(done.out)["password_bytes"] == 10
    assert json.loads(done.out)["options"] == {"pool": "x=y"}
    with open(secret, encoding="utf-8") as file:
        done = cli(server, "platform", "add", "c", *add, "--password-fd", str(file.fileno()), pass_fds=[file.fileno()])
    assert json.loads(done.out)["password_bytes"] == 10
    assert "a b/ü" in cli(server, "platform", "list").out
    assert cli(server, "platform", "show", "a b/ü").code == 0
    assert cli(server, "platform", "remove", "a b/ü").code == 0
    for words in (["--password-file", "/nonexistent"], ["--password-fd", "99"], ["--password-fd", "x"],
                  ["--password-fd", "99999999999"], ["--password-file", str(secret), "--password-fd", "0"]):
        done = cli(server, "platform", "add", "d", *add, *words)
        assert done.code != 0 and json.loads(done.err)["error"]["message"]
    assert "wörd" not in server.output()


def test_platform_is_changed(server, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("newer\n")
    done = cli(server, "platform", "set", "new", "--password-file", str(secret), "--json")
    row = json.loads(done.out)
    assert row["password_bytes"] == 5 and row["url"] == "qemu+tls://new.example.org/system"
    given = ["--password-file", str(secret)]
    done = cli(server, "platform", "set", "new", "--option", "pool=other", "--option", "accel=", "--json", *given)
    assert json.loads(done.out)["options"] == {"pool": "other", "accel": None}, "KEY= is null, which takes it back"
    done = cli(server, "platform", "set", "new", "--url", "qemu:///system", "--yes", *given)
    assert done.code == 0 and "new: changed\nnew answers\n" in done.out
    done = cli(server, "platform", "set", "new", "--url", "qemu:///system", "--yes", "--no-test", *given)
    assert done.code == 0 and done.out == "new: changed\n"
    terminal = Terminal(server, "platform", "set", "new", "--password")
    terminal.expect("Password of the user at new: ")
    terminal.type("s3cret\n")
    assert terminal.end() == 0 and "s3cret" not in terminal.text
    terminal = Terminal(server, "platform", "set", "new", "--url", "qemu+tls://other/system")
    terminal.expect("Password of the user at qemu\\+tls://other/system: ")
    terminal.type("s3cret\n")
    terminal.expect("has to be the platform new at a new address")
    terminal.type("no\n")
    assert terminal.end() == 10
    assert json.loads(cli(server, "platform", "show", "new", "--json").out)["url"] == "qemu:///system"


def test_no_password_is_asked_for_nobody(tmp_path):
    done = cli(None, "--socket", str(tmp_path / "none"), "platform", "add", "p", "--type", "libvirt", "--url", "x",
               "--user", "me")
    assert done.code == 9 and "systemctl start blockferryd" in done.err


def test_what_can_be_none(server):
    words = []
    for option in ("rate", "interval", "window", "virtio-win", "boot-pattern", "storage", "network", "default-network",
                   "isolated-network", "machine-name", "cpus", "memory", "disk", "flavor", "security-group",
                   "disk-bus"):
        assert dict(options(["set"]))[option]
        words += ["--" + option, "none"]
    assert cli(server, "set", SHOP, *words).code == 0
    row = json.loads(cli(server, "show", SHOP, "--json").out)
    assert {row["policy"][key] for key in ("rate", "interval", "windows", "virtio_win", "boot_pattern")} == {None}
    assert set(row["mapping"].values()) == {None}


def test_events_are_asked_for_once(server):
    """The newest of many: not all of them, page by page."""
    for _ in range(30):
        cli(server, "pause", SHOP)
    done = cli(server, "events", "--last", "3", "--json")
    assert [one["id"] for one in json.loads(done.out)["events"]] == [32, 33, 34]
    assert json.loads(cli(server, "events", "--last", "0", "--json").out)["events"] == []
    assert cli(server, "events", "--last", "0").out == "Nothing has happened.\n"
    done = cli(server, "events", "--last", "2", "--replication", "buero", "--json")
    assert [one["id"] for one in json.loads(done.out)["events"]] == [3]


def test_openrc(server):
    """The login that OpenStack's own tools take, where no URL is given; the command line comes first."""
    rc = {"OS_AUTH_URL": "https://k:5000/v3", "OS_USERNAME": "me", "OS_PASSWORD": "s3cret", "OS_REGION_NAME": "",
          "OS_USER_DOMAIN_NAME": "Default", "OS_PROJECT_DOMAIN_ID": "default", "OS_PROJECT_NAME": "web",
          "OS_TENANT_NAME": "old", "OS_ENDPOINT_TYPE": "internalURL"}
    names = iter(["rc1", "rc2", "rc3", "rc4"])

    def added(env, *words):
        done = cli(server, "platform", "add", next(names), "--type", "openstack", "--json", *words, env=env)
        assert done.code == 0, done.err
        return json.loads(done.out)
    one = added(rc, "--option", "ceph_user=mover", "--option", "interface=public")
    assert (one["url"], one["user"], one["password_bytes"]) == ("https://k:5000/v3", "me", 6)
    assert one["options"] == {"project_name": "web", "user_domain_name": "Default", "project_domain_id": "default",
                              "interface": "public", "ceph_user": "mover"}
    one = added({**rc, "OS_APPLICATION_CREDENTIAL_ID": "id", "OS_APPLICATION_CREDENTIAL_SECRET": "longer one"})
    assert not one.get("user") and one["password_bytes"] == 10 and one["options"]["application_credential_id"] == "id"
    one = added({**rc, "OS_CLOUD": "prod", "OS_CLIENT_CONFIG_FILE": "/c.yaml"})
    assert (one["url"], one["options"]) == ("cloud:prod", {"clouds_yaml": "/c.yaml"})
    assert not one.get("user") and not one.get("password_bytes")
    one = added(rc, "--url", "https://other:5000")
    assert not one.get("user") and one["options"] == {}
    assert "--url is missing" in cli(server, "platform", "add", "x", "--type", "libvirt", env=rc).err


def test_secret_by_prompt(server):
    terminal = Terminal(server, "platform", "add", "p", "--type", "libvirt", "--url", "x", "--user", "me", "--json")
    terminal.expect("Password of me at x: ")
    terminal.type("s3cret\n")
    assert terminal.end() == 0
    assert "s3cret" not in terminal.text
    assert '"password_bytes": 6' in terminal.text
    # Without a terminal there is nobody to ask.
    done = subprocess.run([CLI, "platform", "add", "q", "--type", "libvirt", "--url", "x", "--user", "me"], text=True,
                          stdin=subprocess.DEVNULL, capture_output=True, start_new_session=True, check=False,
                          env={"BLOCKFERRY_SOCKET": server.path})
    assert done.returncode == 2 and "--password-file" in done.stderr


def test_replicate_sends_only_what_was_given(server):
    done = cli(server, "replicate", "shop web 1", "--source", "old", "--target", "new",
               "--window", "Mon-Fri 20:00-06:00", "--window", "Sat-Sun", "--network", "lab=prod",
               "--network", "a b=ü", "--memory", "4G", "--no-start")
    assert done.code == 0, done.err
    assert f"{SHOP}: idle" in done.out and "libvirt-agent-silent warn:" in done.out
    assert cli(server, "replicate", "m", "--source", "old", "--target", "new", "--wait").out.endswith("seeded\n")


def test_set(server):
    words = ["--interval", "none", "--window", "none", "--keep-points", "7", "--network", "a=b", "--memory", "2G",
             "--disk", "sda", "--disk", "sdb", "--grow", "on", "--serial-console", "off"]
    assert cli(server, "set", SHOP, *words).out == f"{SHOP}: changed\n"
    row = json.loads(cli(server, "show", SHOP, "--json").out)
    assert row["policy"]["interval"] is None and row["policy"]["windows"] is None and row["policy"]["keep_points"] == 7
    assert row["mapping"]["networks"] == {"a": "b"} and row["mapping"]["memory_bytes"] == 2 << 30
    assert row["mapping"]["disks"] == ["sda", "sdb"]
    assert row["policy"]["grow"] is True and row["policy"]["serial_console"] is False
    assert row["policy"]["quiesce"] == "try", "what was not given stays"


def test_verbs_and_waiting(server):
    done = cli(server, "sync", SHOP, "--full")
    assert (done.code, done.out) == (0, f"{SHOP}: sync started\n")
    assert cli(server, "sync", SHOP).code == 5, "busy"
    assert cli(server, "pause", SHOP).code == 5
    time.sleep(2.5)
    done = cli(server, "sync", SHOP, "--wait")
    assert done.code == 0 and re.search(r"\): \d+%, .* of 8 GiB, 412 MiB/s, \d s left\n", done.out), done.out
    assert done.out.endswith(", state idle\n")
    assert cli(server, "pause", SHOP).out == f"{SHOP}: paused\n"
    assert cli(server, "resume", SHOP).out == f"{SHOP}: idle\n"
    assert cli(server, "cutover", SHOP, "--yes", "--wait").code == 0
    assert cli(server, "remove", SHOP, "--yes", "--delete-volumes", "--wait").out.endswith(f"{SHOP}: removed\n")
    assert cli(server, "show", SHOP).code == 4


def test_follow(server):
    process = subprocess.Popen([CLI, "events", "--follow", "--last", "1"], stdout=subprocess.PIPE, text=True,
                               env={"BLOCKFERRY_SOCKET": server.path, "LC_ALL": "C.UTF-8"})
    assert "round 3 complete" in process.stdout.readline()
    cli(server, "pause", SHOP)
    assert "pause" in process.stdout.readline()
    done = cli(server, "events", "--follow", "--replication", "nope")
    assert done.code == 4 and "no replication nope" in done.err
    os.kill(process.pid, signal.SIGTERM)
    process.wait(10)
    process.stdout.close()


def test_follow_ends_with_the_service():
    one = Server()
    process = subprocess.Popen([CLI, "events", "--follow", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               text=True, env={"BLOCKFERRY_SOCKET": one.path, "LC_ALL": "C.UTF-8"})
    assert json.loads(process.stdout.readline())["id"] == 1
    time.sleep(0.5)
    assert one.end() == 0
    _, err = process.communicate(timeout=20)
    error = json.loads(err)["error"]
    assert process.returncode == 9 and error["code"] == "service-unreachable", "it is no platform that is gone"


def test_a_wait_outlives_a_restart(server):
    """The job belongs to the service: a script must not take its restart for the job's failure."""
    process = subprocess.Popen([CLI, "sync", SHOP, "--wait"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               env={"BLOCKFERRY_SOCKET": server.path, "LC_ALL": "C.UTF-8"})
    assert "copy (1/4)" in process.stdout.readline()
    assert server.end() == 0
    time.sleep(1.5)
    assert process.poll() is None, process.stderr.read()
    server.__init__(directory=server.directory)
    assert server.ready
    # The stub forgets its jobs; the new one's first has the same id.
    assert cli(server, "sync", SHOP).code == 0
    out, err = process.communicate(timeout=20)
    assert process.returncode == 0 and out.endswith("state idle\n"), (out, err)


# --- on a terminal ---------------------------------------------------------------------------------

def test_bar_on_a_terminal(server):
    terminal = Terminal(server, "sync", SHOP, "--wait", columns=90)
    assert terminal.end() == 0
    assert "█" in terminal.text and "░" in terminal.text and "MiB/s" in terminal.text
    bars = [re.sub(r"\033\[[0-9;]*[mK]", "", line) for line in terminal.text.split("\r")
            if "░" in line or "█" in line]
    assert bars and all(len(bar.rstrip("\n")) < 90 for bar in bars), bars
    assert terminal.text.rstrip().endswith("state idle")


@pytest.mark.parametrize("words", [["list"], ["rounds", SHOP], ["points", SHOP], ["ledger", "--all"],
                                   ["platform", "list"],
                                   ["machine", "list", "old"], ["platform", "resources", "old"]])
def test_tables_fit_a_terminal(server, words):
    terminal = Terminal(server, *words, columns=80)
    assert terminal.end() == 0
    lines = re.sub(r"\033\[[0-9;]*m", "", terminal.text).replace("\r", "").splitlines()
    assert len(lines) > 1 and max(len(line) for line in lines) <= 80, terminal.text


def test_cutover_asks(server):
    terminal = Terminal(server, "cutover", SHOP)
    terminal.expect("shuts shop web 1 down on old and starts it on new")
    terminal.expect("Expected downtime: 1 min 35 s")
    terminal.type("yes\n")
    assert terminal.end() == 10
    assert json.loads(cli(server, "show", SHOP, "--json").out)["state"] == "idle"
    terminal = Terminal(server, "cutover", SHOP)
    terminal.expect("to go on: ")
    terminal.type(SHOP + "\n")
    terminal.expect("blockferry confirm shop-web-1")
    assert terminal.end() == 0
    assert json.loads(cli(server, "show", SHOP, "--json").out)["state"] == "confirm-pending"


def test_interrupted_wait_leaves_the_job(server):
    terminal = Terminal(server, "sync", SHOP, "--wait")
    terminal.expect("%")
    terminal.type("\003")
    assert terminal.end() == 10
    assert "the job goes on" in terminal.text and "fix:" not in terminal.text
    assert json.loads(cli(server, "show", SHOP, "--json").out)["state"] == "syncing"


# --- what it refuses -------------------------------------------------------------------------------

@pytest.mark.parametrize("words,code,text", [
    (["frob"], 2, "unknown command: frob (see blockferry --help)"),
    (["platform"], 2, "unknown command: platform alone (it is followed by: add, list,"),
    (["platform", "frob"], 2, "unknown command: platform frob"), (["show"], 2, "NAME is missing"),
    (["lsit"], 2, "did you mean list?"), (["platfrom", "list"], 2, "did you mean platform?"),
    (["help", "cutovr"], 2, "did you mean cutover?"), (["drill-edn", SHOP], 2, "did you mean drill-end?"),
    (["set", SHOP, "--intervall", "5m"], 2, "unknown option: --intervall for blockferry set; did you mean --interval?"),
    (["list", "--josn"], 2, "did you mean --json?"), (["show", ""], 2, "NAME is empty"),
    (["machine", "show", "old", ""], 2, "MACHINE is empty"), (["show", ".."], 4, "no replication .."),
    (["machine", "show", "old", ".."], 4, "no machine .."),
    (["list", "--state", "fialed"], 2, "--state fialed: one of new checked"),
    (["platform", "set", "old"], 2, "nothing to change"), (["platform", "set", "nope", "--option", "a=b"], 4, "nope"),
    (["platform", "set", "old", "--url", "x"], 2, "x has to be the platform old"),
    (["set", SHOP, "--network", "a=b", "--network", "a=c"], 2, "--network a is given twice"),
    (["set", SHOP, "--disk", "none", "--disk", "sda"], 2, "none stands alone"),
    (["platform", "add", "x", "--type", "t", "--url", "u", "--option", "k=1", "--option", "k=2"], 2, "given twice"),
    (["rounds", SHOP, "--limit", "-1"], 2, "--limit"), (["rounds", SHOP, "--limit", "1" + 30 * "0"], 2, "--limit"),
    (["machine", "show", "old"], 2, "MACHINE is missing"), (["list", "x"], 2, "unexpected argument x"),
    (["list", "--frob"], 2, "unknown option: --frob"), (["list", "-x"], 2, "unknown option: -x"),
    (["sync", SHOP, "--full=1"], 2, "--full takes no value"), (["rounds", SHOP, "--limit"], 2, "--limit needs a value"),
    (["rounds", SHOP, "--limit", "1", "--limit", "2"], 2, "given twice"),
    (["rounds", SHOP, "--limit", "x"], 2, "limit"),
    (["sync", SHOP, "--full", "--compare"], 2, "not both"), (["replicate", "m"], 2, "--source is missing"),
    (["replicate", "m", "--source", "a"], 2, "--target is missing"),
    (["set", SHOP], 2, "nothing to change"), (["set", SHOP, "--network", "x"], 2, "expected SOURCE=TARGET"),
    (["set", SHOP, "--grow", "yes"], 2, "--grow yes: on or off"),
    (["set", SHOP, "--keep-points", "-1"], 2, "--keep-points"), (["set", SHOP, "--memory", "lots"], 2, "--memory"),
    (["platform", "add", "x", "--type", "libvirt"], 2, "--url is missing"),
    (["platform", "add", "x", "--type", "t", "--url", "u", "--option", "=v"], 2, "expected KEY=VALUE"),
    (["drill", SHOP, "--point", "last"], 2, "--point"), (["cutover", SHOP], 2, "cutover of shop-web-1 shuts"),
    (["remove", SHOP], 2, "hands its volumes over"), (["show", "nope"], 4, "no replication nope"),
    (["platform", "show", "no pe/ü"], 4, "no platform no pe/ü"),
    (["machine", "show", "old", "nope"], 4, "no machine nope"),
    (["confirm", SHOP], 5, "confirm is not allowed"),
    (["confirm", SHOP, "--force"], 5, "confirm by force is not allowed"),
    (["platform", "remove", "old"], 5, "used by a replication"),
    (["events", "--last", "x"], 2, "--last")])
def test_refusals(server, words, code, text):
    done = cli(server, *words)
    assert done.code == code, done.err
    assert done.out == ""
    lines = done.err.splitlines()
    assert lines[0].startswith("blockferry: ") and text in done.err
    assert lines[1].startswith("  cause: ") and lines[2].startswith("  fix: ")


def test_what_is_not_utf8(server):
    for words in (["show", b"\xff\xfe"], ["set", SHOP, "--machine-name", b"web\xc3"],
                  ["platform", "add", "x", "--type", "libvirt", "--url", "u", "--option", b"pool=\xff"]):
        done = cli(server, *words)
        assert done.code == 2 and "is not UTF-8" in done.err, done.err


def test_errors_as_json(server):
    for words in (["show", "nope"], ["frob"], ["rounds", SHOP, "--frob"], ["cutover", SHOP]):
        plain = cli(server, *words)
        done = cli(server, *words, "--json")
        error = json.loads(done.err.splitlines()[-1])["error"]
        assert (done.code, done.out) == (plain.code, "") and len(done.err.splitlines()) == 1
        assert plain.err.splitlines()[0] == "blockferry: " + error["message"]
        assert {"code", "kind", "cause", "fix", "retry"} <= set(error)
    done = cli(server, "report", SHOP, "--html", "--json")
    assert done.code == 2 and "not both" in json.loads(done.err)["error"]["message"]


def test_evidence_is_shown(server):
    evidence = ["    error: failed to connect to the hypervisor", "    error: refused"]
    done = cli(server, "platform", "add", "gone", "--type", "libvirt", "--url", "x")
    assert done.code == 0 and done.out == "gone: registered\n", "a platform may be told of before it is up"
    assert done.err.splitlines()[3:5] == evidence and "blockferry platform set gone" in done.err.splitlines()[5]
    done = cli(server, "machine", "list", "gone")
    assert done.code == 9
    assert done.err.splitlines()[3:] == evidence
    done = cli(server, "platform", "add", "here", "--type", "libvirt", "--url", "x")
    assert done.code == 0 and done.out.startswith("here: registered\nhere answers\n") and not done.err


def test_no_service():
    with tempfile.TemporaryDirectory() as directory:
        done = cli(None, "--socket", f"{directory}/none", "list")
        assert done.code == 9 and "systemctl start blockferryd" in done.err
        done = cli(None, "list", "--socket", f"{directory}/" + "x" * 200)
        assert done.code == 2 and "too long" in done.err


def test_hostile_names_do_not_reach_the_terminal(server):
    name = "evil\033]0;owned\007\u202e\n"
    assert cli(server, "platform", "add", "x", "--type", name, "--url", "u\r\n\033[31m").code == 0
    for words in (["platform", "list"], ["platform", "show", "x"]):
        done = cli(server, *words)
        assert "\033" not in done.out and "\r" not in done.out and "\007" not in done.out


def test_full_disk_is_an_error(server):
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = subprocess.run([CLI, "list"], stdout=full, stderr=subprocess.PIPE, check=False,
                              env={"BLOCKFERRY_SOCKET": server.path})
    assert done.returncode == 1


# --- the table, help, manual and completion --------------------------------------------------------

def commands():
    out = cli(None, "--help").out.split("Commands:\n")[1].split("\n\n")[0]
    for line in out.splitlines():
        if line.startswith("   "):
            continue  # what did not fit into the line above
        words = re.match(r"  (\S.*?)  +\S", line)[1].split()
        yield [w for w in words if w.islower()], [w for w in words if not w.islower()]


def options(command):
    return re.findall(r"^  --([a-z-]+)(?: (\S+))?  ", cli(None, *command, "--help").out, re.MULTILINE)


def test_help_of_every_command():
    names = [" ".join(name) for name, _ in commands()]
    assert len(names) == len(set(names)) > 25
    for name, arguments in commands():
        out = cli(None, *name, "--help").out
        assert out.startswith(f"usage: blockferry {' '.join(name + arguments)}")
    assert cli(None).out == cli(None, "help").out == cli(None, "--help").out
    assert cli(None, "--version").out.startswith("blockferry ")
    for words in (["help", "platform"], ["platform", "--help"], ["platform", "-h"]):
        out = cli(None, *words).out
        assert "platform resources NAME" in out and "cutover" not in out
    assert cli(None, "help", "cutover").out.startswith("usage: blockferry cutover NAME")
    assert cli(None, "help", "platform", "add").out == cli(None, "platform", "add", "--help").out


def test_help_fits_a_terminal():
    for words in [[]] + [name for name, _ in commands()]:
        for line in cli(None, *words, "--help").out.splitlines():
            assert len(line) <= 80, line


def test_manual_knows_every_command_and_option():
    with open(os.path.join(TOP, "docs/blockferry.1"), encoding="utf-8") as file:
        manual = file.read()
    told = re.findall(r"^\.It Cm ([a-z -]+?)((?: Ar [A-Z]+)*)$", manual, re.MULTILINE)
    assert [(name, arguments.split(" Ar ")[1:]) for name, arguments in told] == [
        (" ".join(name), arguments) for name, arguments in commands()]
    settings = set(re.findall(r"^\.It Fl Fl (\S+)", manual.split(".Sh SETTINGS")[1], re.MULTILINE))
    for name, _ in commands():
        part = manual.split(f".It Cm {' '.join(name)}")[1].split(".It Cm")[0].split(".Sh")[0]
        here = set(re.findall(r"^\.It Fl Fl (\S+)", part, re.MULTILINE))
        given = {option for option, _ in options(name)}
        assert given - settings <= here, name
        assert here <= given, name
        if name in (["replicate"], ["set"]):
            assert settings <= given, name


def test_manual_tells_exit_codes():
    with open(os.path.join(TOP, "docs/blockferry.1"), encoding="utf-8") as file:
        part = file.read().split(".Sh EXIT STATUS")[1].split(".Sh")[0]
    assert re.findall(r"^\.It (\d+)", part, re.MULTILINE) == [str(n) for n in range(11)]


def complete(server, *words):
    script = ("source /usr/share/bash-completion/bash_completion; source " +
              os.path.join(TOP, "cli/completion/blockferry") +
              '; COMP_WORDS=("$@"); COMP_CWORD=$(($#-1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}; '
              '_blockferry; printf "%s\\n" "${COMPREPLY[@]}"')
    environment = {"PATH": os.path.dirname(CLI) + ":" + os.environ["PATH"], "LC_ALL": "C.UTF-8", "HOME": "/nonexistent",
                   "BLOCKFERRY_SOCKET": server.path}
    done = subprocess.run(["bash", "-c", script, "bash", *words], capture_output=True, text=True, env=environment,
                          stdin=subprocess.DEVNULL, check=True)
    return done.stdout.split("\n")[:-1]


def test_completion(server):
    assert "replicate" in complete(server, "blockferry", "")
    assert complete(server, "blockferry", "plat") == ["platform"]
    assert complete(server, "blockferry", "platform", "") == ["add", "list", "show", "test", "resources", "set",
                                                              "remove"]
    assert complete(server, "blockferry", "show", "") == [SHOP, "buero"]
    assert complete(server, "blockferry", "show", "b") == ["buero"]
    assert complete(server, "blockferry", "machine", "show", "old", "sh") == ["shop\\ web\\ 1"]
    assert complete(server, "blockferry", "replicate", "--source", "old", "sh") == ["shop\\ web\\ 1"]
    assert complete(server, "blockferry", "sync", SHOP, "--f") == ["--full"]
    assert complete(server, "blockferry", "set", SHOP, "--quiesce", "") == ["try", "require", "off"]
    assert complete(server, "blockferry", "list", "--state", "c") == ["checked", "cutover", "confirm-pending"]
    assert complete(server, "blockferry", "sync", SHOP, "x") == [""]


def test_completion_does_not_expand_names(server, tmp_path):
    mark = tmp_path / "owned"
    name = f"$(touch {mark})`touch {mark}`"
    assert cli(server, "platform", "add", name, "--type", "libvirt", "--url", "x").code == 0
    found = complete(server, "blockferry", "platform", "show", "")
    assert any("touch" in word for word in found)
    assert not mark.exists()


def test_only_base_is_included():
    for folder, _, files in os.walk(os.path.join(TOP, "cli")):
        for name in files:
            if name.endswith((".c", ".h")):
                with open(os.path.join(folder, name), encoding="utf-8") as file:
                    for header in re.findall(r'^#include "([^"]+)"', file.read(), re.MULTILINE):
                        assert header.split("/")[0] in ("base", "cli"), f"{name}: {header}"
