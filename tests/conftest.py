"""What holds for every test."""

from __future__ import annotations

import signal


def pytest_configure() -> None:
    """Signals as in a terminal: a runner in the background is started with some of them ignored, and so would be
    every program that a test starts and interrupts."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
