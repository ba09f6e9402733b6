"""The words to a run's guard: that the trainer starts, and that its services are not needed any more."""

from __future__ import annotations

import os
import socket

TIMEOUT = 5.0
NAMES_OF_A_CLUSTER = "kubernetes.default.svc"
"""A name that every pod can look up, as long as names can be looked up at all."""


def guard_is_gone() -> bool:
    """Whether there was a guard and its name is gone, and not just the service that knows names."""
    host = os.environ.get("CW_GUARD", "").partition(":")[0]
    return bool(host) and not _known(host) and _known(NAMES_OF_A_CLUSTER)


def _known(host: str) -> bool:
    try:
        socket.getaddrinfo(host, None)
    except OSError:
        return False
    return True


def tell_guard(word: str) -> None:
    """Tell the run's guard that the trainer has `started`, or that it has `ended` and nothing more will come, so that
    the services are freed at once. Without `CW_GUARD` (`host:port`) there is none.

    It finds out by itself too, a little later, so a guard that cannot be reached is no failure.
    """
    host, _, port = os.environ.get("CW_GUARD", "").partition(":")
    if host:
        try:
            with socket.create_connection((host, int(port)), TIMEOUT) as connection:
                connection.sendall(f"{word}\n".encode())
        except OSError as error:
            print(f"the guard {host} does not answer: {error}", flush=True)
