# SPDX-License-Identifier: Apache-2.0
"""The installed service under a real systemd, as its own user, against the packaged libvirtd."""
import json
import os
import re
import shutil
import subprocess
import tempfile
import time

import pytest

import ferry

SYSTEMD = os.path.join(ferry.LAB, "systemd")
BUILD = os.environ["BUILD_ROOT"]
IMAGES = "/var/lib/libvirt/images"
DROP_IN = "/etc/systemd/system/blockferryd.service.d/test.conf"
DOMAIN = f"""<domain type='qemu'><name>web</name><memory unit='MiB'>128</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='q35'>hvm</type></os><features><acpi/></features>
<devices>
<disk type='file'><driver name='qemu' type='qcow2'/><source file='{IMAGES}/web.qcow2'/>
<target dev='sda' bus='sata'/></disk>
<interface type='network'><source network='lan'/><mac address='52:54:00:5d:00:01'/><model type='e1000'/></interface>
<serial type='pty'><target port='0'/></serial></devices></domain>"""


class Host:
    """The host that runs under systemd."""

    def __init__(self, directory):
        self.directory = directory
        installed = f"{directory}/installed"
        ferry.run("meson", "install", "-C", BUILD, "--no-rebuild", "--quiet", "--destdir", installed)
        ferry.run(SYSTEMD, "up", directory, installed)

    def run(self, *argv, check=True, **options):
        return ferry.run(SYSTEMD, "exec", self.directory, *argv, check=check, **options)

    def put(self, path, text):
        self.run("sh", "-c", 'mkdir -p "$(dirname "$1")" && cat >"$1"', "sh", path, input=text)

    def admin(self, *words, check=True):
        """The command line, as an ordinary user who is a member of the group."""
        return self.run("setpriv", "--reuid=alice", "--regid=alice", "--init-groups",
                        "blockferry", *words, check=check)

    def json(self, *words):
        return json.loads(self.admin(*words, "--json"))

    def property(self, name, unit="blockferryd.service"):
        return self.run("systemctl", "show", "--value", "--property", name, unit)

    def restart_with(self, settings):
        self.put(DROP_IN, f"[Service]\n{settings}\n")
        self.run("systemctl", "daemon-reload")
        self.run("systemctl", "restart", "blockferryd")

    def wait_other_pid(self, old, seconds):
        end = time.monotonic() + seconds
        while self.property("MainPID") in ("0", old) or self.property("ActiveState") != "active":
            assert time.monotonic() < end, self.run("journalctl", "-b", "-n", "30", check=False)
            time.sleep(0.2)


@pytest.fixture(scope="module")
def host():
    directory = tempfile.mkdtemp(prefix="bfsd-", dir="/tmp")
    try:
        one = Host(directory)
        one.run("useradd", "alice")
        one.run("useradd", "mallory")
        one.run("usermod", "-aG", "blockferry", "alice")
        one.run("systemctl", "start", "blockferryd")
        yield one
    finally:
        subprocess.run([SYSTEMD, "stop", directory], check=False, timeout=60)
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="module")
def guest(host):
    """The tiny guest, running under the packaged libvirtd, and its replication."""
    image = ferry.run(f"{ferry.LAB}/images", "get", "tiny", timeout=600)
    host.run("mkdir", "-p", IMAGES)
    host.run("qemu-img", "convert", "-O", "qcow2", image, f"{IMAGES}/web.qcow2")
    for name in ("lan", "isolated"):
        host.put(f"/root/{name}.xml", f"<network><name>{name}</name><bridge name='b-{name}' stp='off'/></network>")
        host.run("virsh", "-q", "net-define", f"/root/{name}.xml")
        host.run("virsh", "-q", "net-start", name)
    host.run("virsh", "-q", "pool-create-as", "default", "dir", "--target", IMAGES)
    host.put("/root/web.xml", DOMAIN)
    host.run("virsh", "-q", "define", "/root/web.xml")
    host.run("virsh", "-q", "start", "web")
    host.admin("platform", "add", "here", "--type", "libvirt", "--url", "qemu:///system")
    host.admin("replicate", "web", "--source", "here", "--target", "here", "--name", "web",
               "--machine-name", "web-moved", "--network", "default=lan",
               "--isolated-network", "isolated", "--interval", "none", "--convert", "none")
    wait_idle(host)
    return "web"


def wait_idle(host, seconds=60):
    end = time.monotonic() + seconds
    while True:
        one = host.json("show", "web")
        if one["state"] == "idle" and not one["job"]:
            return one
        assert one["state"] != "failed" and time.monotonic() < end, json.dumps(one, indent=1)
        time.sleep(0.3)


def test_runs_as_its_own_user_with_few_rights(host):
    assert host.property("ActiveState") == "active"
    status = host.run("cat", f"/proc/{host.property('MainPID')}/status")
    uid = host.run("id", "-u", "blockferry")
    assert re.search(rf"^Uid:\t{uid}\t{uid}\t", status, re.MULTILINE)
    # CAP_DAC_OVERRIDE and nothing else.
    assert re.search(r"^CapEff:\t0+2$", status, re.MULTILINE), status


def test_only_members_of_the_group_may_use_it(host):
    assert host.json("platform", "list") is not None
    done = subprocess.run([SYSTEMD, "exec", host.directory, "setpriv", "--reuid=mallory", "--regid=mallory",
                           "--init-groups", "blockferry", "list"], capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "/run/blockferry/api.sock" in done.stderr
    assert "group" in done.stderr, done.stderr


def test_rounds_and_a_drill(host, guest):
    rounds = host.json("rounds", guest)["rounds"]
    assert [one["state"] for one in rounds] == ["complete"] and rounds[0]["kind"] == "full"
    host.admin("sync", guest, "--wait")
    assert host.json("show", guest)["last_round"]["kind"] == "delta"
    host.admin("drill", guest, "--wait")
    launch = host.json("show", guest)["launch"]
    assert launch["state"] == "booted" and "disk=virtio_blk" in launch["console_tail"]
    host.admin("drill-end", guest, "--wait")
    assert host.run("virsh", "list", "--all", "--name").split() == ["web"]


def test_killed_service_is_started_again(host, guest):
    pid = host.property("MainPID")
    host.admin("sync", guest)
    host.run("kill", "-KILL", pid)
    host.wait_other_pid(pid, 30)
    assert wait_idle(host)["last_round"]["state"] == "complete"


def test_hanging_service_is_started_again(host):
    host.restart_with("WatchdogSec=2s\nTimeoutAbortSec=1s")
    pid = host.property("MainPID")
    host.run("kill", "-STOP", pid)
    host.wait_other_pid(pid, 40)
    assert "Watchdog timeout" in host.run("journalctl", "-b")


def test_key_as_a_credential(host):
    host.run("systemctl", "stop", "blockferryd")
    host.run("sh", "-c", "mkdir -p /etc/credstore && chmod 0700 /etc/credstore && "
             "mv /var/lib/blockferry/seal.key /etc/credstore/seal-key && "
             "chown root:root /etc/credstore/seal-key")
    host.restart_with("")
    secret = "correct horse"
    host.put("/tmp/secret", secret)
    host.run("chmod", "0644", "/tmp/secret")
    host.admin("platform", "add", "far", "--type", "libvirt", "--url", "qemu+tls://far.example/system",
               "--user", "me", "--password-file", "/tmp/secret")
    host.run("systemctl", "restart", "blockferryd")
    assert host.run("ls", "/var/lib/blockferry/seal.key", check=False) == ""
    assert {one["name"] for one in host.json("platform", "list")["platforms"]} >= {"far"}
    host.admin("platform", "remove", "far")
    found = host.run("grep", "-rlF", secret, "/var/lib/blockferry", "/run/log/journal", check=False)
    assert found == "", found


def test_journal_has_fields(host, guest):
    lines = host.run("journalctl", "-u", "blockferryd", "-b", "-o", "json").splitlines()
    entries = [json.loads(line) for line in lines]
    assert any(entry.get("BLOCKFERRY_REPLICATION") == guest for entry in entries)


def test_socket_starts_the_service(host):
    host.run("systemctl", "stop", "blockferryd")
    host.run("systemctl", "start", "blockferryd.socket")
    assert host.property("ActiveState") == "inactive"
    assert host.json("platform", "list")["platforms"] is not None
    assert host.property("ActiveState") == "active"
    host.run("systemctl", "stop", "blockferryd.socket", "blockferryd")


def test_stop_is_clean_and_leaves_nothing(host, guest):
    host.run("systemctl", "start", "blockferryd")
    host.admin("sync", guest)
    host.run("systemctl", "stop", "blockferryd")
    assert host.property("Result") == "success" and host.property("ExecMainStatus") == "0"
    user = host.run("id", "-u", "blockferry")
    assert host.run("pgrep", "-u", user, check=False) == ""
    host.run("systemctl", "start", "blockferryd")
    wait_idle(host)
    host.admin("remove", guest, "--yes", "--delete-volumes", "--wait")
    assert host.json("ledger")["ledger"] == []
    assert host.run("ls", IMAGES).split() == ["web.qcow2"]
    assert host.run("virsh", "checkpoint-list", "web", "--name") == ""
