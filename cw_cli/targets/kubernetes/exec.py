"""Commands in a run's container, files through them, and its ports: everything that goes over a WebSocket."""

from __future__ import annotations

import json
import select
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit

from cw_cli.core.exceptions import TargetError
from cw_cli.targets.kubernetes.connection import Connection
from cw_cli.targets.kubernetes.refusals import ApiError

# https://github.com/kubernetes/kubernetes/blob/master/staging/src/k8s.io/apimachinery/pkg/util/remotecommand/constants.go
STDIN, STDOUT, STDERR, ERROR, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
_V5, _V4 = "v5.channel.k8s.io", "v4.channel.k8s.io"
"""Only the newer one, of Kubernetes 1.30, can say that standard input has ended."""

_OPEN_SECONDS = 20.0
_INDEX = "batch.kubernetes.io/job-completion-index"


class Container(NamedTuple):
    """A running container of a run."""

    pod: str
    name: str


def running_container(connection: Connection, run: str, pods: Sequence[Mapping[str, Any]]) -> Container:
    """The trainer's container; of several nodes' the first. Raises `TargetError` when none runs."""
    running = [pod for pod in pods if (pod.get("status") or {}).get("phase") == "Running"]
    if not running:
        where = f"in namespace {connection.namespace}"
        raise TargetError(f"no container of {run} is running {where}", f"cw why {run} says how it is.")
    first = min(running, key=lambda pod: int((pod["metadata"].get("labels") or {}).get(_INDEX, 0)))
    return Container(first["metadata"]["name"], first["spec"]["containers"][0]["name"])


class Session:
    """A command that runs in a container: bytes to it and from it, and how it ended."""

    def __init__(self, socket: Any, where: str) -> None:
        self.socket = socket
        self.where = where
        self.exit_code: int | None = None
        self.error = ""
        """What the server says of a command that could not be started."""

    @classmethod
    def start(cls, connection: Connection, container: Container, command: Sequence[str], *, tty: bool) -> Session:
        """Start a command; raises `ApiError` when that is not allowed."""
        query = [("container", container.name), ("stdin", "true"), ("stdout", "true"), ("tty", str(tty).lower())]
        query += [] if tty else [("stderr", "true")]  # a terminal has one output
        query += [("command", word) for word in command]
        path = connection.path("Pod", container.pod, "exec")
        return cls(open_socket(connection, path, query, (_V5, _V4)), container.pod)

    def fileno(self) -> int:
        """For `select`; ask `readable` first, because TLS may hold bytes back."""
        return int(self.socket.sock.fileno())

    @property
    def waiting(self) -> bool:
        """Whether decrypted bytes wait that `select` does not see."""
        pending = getattr(self.socket.sock, "pending", None)
        return bool(pending and pending())

    def readable(self, seconds: float = 0.0) -> bool:
        return self.waiting or bool(select.select([self], [], [], seconds)[0])

    def send(self, data: bytes) -> None:
        """Bytes to the command's standard input."""
        self._write(bytes([STDIN]) + data)

    def resize(self, columns: int, rows: int) -> None:
        """Tell the command how large its terminal is."""
        self._write(bytes([RESIZE]) + json.dumps({"Width": columns, "Height": rows}).encode())

    def end_input(self) -> None:
        """Nothing more comes on standard input. A server of old cannot be told."""
        if self.socket.getsubprotocol() == _V5:
            self._write(bytes([CLOSE, STDIN]))

    def receive(self) -> tuple[int, bytes] | None:
        """The next bytes and whether they are of STDOUT or STDERR; None when the command has ended.

        Reads one frame, which may hold nothing: to wait for another would keep whoever has something to send.
        """
        import websocket

        try:
            code, frame = self.socket.recv_data_frame(True)
        except (websocket.WebSocketException, OSError) as error:
            if self.exit_code is not None:
                return None
            raise ApiError(f"the connection to {self.where} broke: {error}", reason="broken") from None
        if code == websocket.ABNF.OPCODE_CLOSE:
            return None
        if code not in (websocket.ABNF.OPCODE_BINARY, websocket.ABNF.OPCODE_TEXT) or not frame.data:
            return STDOUT, b""
        channel, data = frame.data[0], bytes(frame.data[1:])
        if channel == ERROR and data:
            self._ended(json.loads(data))
        return (channel, data) if channel in (STDOUT, STDERR) else (STDOUT, b"")

    def result(self) -> int:
        """The exit code of a command that has ended; raises `ApiError` when it never began."""
        if "executable file not found" in self.error:
            raise TargetError(f"the container has no such program: {self.error.rpartition('exec: ')[2]}")
        if self.exit_code is None:
            raise ApiError(self.error or f"the connection to {self.where} ended before the command did")
        return self.exit_code

    def close(self) -> None:
        self.socket.close(timeout=1)

    def _ended(self, status: Mapping[str, Any]) -> None:
        if status.get("status") == "Success":
            self.exit_code = 0
            return
        causes = (status.get("details") or {}).get("causes") or []
        codes = [cause["message"] for cause in causes if cause.get("reason") == "ExitCode"]
        if codes and str(codes[0]).isdigit():
            self.exit_code = int(codes[0])
        self.error = str(status.get("message", ""))

    def _write(self, data: bytes) -> None:
        import websocket

        try:
            self.socket.send(data, opcode=websocket.ABNF.OPCODE_BINARY)
        except (websocket.WebSocketException, OSError) as error:
            raise ApiError(f"the connection to {self.where} broke: {error}", reason="broken") from None


def open_socket(connection: Connection, path: str, query: Sequence[tuple[str, str]], protocols: Sequence[str]) -> Any:
    """A WebSocket to the API server, with the connection's own credentials and certificates; raises `ApiError`."""
    import websocket

    access = connection.access
    credentials = access.credentials()
    address = urlsplit(access.server)
    secure = address.scheme == "https"
    url = f"{'wss' if secure else 'ws'}://{address.netloc}{address.path}{path}?{urlencode(query)}"
    tls: dict[str, Any] = {"context": access.tls(credentials)} if secure else {}
    if name := access.cluster.get("tls-server-name"):
        tls["server_hostname"] = name
    proxy = urlsplit(access.cluster.get("proxy-url") or "")
    header = [f"Authorization: {credentials.authorization}"] if credentials.authorization else []
    how: dict[str, Any] = {"http_proxy_host": proxy.hostname, "http_proxy_port": proxy.port} if proxy.hostname else {}
    socket: Any = websocket.WebSocket(sslopt=tls, skip_utf8_validation=True)
    socket.settimeout(_OPEN_SECONDS)
    try:
        socket.connect(url, header=header, subprotocols=list(protocols), **how)
    except websocket.WebSocketBadStatusException as error:
        raise _refused(connection, error) from None
    except (websocket.WebSocketException, OSError) as error:
        raise ApiError(f"{access.server} cannot be reached: {error}", reason="unreachable") from None
    socket.settimeout(None)  # a command may be silent for as long as it likes; TCP itself finds a dead connection
    return socket


def _refused(connection: Connection, error: Any) -> ApiError:
    """The server's own words about a WebSocket that it does not open."""
    try:
        message = json.loads(error.resp_body)["message"]
    except (ValueError, KeyError, TypeError):
        message = str(error)
    if error.status_code == 403:
        hint = f"Ask the cluster's administrator; cw rbac prints all that cw needs in namespace {connection.namespace}."
        return ApiError(f"context {connection.context} may not do this: {message}", hint, status=403)
    return ApiError(message, status=error.status_code)


def forward(connection: Connection, pod: str, port: int) -> Any:
    """One connection to a port of a pod: the official client's `PortForward`; raises `ApiError`."""
    from kubernetes.stream.ws_client import PortForward

    query = [("ports", str(port))]
    return PortForward(open_socket(connection, connection.path("Pod", pod, "portforward"), query, (_V4,)), [port])
