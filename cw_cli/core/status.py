"""What a run is doing, in one shape for every target."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import NamedTuple


class State(StrEnum):
    """Kubernetes' own words for how far a run is."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    UNKNOWN = "Unknown"

    @property
    def ended(self) -> bool:
        return self in (State.SUCCEEDED, State.FAILED)


class Progress(NamedTuple):
    """How far the training is, read from the trainer's own progress lines.

    Losses are in nats per token, rates in tokens per second, `eta` in seconds, memory in bytes.
    """

    step: int
    total: int | None = None
    loss: float | None = None
    first_loss: float | None = None
    learning_rate: float | None = None
    tokens_per_second: float | None = None
    eta: float | None = None
    memory: int | None = None
    reward: float | None = None
    """What reinforcement learning is about: the mean score of the completions."""

    @property
    def fraction(self) -> float | None:
        return self.step / self.total if self.total else None


class Outcome(NamedTuple):
    """What a finished training left behind, as the trainer reported it; paths are as the user can open them."""

    first_loss: float | None = None
    last_loss: float | None = None
    model: str | None = None
    metrics: str | None = None
    plot: str | None = None
    steps: int | None = None
    seconds: float | None = None
    first_reward: float | None = None
    last_reward: float | None = None

    @property
    def headline(self) -> tuple[str, float | None, float | None] | None:
        """What the run was about, at first and at last: the reward where there is one, else the loss. An evaluation
        has only the last."""
        if self.first_reward is not None or self.last_reward is not None:
            return "reward", self.first_reward, self.last_reward
        return ("loss", self.first_loss, self.last_loss) if self.first_loss is not None else None


class RoleStatus(NamedTuple):
    """The state of one role of a run; `reason` is one word or short phrase, as in `OOMKilled` or `cancelled`."""

    role: str
    state: State
    reason: str = ""
    exit_code: int | None = None
    attempts: int = 1
    addresses: tuple[str, ...] = ()
    """Where a service can be reached from here, a place for each replica."""


class RunStatus(NamedTuple):
    """Everything that is known about one run; times are in UTC, `output_dir` as the user can open it."""

    name: str
    framework: str
    training_type: str
    target: str
    state: State
    reason: str = ""
    user: str = ""
    gpus: int = 0
    created: datetime | None = None
    started: datetime | None = None
    finished: datetime | None = None
    exit_code: int | None = None
    output_dir: str | None = None
    progress: Progress | None = None
    outcome: Outcome | None = None
    roles: tuple[RoleStatus, ...] = ()
