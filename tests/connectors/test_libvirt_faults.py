# SPDX-License-Identifier: Apache-2.0
"""What goes wrong on a source: machines off, killed, changed; libvirtd restarted, stopped; the
service killed.  After each, rounds go on and are exact."""
import json
import os
import signal
import time

import pytest

from seam import Replication, Seam, SeamError, new_tag, run

MIB = 1 << 20


@pytest.fixture
def guest(lab, seam):
    """(image, replication) of a running machine with one complete full round."""
    image = lab.image("guest.qcow2", "128M")
    machine = lab.guest("Gast 1 ünï", image)
    lab.write("Gast 1 ünï", "sda", "1M", "2M", 0x11)
    replication = Replication(seam, machine, ["sda"])
    replication.round()
    yield image, replication
    lab.forget("Gast 1 ünï")
    image.unlink()


NAME = "Gast 1 ünï"


def checkpoints(lab, name=NAME):
    return lab.virsh("checkpoint-list", name, "--name").split()


def bitmaps(image):
    info = json.loads(run("qemu-img", "info", "-U", "--output=json", image))
    return [b["name"] for b in info["format-specific"]["data"].get("bitmaps", [])]


def finish(lab, seam, replication):
    replication.remove()
    assert seam.tagged() == []
    assert checkpoints(lab) == []


def test_machine_switched_off_gives_a_delta(lab, seam, guest):
    image, replication = guest
    lab.write(NAME, "sda", "16M", "1M", 0x22)
    seam.call("power_off", machine=replication.machine)
    snapshot, done = replication.round()
    assert snapshot["disks"]["sda"] == {"size": 128 * MIB, "delta": True, "reason": None}
    assert done["sda"]["sent"] == MIB
    replication.compare("sda", image)

    # The baseline made while it was off records from the next start on.
    assert checkpoints(lab) == bitmaps(image) == [replication.last_tag]
    seam.call("power_on", machine=replication.machine)
    lab.virsh("suspend", NAME)
    lab.write(NAME, "sda", "20M", "64k", 0x33)
    snapshot, done = replication.round()
    assert snapshot["disks"]["sda"]["delta"]
    assert done["sda"]["sent"] < MIB
    replication.compare("sda", image)
    finish(lab, seam, replication)


def test_two_rounds_while_off(lab, seam, guest):
    image, replication = guest
    seam.call("power_off", machine=replication.machine)
    replication.round()
    snapshot, done = replication.round()
    assert snapshot["disks"]["sda"]["delta"] and done["sda"]["sent"] == 0
    replication.compare("sda", image)
    finish(lab, seam, replication)
    assert bitmaps(image) == []


def test_started_while_an_off_round_runs(lab, seam, guest):
    image, replication = guest
    seam.call("power_off", machine=replication.machine)
    snapshot = replication.snapshot()
    opened = seam.call("open_disk", ref=snapshot["ref"], disk="sda")
    # QEMU's image lock keeps the machine out as long as its disk is read.
    with pytest.raises(SeamError):
        seam.call("power_on", machine=replication.machine)
    seam.call("close_disk", handle=opened["handle"])
    seam.call("power_on", machine=replication.machine)
    with pytest.raises(SeamError) as error:
        seam.call("open_disk", ref=snapshot["ref"], disk="sda")
    assert error.value.code == "machine-state"
    # The service gives the round up and takes another.
    seam.call("release_tag", machine=replication.machine, tag=replication.last_tag)
    assert len(checkpoints(lab)) == 1
    lab.virsh("suspend", NAME)
    lab.write(NAME, "sda", "5M", "64k", 0x44)
    snapshot, _ = replication.round()
    assert snapshot["disks"]["sda"]["delta"]
    replication.compare("sda", image)
    finish(lab, seam, replication)


def test_off_snapshot_of_a_tag_is_found_again(lab, seam, guest):
    _, replication = guest
    seam.call("power_off", machine=replication.machine)
    first = replication.snapshot()
    time.sleep(0.05)
    assert replication.snapshot(tag=replication.last_tag) == first
    replication.complete(first)
    finish(lab, seam, replication)


def kill_qemu(lab):
    os.kill(lab.pids("qemu-system")[0], signal.SIGKILL)
    while "shut off" not in lab.virsh("domstate", NAME):
        time.sleep(0.1)


def store_bitmaps(lab, seam, replication):
    """QEMU writes its bitmaps into the images when it ends, so a restart makes a difference."""
    seam.call("power_off", machine=replication.machine)
    lab.domain("start", NAME, "--paused")


@pytest.mark.parametrize("stored", [False, True])
def test_killed_qemu_makes_a_full_round_with_a_reason(lab, seam, guest, stored):
    image, replication = guest
    if stored:
        store_bitmaps(lab, seam, replication)
    kill_qemu(lab)
    lab.domain("start", NAME, "--paused")
    lab.write(NAME, "sda", "7M", "64k", 0x55)
    snapshot, _ = replication.round()
    assert not snapshot["disks"]["sda"]["delta"]
    assert "dirty bitmap is unusable" in snapshot["disks"]["sda"]["reason"]
    replication.compare("sda", image)
    lab.write(NAME, "sda", "9M", "64k", 0x56)
    snapshot, done = replication.round()
    assert snapshot["disks"]["sda"]["delta"] and done["sda"]["sent"] == 65536
    replication.compare("sda", image)
    finish(lab, seam, replication)
    seam.call("power_off", machine=replication.machine)
    assert bitmaps(image) == []


@pytest.mark.parametrize("stored, reason", [(False, "has no dirty bitmap"), (True, "incomplete")])
def test_killed_qemu_and_off_makes_a_full_round(lab, seam, guest, stored, reason):
    image, replication = guest
    if stored:
        store_bitmaps(lab, seam, replication)
    kill_qemu(lab)
    snapshot, _ = replication.round()
    assert reason in snapshot["disks"]["sda"]["reason"]
    replication.compare("sda", image)
    finish(lab, seam, replication)
    assert bitmaps(image) == []


def test_lost_checkpoint_metadata_is_redefined(lab, seam, guest):
    image, replication = guest
    lab.virsh("checkpoint-delete", NAME, checkpoints(lab)[0], "--metadata")
    assert checkpoints(lab) == []
    lab.write(NAME, "sda", "30M", "64k", 0x66)
    snapshot, done = replication.round()
    assert snapshot["disks"]["sda"]["delta"] and done["sda"]["sent"] == 65536
    replication.compare("sda", image)
    finish(lab, seam, replication)


def test_lost_metadata_is_no_hindrance_to_dropping(lab, seam, guest):
    image, replication = guest
    lab.virsh("checkpoint-delete", NAME, checkpoints(lab)[0], "--metadata")
    replication.remove()
    seam.call("power_off", machine=replication.machine)
    assert bitmaps(image) == []


def test_removed_bitmap_makes_a_full_round(lab, seam, guest):
    image, replication = guest
    seam.call("power_off", machine=replication.machine)
    run("qemu-img", "bitmap", "--remove", image, bitmaps(image)[0])
    lab.domain("start", NAME, "--paused")
    snapshot, _ = replication.round()
    assert not snapshot["disks"]["sda"]["delta"] and snapshot["disks"]["sda"]["reason"]
    replication.compare("sda", image)
    finish(lab, seam, replication)


def test_grown_disk_makes_a_full_round_on_a_new_base(lab, seam, guest):
    image, replication = guest
    lab.virsh("blockresize", NAME, "sda", "160M")
    lab.write(NAME, "sda", "150M", "64k", 0x77)
    replication.volumes["sda"] = seam.call("resize_volume", volume=replication.volumes["sda"],
                                           size=160 * MIB)["volume"]
    snapshot, _ = replication.round()
    assert snapshot["disks"]["sda"]["size"] == 160 * MIB
    assert "resized from 134217728 to 167772160" in snapshot["disks"]["sda"]["reason"]
    replication.compare("sda", image)
    # The point before is still what it was, until retention removes it.
    old = seam.call("open_point", volume=replication.volumes["sda"],
                    point=replication.points["sda"][0])
    assert old["size"] == 128 * MIB
    seam.call("close_volume", handle=old["handle"])
    seam.call("delete_point", volume=replication.volumes["sda"],
              point=replication.points["sda"].pop(0))
    lab.write(NAME, "sda", "151M", "64k", 0x78)
    snapshot, done = replication.round()
    assert snapshot["disks"]["sda"]["delta"] and done["sda"]["sent"] == 65536
    replication.compare("sda", image)
    finish(lab, seam, replication)


def test_replaced_image_makes_a_full_round(lab, seam, guest):
    image, replication = guest
    seam.call("power_off", machine=replication.machine)
    # A copy has the bitmap too, and is another disk all the same.
    other = image.with_name("other.qcow2")
    run("cp", image, other)
    xml = lab.virsh("dumpxml", NAME, "--inactive").replace(str(image), str(other))
    (lab.dir / "other.xml").write_text(xml)
    lab.virsh("define", lab.dir / "other.xml")
    snapshot, _ = replication.round()
    assert "another image is in its place" in snapshot["disks"]["sda"]["reason"]
    replication.compare("sda", other)
    finish(lab, seam, replication)
    assert bitmaps(image) == bitmaps(other) == []
    other.unlink()


def test_external_snapshot_between_rounds(lab, seam, guest):
    image, replication = guest
    overlay = image.with_name("overlay.qcow2")
    lab.write(NAME, "sda", "40M", "64k", 0x81)
    lab.virsh("snapshot-create-as", NAME, "s1", "--disk-only", "--no-metadata", "--diskspec",
              f"sda,file={overlay}")
    lab.write(NAME, "sda", "41M", "64k", 0x82)
    snapshot, done = replication.round()
    assert snapshot["disks"]["sda"]["delta"] and done["sda"]["sent"] == 2 * 65536
    replication.compare("sda", overlay)
    finish(lab, seam, replication)


def test_libvirtd_restarted_during_a_round(lab, seam, guest):
    image, replication = guest
    lab.write(NAME, "sda", "50M", "1M", 0x91)
    snapshot = replication.snapshot()
    for flags in ([], ["--kill"]):
        lab.restart(*flags)
        again = replication.snapshot(tag=replication.last_tag)
        assert again == snapshot
    done = replication.copy_disk(snapshot, "sda")
    assert done["sent"] == MIB
    lab.restart()
    replication.complete(snapshot)
    replication.compare("sda", image)
    assert lab.virsh("backup-dumpxml", NAME, check=False) == ""
    lab.write(NAME, "sda", "52M", "64k", 0x92)
    snapshot, done = replication.round()
    assert snapshot["disks"]["sda"]["delta"] and done["sda"]["sent"] == 65536
    replication.compare("sda", image)
    finish(lab, seam, replication)


def test_service_killed_after_the_snapshot(lab, seam, guest):
    _, replication = guest
    first = replication.snapshot()
    seam.kill()
    seam.open_lab()
    second = replication.snapshot(tag=replication.last_tag)
    assert second == first
    assert {t["kind"] for t in seam.tagged() if t["tag"] == replication.last_tag} == \
        {"snapshot", "baseline"}
    # It does not take the round up but gives it up.
    seam.call("release_tag", machine=replication.machine, tag=replication.last_tag)
    seam.call("release_tag", machine=replication.machine, tag=replication.last_tag)
    assert [t["kind"] for t in seam.tagged() if t["tag"] == replication.last_tag] == []
    assert not list(seam.work.iterdir())
    finish(lab, seam, replication)


def test_machine_off_in_the_middle_of_a_round(lab, seam, guest):
    image, replication = guest
    lab.write(NAME, "sda", "60M", "64k", 0xa1)
    snapshot = replication.snapshot()
    seam.call("power_off", machine=replication.machine)
    with pytest.raises(SeamError) as error:
        seam.call("open_disk", ref=snapshot["ref"], disk="sda")
    assert error.value.code == "snapshot-failed"
    seam.call("release", machine=replication.machine, ref=snapshot["ref"])
    seam.call("drop_baseline", machine=replication.machine, baseline=snapshot["baseline"])
    snapshot, done = replication.round()
    assert snapshot["disks"]["sda"]["delta"] and done["sda"]["sent"] == 65536
    replication.compare("sda", image)
    finish(lab, seam, replication)
    assert not [p for p in image.parent.iterdir() if p.name.endswith(".scratch")]


def test_foreign_backup_is_left_alone(lab, seam, guest):
    _, replication = guest
    job = lab.dir / "foreign.xml"
    job.write_text(f"<domainbackup mode='pull'><server transport='unix' socket='{lab.dir}/f'/>"
                   "</domainbackup>")
    lab.virsh("backup-begin", NAME, job)
    findings = seam.call("source_precheck", machine=replication.machine)["findings"]
    assert "libvirt-foreign-job" in [f["id"] for f in findings]
    with pytest.raises(SeamError) as error:
        replication.snapshot()
    assert error.value.code == "foreign-backup"
    seam.call("release_tag", machine=replication.machine, tag=replication.last_tag)
    assert "sda" in lab.virsh("backup-dumpxml", NAME)
    lab.virsh("domjobabort", NAME)
    replication.round()
    finish(lab, seam, replication)


def test_machine_deleted(lab, seam, guest):
    _, replication = guest
    snapshot = replication.snapshot()
    lab.forget(NAME)
    for call in ({"do": "snapshot", "tag": new_tag(), "disks": ["sda"]}, {"do": "power"},
                 {"do": "open_disk", "ref": snapshot["ref"], "disk": "sda"}):
        with pytest.raises(SeamError) as error:
            seam.call(**call, machine=replication.machine)
        assert error.value.code == "machine-gone"
    with pytest.raises(SeamError) as error:
        seam.call("machine", machine=NAME)
    assert error.value.code == "no-such-machine"
    seam.call("release", machine=replication.machine, ref=snapshot["ref"])
    seam.call("release_tag", machine=replication.machine, tag=replication.last_tag)
    replication.remove()
    lab.guest(NAME, lab.dir / "images" / "guest.qcow2")


def test_quiesce_without_an_agent(lab, seam, guest):
    _, replication = guest
    snapshot = replication.snapshot()
    assert not snapshot["quiesced"] and "paused" in snapshot["quiesce_note"]
    assert replication.snapshot(tag=replication.last_tag) == snapshot
    replication.complete(snapshot)
    with pytest.raises(SeamError) as error:
        replication.snapshot(quiesce="require")
    assert error.value.code == "quiesce-failed"
    snapshot = replication.snapshot(quiesce="off")
    assert snapshot["quiesce_note"] is None
    replication.complete(snapshot)
    finish(lab, seam, replication)


def test_raw_disk_is_full_every_time(lab, seam):
    raw, qcow2 = lab.image("raw.raw", "32M", "raw"), lab.image("q.qcow2", "32M")
    machine = lab.guest("mixed", raw, qcow2)
    replication = Replication(seam, machine, ["sda", "sdb"])
    for i in range(2):
        lab.write("mixed", "sda", f"{i}M", "64k", 0x11 + i)
        lab.write("mixed", "sdb", f"{i}M", "64k", 0x21 + i)
        snapshot, done = replication.round()
        replication.compare("sda", raw, "raw")
        replication.compare("sdb", qcow2)
    assert not snapshot["disks"]["sda"]["delta"]
    assert "raw image cannot record changes" in snapshot["disks"]["sda"]["reason"]
    assert snapshot["disks"]["sdb"]["delta"] and done["sdb"]["sent"] == 65536
    ids = [f["id"] for f in seam.call("source_precheck", machine=machine)["findings"]]
    assert "libvirt-raw-disk" in ids and "libvirt-no-agent" in ids
    seam.call("power_off", machine=machine)
    _, done = replication.round()
    replication.compare("sda", raw, "raw")
    assert done["sdb"]["sent"] == 0
    replication.remove()
    assert seam.tagged() == []
    lab.forget("mixed")


def test_only_raw_disks_have_no_baseline(lab, seam):
    raw = lab.image("only.raw", "16M", "raw")
    machine = lab.guest("only raw", raw)
    lab.write("only raw", "sda", "1M", "64k", 0x31)
    replication = Replication(seam, machine, ["sda"])
    snapshot = replication.snapshot()
    assert snapshot["baseline"] is None
    assert replication.snapshot(tag=replication.last_tag)["disks"] == snapshot["disks"]
    replication.complete(snapshot)
    replication.round()
    replication.compare("sda", raw, "raw")
    replication.remove()
    lab.forget("only raw")


def test_unknown_disk_is_refused(lab, seam, guest):
    _, replication = guest
    with pytest.raises(SeamError) as error:
        seam.call("snapshot", machine=replication.machine, tag=new_tag(), disks=["sdz"])
    assert error.value.code == "disk-changed"
    finish(lab, seam, replication)


def test_stopped_libvirtd_ends_by_cancel(lab, seam, guest):
    _, replication = guest
    pid = lab.pids("libvirtd")[0]
    os.kill(pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        seam.call("cancel")
        with pytest.raises(SeamError) as error:
            seam.call("machines")
        assert error.value.code == "cancelled"
        assert time.monotonic() - began < 5
        with pytest.raises(SeamError) as error:
            seam.call("info")
        assert error.value.code == "cancelled"
    finally:
        os.kill(pid, signal.SIGCONT)
    # Removal works although cancelled; all the rest after uncancel.
    seam.call("release_tag", machine=replication.machine, tag=new_tag())
    seam.call("uncancel")
    seam.call("info")
    finish(lab, seam, replication)


def test_stuck_qemu_ends_by_cancel(lab, seam, guest):
    _, replication = guest
    pid = lab.pids("qemu-system")[0]
    os.kill(pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        seam.call("cancel")
        # libvirtd answers keepalive all the while: only the cut connection ends the call.
        with pytest.raises(SeamError) as error:
            replication.snapshot()
        assert error.value.code == "cancelled"
        assert time.monotonic() - began < 5
    finally:
        os.kill(pid, signal.SIGCONT)
    # libvirtd may carry out now what nobody waits for any more; the removal finds it.
    seam.call("release_tag", machine=replication.machine, tag=replication.last_tag)
    seam.call("uncancel")
    assert [t for t in seam.tagged() if t["tag"] == replication.last_tag] == []
    snapshot, _ = replication.round()
    assert snapshot["disks"]["sda"]["delta"]
    finish(lab, seam, replication)


def test_sizes_are_known_without_asking_qemu(lab, seam):
    """Of qcow2, raw and a grown image; a machine that hangs holds no list up."""
    grown = lab.image("grown", "64M")
    raw = lab.image("plain.raw", "33M", "raw")
    machine = lab.guest("sizes", grown, raw)
    lab.virsh("blockresize", "sizes", "sda", "80M")
    pid = lab.pids("qemu-system")[-1]
    os.kill(pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        found = next(one for one in seam.call("machines")["machines"] if one["id"] == machine)
        one = seam.call("machine", machine=machine)["machine"]
        assert time.monotonic() - began < 2
    finally:
        os.kill(pid, signal.SIGCONT)
    for description in (found, one):
        assert [disk["size_bytes"] >> 20 for disk in description["disks"]] == [80, 33]


def test_stopped_libvirtd_ends_by_keepalive(lab, seam):
    pid = lab.pids("libvirtd")[0]
    os.kill(pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        with pytest.raises(SeamError) as error:
            seam.call("machines")
        assert error.value.code == "platform-unreachable"
        assert time.monotonic() - began < 40
        # A new connection to it has its own limit.
        with pytest.raises(SeamError) as error:
            seam.call("machines")
        assert error.value.code == "platform-unreachable"
        assert time.monotonic() - began < 90
    finally:
        os.kill(pid, signal.SIGCONT)
    seam.call("machines")


@pytest.mark.parametrize("url, code", [
    ("qemu+unix:///system?socket=/nonexistent/sock", "platform-unreachable"),
    ("qemu+tcp://127.0.0.1:1/system", "platform-unreachable"),
    ("http://example.org/", "bad-input"),
    ("qemu+tls://user:secret@host/system", "bad-input"),
    ("", "bad-input"),
])
def test_bad_urls(lab, url, code):
    with Seam(lab) as seam:
        with pytest.raises(SeamError) as error:
            seam.call("open", p="x", url=url, work=str(seam.work))
        assert error.value.code == code
        assert "secret" not in json.dumps(error.value.error)


def test_bad_options(lab, seam):
    for options in ({"accel": "fast"}, {"scratch_directory": "relative"}, {"unknown": 1},
                    {"nbd_port_first": 70000}, {"nbd_tls": "yes"}):
        with pytest.raises(SeamError) as error:
            seam.open_lab(p="bad", **options)
        assert error.value.code in ("bad-input", "bad-json")


def test_scratch_directory_option(lab, seam):
    image = lab.image("scratch.qcow2", "16M")
    machine = lab.guest("scratched", image)
    scratch = lab.dir / "scratch"
    scratch.mkdir()
    seam.open_lab(p="opt", scratch_directory=str(scratch))
    tag = new_tag()
    snapshot = seam.call("snapshot", p="opt", machine=machine, tag=tag, disks=["sda"])
    assert [p.name for p in scratch.iterdir()] == [f"{tag}-sda.scratch"]
    seam.call("release", p="opt", machine=machine, ref=snapshot["ref"])
    seam.call("drop_baseline", p="opt", machine=machine, baseline=snapshot["baseline"])
    assert list(scratch.iterdir()) == []
    lab.forget("scratched")
