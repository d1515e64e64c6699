# SPDX-License-Identifier: Apache-2.0
"""Between the service and a cloud's API: passes everything on, and does harm where a test asks for it.

What is behind it is the real cloud: the proxy adds the moment (just before or after a call that the
test names) and the answers that a healthy service never gives.
"""
import http.client
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

SERVICES = {"volume": "volumev3", "compute": "compute", "network": "network"}
ALWAYS = 1 << 30


class Rule:
    """What happens to calls that match: `count` times, then no more.  An action is given the handler."""

    def __init__(self, method, pattern, action, count):
        self.method = method
        self.pattern = re.compile(pattern)
        self.action = action
        self.left = count
        self.hits = 0
        self.hit = threading.Event()  # the action has ended

    def take(self, method, path):
        if self.left <= 0 or self.method not in (method, None) or not self.pattern.search(path):
            return False
        self.left -= 1
        self.hits += 1
        return True


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def forward(self, path=None):
        """Status, headers and body of the real service."""
        real = http.client.HTTPConnection(self.server.real, timeout=120)
        try:
            headers = {k: v for k, v in self.headers.items() if k.lower() not in ("host", "connection")}
            real.request(self.command, path or self.path, self.body, headers)
            answer = real.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            real.close()

    def reply(self, status, headers, body, length=None):
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in ("connection", "content-length", "transfer-encoding", "date", "server"):
                self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def handle_any(self):
        length = int(self.headers.get("Content-Length") or 0)
        self.body = self.rfile.read(length) if length else None
        proxy = self.server.proxy
        proxy.seen.append((self.command, self.path, self.headers.get("X-Auth-Token", "")))
        rule = next((one for one in proxy.rules if one.take(self.command, self.path)), None)
        try:
            if rule:
                try:
                    rule.action(self)
                finally:
                    rule.hit.set()
            else:
                self.reply(*self.forward())
        except OSError:  # nobody there, or nobody listens any more
            self.close_connection = True

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = handle_any


class Proxy:
    """Before the services of `urls`: {name: URL}; `endpoints` has the names, and URLs of its own."""

    def __init__(self, urls):
        self.rules = []
        self.seen = []  # (method, path, token)
        self.servers = []
        self.endpoints = {}
        for name, text in urls.items():
            url = urlsplit(text)
            server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
            server.daemon_threads = True
            server.real = url.netloc
            server.proxy = self
            threading.Thread(target=server.serve_forever, daemon=True).start()
            self.servers.append(server)
            self.endpoints[name] = f"http://127.0.0.1:{server.server_port}{url.path}"

    @classmethod
    def of(cls, cloud):
        """Before all that a session of lab.Cloud has in its catalogue, by the names of our options."""
        return cls({ours: cloud.urls[theirs] for ours, theirs in SERVICES.items()})

    def rule(self, method, pattern, action, count=1):
        """method None: any.  The first rule that matches is taken."""
        one = Rule(method, pattern, action, count)
        self.rules.append(one)
        return one

    def calm(self):
        self.rules.clear()
        self.seen.clear()

    def close(self):
        for server in self.servers:
            server.shutdown()
            server.server_close()


# --- actions: the moment ---

def before(harm):
    def act(handler):
        harm()
        handler.reply(*handler.forward())
    return act


def after(harm):
    """The call is done, its answer comes when the harm is done, too."""
    def act(handler):
        answer = handler.forward()
        harm()
        handler.reply(*answer)
    return act


def hold(event):
    """The call is not passed on before the event is set."""
    return before(lambda: event.wait(60))


# --- actions: answers that a healthy service never gives; what was asked for is done all the same ---

def truncated(handler):
    status, headers, body = handler.forward()
    handler.reply(status, headers, body[:len(body) // 2], len(body))
    handler.close_connection = True


def not_json(handler):
    handler.forward()
    handler.reply(200, [("Content-Type", "text/html")], b"<html><body>It works!</body></html>")


def huge(handler):
    """50 MiB, or as much of it as is read."""
    handler.forward()
    handler.reply(200, [("Content-Type", "application/json")], b"", 50 << 20)
    for _ in range(50):
        handler.wfile.write(b"[" * (1 << 20))
    handler.close_connection = True


def changed(change):
    """What change() makes of the answer's JSON; an answer that it is not for stays as it is."""
    def act(handler):
        status, headers, body = handler.forward()
        if body and status < 300:
            value = json.loads(body)
            change(value)
            body = json.dumps(value).encode()
        handler.reply(status, headers, body)
    return act


def no_answer(handler):
    handler.forward()
    handler.close_connection = True


# --- actions: not passed on ---

def hung_up(handler):
    handler.close_connection = True


def answer(status, body=b""):
    return lambda handler: handler.reply(status, [], body)
