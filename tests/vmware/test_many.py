# SPDX-License-Identifier: Apache-2.0
"""Many machines at a time: each replica is its machine's, and the host is not overrun.

BLOCKFERRY_MACHINES says how many (100 takes minutes).
"""
import glob
import os
import tempfile
import time

import pytest

import ferry
from vcenter import VCenter

COUNT = int(os.environ.get("BLOCKFERRY_MACHINES", "12"))
NAMES = [f"m{n}" for n in range(COUNT)]
ROUNDS_AT_A_TIME = 8
CONNECTIONS = 5


@pytest.fixture
def world():
    directory = tempfile.mkdtemp(prefix="bf-", dir="/tmp")
    vc = VCenter(*[f"{name}=1M" for name in NAMES])
    vc.up()
    for name in NAMES:
        vc.write(name, 1, 4096, os.urandom(65536))
    target = ferry.Lab(f"{directory}/b")
    os.mkdir(f"{directory}/d")
    daemon = ferry.Daemon(f"{directory}/d")
    daemon.options = ["--max-rounds", str(ROUNDS_AT_A_TIME)]
    daemon.start()
    daemon.post("/platforms", {
        "name": "src", "type": "vmware", "url": vc.url, "user": vc.read("user"),
        "password": vc.read("password"), "options": {**vc.options, "nfc_per_host": str(CONNECTIONS)}})
    daemon.post("/platforms", {"name": "dst", "type": "libvirt", "url": target.uri})
    yield vc, daemon, target
    daemon.stop()
    target.stop()
    vc.close()


def test_many_machines(world):
    vc, daemon, target = world
    begin = time.monotonic()
    for name in NAMES:
        daemon.post("/replications", {
            "source": "src", "machine": name, "target": "dst", "name": name,
            "mapping": {"default_network": "lab"},
            "policy": {"interval": None, "convert": "none", "quiesce": "off"}, "start": True})
    for name in NAMES:
        daemon.wait_state(name, "idle", seconds=300)
    print(f"{COUNT} machines seeded: {time.monotonic() - begin:.1f} s")
    # All at once: reads are slow, so that they meet.
    for name in NAMES:
        vc.write(name, 1, 500000, os.urandom(65536))
    vc.standin(slow_ms=300)
    most = vc.count_connections()
    begin = time.monotonic()
    jobs = {name: daemon.verb(name, "sync")["job"] for name in NAMES}
    for name, job in jobs.items():
        assert daemon.wait_job(name, job)["state"] == "done"
    print(f"{COUNT} deltas: {time.monotonic() - begin:.1f} s, at most {most()} disks at a time")
    assert 1 < most() <= CONNECTIONS
    assert vc.snapshots() == []
    rows = sorted((r for r in daemon.ledger() if r["kind"] == "layer" and r["state"] == "made"),
                  key=lambda r: r["created_at"])
    newest = {r["replication"]: r["tag"] for r in rows}
    for name in NAMES:
        layer = glob.glob(f"{target.directory}/pool/{newest[name]}-of-*")[0]
        ferry.run("qemu-img", "compare", "-U", "-f", "raw", str(vc.disk(name, 1)), layer)
