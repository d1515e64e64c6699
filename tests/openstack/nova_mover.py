# SPDX-License-Identifier: Apache-2.0
"""A mover as a server of the lab's cloud, reached from this host over the bridge that Nova plugs its port into."""
import atexit
import os
import shutil
import subprocess
import tempfile

from cloud import run

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.path.join(HERE, "../../mover/build")
MAC = "52:54:00:77:00:60"


def bridge(network_id):
    return f"brq{network_id[:11]}"


class NovaMover:
    """Builds the image, boots it in the project, waits until it serves."""

    def __init__(self, project, *options):
        # Another one in each lab: all labs have the same subnets, and this host has one routing table.
        last = int(project.lab.lab.address.split(".")[-1]) % 75 + 100
        self.address, self.host = f"10.77.1.{last}", f"10.77.1.{last + 75}"
        self.project = project
        with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="bf-mover.") as directory:
            image = os.path.join(directory, "mover.raw")
            secrets = tempfile.mkdtemp(dir="/var/tmp", prefix="bf-pki.")
            atexit.register(shutil.rmtree, secrets, ignore_errors=True)
            self.certificates = f"{secrets}/client"
            run(BUILD, "--address", self.address, "--network", f"{self.address}/24", *options, image, self.certificates,
                env={**os.environ, "MOVER_SERVE": os.environ.get("MOVER_SERVE", "mover-serve")})
            self.volume = project.boot_volume("rbd-a", image)
        self.port = project.port("prod", MAC, self.address)
        self.server = project.server([self.volume], [{"port": self.port}], name="mover")
        network = project.cloud.get("network", f"/ports/{self.port}")["port"]["network_id"]
        for words in (f"address replace {self.host}/32 dev {bridge(network)}",
                      f"route replace {self.address}/32 dev {bridge(network)} src {self.host}"):
            subprocess.run(["ip", *words.split()], check=True)
        self.mark = project.wait_console(self.server, "MOVERMARK")

    def uri(self, volume):
        """A virtio disk's serial is what fits of the volume's id."""
        return f"nbds://{self.address}:10809/{volume[:20]}"

    def attach(self, volume):
        self.project.cloud.post("compute", f"/servers/{self.server}/os-volume_attachments",
                                {"volumeAttachment": {"volumeId": volume}})
        self.project.wait_volume(volume, "in-use")
        self.project.wait_console(self.server, f"DISK here id={volume[:20]}", 30)

    def detach(self, volume):
        self.project.cloud.delete("compute", f"/servers/{self.server}/os-volume_attachments/{volume}")
        self.project.wait_volume(volume, "available")
