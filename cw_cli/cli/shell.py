"""`cw shell RUN [-- COMMAND…]`: a terminal, or one command, in a run's container."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cw_cli.cli.options import Context, Namespace, Run

if TYPE_CHECKING:
    from cw_cli.targets.kubernetes.exec import Session

ANY_SHELL = ["/bin/sh", "-c", "command -v bash >/dev/null && exec bash || exec sh"]


def command(
    run: Run,
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[-- COMMAND...]", help="What to run; a shell without it.")
    ] = None,
    context: Context = None,
    namespace: Namespace = None,
) -> None:
    """Open a shell in the container of a run on a cluster, or run a command in it and take over its exit code.

    As in: cw shell RUN -- nvidia-smi
    """
    from cw_cli.cli.cluster import find_cluster_run
    from cw_cli.targets.kubernetes.exec import Session, running_container

    target, name = find_cluster_run(
        run, context, namespace, f"It has no container; cw describe {run} says where it is."
    )
    tty = sys.stdin.isatty() and sys.stdout.isatty()
    container = running_container(target.connection, name, target.pods(name))
    session = Session.start(target.connection, container, words or ANY_SHELL, tty=tty)
    try:
        with _raw_terminal() if tty else nullcontext():
            _talk(session, tty=tty)
    finally:
        session.close()
    raise typer.Exit(session.result())


def _talk(session: Session, *, tty: bool) -> None:
    """Bytes both ways until the command has ended."""
    keyboard: list[int] = [sys.stdin.fileno()]
    size = None
    while True:
        if tty and size != os.get_terminal_size():
            size = os.get_terminal_size()
            session.resize(size.columns, size.lines)
        # A terminal may change its size: look every now and then.
        ready: list[Any] = [session]
        if not session.waiting:
            sources: list[Any] = [session, *keyboard]
            ready = select.select(sources, [], [], 0.5 if tty else None)[0]
        if any(item in keyboard for item in ready):
            if data := os.read(keyboard[0], 65536):
                session.send(data)
            else:
                session.end_input()
                keyboard = []
        if session in ready:
            received = session.receive()
            if received is None:
                return
            _print(*received)


def _print(channel: int, data: bytes) -> None:
    stream = (sys.stdout if channel == 1 else sys.stderr).buffer
    stream.write(data)
    stream.flush()


@contextmanager
def _raw_terminal() -> Iterator[None]:
    """Every key goes to the command, Ctrl-C too; the terminal is as before afterwards."""
    import termios
    import tty

    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setraw(sys.stdin)
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
