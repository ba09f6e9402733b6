"""`cw port-forward RUN PORT[:LOCAL]`: a port of a run's container, on this machine."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cw_cli.cli.errors import echo, say
from cw_cli.cli.options import Context, Namespace, Run
from cw_cli.core.exceptions import CwError, TargetError, UsageError

if TYPE_CHECKING:
    from cw_cli.targets.kubernetes.connection import Connection


def command(
    run: Run,
    port: Annotated[str, typer.Argument(metavar="PORT[:LOCAL]", help="The container's port, and the one here.")],
    context: Context = None,
    namespace: Namespace = None,
) -> None:
    """Reach a port of a run's container at localhost, until Ctrl-C: cw port-forward RUN 6006

    LOCAL is the same port unless you write another; 0 takes any that is free. The address is printed.
    """
    from cw_cli.cli.cluster import find_cluster_run
    from cw_cli.targets.kubernetes.exec import running_container

    remote, here = _ports(port)
    target, name = find_cluster_run(run, context, namespace, f"Its ports are this machine's: use localhost:{remote}.")
    pod = running_container(target.connection, name, target.pods(name)).pod
    with _listener(here) as listener:
        typer.echo(f"localhost:{listener.getsockname()[1]}")
        say("forwarding", f"to port {remote} of {pod}; Ctrl-C ends it", "green")
        try:
            while True:
                client, _ = listener.accept()
                threading.Thread(target=_serve, args=(target.connection, pod, remote, client), daemon=True).start()
        except KeyboardInterrupt:
            echo("")


def _ports(text: str) -> tuple[int, int]:
    remote, _, here = text.partition(":")
    try:
        ports = int(remote), int(here or remote)
    except ValueError:
        ports = (0, 0)
    if not (0 < ports[0] < 65536 and 0 <= ports[1] < 65536):
        raise UsageError(f"{text} is not a port", "Write the container's port, as in 6006, or 6006:16006.")
    return ports


def _listener(port: int) -> socket.socket:
    try:
        return socket.create_server(("127.0.0.1", port))
    except OSError as error:
        message = f"port {port} of this machine cannot be had: {error.strerror}"
        raise TargetError(message, "Choose another one after the colon, as in 6006:16006.") from None


def _serve(connection: Connection, pod: str, port: int, client: socket.socket) -> None:
    """One connection of a client here; it has a WebSocket of its own."""
    from cw_cli.targets.kubernetes.exec import forward

    with client:
        try:
            forwarded = forward(connection, pod, port)
        except CwError as error:
            say("error", error.message, "red")
            return
        there: Any = forwarded.socket(port)
        back = threading.Thread(target=_copy, args=(there, client), daemon=True)
        back.start()
        _copy(client, there)
        back.join()
        there.close()
        if forwarded.error(port):
            say("error", f"port {port} of {pod}: {forwarded.error(port).strip()}", "red")


def _copy(source: Any, sink: Any) -> None:
    """Bytes until the source ends or either side is gone."""
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        return
