"""The trainer's machine-readable lines: `::cw:: ` and one JSON object each, read into typed events and folded into
what is known of the training."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from cw_cli.core.status import Outcome, Progress

PREFIX = "::cw:: "


class Started(NamedTuple):
    """The first step is about to be taken; `step` is above 0 when the training goes on from a checkpoint."""

    total: int | None = None
    resumed_from: str | None = None
    step: int = 0


class StepTaken(NamedTuple):
    """One logged step; the units are those of `Progress`."""

    step: int
    total: int | None = None
    epoch: float | None = None
    loss: float | None = None
    learning_rate: float | None = None
    tokens_per_second: float | None = None
    eta: float | None = None
    memory: int | None = None
    reward: float | None = None


class CheckpointSaved(NamedTuple):
    """A whole checkpoint is on disk."""

    path: str | None = None
    step: int | None = None


class Preempted(NamedTuple):
    """The trainer was asked to stop, saved what it had and leaves."""

    path: str | None = None
    step: int | None = None


class Done(NamedTuple):
    """The training is complete and its results are on disk."""

    outcome: Outcome


class Broken(NamedTuple):
    """The trainer gave up and says why."""

    error: str


Event = Started | StepTaken | CheckpointSaved | Preempted | Done | Broken


class Observed(NamedTuple):
    """What a trainer's events add up to so far."""

    progress: Progress | None = None
    outcome: Outcome | None = None
    checkpoint: str | None = None
    preempted: bool = False
    error: str | None = None

    def after(self, event: Event) -> Observed:
        match event:
            case Started():
                return self._after_start(event)
            case StepTaken():
                return self._replace(progress=self._after_step(event))
            case CheckpointSaved():
                return self._at(event.step)._replace(checkpoint=event.path or self.checkpoint)
            case Preempted():
                return self._at(event.step)._replace(preempted=True, checkpoint=event.path or self.checkpoint)
            case Done():
                return self._replace(outcome=event.outcome, progress=self._after_done(event.outcome))
            case Broken():
                return self._replace(error=event.error)

    def _at(self, step: int | None) -> Observed:
        """Steps between two logged ones show only in what is saved there."""
        if self.progress is None or step is None or step <= self.progress.step:
            return self
        return self._replace(progress=self.progress._replace(step=step))

    def _after_start(self, event: Started) -> Observed:
        """A second attempt forgets how the one before ended, and its first loss too unless it goes on from there."""
        first_loss = self.progress.first_loss if self.progress and event.step else None
        progress = Progress(step=event.step, total=event.total, first_loss=first_loss)
        return Observed(progress=progress, checkpoint=event.resumed_from)

    def _after_step(self, event: StepTaken) -> Progress:
        before = self.progress or Progress(step=0)
        return Progress(
            step=event.step,
            total=event.total if event.total is not None else before.total,
            loss=event.loss if event.loss is not None else before.loss,
            first_loss=before.first_loss if before.first_loss is not None else event.loss,
            learning_rate=event.learning_rate,
            tokens_per_second=event.tokens_per_second,
            eta=event.eta,
            memory=event.memory,
            reward=event.reward if event.reward is not None else before.reward,
        )

    def _after_done(self, outcome: Outcome) -> Progress | None:
        if outcome.steps is None:
            return self.progress
        before = self.progress or Progress(step=outcome.steps)
        loss = outcome.last_loss if outcome.last_loss is not None else before.loss
        reward = outcome.last_reward if outcome.last_reward is not None else before.reward
        total = before.total or outcome.steps
        return before._replace(step=outcome.steps, total=total, loss=loss, reward=reward, eta=0.0)


def observe(lines: Iterable[str], before: Observed | None = None) -> Observed:
    """Everything that `lines` tell, on top of what was known `before`."""
    observed = before or Observed()
    for line in lines:
        event = parse_line(line)
        if event is not None:
            observed = observed.after(event)
    return observed


def parse_line(line: str) -> Event | None:
    """The event that a log line tells, or None. A progress bar without a line end may stand before the prefix."""
    start = line.find(PREFIX)
    if start < 0:
        return None
    try:
        data, _ = json.JSONDecoder().raw_decode(line, start + len(PREFIX))
    except (ValueError, RecursionError):
        return None
    return _event(data) if isinstance(data, dict) else None


def _event(data: Mapping[str, Any]) -> Event | None:
    step = _whole(data.get("step"))
    match data.get("event"):
        case None if step is not None:
            return StepTaken(
                step=step,
                total=_whole(data.get("total")),
                epoch=_number(data.get("epoch")),
                loss=_number(data.get("loss")),
                learning_rate=_number(data.get("lr")),
                tokens_per_second=_number(data.get("tokens_per_second")),
                eta=_number(data.get("eta_s")),
                memory=_whole(data.get("memory_bytes")),
                reward=_number(data.get("reward")),
            )
        case "start":
            return Started(_whole(data.get("total")), _text(data.get("resumed_from")), step or 0)
        case "checkpoint":
            return CheckpointSaved(_text(data.get("path")), step)
        case "preempted":
            return Preempted(_text(data.get("path")), step)
        case "done":
            return Done(_outcome(data))
        case "failed":
            return Broken(_text(data.get("error")) or "no reason given")
        case _:
            return None


def _outcome(data: Mapping[str, Any]) -> Outcome:
    return Outcome(
        first_loss=_number(data.get("first_loss")),
        last_loss=_number(data.get("last_loss")),
        model=_text(data.get("model")),
        metrics=_text(data.get("metrics")),
        plot=_text(data.get("plot")),
        steps=_whole(data.get("steps")),
        seconds=_number(data.get("seconds")),
        first_reward=_number(data.get("first_reward")),
        last_reward=_number(data.get("last_reward")),
    )


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def _whole(value: object) -> int | None:
    number = _number(value)
    return int(number) if number is not None and math.isfinite(number) else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
