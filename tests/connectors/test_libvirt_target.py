# SPDX-License-Identifier: Apache-2.0
"""Volumes, points and retention of the target; prechecks and lists of both sides."""
import os
import random
import re
import signal
import subprocess
import time

import pytest

from seam import Replication, SeamError, copy, new_tag, run

MIB = 1 << 20


def fill(path, size, seed, pieces=12):
    """A raw source of known content: some data at random places."""
    rng = random.Random(seed)
    with open(path, "wb") as out:
        out.truncate(size)
        for _ in range(pieces):
            out.seek(rng.randrange(0, size // 65536) * 65536)
            out.write(rng.randbytes(65536))
    return path


class Volume:
    """A volume written by hand, without a source machine; keeps a copy of what each point holds."""

    def __init__(self, seam, directory, size=32 * MIB, storage=None, name="hand made"):
        self.seam = seam
        self.directory = directory
        self.size = size
        self.tag = new_tag()
        self.ref = seam.call("create_volume", tag=self.tag, name=name, disk="vda",
                             storage=storage, size=size)["volume"]
        self.points = []  # [point ref, file with its content]

    def full(self, seed, tag=None):
        content = fill(self.directory / f"content-{seed}", self.size, seed)
        tag = tag or new_tag()
        target = self.seam.call("open_volume", volume=self.ref, tag=tag)
        copy({"map": "allocation", "uri": str(content)}, target)
        self.seam.call("close_volume", handle=target["handle"])
        self.point(tag, content)
        return target

    def write_delta(self, seed, tag, content):
        target = self.seam.call("open_volume", volume=self.ref, tag=tag,
                                last_point=self.points[-1][0])
        rng = random.Random(seed)
        for _ in range(4):
            offset = rng.randrange(0, self.size // 65536) * 65536
            pattern = rng.randrange(1, 255)
            for uri in (target["uri"], str(content)):
                run("qemu-io", "-f", "raw", "-c", f"write -P {pattern} {offset} 64k", "-c", "flush",
                    uri)
        return target

    def delta(self, seed):
        content = self.directory / f"content-{seed}"
        run("cp", "--sparse=always", self.points[-1][1], content)
        tag = new_tag()
        target = self.write_delta(seed, tag, content)
        self.seam.call("close_volume", handle=target["handle"])
        self.point(tag, content)
        return tag

    def point(self, tag, content):
        first = self.seam.call("make_point", volume=self.ref, tag=tag)["point"]
        assert self.seam.call("make_point", volume=self.ref, tag=tag)["point"] == first
        self.points.append([first, content])

    def check(self):
        for ref, content in self.points:
            opened = self.seam.call("open_point", volume=self.ref, point=ref)
            run("qemu-img", "compare", "-U", "-f", "raw", "-F", "raw", content, opened["uri"])
            self.seam.call("close_volume", handle=opened["handle"])

    def delete(self, index):
        self.seam.call("delete_point", volume=self.ref, point=self.points[index][0])
        self.points.pop(index)
        self.check()

    def remove(self):
        self.seam.call("delete_volume", volume=self.ref)
        self.seam.call("delete_volume", volume=self.ref)


def files(lab, where="pool"):
    return sorted(p.name for p in (lab.dir / where).iterdir())


@pytest.fixture
def volume(lab, seam, tmp_path):
    return Volume(seam, tmp_path)


def test_retention_deletes_the_oldest(lab, seam, volume):
    assert volume.full(1)["reads_as_zero"]
    for seed in range(2, 7):
        volume.delta(seed)
    volume.check()
    while len(volume.points) > 1:
        volume.delete(0)
        assert len(files(lab)) == len(volume.points)
    assert files(lab)[0].endswith(".raw")
    volume.delta(7)
    volume.check()
    # What libvirt believes to be in the pool is what is there.
    listed = [line.split()[0] for line in lab.virsh("vol-list", "default").splitlines()]
    assert sorted(listed) == files(lab)
    volume.remove()
    assert seam.tagged() == [] and files(lab) == []


def test_points_in_the_middle_and_the_newest_can_go(lab, seam, volume):
    volume.full(1)
    for seed in range(2, 6):
        volume.delta(seed)
    for index in (2, 1, -1, 0):
        volume.delete(index)
    assert len(files(lab)) == 1
    volume.delta(8)
    volume.check()
    seam.call("delete_point", volume=volume.ref, point=volume.points[0][0])
    seam.call("delete_point", volume=volume.ref, point=volume.points[0][0])
    volume.remove()


def test_new_full_round_keeps_old_points(lab, seam, volume):
    volume.full(1)
    volume.delta(2)
    assert volume.full(3)["reads_as_zero"]
    volume.delta(4)
    volume.check()
    volume.delete(0)
    volume.delete(0)
    assert len(files(lab)) == 2
    volume.remove()


def test_failed_rounds_are_dropped_or_taken_up(lab, seam, volume):
    content = fill(volume.directory / "content-1", volume.size, 1)
    tag = new_tag()
    target = seam.call("open_volume", volume=volume.ref, tag=tag)
    run("qemu-io", "-f", "raw", "-c", "write -P 7 0 1M", target["uri"])
    seam.call("close_volume", handle=target["handle"])
    # What the round wrote is there, and so the volume no longer reads as zero.
    target = seam.call("open_volume", volume=volume.ref, tag=tag)
    assert not target["reads_as_zero"]
    run("qemu-io", "-r", "-f", "raw", "-c", "read -P 7 0 1M", target["uri"])
    seam.call("close_volume", handle=target["handle"])
    seam.call("drop_round", volume=volume.ref, tag=tag)
    seam.call("drop_round", volume=volume.ref, tag=tag)
    assert volume.full(1)["reads_as_zero"]

    tag, content = new_tag(), volume.directory / "content-2"
    run("cp", "--sparse=always", volume.points[-1][1], content)
    target = volume.write_delta(2, tag, content)
    # The service is killed: nothing is closed.
    seam.kill()
    seam.open_lab()
    seam.call("drop_round", volume=volume.ref, tag=tag)
    volume.check()
    run("cp", "--sparse=always", volume.points[-1][1], content)
    target = volume.write_delta(2, tag, content)
    seam.call("close_volume", handle=target["handle"])
    target = seam.call("open_volume", volume=volume.ref, tag=tag, last_point=volume.points[-1][0])
    run("qemu-img", "compare", "-U", "-f", "raw", "-F", "raw", content, target["uri"])
    seam.call("close_volume", handle=target["handle"])
    volume.point(tag, content)
    volume.check()
    volume.remove()
    for path in seam.work.iterdir():
        path.unlink()  # of the killed service


def test_retention_waits_for_clones_and_rounds(lab, seam, volume):
    volume.full(1)
    volume.delta(2)
    volume.delta(3)
    clones = [seam.call("clone_point", volume=volume.ref, point=ref, tag=new_tag())["clone"]
              for ref, _ in volume.points[:2]]
    for index in range(2):
        with pytest.raises(SeamError) as error:
            seam.call("delete_point", volume=volume.ref, point=volume.points[index][0])
        assert error.value.code == "in-use"
    # A clone of the point above is no hindrance, and keeps its content.
    seam.call("delete_clone", clone=clones[0])
    volume.delete(0)
    opened = seam.call("open_clone", clone=clones[1])
    assert opened["format"] == "qcow2"
    run("qemu-img", "compare", "-f", "raw", "-F", "qcow2", volume.points[0][1], opened["uri"])
    seam.call("close_volume", handle=opened["handle"])
    seam.call("delete_clone", clone=clones[1])

    # A round that writes onto the last point; one that was given up and not dropped yet.
    tag = new_tag()
    target = seam.call("open_volume", volume=volume.ref, tag=tag, last_point=volume.points[-1][0])
    for index in range(2):
        with pytest.raises(SeamError) as error:
            seam.call("delete_point", volume=volume.ref, point=volume.points[index][0])
        assert error.value.code == "in-use"
    seam.call("close_volume", handle=target["handle"])
    with pytest.raises(SeamError) as error:
        seam.call("delete_point", volume=volume.ref, point=volume.points[-1][0])
    assert error.value.code == "in-use"
    volume.check()
    seam.call("drop_round", volume=volume.ref, tag=tag)
    volume.remove()


@pytest.mark.parametrize("cut", range(6))
def test_killed_in_the_middle_of_a_merge(lab, seam, volume, cut):
    volume.full(1)
    for seed in range(2, 5):
        volume.delta(seed)
    # strace would be exact, but is not at hand: the delays fall before, into and after the commit.
    victim = subprocess.Popen([os.environ["SEAM"]], stdin=subprocess.PIPE, text=True,
                              stdout=subprocess.DEVNULL)
    with victim:
        import json
        victim.stdin.write(json.dumps({"do": "open", "p": "lab", "url": lab.uri,
                                       "work": str(volume.directory)}) + "\n")
        victim.stdin.write(json.dumps({"do": "delete_point", "p": "lab", "volume": volume.ref,
                                       "point": volume.points[0][0]}) + "\n")
        victim.stdin.flush()
        time.sleep(0.03 + cut * 0.02)
        victim.send_signal(signal.SIGKILL)
        victim.wait()
    gone = volume.points.pop(0)
    volume.check()
    volume.delta(9)
    seam.call("delete_point", volume=volume.ref, point=gone[0])
    volume.check()
    assert len(files(lab)) == len(volume.points)
    volume.delete(0)
    volume.remove()


def test_create_is_idempotent_and_names_are_safe(lab, seam, tmp_path):
    volume = Volume(seam, tmp_path, name="Büro / Server 1 ../x")
    again = seam.call("create_volume", tag=volume.tag, name="Büro / Server 1 ../x", disk="vda",
                      size=volume.size)["volume"]
    assert again == volume.ref
    assert len(files(lab)) == 1 and re.fullmatch(r"bf-[0-9a-f]{16}-[a-z0-9-]+\.raw", files(lab)[0])
    assert [t["kind"] for t in seam.tagged()] == ["volume"]
    assert seam.tagged()[0]["tag"] == volume.tag
    # The janitor's ref is enough to remove it.
    seam.call("delete_volume", volume=seam.tagged()[0]["ref"])
    assert files(lab) == []


def test_foreign_files_are_never_touched(lab, seam, volume):
    volume.full(1)
    foreign = ["disk.qcow2", "bf-not-a-tag.raw", f"{volume.tag}.raw", f"x-of-{volume.tag}.raw",
               f"{new_tag()}-of-{volume.tag}.raw.bak"]
    for name in foreign:
        (lab.dir / "pool" / name).write_bytes(b"x")
    volume.remove()
    assert files(lab) == sorted(foreign)
    assert seam.tagged() == []


def test_pool_full(lab, seam, tmp_path):
    volume = Volume(seam, tmp_path, size=256 * MIB, storage="small")
    content = tmp_path / "big"
    content.write_bytes(os.urandom(120 * MIB))
    os.truncate(content, 256 * MIB)
    target = seam.call("open_volume", volume=volume.ref, tag=(tag := new_tag()))
    done = subprocess.run([os.environ["BLOCKFERRY_COPY"], "--progress", "json", content,
                           target["uri"]], capture_output=True, text=True, timeout=120,
                          check=False)
    assert "target-full" in done.stdout, done.stdout + done.stderr
    seam.call("close_volume", handle=target["handle"])
    seam.call("drop_round", volume=volume.ref, tag=tag)

    volume.full(1)
    target = seam.call("open_volume", volume=volume.ref, tag=(tag := new_tag()),
                       last_point=volume.points[-1][0])
    done = subprocess.run([os.environ["BLOCKFERRY_COPY"], "--progress", "json", content,
                           target["uri"]], capture_output=True, text=True, timeout=120,
                          check=False)
    assert "target-full" in done.stdout, done.stdout + done.stderr
    try:
        seam.call("close_volume", handle=target["handle"])
    except SeamError as error:
        assert error.code in ("child-failed", "target-full")
    seam.call("drop_round", volume=volume.ref, tag=tag)
    volume.check()
    volume.delta(2)
    volume.check()

    filler = lab.dir / "pool-small" / "filler"
    with open(filler, "wb", buffering=0) as out, pytest.raises(OSError):
        while True:
            out.write(b"x" * 4096)
    with pytest.raises(SeamError) as error:
        seam.call("open_volume", volume=volume.ref, tag=new_tag(),
                  last_point=volume.points[-1][0])
    assert error.value.code == "target-full"
    filler.unlink()
    volume.remove()


def test_lists_and_descriptions(lab, seam):
    image = lab.image("list.qcow2", "40M")
    machine = lab.guest("Liste", image, start=False)
    lab.virsh("domrename", "Liste", "Liste ä&<b>")
    listed = seam.call("machines")["machines"]
    assert [m["name"] for m in listed] == ["Liste ä&<b>"]
    one = seam.call("machine", machine="Liste ä&<b>")["machine"]
    assert one == seam.call("machine", machine=machine)["machine"] == listed[0]
    assert one["power"] == "off" and one["firmware"] == "bios" and one["chipset"] == "q35"
    disk = one["disks"][0]
    assert disk["size_bytes"] == 40 * MIB and disk["bus"] == "sata" and disk["boot_order"] == 1
    assert one["nics"][0]["network"] == "lab"
    lab.virsh("start", machine, "--paused")
    assert [d["size_bytes"] for d in seam.call("machines")["machines"][0]["disks"]] == [40 * MIB]
    lab.virsh("destroy", machine)
    resources = seam.call("resources")["resources"]
    assert {"name": "isolated", "isolated": True} in resources["networks"]
    assert {s["name"] for s in resources["storages"]} == {"default", "small"}
    info = seam.call("info")
    assert info["can_source"] and info["can_target"]
    assert re.fullmatch(r"libvirt \d+\.\d+\.\d+, QEMU \d+\.\d+\.\d+", info["version"])
    with pytest.raises(SeamError) as error:
        seam.call("machine", machine="nobody")
    assert error.value.code == "no-such-machine"


def findings(answer):
    return {f["id"]: f["severity"] for f in answer["findings"]}


def test_target_prechecks(lab, seam):
    image = lab.image("pre.qcow2", "200M")
    lab.guest("pre", image, start=False)
    machine = seam.call("machine", machine="pre")["machine"]
    good = {"machine_name": "free name", "isolated_network": "isolated", "networks": {}}
    assert set(findings(seam.call("target_precheck", machine=machine, mapping=good))) == \
        {"libvirt-no-kvm"}
    bad = {"storage": "small", "default_network": "nowhere", "isolated_network": "isolated"}
    found = findings(seam.call("target_precheck", machine=machine, mapping=bad))
    assert found["libvirt-pool-space"] == "warn"
    assert found["libvirt-no-network"] == "block"
    assert found["libvirt-name-taken"] == "warn"
    found = findings(seam.call("target_precheck", machine=machine, mapping={"storage": "none"}))
    assert found["libvirt-no-pool"] == "block"
    machine["arch"] = "pdp11"
    found = findings(seam.call("target_precheck", machine=machine, mapping=good))
    assert found["libvirt-arch"] == "block"


def test_source_prechecks(lab, seam):
    image, shared = lab.image("pre.qcow2"), lab.image("shared.raw", "16M", "raw")
    machine = lab.guest("pre", image, shared, start=False)
    xml = lab.virsh("dumpxml", "pre", "--inactive")
    head, tail = xml.rsplit("<target dev='sdb'", 1)
    (lab.dir / "pre.xml").write_text(head + "<shareable/><target dev='sdb'" + tail)
    lab.virsh("define", lab.dir / "pre.xml")
    found = findings(seam.call("source_precheck", machine=machine))
    assert found["libvirt-shared-disk"] == "block"
    assert found["libvirt-machine-off"] == "info"
    shared.unlink()
    found = findings(seam.call("source_precheck", machine=machine))
    assert found["libvirt-no-size"] == "block"


def test_missing_storage_is_named(lab, seam):
    with pytest.raises(SeamError) as error:
        seam.call("create_volume", tag=new_tag(), name="x", disk="vda", storage="none", size=MIB)
    assert error.value.code == "no-such-storage" and "none" in error.value.message
    with pytest.raises(SeamError) as error:
        seam.call("create_volume", tag=new_tag(), name="x", disk="vda", size=0)
    assert error.value.code == "bad-input"


def test_points_of_another_volume_are_refused(lab, seam, tmp_path, volume):
    other = Volume(seam, tmp_path / "..", name="other")
    volume.full(1)
    for call in ("delete_point", "open_point"):
        with pytest.raises(SeamError) as error:
            seam.call(call, volume=other.ref, point=volume.points[0][0])
        assert error.value.code == "bad-input"
    other.remove()
    volume.remove()


def test_two_machines_at_once(lab, seam):
    rounds = []
    for name in ("eins", "zwei"):
        image = lab.image(f"{name}.qcow2")
        machine = lab.guest(name, image)
        lab.write(name, "sda", "1M", "64k", 0x11 if name == "eins" else 0x12)
        replication = Replication(seam, machine, ["sda"])
        replication.create_volumes()
        rounds.append((replication, replication.snapshot(), image))
    for replication, snapshot, image in rounds:
        replication.copy_disk(snapshot, "sda")
        replication.complete(snapshot)
        replication.compare("sda", image)
        replication.remove()
    assert seam.tagged() == []
