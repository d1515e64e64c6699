# SPDX-License-Identifier: Apache-2.0
"""A proxy before one service of the lab that can answer wrongly: what the real service cannot be made to do."""
import http.client
import http.server
import threading
import urllib.parse


class Proxy:
    """Passes all on to `url`, but what `fault` (a function of method and path) answers itself.

    A fault returns None, or a function that is given the handler and the real answer's body.
    """

    def __init__(self, url):
        self.target = urllib.parse.urlsplit(url)
        self.fault = lambda method, path: None
        self.seen = []
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args):  # pylint: disable=arguments-differ
                pass

            def serve(self):
                proxy.seen.append((self.command, self.path))
                fault = proxy.fault(self.command, self.path)
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if fault and not getattr(fault, "behind", False):
                    fault(self)
                    return
                status, headers, answer = proxy.forward(self.command, self.path, body, self.headers)
                if fault:
                    fault(self, answer)
                    return
                self.send(status, answer, headers)

            def send(self, status, answer, headers=()):
                self.send_response(status)
                for name, value in headers:
                    if name.lower() not in ("content-length", "connection", "transfer-encoding"):
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            do_GET = do_POST = do_PUT = do_DELETE = serve

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}{self.target.path}"

    def forward(self, method, path, body, headers):
        connection = http.client.HTTPConnection(self.target.hostname, self.target.port, timeout=60)
        try:
            connection.request(method, path, body or None,
                               {k: v for k, v in headers.items() if k.lower() not in ("host", "connection")})
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def behind(function):
    """A fault that happens after the service did what it was asked."""
    function.behind = True
    return function


def not_json(handler):
    handler.send(200, b"<html>Welcome to the captive portal</html>", [("Content-Type", "application/json")])


def huge(handler):
    handler.send_response(200)
    handler.send_header("Content-Length", str(50 << 20))
    handler.end_headers()
    try:
        for _ in range(50):
            handler.wfile.write(b"[" * (1 << 20))
    except OSError:
        pass
    handler.close_connection = True


@behind
def truncated(handler, answer):
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(answer) + 10))
    handler.end_headers()
    handler.wfile.write(answer[:len(answer) // 2])
    handler.close_connection = True


def hung_up(handler):
    handler.close_connection = True


@behind
def hung_up_behind(handler, _answer):
    handler.close_connection = True


def status(code, body=b""):
    def fault(handler):
        handler.send(code, body)
    return fault
