"""A proxy before the API server that does, at a chosen request, what goes wrong in life."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import urllib3

from cw_cli.targets.kubernetes.kubeconfig import Access

FOREVER = 1_000_000
REASONS = {409: "Conflict", 410: "Gone", 429: "TooManyRequests", 500: "InternalError", 503: "ServiceUnavailable"}


class Fault(NamedTuple):
    """What happens to requests number `first` to `first + times - 1`; the first request is number 0.

    `what` is an HTTP status, `reset`, `kill` (of the client), `hang` (for `seconds`, and then the request arrives after
    all) or `cut` (in the middle of the answer). `after`: the API server has done as it was told already.
    """

    what: int | str
    first: int
    after: bool = False
    times: int = 1
    seconds: float = 0

    def hits(self, number: int) -> bool:
        return self.first <= number < self.first + self.times


class Chaos:
    """The proxy. `seen` holds method and path of each request."""

    def __init__(self, upstream: Access) -> None:
        self.credentials = upstream.credentials()
        self.upstream = upstream
        self.pool = urllib3.PoolManager(ssl_context=upstream.tls(self.credentials), maxsize=32)
        self.fault: Fault | None = None
        self.faults: Callable[[int, str], Fault | None] | None = None
        """What happens to a request of this number and path, where that is not one fault."""
        self.victim: subprocess.Popen[str] | None = None
        self.seen: list[tuple[str, str]] = []
        self.lock = threading.Lock()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def access(self, namespace: str) -> Access:
        """The cluster as the proxy shows it."""
        return Access("chaos", namespace, self.url, {}, {})

    def kubeconfig(self, folder: Path, namespace: str) -> Path:
        """A kubeconfig that leads to the proxy."""
        path = folder / "chaos.kubeconfig"
        content = {
            "current-context": "chaos",
            "contexts": [{"name": "chaos", "context": {"cluster": "chaos", "namespace": namespace}}],
            "clusters": [{"name": "chaos", "cluster": {"server": self.url}}],
        }
        path.write_text(json.dumps(content))
        return path

    def arrive(self, method: str, path: str) -> Fault | None:
        """Count a request and say what happens to it."""
        with self.lock:
            number = len(self.seen)
            self.seen.append((method, path))
        if self.faults is not None:
            return self.faults(number, path)
        return self.fault if self.fault and self.fault.hits(number) else None

    def forward(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Any:
        kept = {name: headers[name] for name in ("Accept", "Content-Type") if name in headers}
        if self.credentials.authorization:
            kept["Authorization"] = self.credentials.authorization
        url = self.upstream.server + path
        return self.pool.request(method, url, body=body, headers=kept, retries=False, preload_content=False)


@contextmanager
def chaos(upstream: Access) -> Iterator[Chaos]:
    """A proxy for as long as the block lasts."""
    proxy = Chaos(upstream)
    thread = threading.Thread(target=proxy.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.server.shutdown()
        proxy.server.server_close()
        proxy.pool.clear()
        thread.join()


def _handler(proxy: Chaos) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length) if length else None
            fault = proxy.arrive(self.command, self.path)
            if fault and fault.what == "hang":
                time.sleep(fault.seconds)
            elif fault and not fault.after and fault.what != "cut":
                return self.fail(fault)
            answer = proxy.forward(self.command, self.path, body, dict(self.headers))
            try:
                if fault and fault.what not in ("cut", "hang"):
                    answer.read()
                    return self.fail(fault)
                return self.pass_on(answer, cut=bool(fault and fault.what == "cut"))
            finally:
                answer.release_conn()

        do_GET = do_POST = do_PATCH = do_DELETE = handle_any  # noqa: N815

        def fail(self, fault: Fault) -> None:
            if fault.what == "kill":
                assert proxy.victim is not None
                proxy.victim.kill()
                proxy.victim.wait()
            if isinstance(fault.what, str):
                return self.drop()
            text = json.dumps({"kind": "Status", "message": "chaos", "reason": REASONS[fault.what]}).encode()
            self.send_response(fault.what)
            if fault.what == 429:
                self.send_header("Retry-After", "1")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)
            return None

        def drop(self) -> None:
            """End the connection as a crash would: with a reset."""
            self.close_connection = True
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            self.connection.close()

        def pass_on(self, answer: Any, *, cut: bool) -> None:
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.headers.get("Content-Type", ""))
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for piece in answer.stream(65536):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                self.wfile.flush()
                if cut:
                    return self.drop()
            self.wfile.write(b"0\r\n\r\n")
            return None

        def handle(self) -> None:
            try:
                super().handle()
            except (OSError, ValueError):  # the client is gone
                self.close_connection = True

        def finish(self) -> None:
            with suppress(OSError, ValueError):
                super().finish()

        def log_message(self, *_: Any) -> None:
            """Tests say what they need."""

    return Handler
