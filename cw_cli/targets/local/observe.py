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
        roles=tuple(_role_status(run, replicas) for replicas in _by_role(status)),
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


def _by_role(status: Mapping[str, Any]) -> list[list[Mapping[str, Any]]]:
    """The processes of each role."""
    roles: dict[str, list[Mapping[str, Any]]] = {}
    for process in status.get("roles", ()):
        roles.setdefault(process["role"], []).append(process)
    return list(roles.values())


def _role_status(run: StoredRun, replicas: Sequence[Mapping[str, Any]]) -> RoleStatus:
    """A role is as far as the least of its processes."""
    states = [State(replica["state"]) for replica in replicas]
    order = (State.FAILED, State.PENDING, State.RUNNING, State.SUCCEEDED)
    state = min(states, key=lambda state: order.index(state) if state in order else 0)
    told = next(replica for replica in replicas if replica["state"] == state)
    ready = sum(state is State.RUNNING for state in states)
    count = f"{ready}/{len(states)} ready" if len(states) > 1 and not state.ended else ""
    role = told["role"]
    return RoleStatus(
        role=role,
        state=state,
        reason=", ".join(filter(None, (count, told["reason"] or told.get("trouble", "")))),
        exit_code=told["exit_code"],
        attempts=max(replica["attempts"] for replica in replicas),
        addresses=tuple(
            spec["address"] for spec in run.unit.get("roles", ()) if spec["role"] == role and spec.get("address")
        ),
    )


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
