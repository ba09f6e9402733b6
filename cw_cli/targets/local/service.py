"""A process that answers others until nobody needs it: waited for until it is healthy, started again whenever it ends.
Standard library only."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from cw_cli.targets.local.health import Health
from cw_cli.targets.local.process import NEVER, Process, delay

PROVEN = 60.0
"""Seconds of health after which the end of a service counts as its first one."""


class Service(Process):
    """A process that answers the others. Once it has been healthy it is started again whenever it ends."""

    def __init__(self, spec: dict[str, Any], folder: Path) -> None:
        super().__init__(spec, folder)
        self.health = Health(spec["health"])
        self.was_healthy = False
        self.healthy_since = NEVER
        self.limit_at = self.start_at + spec["start_limit"]
        self.ends_in_a_row = 0
        self.restarting = False
        self.trouble = ""
        """Why it is not healthy, in a few words."""

    @property
    def healthy(self) -> bool:
        return self.state == "Running"

    def start(self) -> None:
        super().start()
        self.state = "Pending"
        self.health.forget(time.monotonic())

    def poll(self, now: float) -> None:
        super().poll(now)
        if self._may_answer and self.state == "Pending":
            self.health.poll(now)
            if not self.ends_in_a_row:  # How it ended tells more than that it does not answer since.
                self.trouble = self.health.trouble or self.trouble
            if self.health.ok:
                self.state, self.was_healthy, self.healthy_since, self.trouble = "Running", True, now, ""
        if not self.was_healthy and not self.ended and now >= self.limit_at:
            self.stop(f"not healthy within {self.spec['start_limit']} s", now)

    def stop(self, reason: str, now: float, state: str = "Failed") -> None:
        self.health.stop()
        super().stop(reason, now, state)

    def restart(self, now: float) -> None:
        """End it and start it anew, at once."""
        if self.process is None:
            self.start_at = now
        elif not self.stopping and not self.restarting:
            self.restarting, self.state = True, "Pending"
            self.health.stop()
            self.ask_to_end("to be started anew", now)

    def due(self) -> float | None:
        health = self.health.due() if self._may_answer else None
        limit = None if self.was_healthy or self.stopping else self.limit_at
        return min((due for due in (super().due(), health, limit) if due is not None), default=None)

    def report(self) -> dict[str, Any]:
        return {**super().report(), "trouble": self.trouble}

    @property
    def _may_answer(self) -> bool:
        return self.process is not None and not self.stopping and not self.restarting

    def _left(self, how: str, now: float) -> None:
        self.health.stop()
        self.state = "Pending"
        if self.restarting:
            self.restarting, self.ends_in_a_row, self.start_at = False, 0, now
            return
        self.trouble = how
        if not self.was_healthy:
            self._end("Failed", "ended before it was healthy")
            return
        self.ends_in_a_row = 1 if now - self.healthy_since >= PROVEN else self.ends_in_a_row + 1
        self.healthy_since = NEVER
        self.start_at = now + delay(self.ends_in_a_row)
