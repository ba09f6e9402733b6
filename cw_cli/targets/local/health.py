"""Whether a service answers: asked over its own URL again and again, and never waited for. Standard library only.

No threads: processes are started beside this with `preexec_fn`, which is not safe among them.
"""

from __future__ import annotations

import errno
import os
import socket
from urllib.parse import urlsplit

BETWEEN_QUESTIONS = 0.25
PATIENCE = 5.0
"""Seconds until an answer that does not come is asked for anew."""
_LONGEST_LINE = 4096
_NEVER = float("inf")


class Health:
    """The health of one service. Times are of the monotonic clock.

    `url` is `http://host:port/path`, whose answer has to be a good one, or `tcp://host:port`, where a connection is
    enough, as it is for https. Without a URL the service is taken as healthy at once.
    """

    def __init__(self, url: str | None) -> None:
        self.url = url
        self.ok = url is None
        self.trouble = ""
        """What is wrong, in a few words."""
        self.socket: socket.socket | None = None
        self.asked = False
        self.answer = b""
        self.ask_at = 0.0
        self.give_up_at = 0.0

    def forget(self, now: float) -> None:
        """A new process is to answer."""
        self._close()
        self.ok, self.trouble = self.url is None, ""
        self.ask_at = now

    def poll(self, now: float) -> None:
        """Ask, or take up what was answered."""
        if self.ok or now < self.ask_at:
            return
        if self.socket is None:
            self._connect(now)
        try:
            self._go_on(now)
        except BlockingIOError:
            pass
        except OSError as error:
            self._conclude(now, os.strerror(error.errno) if error.errno else str(error))
        if self.socket is not None and now >= self.give_up_at:
            self._conclude(now, "it does not answer")

    def due(self) -> float | None:
        """When `poll` has to look again though nothing happens."""
        if self.ok or self.ask_at == _NEVER:
            return None
        return self.ask_at if self.socket is None else self.give_up_at

    @property
    def reading(self) -> list[socket.socket]:
        """What to wait for until there is something to read."""
        return [self.socket] if self.socket is not None and self.asked else []

    @property
    def connecting(self) -> list[socket.socket]:
        """What to wait for until it can be written to."""
        return [self.socket] if self.socket is not None and not self.asked else []

    def stop(self) -> None:
        """Ask no more."""
        self._close()
        self.ask_at = _NEVER

    def _connect(self, now: float) -> None:
        parts = urlsplit(self.url or "")
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.asked, self.answer, self.give_up_at = False, b"", now + PATIENCE
        self.socket.connect_ex((parts.hostname, parts.port))

    def _go_on(self, now: float) -> None:
        assert self.socket is not None
        if not self.asked:
            if failed := self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                raise OSError(failed, os.strerror(failed))
            try:
                self.socket.getpeername()
            except OSError as error:
                if error.errno == errno.ENOTCONN:  # Not yet.
                    return
                raise
            parts = urlsplit(self.url or "")
            if parts.scheme != "http":
                self._conclude(now, "")
                return
            path = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
            self.socket.send(f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n\r\n".encode())
            self.asked = True
        self._hear(now)

    def _hear(self, now: float) -> None:
        assert self.socket is not None
        block = self.socket.recv(_LONGEST_LINE)
        self.answer += block
        if b"\n" not in self.answer and block and len(self.answer) < _LONGEST_LINE:
            return
        version, _, status = self.answer.partition(b"\n")[0].decode("latin-1").strip().partition(" ")
        code = status[:3]
        if not version.startswith("HTTP/") or not code.isdigit():
            self._conclude(now, "it does not speak HTTP" if self.answer else "it closed the connection")
        else:
            # As a kubelet sees it.
            self._conclude(now, "" if 200 <= int(code) < 400 else f"it answers {status}")

    def _conclude(self, now: float, trouble: str) -> None:
        self._close()
        self.ok, self.trouble = not trouble, trouble
        self.ask_at = now + BETWEEN_QUESTIONS

    def _close(self) -> None:
        if self.socket is not None:
            self.socket.close()
            self.socket = None
