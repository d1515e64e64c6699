# SPDX-License-Identifier: Apache-2.0
"""What the helpers of lab/openstack share: where a lab lives, who is in it, and calls of its APIs."""
import hashlib
import json
import os
import time
import urllib.error
import urllib.request

PORTS = {"keystone": 15000, "placement": 18778, "cinder": 18776, "nova": 18774, "neutron": 19696, "glance": 19292}
TLS_PORT_ABOVE = 10000
PATHS = {"keystone": "/v3", "placement": "", "cinder": "/v3/%(project_id)s", "nova": "/v2.1", "neutron": "",
         "glance": ""}
TYPES = {"keystone": "identity", "placement": "placement", "cinder": "volumev3", "nova": "compute",
         "neutron": "network", "glance": "image"}
RBD_SECRET = "6d0f8a4e-5f0b-4f57-9c55-0b1a57e00001"
# A lab's secrets: they open nothing but processes on this host's loopback.
ADMIN_PASSWORD = "lab-admin"
PROJECTS = {"source": "lab-source", "target": "lab-target"}  # project and its member: password


class Lab:
    def __init__(self, directory):
        self.directory = os.path.realpath(directory)
        # Like lab/ceph, but another part of the network, so that both never meet on one address.
        digest = hashlib.sha256(f"openstack {self.directory}\n".encode()).digest()
        self.address = f"127.{192 + digest[0] // 5}.{digest[1]}.{digest[2] * 253 // 256 + 1}"

    def __truediv__(self, name):
        return os.path.join(self.directory, name)

    def url(self, service, tls=False):
        port = PORTS[service] + (TLS_PORT_ABOVE if tls else 0)
        return f"http{'s' if tls else ''}://{self.address}:{port}"

    @property
    def libvirt_uri(self):
        return f"qemu+unix:///system?socket={self / 'libvirt/run/libvirt-sock'}"


class ApiError(Exception):
    def __init__(self, status, text):
        super().__init__(f"{status}: {text[:600]}")
        self.status = status
        self.text = text


class Cloud:
    """A session of one user in one project."""

    VERSIONS = {"volumev3": "volume 3.59", "compute": "compute 2.90", "placement": "placement 1.29"}

    def __init__(self, lab, user="admin", password=ADMIN_PASSWORD, project=None):
        self.lab = lab
        scope = {"project": {"name": project or user, "domain": {"id": "default"}}}
        who = {"user": {"name": user, "domain": {"id": "default"}, "password": password}}
        body = {"auth": {"identity": {"methods": ["password"], "password": who}, "scope": scope}}
        headers, answer = self.request("POST", lab.url("keystone") + "/v3/auth/tokens", body, {})
        self.token = headers["X-Subject-Token"]
        self.user_id = answer["token"]["user"]["id"]
        self.project_id = answer["token"]["project"]["id"]
        self.urls = {TYPES["keystone"]: lab.url("keystone") + "/v3"}
        for service in answer["token"]["catalog"]:
            for point in service["endpoints"]:
                if point["region_id"] == "RegionOne":
                    self.urls[service["type"]] = point["url"].rstrip("/")

    @staticmethod
    def request(method, url, body, headers, timeout=60):
        data = None if body is None else json.dumps(body).encode()
        ask = urllib.request.Request(url, data, {"Content-Type": "application/json", **headers}, method=method)
        tries = 3 if method == "GET" else 1
        while True:
            try:
                with urllib.request.urlopen(ask, timeout=timeout) as reply:
                    text = reply.read()
                    return reply.headers, json.loads(text) if text else None
            except urllib.error.HTTPError as error:
                raise ApiError(error.code, error.read().decode(errors="replace")) from None
            except ConnectionResetError as error:
                # As OpenStack's own clients do: a busy server may close a connection that it has just taken.
                tries -= 1
                if not tries:
                    raise ConnectionError(f"{method} {url}: {error}") from error
                time.sleep(0.3)

    def call(self, service, method, path, body=None):
        headers = {"X-Auth-Token": self.token}
        if service in self.VERSIONS:
            headers["OpenStack-API-Version"] = self.VERSIONS[service]
        url = self.urls[service] + ("/v2.0" if service == "network" else "/v2" if service == "image" else "")
        return self.request(method, url + path, body, headers)[1]

    def get(self, service, path):
        return self.call(service, "GET", path)

    def post(self, service, path, body):
        return self.call(service, "POST", path, body)

    def delete(self, service, path):
        return self.call(service, "DELETE", path)


def wait_until(check, seconds, what):
    """Ask until the answer is true; connection errors and 5xx are no answer yet."""
    deadline = time.monotonic() + seconds
    last = None
    while True:
        try:
            answer = check()
            if answer:
                return answer
            last = "not yet"
        except ApiError as error:
            last = str(error)
        except OSError as error:
            last = str(error)
        if time.monotonic() > deadline:
            raise SystemExit(f"lab/openstack: {what}: {last}")
        time.sleep(0.1)
