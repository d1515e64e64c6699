# SPDX-License-Identifier: Apache-2.0
"""Tools of the OpenStack tests: the lab's cloud, and what a test needs of its projects."""
import os
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
LABS = os.path.join(HERE, "../lab")
sys.path.insert(0, os.path.join(LABS, "openstack.d"))

# pylint: disable=wrong-import-position
from lab import ADMIN_PASSWORD, PROJECTS, ApiError, Cloud, Lab, wait_until  # noqa: E402

__all__ = ["ADMIN_PASSWORD", "ApiError", "Cloud", "CloudLab", "Project", "image", "run", "wait_until"]


def run(*argv, timeout=120, **options):
    done = subprocess.run([str(a) for a in argv], check=False, timeout=timeout, capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, **options)
    assert done.returncode == 0, f"{argv}: {done.stderr[-3000:]}"
    return done.stdout.strip()


def image(name):
    """Path of a guest's raw image."""
    return run(os.path.join(LABS, "images"), "get", name, timeout=300)


class CloudLab:
    """lab/openstack in a directory of its own, or in one that is left running."""

    def __init__(self, kept=None):
        self.kept = kept
        self.directory = self.kept or tempfile.mkdtemp(prefix="bf-cloud.", dir="/var/tmp")
        self.lab = Lab(self.directory)
        self.clouds = self.call("up", timeout=600)
        self.conf = self.lab / "ceph/ceph.conf"

    def call(self, verb, *args, timeout=300):
        return run(os.path.join(LABS, "openstack"), verb, self.directory, *args, timeout=timeout)

    def pids(self):
        return dict(reversed(line.split()) for line in self.call("pids").splitlines())

    def project(self, name, admin=False):
        if admin:
            return Project(self, Cloud(self.lab, "admin", ADMIN_PASSWORD, name))
        return Project(self, Cloud(self.lab, name, PROJECTS[name]))

    def client(self, cloud, *args):
        """python3-openstackclient as one of clouds.yaml."""
        return run("openstack", "--os-cloud", cloud, *args,
                   env={**os.environ, "OS_CLIENT_CONFIG_FILE": self.clouds})

    def rbd(self, *args):
        return run("rbd", "-c", self.conf, *args)

    def virsh(self, *args):
        """On the libvirt that Nova uses."""
        uri = run(os.path.join(LABS, "libvirt"), "uri", f"{self.directory}/libvirt")
        return run("virsh", "-q", "-c", uri, *args)

    def close(self):
        if not self.kept:
            self.call("destroy")
            assert not os.path.exists(self.directory)


class Project:
    """One user in one project: volumes, servers, ports, and their removal."""

    def __init__(self, lab, cloud):
        self.lab = lab
        self.cloud = cloud
        self.made = []

    def volume(self, kind, size_gib=1, name="test"):
        body = {"volume": {"name": name, "size": size_gib, "volume_type": kind}}
        made = self.cloud.post("volumev3", "/volumes", body)["volume"]["id"]
        self.made.append(("volumev3", f"/volumes/{made}"))
        self.wait_volume(made, "available")
        return made

    def wait_volume(self, volume, status, seconds=60):
        def check():
            now = self.cloud.get("volumev3", f"/volumes/{volume}")["volume"]["status"]
            assert now != "error" or status == "error", self.cloud.get("volumev3", f"/messages?resource_uuid={volume}")
            return now == status
        wait_until(check, seconds, f"volume {volume} is not {status}")

    def boot_volume(self, kind, path):
        """A bootable RBD volume with the content of a raw image."""
        volume = self.volume(kind)
        run("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", path,
            f"rbd:{kind.replace('rbd', 'volumes')}/volume-{volume}:conf={self.lab.conf}")
        self.cloud.post("volumev3", f"/volumes/{volume}/action", {"os-set_bootable": {"bootable": True}})
        return volume

    def port(self, network, mac, address):
        found = [n for n in self.cloud.get("network", f"/networks?name={network}")["networks"]]
        assert len(found) == 1, found
        body = {"network_id": found[0]["id"], "mac_address": mac,
                "fixed_ips": [{"subnet_id": found[0]["subnets"][0], "ip_address": address}]}
        made = self.cloud.post("network", "/ports", {"port": body})["port"]["id"]
        self.made.append(("network", f"/ports/{made}"))
        return made

    def flavor(self, name):
        flavors = self.cloud.get("compute", "/flavors")["flavors"]
        return next(flavor["id"] for flavor in flavors if flavor["name"] == name)

    def server(self, volumes, networks="none", flavor="small", name="test"):
        """Boot from the first volume; returns when the server is ACTIVE."""
        disks = [{"boot_index": -1 if at else 0, "uuid": volume, "source_type": "volume",
                  "destination_type": "volume", "delete_on_termination": False, "disk_bus": "virtio"}
                 for at, volume in enumerate(volumes)]
        body = {"name": name, "flavorRef": self.flavor(flavor), "networks": networks,
                "block_device_mapping_v2": disks}
        made = self.cloud.post("compute", "/servers", {"server": body})["server"]["id"]
        self.made.append(("compute", f"/servers/{made}"))
        self.wait_server(made, "ACTIVE")
        return made

    def wait_server(self, server, status, seconds=120):
        def check():
            now = self.cloud.get("compute", f"/servers/{server}")["server"]
            assert now["status"] != "ERROR" or status == "ERROR", now.get("fault")
            return now["status"] == status
        wait_until(check, seconds, f"server {server} is not {status}")

    def console(self, server, lines=200):
        return self.cloud.post("compute", f"/servers/{server}/action",
                               {"os-getConsoleOutput": {"length": lines}})["output"]

    def wait_console(self, server, word, seconds=120):
        """The line that has the word."""
        def check():
            return next((line for line in self.console(server).splitlines() if word in line), None)
        return wait_until(check, seconds, f"the console of {server} does not say {word}")

    def remove(self, service, path, seconds=60):
        """Gone, and not only asked to go.  Volumes of a server that is going are still in use for a moment."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                self.cloud.delete(service, path)
                self.cloud.get(service, path)
            except ApiError as error:
                if error.status == 404:
                    return
                assert error.status in (400, 409), error
            assert time.monotonic() < deadline, f"{path} does not go"
            time.sleep(0.2)

    def clean(self):
        for service, path in reversed(self.made):
            self.remove(service, path)
        self.made = []

    def things(self):
        """What the project holds, by kind: names or ids."""
        def names(service, path, key):
            return sorted(thing.get("name") or thing["id"] for thing in self.cloud.get(service, path)[key])
        own = f"?project_id={self.cloud.project_id}"
        return {"servers": names("compute", "/servers", "servers"), "volumes": names("volumev3", "/volumes", "volumes"),
                "snapshots": names("volumev3", "/snapshots", "snapshots"),
                "attachments": names("volumev3", "/attachments", "attachments"),
                "ports": names("network", f"/ports{own}", "ports")}
