# SPDX-License-Identifier: Apache-2.0
"""nbds: verified or refused, never plain; and by a fast cipher."""
import os
import re
import subprocess
import time

import pytest

from conftest import MIB, SLOW, make_dirty, make_disk, run_copy, same, start_copy

SOON = ["--deadline", "5", "--reconnect", "2"]


def certtool(*args):
    subprocess.run(["certtool", "--key-type=ecdsa", *args], check=True, capture_output=True)


class Pki:
    """A CA, server certificates of several kinds, a client certificate."""

    def __init__(self, directory):
        self.directory = directory
        self.ca("ca")
        self.ca("other")

    def path(self, name):
        return os.path.join(self.directory, name)

    def ca(self, name):
        self.template(name, "cn = CA\nca\ncert_signing_key\nexpiration_days = 10\n")
        certtool("--generate-privkey", "--outfile", self.path(name + ".key"))
        certtool("--generate-self-signed", "--load-privkey", self.path(name + ".key"),
                 "--template", self.path(name + ".tpl"), "--outfile", self.path(name + ".pem"))

    def template(self, name, text):
        with open(self.path(name + ".tpl"), "w") as f:
            f.write(text)

    def server(self, name, ca="ca", host="localhost", expired=False):
        """A directory for nbdkit."""
        directory = self.path(name)
        os.mkdir(directory)
        life = ('activation_date = "2001-01-01 00:00:00"\nexpiration_date = "2002-01-01 00:00:00"\n' if expired
                else "expiration_days = 10\n")
        self.template(name, f"cn = {host}\ndns_name = {host}\ntls_www_server\nsigning_key\n" + life)
        self.make(directory, "server", name, ca)
        return directory

    def make(self, directory, kind, name, ca):
        certtool("--generate-privkey", "--outfile", f"{directory}/{kind}-key.pem")
        certtool("--generate-certificate", "--load-ca-certificate", self.path(ca + ".pem"), "--load-ca-privkey",
                 self.path(ca + ".key"), "--load-privkey", f"{directory}/{kind}-key.pem",
                 "--template", self.path(name + ".tpl"), "--outfile", f"{directory}/{kind}-cert.pem")
        subprocess.run(["cp", self.path(ca + ".pem"), f"{directory}/ca-cert.pem"], check=True)

    def client(self, name, ca="ca"):
        directory = self.path(name)
        os.mkdir(directory)
        self.template(name, "cn = client\ntls_www_client\nsigning_key\nexpiration_days = 10\n")
        self.make(directory, "client", name, ca)
        return directory


@pytest.fixture
def pki(work):
    os.mkdir(work / "pki")
    return Pki(work / "pki")


def free_port():
    import socket
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.fixture
def tcp(work):
    """nbdkit on TCP, as names are verified there."""
    processes = []

    def start(*args):
        port = free_port()
        processes.append(subprocess.Popen(["nbdkit", "-f", "-i", "127.0.0.1", "-p", str(port), *args],
                                          stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True))
        deadline = time.monotonic() + 5
        import socket
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                return f"localhost:{port}"
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.02)
    yield start
    for process in processes:
        process.terminate()
        process.wait()


def test_x509(work, pki, tcp):
    source = make_disk(work / "source", 8 * MIB)
    address = tcp("--tls=require", f"--tls-certificates={pki.server('server')}", "--tls-verify-peer", "file", source)
    result = run_copy("-v", "--tls-certificates", pki.client("client"), f"nbds://{address}/", work / "t")
    result.done
    assert same(source, work / "t")
    assert "AES-256-GCM" in result.stderr or "AES-128-GCM" in result.stderr


def test_each_side_its_own_certificates(work, pki, tcp):
    """As a copy from one mover to another: each knows one client."""
    source, target = make_disk(work / "source", 8 * MIB), make_disk(work / "target", 8 * MIB, seed=9)
    one = tcp("--tls=require", f"--tls-certificates={pki.server('one')}", "--tls-verify-peer", "file", source)
    server = pki.server("two", ca="other")
    two = tcp("--tls=require", f"--tls-certificates={server}", "--tls-verify-peer", "file", target)
    mine, other = pki.client("mine"), pki.client("others", ca="other")
    uris = (f"nbds://{one}/", f"nbds://{two}/")
    assert run_copy(*SOON, "--tls-certificates", mine, *uris).error["code"] in ("tls", "endpoint-open")
    run_copy("--tls-certificates", mine, "--target-tls-certificates", other, *uris).done
    assert same(source, target)


@pytest.mark.parametrize("wrong", ["ca", "name", "expired", "client"])
def test_x509_is_verified(work, pki, tcp, wrong):
    source = make_disk(work / "source", MIB)
    server = pki.server("server", ca="other" if wrong == "ca" else "ca",
                        host="elsewhere" if wrong == "name" else "localhost", expired=wrong == "expired")
    address = tcp("--tls=require", f"--tls-certificates={server}", "--tls-verify-peer", "file", source)
    client = pki.client("client", ca="other" if wrong == "client" else "ca")
    if wrong == "client":  # it trusts the server, but the server does not trust it
        subprocess.run(["cp", pki.path("ca.pem"), f"{client}/ca-cert.pem"], check=True)
    result = run_copy(*SOON, "--tls-certificates", client, f"nbds://{address}/", work / "t")
    assert result.error["code"] in (["tls"] if wrong != "client" else ["tls", "endpoint-open"])
    assert not os.path.exists(work / "t")


def test_no_trust_no_copy(work, pki, tcp):
    """What could not be verified is refused."""
    server = pki.server("server")
    address = tcp("--tls=require", f"--tls-certificates={server}", "memory", "1M")
    assert run_copy(*SOON, f"nbds://{address}/", work / "t").error["code"] == "tls"
    os.mkdir(work / "empty")
    result = run_copy(*SOON, "--tls-certificates", work / "empty", f"nbds://{address}/", work / "t")
    assert result.error["code"] == "tls"
    local = work.nbdkit("--tls=require", f"--tls-certificates={server}", "memory", "1M")
    client = pki.client("client")
    uri = f"nbds+unix:///?socket={local.socket}"
    assert run_copy(*SOON, "--tls-certificates", client, uri, work / "t").error["code"] == "tls"
    uri = f"nbds://{address}/?tls-verify-peer=false&tls-certificates={client}"
    assert run_copy(*SOON, uri, work / "t").error["code"] == "uri"


def test_plain_server_is_refused(work, pki, tcp):
    address = tcp("memory", "1M")
    result = run_copy(*SOON, "--tls-certificates", pki.client("client"), f"nbds://{address}/", work / "t")
    assert result.error["code"] == "tls"
    assert not os.path.exists(work / "t")


def test_tls_server_without_tls(work, pki, tcp):
    address = tcp("--tls=require", f"--tls-certificates={pki.server('server')}", "memory", "1M")
    assert run_copy(*SOON, f"nbd://{address}/", work / "t").code != 0


@pytest.fixture
def psk(work):
    with open(work / "keys", "w") as f:
        f.write("alice:0123456789abcdef0123456789abcdef\n")
    with open(work / "wrong", "w") as f:
        f.write("alice:ff23456789abcdef0123456789abcdef\n")
    return work / "keys"


def psk_uri(server):
    return f"nbds+unix://alice@/?socket={server.socket}"


def test_psk(work, psk):
    source = make_disk(work / "source", 8 * MIB)
    server = work.nbdkit("--tls=require", f"--tls-psk={psk}", "file", source)
    result = run_copy("-v", "--tls-psk", psk, psk_uri(server), work / "t")
    result.done
    assert same(source, work / "t")
    ciphers = re.findall(r"connection is using TLS: cipher (\S+)", result.stderr)
    assert ciphers and set(ciphers) == {"AES-128-GCM"}, ciphers
    quiet = run_copy("--tls-psk", psk, psk_uri(server), work / "t")
    assert quiet.code == 0 and quiet.stderr.count("cipher AES-128-GCM") == 1, quiet.stderr


def test_admins_choice_of_ciphers_is_kept(work, psk):
    server = work.nbdkit("--tls=require", f"--tls-psk={psk}", "memory", "1M")
    with open(work / "priorities", "w") as f:
        f.write("[overrides]\ntls-disabled-cipher = AES-128-GCM\n")
    result = run_copy("-v", "--tls-psk", psk, psk_uri(server), work / "t",
                      env={"GNUTLS_SYSTEM_PRIORITY_FILE": work / "priorities"})
    assert result.code == 0 and "CHACHA20" in result.stderr


def test_wrong_psk(work, psk):
    server = work.nbdkit("--tls=require", f"--tls-psk={psk}", "memory", "1M")
    assert run_copy(*SOON, "--tls-psk", work / "wrong", psk_uri(server), work / "t").error["code"] == "tls"


def test_a_key_trusts_no_certificate(work, pki, tcp, psk):
    """Who gave a key is not talked into a certificate that nobody verifies."""
    address = tcp("--tls=require", f"--tls-certificates={pki.server('server')}", "memory", "1M")
    assert run_copy(*SOON, "--tls-psk", psk, f"nbds://alice@{address}/", work / "t").error["code"] == "tls"


def test_key_of_nobody(work, psk):
    server = work.nbdkit("--tls=require", f"--tls-psk={psk}", "memory", "1M")
    uri = f"nbds+unix://bob@/?socket={server.socket}"
    assert run_copy(*SOON, "--tls-psk", psk, uri, work / "t").error["code"] == "tls"


def test_cut_in_the_handshake(work, psk):
    from hostile import Proxy
    server = work.nbdkit("--tls=require", f"--tls-psk={psk}", "memory", "1M")
    for after in (30, 60, 100, 150, 250):
        between = Proxy(work / f"p{after}", server.socket, cut_after=[after] * 100)
        result = run_copy(*SOON, "--tls-psk", psk, f"nbds+unix://alice@/?socket={between.path}", work / "t")
        assert result.error["code"] in ("tls", "endpoint-open", "protocol")
        between.stop()


def test_tls_costs_far_less_than_by_the_slow_cipher(work, psk):
    """Left to itself GnuTLS takes ChaCha20, at several times the CPU; `make bench` has the ratio to a plain run."""
    source = make_dirty(work / "source", 128 * MIB)
    server = work.nbdkit("--tls=require", f"--tls-psk={psk}", "file", source)
    with open(work / "slow", "w") as f:
        f.write("[overrides]\ntls-disabled-cipher = AES-128-GCM\ntls-disabled-cipher = AES-256-GCM\n")

    def cpu(**env):
        process = start_copy("--tls-psk", psk, psk_uri(server), "null:", env=env)
        process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0, process.stderr.read()
        process.stdout.close(), process.stderr.close()
        return usage.ru_utime + usage.ru_stime
    # Whatever else the host does only adds to a run: the least of several is the program's own.
    ours = min(cpu() for _ in range(4))
    slow = min(cpu(GNUTLS_SYSTEM_PRIORITY_FILE=str(work / "slow")) for _ in range(3))
    # Sanitizers slow our own code down and leave GnuTLS as it is.
    assert ours * (2 if SLOW == 1 else 1) < slow, (ours, slow)
