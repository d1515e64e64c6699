# SPDX-License-Identifier: Apache-2.0
"""A server under test, and HTTP spoken by hand over its UNIX socket.

BLOCKFERRY_API_STUB names the stub program; sanitizer reports of it fail the test that ends it.
"""
import atexit
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
WORLD = os.path.join(HERE, "world.json")
STUB = os.environ.get("BLOCKFERRY_API_STUB", "")
TROUBLE = re.compile(r"Sanitizer|runtime error|Assertion|panic", re.IGNORECASE)


class Answer:
    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers
        self.body = body

    def json(self):
        return json.loads(self.body)

    def code(self):
        return self.json()["error"]["code"]


class Connection:
    """One connection; reads answers exactly, so that it can be used again."""

    def __init__(self, path, timeout=20):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(timeout)
        self.socket.connect(path)
        self.buffer = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def fill(self):
        piece = self.socket.recv(65536)
        if not piece:
            raise EOFError(f"closed after {self.buffer[-200:]!r}")
        self.buffer += piece

    def until(self, end):
        while end not in self.buffer:
            self.fill()
        found, self.buffer = self.buffer.split(end, 1)
        return found

    def exactly(self, count):
        while len(self.buffer) < count:
            self.fill()
        found, self.buffer = self.buffer[:count], self.buffer[count:]
        return found

    def chunk(self):
        size = int(self.until(b"\r\n"), 16)
        data = self.exactly(size)
        assert self.exactly(2) == b"\r\n"
        return data

    def head(self):
        lines = self.until(b"\r\n\r\n").decode().split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines[1:])}
        return int(lines[0].split()[1]), headers

    def answer(self, method="GET"):
        status, headers = self.head()
        while status == 100:
            status, headers = self.head()
        body = b""
        if method != "HEAD" and "content-length" in headers:
            body = self.exactly(int(headers["content-length"]))
        return Answer(status, headers, body)

    def ask(self, method, path, body=None, headers=()):
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        lines = [f"{method} {path} HTTP/1.1", "Host: x", *headers]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        self.send("\r\n".join(lines).encode() + b"\r\n\r\n" + (body or b""))
        return self.answer(method)


class Server:
    def __init__(self, *extra, directory=None):
        if not directory:
            directory = tempfile.mkdtemp(prefix="bf-api-")
            # Not at its end: a test may start the next server in the same place.
            atexit.register(shutil.rmtree, directory, ignore_errors=True)
        self.directory = directory
        self.path = os.path.join(self.directory, "api.sock")
        self.log = open(os.path.join(self.directory, "log"), "w+", encoding="utf-8", errors="replace")
        self.process = subprocess.Popen([STUB, self.path, WORLD, *extra], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=self.log, text=True)
        self.ready = self.process.stdout.readline().strip() == "ready"

    def connect(self, timeout=20):
        return Connection(self.path, timeout)

    def ask(self, method, path, body=None, headers=()):
        with self.connect() as connection:
            return connection.ask(method, path, body, headers)

    def output(self):
        self.log.flush()
        with open(self.log.name, encoding="utf-8", errors="replace") as file:
            return file.read()

    def alive(self):
        return self.process.poll() is None and self.ask("GET", "/v1/status").status == 200

    def end(self, signum=signal.SIGTERM):
        """Stop it; returns its exit code, and fails on anything a sanitizer said."""
        if self.process.poll() is None:
            self.process.send_signal(signum)
        code = self.process.wait(60)
        self.process.stdout.close()
        output = self.output()
        self.log.close()
        assert not TROUBLE.search(output), output
        return code
