# SPDX-License-Identifier: Apache-2.0
"""Tools of the tests of the service on a cloud: machines that boot in a second, and the cloud as the judge."""
import json
import re

from cloud import run, wait_until
from test_service import World as PlainWorld
from test_service import ferry, wipe

__all__ = ["MIB", "Ferry", "boot_sector", "booted", "ferry", "run", "tag_of", "wait_until", "wipe"]

MIB = 1 << 20
boot_sector = ferry.boot_sector


def booted(launch):
    return launch["state"] == "booted" and re.search("^BOOTMARK.*", launch["console_tail"], re.MULTILINE)


def tag_of(thing):
    return thing.get("metadata", {}).get("blockferry")


class Ferry(PlainWorld):
    """The world of the other tests, with machines whose disk is little more than a boot sector."""

    def machine(self, name, mac, size="16M", more=()):
        """On libvirt: its CPU is stopped, QEMU has its disk open as of a running one."""
        raw = f"{self.directory}/sector"
        with open(raw, "wb") as file:
            file.write(boot_sector())
            file.truncate(int(size.rstrip("M")) * MIB)
        self.lab.machine(name, [size, *more], start=False, extra=("--mac", mac))
        run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw,
            f"{self.lab.directory}/images/{name}-0.qcow2")
        self.lab.domain("start", name, "--paused")

    def server_of_sector(self, name, mac, address, size_gib=1, network="prod", more=(), metadata=None):
        """In the project source: a server that boots its sector, with more volumes; returns it and its volume."""
        raw = f"{self.directory}/sector"
        with open(raw, "wb") as file:
            file.write(boot_sector())
            file.truncate(MIB)
        volume = self.source.volume("rbd-a", size_gib, name=name)
        run("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", raw,
            f"rbd:volumes-a/volume-{volume}:conf={self.cloud.conf}")
        self.source.cloud.post("volumev3", f"/volumes/{volume}/action", {"os-set_bootable": {"bootable": True}})
        if metadata:
            self.source.cloud.post("volumev3", f"/volumes/{volume}/action",
                                   {"os-set_image_metadata": {"metadata": metadata}})
        port = self.source.port(network, mac, address)
        return self.source.server([volume, *more], [{"port": port}], flavor="tiny", name=name), volume

    wait_until = staticmethod(lambda check, seconds=60: wait_until(check, seconds, "it"))

    # --- the judge: the cloud itself ---

    def tagged(self, project):
        """What carries a tag of ours in a project: [(kind, tag)], sorted; ports count as the machine's."""
        cloud = project.cloud
        found = []
        for path, key in (("/volumes/detail", "volumes"), ("/snapshots/detail", "snapshots")):
            for thing in cloud.get("volumev3", path)[key]:
                if tag_of(thing):
                    kind = thing["metadata"]["blockferry_kind"]
                    kind = {"point": "layer", "companion": "machine"}.get(kind, kind)
                    found.append((kind, tag_of(thing)))
        machines = {tag_of(s) for s in cloud.get("compute", "/servers/detail")["servers"] if tag_of(s)}
        for port in cloud.get("network", f"/ports?project_id={cloud.project_id}")["ports"]:
            match = re.match("(bf-[0-9a-f]{16})-", port["name"])
            if match:
                machines.add(match.group(1))
        return sorted(set(found) | {("machine", tag) for tag in machines})

    def ledgered(self, platforms):
        return sorted({(row["kind"], row["tag"]) for row in self.daemon.ledger() if row["platform"] in platforms})

    def settled(self):
        return not [row for row in self.daemon.ledger() if row["state"] in ("intended", "removing")]

    def check_clean(self, seconds=60):
        """Within that time the ledger has no open end, and the cloud holds what the ledger says, no more."""
        try:
            ferry.Daemon.wait_until(self.settled, seconds, "the ledger to settle")
        except AssertionError:
            raise AssertionError(f"{self.daemon.ledger()}\n{self.daemon.tail(60)}") from None
        found, known = self.tagged(self.target), self.ledgered(("target", "proxied"))
        assert found == known, f"cloud {found}, ledger {known}"
        assert self.tagged(self.source) == self.ledgered(("source",))
        kinds = {kind for kind, _ in self.tagged(self.target)}
        assert kinds <= {"volume", "layer"}, self.tagged(self.target)

    def replica(self, name, key="sda"):
        """The Cinder volume of a replication's disk."""
        volumes = self.target.cloud.get("volumev3", "/volumes/detail")["volumes"]
        return next(one for one in volumes if one["name"].endswith(f" {name} {key}"))

    def last_job(self, name):
        return self.daemon.list(name, "jobs")[0]

    def fails(self, name, verb, **body):
        """The error of a verb's job, which has to fail; what it says can be acted upon."""
        job = self.daemon.wait_job(name, self.daemon.verb(name, verb, **body)["job"])
        assert job["state"] != "done", job
        assert job["error"]["message"] and job["error"]["fix"], job
        return job["error"]

    def snapshots(self, pool, volume):
        return [one["name"] for one in
                json.loads(self.cloud.rbd("snap", "ls", "--format", "json", f"{pool}/volume-{volume}"))]
