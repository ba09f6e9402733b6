"""Asking a service whether it can work: every kind of answer, and none."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from cw_cli.targets.local import health as asking
from cw_cli.targets.local.health import Health

from .machines import LIMIT


@contextmanager
def answering(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that gives every connection this answer; its `host:port`."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    answer(connection)

        threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)


def asked(url: str) -> Health:
    """The health after one question, never having waited for anything but `select`."""
    health, end = Health(url), time.monotonic() + LIMIT
    while not health.ok and not health.trouble:
        health.poll(time.monotonic())
        if health.reading or health.connecting:
            select.select(health.reading, health.connecting, [], 1.0)
        assert time.monotonic() < end
    assert health.socket is None
    return health


def says(*parts: bytes) -> Callable[[socket.socket], None]:
    def answer(connection: socket.socket) -> None:
        connection.recv(4096)
        for part in parts:
            connection.sendall(part)
            time.sleep(0.05)

    return answer


@pytest.mark.parametrize(
    ("answer", "trouble"),
    [
        ((b"HTTP/1.1 200 OK\r\n\r\n",), ""),
        ((b"HTTP/1.0 20", b"4 No Content\r\n", b"\r\n"), ""),
        ((b"HTTP/1.1 302 Found\r\n\r\n",), ""),
        ((b"HTTP/1.1 503 Service Unavailable\r\n\r\nmodel",), "it answers 503 Service Unavailable"),
        ((b"HTTP/1.1 404\r\n\r\n",), "it answers 404"),
        ((b"SSH-2.0-OpenSSH\r\n",), "it does not speak HTTP"),
        ((b"HTTP/1.1 200",), ""),
        ((), "it closed the connection"),
    ],
)
def test_answers(answer: tuple[bytes, ...], trouble: str) -> None:
    with answering(says(*answer)) as address:
        health = asked(f"http://{address}/health")
    assert (health.ok, health.trouble) == (not trouble, trouble)


def test_the_question() -> None:
    heard: list[bytes] = []

    def answer(connection: socket.socket) -> None:
        heard.append(connection.recv(4096))
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")

    with answering(answer) as address:
        assert asked(f"http://{address}/health?deep=1").ok
    assert heard == [f"GET /health?deep=1 HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n".encode()]


def test_nobody_there() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/"
        assert asked(url).trouble == "Connection refused"


def test_a_connection_may_be_enough() -> None:
    with answering(says()) as address:
        assert asked(f"tcp://{address}").ok
        assert asked(f"https://{address}/health").ok


def test_silence_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "PATIENCE", 0.2)
    done = threading.Event()
    with answering(lambda _: bool(done.wait(LIMIT)) and None) as address:
        health = asked(f"http://{address}/")
        done.set()
    assert health.trouble == "it does not answer"
    assert health.due() is not None


def test_an_endless_answer_is_cut() -> None:
    def flood(connection: socket.socket) -> None:
        connection.recv(4096)
        try:
            while True:
                connection.sendall(b"x" * 65536)
        except OSError:
            pass

    with answering(flood) as address:
        assert asked(f"http://{address}/").trouble == "it does not speak HTTP"


def test_without_a_url_it_is_healthy() -> None:
    health = Health(None)
    assert health.ok and health.due() is None


def test_a_new_process_has_to_answer_again() -> None:
    with answering(says(b"HTTP/1.1 200 OK\r\n\r\n")) as address:
        health = asked(f"http://{address}/")
    health.forget(5.0)
    assert not health.ok and health.due() == 5.0
    health.stop()
    assert health.due() is None
