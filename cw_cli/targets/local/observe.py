"""From what a run folder holds to the values that every target shows: status and facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from cw_cli.core.progress import Observed
from cw_cli.core.status import RoleStatus, RunStatus, State
from cw_cli.core.verdict import Facts
from cw_cli.targets.local.folder import ATTEMPT
from cw_cli.targets.local.store import StoredRun


def status_of(run: StoredRun, status: Mapping[str, Any], observed: Observed) -> RunStatus:
    """The run as the status file and the log tell it."""
    unit = run.unit
    return RunStatus(
        name=run.name,
        framework=unit.get("framework", ""),
        training_type=unit.get("training_type", ""),
        target="local",
        state=State(status.get("state", State.UNKNOWN)),
        reason=status.get("reason", ""),
        user=unit.get("user", ""),
        gpus=sum(len(role["gpu_ids"]) for role in unit.get("roles", ())),
        created=_time(unit.get("created")),
        started=_time(status.get("started")),
        finished=_time(status.get("finished")),
        exit_code=status.get("exit_code"),
        output_dir=unit.get("output_dir"),
        progress=observed.progress,
        outcome=observed.outcome,
        roles=tuple(_role_status(role) for role in status.get("roles", ())),
    )


def facts_of(run: StoredRun, status: Mapping[str, Any], observed: Observed, lines: Sequence[str]) -> Facts:
    """What the verdict is made from."""
    return Facts(
        run=run.name,
        state=State(status.get("state", State.UNKNOWN)),
        reason=status.get("reason", ""),
        detail=status.get("detail", ""),
        exit_code=status.get("exit_code"),
        signal=status.get("signal"),
        progress=observed.progress,
        outcome=observed.outcome,
        preempted=observed.preempted,
        error=observed.error,
        log=_last_attempt(lines),
    )


def _last_attempt(lines: Sequence[str]) -> tuple[str, ...]:
    """What the attempts before said does not explain the last one."""
    start = max((number for number, line in enumerate(lines) if line.startswith(ATTEMPT)), default=-1) + 1
    return tuple(lines[start:])


def _role_status(role: Mapping[str, Any]) -> RoleStatus:
    return RoleStatus(
        role=role["role"],
        state=State(role["state"]),
        reason=role["reason"],
        exit_code=role["exit_code"],
        attempts=role["attempts"],
    )


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
