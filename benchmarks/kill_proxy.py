"""A proxy before a Prefect server, at which calls can be held and dropped."""

from __future__ import annotations

import contextlib
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import urllib3

from benchmarks.kill_gates import Dropped, Gates

HOP_BY_HOP = frozenset(
    {"connection", "content-length", "date", "host", "keep-alive", "server", "transfer-encoding"}
)


class PrefectProxy(ThreadingHTTPServer):
    """Hands all calls on, and lets WebSockets through untouched."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, target: str, gates: Gates) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.gates = gates
        self.target = urlsplit(target)
        self.pool = urllib3.PoolManager(maxsize=32)

    @property
    def url(self) -> str:
        """The API's address here."""
        return f"http://127.0.0.1:{self.server_address[1]}{self.target.path}"

    def __enter__(self) -> PrefectProxy:
        threading.Thread(target=self.serve_forever, args=[0.05], daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, *_: Any) -> None:
        """Say nothing of connections that the killed have left."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: PrefectProxy

    def _serve(self) -> None:
        if self.headers.get("Upgrade"):
            self._tunnel()
            return
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        text = f"{self.command} {urlsplit(self.path).path} {body.decode(errors='replace')}"
        text = text.replace(self.server.target.path, "", 1)
        try:
            answer = self.server.gates.run(text, lambda: self._ask(body))
        except (Dropped, urllib3.exceptions.HTTPError):
            self.close_connection = True
            return
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            if name.lower() not in HOP_BY_HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.data)))
        self.end_headers()
        self.wfile.write(answer.data)

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _serve

    def _ask(self, body: bytes) -> urllib3.BaseHTTPResponse:
        headers = {k: v for k, v in self.headers.items() if k.lower() not in HOP_BY_HOP}
        url = f"http://{self.server.target.netloc}{self.path}"
        return self.server.pool.request(
            self.command, url, body=body, headers=headers, retries=False, decode_content=False
        )

    def _tunnel(self) -> None:
        target = self.server.target
        with socket.create_connection((target.hostname, target.port)) as there:
            lines = [self.requestline, *(f"{k}: {v}" for k, v in self.headers.items())]
            there.sendall("\r\n".join([*lines, "", ""]).encode())
            back = threading.Thread(target=_pump, args=[there, self.connection], daemon=True)
            back.start()
            _pump(self.connection, there)
            back.join()
        self.close_connection = True

    def log_message(self, *_: Any) -> None:
        pass


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    for end in (source, sink):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
