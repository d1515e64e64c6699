# SPDX-License-Identifier: Apache-2.0
"""Inspection and conversion of a guest whose disk is an RBD image, with cephx."""
import json
import os
import subprocess
import sys

from cluster import HERE

sys.path.insert(0, os.path.join(HERE, "../daemon"))
import guests  # noqa: E402
import ferry  # noqa: E402

CONVERT_DISKS = os.environ["CONVERT_DISKS"]


def convert(work, uri, *options):
    directory = work / "w"
    os.makedirs(directory, exist_ok=True)
    done = subprocess.run([CONVERT_DISKS, "--work", directory, *ferry.appliance_cache(), "--mode", "auto", *options,
                           uri], capture_output=True, text=True, timeout=300, check=False)
    return json.loads(done.stdout)


def test_a_guest_on_rbd_is_planned_and_converted(ceph, work):
    """Its snapshot is looked at, its clone is changed by the plan, and then it needs nothing more."""
    raw = work / "tiny.raw"
    ferry.run(f"{ferry.LAB}/images", "copy", "tiny", raw, "raw", timeout=600)
    guests.make_recognised(raw, generator="dep")
    spec = ceph.upload(raw)
    ceph.snapshot(spec, "point")
    plan = convert(work, ceph.uri(f"{spec}@point"), "--inspect")
    assert plan.get("method") == "fast", plan
    assert [c["path"] for c in plan["changes"]] == ["/etc/initramfs-tools/modules"]
    assert ceph.is_like(spec, raw), "looking has changed the image"
    clone = f"{spec}-clone"
    ceph.rbd("clone", "--rbd-default-clone-format", "2", f"{spec}@point", clone)
    path = work / "plan.json"
    with open(path, "w", encoding="utf-8") as out:
        json.dump(plan, out)
    report = convert(work, ceph.uri(clone), "--plan", path)
    assert report.get("method") == "fast" and report["planned"] is True, report
    assert convert(work, ceph.uri(clone), "--inspect")["method"] == "none"
    assert ceph.is_like(spec, raw), "the conversion of a clone has changed its parent"


def test_a_user_that_may_not_is_an_error(ceph, work):
    spec = ceph.new(8 << 20)
    answer = convert(work, ceph.uri(spec, user="nobody"), "--inspect")
    assert answer["error"]["code"] == "convert-failed", answer
