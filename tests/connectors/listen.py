# SPDX-License-Identifier: Apache-2.0
"""A lab's libvirtd that also listens on TCP with TLS, and asks for user and password by SASL."""
import pathlib
import socket
import subprocess

USER = "mover"
PASSWORD = "s3cret-of-the-lab"


def certtool(*args):
    subprocess.run(["certtool", "--key-type=rsa", "--bits=2048", *map(str, args)], check=True, capture_output=True)


def make_ca(directory, name):
    template = directory / f"{name}.tpl"
    template.write_text(f"cn = {name}\nca\ncert_signing_key\nexpiration_days = 10\n")
    certtool("--generate-privkey", "--outfile", directory / f"{name}.key")
    certtool("--generate-self-signed", "--load-privkey", directory / f"{name}.key",
             "--template", template, "--outfile", directory / f"{name}.pem")


def make_server(directory, ca):
    template = directory / "server.tpl"
    template.write_text("cn = lab\nip_address = 127.0.0.1\ntls_www_server\nsigning_key\n"
                        "encryption_key\nexpiration_days = 10\n")
    certtool("--generate-privkey", "--outfile", directory / "server.key")
    certtool("--generate-certificate", "--load-ca-certificate", directory / f"{ca}.pem",
             "--load-ca-privkey", directory / f"{ca}.key",
             "--load-privkey", directory / "server.key",
             "--template", template, "--outfile", directory / "server.pem")


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Listener:
    """Written before the lab is up.  `pki(name)` is a directory that libvirt's clients are given."""

    def __init__(self, lab_directory):
        self.directory = pathlib.Path(lab_directory) / "listen"
        self.directory.mkdir()
        self.port = free_port()
        for name in ("ca", "other"):
            make_ca(self.directory, name)
            pki = self.directory / f"pki-{name}"
            pki.mkdir()
            (pki / "cacert.pem").write_bytes((self.directory / f"{name}.pem").read_bytes())
        make_server(self.directory, "ca")
        (pathlib.Path(lab_directory) / "libvirtd.conf.extra").write_text(f"""
listen_tls = 1
listen_addr = "127.0.0.1"
tls_port = "{self.port}"
auth_tls = "sasl"
tls_no_verify_certificate = 1
ca_file = "{self.directory}/ca.pem"
cert_file = "{self.directory}/server.pem"
key_file = "{self.directory}/server.key"
""")
        sasl = pathlib.Path(lab_directory) / "sasl2"
        sasl.mkdir()
        (sasl / "libvirt.conf").write_text("mech_list: scram-sha-256\n"
                                           f"sasldb_path: {sasl}/passwd.db\n")
        subprocess.run(["saslpasswd2", "-p", "-f", sasl / "passwd.db", "-a", "libvirt", USER],
                       input=PASSWORD, text=True, check=True, timeout=30)

    def url(self, pki="ca", extra=""):
        return (f"qemu+tls://127.0.0.1:{self.port}/system?pkipath={self.directory}/pki-{pki}"
                f"{extra}")
