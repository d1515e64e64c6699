# SPDX-License-Identifier: Apache-2.0
"""A guest that boots by UEFI: its firmware's variables move with it.

At its first boot the guest keeps a mark in them, and says at each boot which mark it found.
"""
import glob
import os
import re

import pytest

import ferry

NAME = "uefi guest"


@pytest.fixture(scope="module")
def world():
    one = ferry.World(two_labs=True)
    yield one
    one.close()


@pytest.fixture(scope="module")
def guest(world):
    image = f"{world.source.directory}/images/guest.qcow2"
    ferry.run(f"{ferry.LAB}/images", "copy", "tiny-uefi", image, "qcow2", timeout=600)
    world.source.domain("define", NAME, "--uefi", "--disk", f"{image},bus=sata,format=qcow2",
                        "--net", "lab", "--memory", "320")
    world.source.domain("start", NAME)
    world.source.domain("wait", NAME, "RECORD last=", timeout=200)
    world.replicate(NAME, name="g", shutdown="ask", shutdown_timeout="60s", boot_timeout="200s")
    return "g"


def mark_made(world):
    with open(f"{world.source.directory}/console/{NAME}.log", encoding="utf-8",
              errors="replace") as console:
        return re.search(r"UEFIMARK made=([0-9a-f-]{36})", console.read()).group(1)


def nvrams(world):
    return glob.glob(f"{world.target.directory}/pool/*-nvram.fd")


def stored(world):
    return glob.glob(f"{world.daemon.directory}/state/firmware/*/*")


def test_nothing_is_found_against_it(world, guest):
    one = world.daemon.show(guest)
    assert one["machine"]["firmware"] == "uefi"
    assert not one["last_round"].get("note"), one["last_round"]
    world.daemon.do(guest, "check")
    found = [finding["id"] for finding in world.daemon.show(guest)["findings"]]
    assert found and "libvirt-uefi-variables" not in found
    assert len(stored(world)) == len(world.daemon.list(guest, "points"))
    assert all(os.stat(path).st_mode & 0o777 == 0o600 for path in stored(world))


def test_a_point_without_variables_boots_too(world, guest):
    """The negative control: without them the guest finds no mark, and the launch says so."""
    moved = {path: path + ".away" for path in stored(world)}
    for path, away in moved.items():
        os.rename(path, away)
    job = world.daemon.do(guest, "drill")
    launch = world.daemon.show(guest)["launch"]
    assert "UEFIMARK made=" in launch["console_tail"]
    assert mark_made(world) not in launch["console_tail"]
    assert "no UEFI variables" in str(job) + world.daemon.tail(400)
    assert nvrams(world) == []
    world.daemon.do(guest, "drill-end")
    for path, away in moved.items():
        os.rename(away, path)


def test_variables_of_another_size_are_left_out(world, guest):
    """OVMF with 128 KiB of variables and OVMF with 528 KiB do not go together."""
    newest = world.daemon.list(guest, "points")[0]["number"]
    path = next(path for path in stored(world) if os.path.basename(path) == str(newest))
    with open(path, "r+b") as file:
        whole = file.read()
        file.truncate(len(whole) - 4096)
    world.daemon.do(guest, "drill")
    assert "UEFIMARK made=" in world.daemon.show(guest)["launch"]["console_tail"]
    assert f"no UEFI firmware for {len(whole) - 4096} bytes" in world.daemon.tail(400)
    world.daemon.do(guest, "drill-end")
    with open(path, "wb") as file:
        file.write(whole)


def test_cutover_and_rollback(world, guest):
    world.daemon.do(guest, "cutover", yes=True)
    launch = world.daemon.show(guest)["launch"]
    assert f"UEFIMARK kept={mark_made(world)}" in launch["console_tail"]
    assert re.search(r"BOOTMARK .* disk=virtio_blk .* missing=0", launch["console_tail"])
    assert len(nvrams(world)) == 1
    world.daemon.do(guest, "rollback")
    assert nvrams(world) == []
    world.source.domain("wait", NAME, "RECORD last=", timeout=200)
    world.daemon.do(guest, "sync")


def test_variables_stay_after_confirm(world, guest):
    world.daemon.do(guest, "cutover", yes=True)
    world.daemon.do(guest, "confirm")
    assert len(nvrams(world)) == 1
    assert world.daemon.post("/reconcile")["found"] == []
    assert stored(world) == []
    world.daemon.do(guest, "remove")
    world.target.virsh("destroy", NAME)
    world.target.domain("start", NAME)
    assert world.daemon.ledger() == []
