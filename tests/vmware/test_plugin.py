# SPDX-License-Identifier: Apache-2.0
"""Another nbdkit plugin than ours reads the disks, by a template of its parameters."""
import pathlib

import pytest

from vcenter import Rounds, fails, pids_below

MACHINES = ["web1=2M,3M"]
READER = pathlib.Path(__file__).resolve().parent / "reader"


def options(vc, more=""):
    return {"library_directory": "/nonexistent", "plugin": "sh",
            "plugin_parameters": f"script={READER} root={vc.dir} snapshot={{snapshot}} file={{file}} "
                                 f"credentials={{password_file}} {more}"}


@pytest.fixture
def plugged(vc, seam):
    seam.reopen(**options(vc))
    yield seam
    for tagged in seam.tagged("snapshot"):
        seam.call("release_tag", machine=vc.moref(tagged["name"]), tag=tagged["tag"])
    assert not list(seam.work.iterdir())


def test_full_and_deltas(vc, plugged):
    rounds = Rounds(plugged, vc, "web1")
    vc.scribble("web1", 1)
    rounds.round()
    for n in range(2):
        vc.scribble("web1", 10 + n, writes=4)
        snapshot, _ = rounds.round(meanwhile=lambda: vc.scribble("web1", 50 + n))
        assert rounds.deltas(snapshot) == [True, True]


def test_the_password_is_seen_nowhere(vc, plugged):
    rounds = Rounds(plugged, vc, "web1")
    snapshot = rounds.snapshot()
    source = plugged.call("open_disk", ref=snapshot["ref"], disk="2000")
    pids = pids_below(plugged.work)
    texts = [pathlib.Path(f"/proc/{pid}/{name}").read_bytes()
             for pid in pids for name in ("cmdline", "environ")]
    assert any(b"credentials=/proc/self/fd/3" in text for text in texts)
    assert not any(vc.read("password").encode() in text for text in texts)
    plugged.call("close_disk", handle=source["handle"])
    rounds.complete(snapshot)


def test_shown_by_the_prechecks(vc, plugged):
    found = {f["id"]: f for f in plugged.call("source_precheck", machine=vc.moref("web1"))["findings"]}
    assert "plugin sh" in found["vmware-plugin"]["found"] and "vmware-export" not in found


def test_what_it_says_is_not_believed(vc, plugged):
    """Another size than the disk has, and a login that fails when the disk is opened."""
    rounds = Rounds(plugged, vc, "web1")
    snapshot = rounds.snapshot()
    plugged.reopen(**options(vc, "cut=512"))
    fails("disk-changed", "2096640 bytes instead of 2097152", plugged.call, "open_disk",
          ref=snapshot["ref"], disk="2000")
    password = vc.dir / "password"
    right = password.read_text()
    try:
        password.write_text("another")
        fails("platform-auth", "wrong user or password", plugged.call, "open_disk",
              ref=snapshot["ref"], disk="2000")
    finally:
        password.write_text(right)


def test_a_plugin_that_is_not_there(vc, plugged):
    """The distribution's "vddk" has its parameters by itself; here it is not installed."""
    rounds = Rounds(plugged, vc, "web1")
    snapshot = rounds.snapshot()
    plugged.reopen(plugin="vddk")
    fails("child-missing", "vddk", plugged.call, "open_disk", ref=snapshot["ref"], disk="2000")


@pytest.mark.parametrize("plugin, parameters, word", [
    ("sh", None, "needs them"), ("../x", "a=b", "expected the name"), ("-x", "a=b", "expected the name"),
    ("sh", "a=b --run", "KEY=VALUE"), ("sh", "--run=x", "KEY=VALUE"), ("sh", "word", "KEY=VALUE"),
    ("sh", "a={nothing}", "no such placeholder"), ("sh", "a={file", "no such placeholder"),
    ("sh", "p={password}", "{password_fd}"), (None, "a=b", "options.plugin")])
def test_templates_that_are_none(vc, seam, plugin, parameters, word):
    seam.call("close")
    given = {"plugin": plugin, "plugin_parameters": parameters}
    fails("bad-input", word, seam.open, **{k: v for k, v in given.items() if v})
    fails("bad-input", "read_path", seam.open, read_path="plugin")
    seam.open()
