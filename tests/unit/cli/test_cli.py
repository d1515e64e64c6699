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
            os.execve(CLI, [CLI, *words], environment)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))

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


def test_report_as_page(server, tmp_path):
    page = tmp_path / "shop.html"
    assert cli(server, "report", SHOP, "--html", str(page)).code == 0
    assert page.read_text().startswith("<!DOCTYPE html>")
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
        assert done.code != 0 and "blockferry: " in done.err
    assert "wörd" not in server.output()


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
    assert process.returncode != 0 and err.startswith("blockferry: ")


# --- on a terminal ---------------------------------------------------------------------------------

def test_bar_on_a_terminal(server):
    terminal = Terminal(server, "sync", SHOP, "--wait", columns=90)
    assert terminal.end() == 0
    assert "█" in terminal.text and "░" in terminal.text and "MiB/s" in terminal.text
    bars = [re.sub(r"\033\[[0-9;]*[mK]", "", line) for line in terminal.text.split("\r")
            if "░" in line or "█" in line]
    assert bars and all(len(bar.rstrip("\n")) < 90 for bar in bars), bars
    assert terminal.text.rstrip().endswith("state idle")


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
    (["frob"], 2, "unknown command: frob"), (["platform"], 2, "unknown command: platform"),
    (["platform", "frob"], 2, "unknown command: platform frob"), (["show"], 2, "NAME is missing"),
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
    (["confirm", SHOP], 5, "confirm is not allowed"), (["platform", "remove", "old"], 5, "used by a replication"),
    (["report", SHOP, "--html", "--json"], 2, "not both"), (["events", "--last", "x"], 2, "--last")])
def test_refusals(server, words, code, text):
    done = cli(server, *words)
    assert done.code == code, done.err
    assert done.out == ""
    lines = done.err.splitlines()
    assert lines[0].startswith("blockferry: ") and text in done.err
    assert lines[1].startswith("  cause: ") and lines[2].startswith("  fix: ")


def test_evidence_is_shown(server):
    assert cli(server, "platform", "add", "gone", "--type", "libvirt", "--url", "x").code == 0
    done = cli(server, "machine", "list", "gone")
    assert done.code == 9
    assert done.err.splitlines()[3:] == ["    error: failed to connect to the hypervisor", "    error: refused"]


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
    assert cli(None, "help", "platform", "add").out == cli(None, "platform", "add", "--help").out


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
    assert complete(server, "blockferry", "platform", "") == ["add", "list", "show", "test", "remove"]
    assert complete(server, "blockferry", "show", "") == [SHOP, "buero"]
    assert complete(server, "blockferry", "show", "b") == ["buero"]
    assert complete(server, "blockferry", "machine", "show", "old", "sh") == ["shop\\ web\\ 1"]
    assert complete(server, "blockferry", "replicate", "--source", "old", "sh") == ["shop\\ web\\ 1"]
    assert complete(server, "blockferry", "sync", SHOP, "--f") == ["--full"]
    assert complete(server, "blockferry", "set", SHOP, "--quiesce", "") == ["try", "require", "off"]
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
