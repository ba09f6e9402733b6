"""What the cluster's objects say of a run: pure functions from Jobs, pods and records to a `RunStatus`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from cw_cli.core.names import FRAMEWORK, OUTPUT, RUN, TYPE, USER
from cw_cli.core.progress import Observed
from cw_cli.core.resources import GPU_RESOURCE
from cw_cli.core.status import RoleStatus, RunStatus, State

CANCELLED = "cw.dev/cancelled"
"""Annotation on a Job that `cw cancel` stopped."""


def job_state(job: Mapping[str, Any]) -> tuple[State, str]:
    """State and reason of a Job by its own words; a live one that has no ready pod is Pending."""
    status = job.get("status") or {}
    annotations = job["metadata"].get("annotations") or {}
    for condition in status.get("conditions") or []:
        if condition.get("status") != "True":
            continue
        if condition["type"] in ("Complete", "SuccessCriteriaMet"):
            return State.SUCCEEDED, ""
        if condition["type"] in ("Failed", "FailureTarget"):
            return State.FAILED, "cancelled" if CANCELLED in annotations else str(condition.get("reason", ""))
    if job["spec"].get("suspend"):
        return (State.FAILED, "cancelled") if CANCELLED in annotations else (State.PENDING, "Suspended")
    if CANCELLED in annotations:
        return State.RUNNING, "cancelling"
    return (State.RUNNING, "") if status.get("ready") else (State.PENDING, "")


def job_gpus(job: Mapping[str, Any]) -> int:
    """GPUs that all pods of the Job take together."""
    pods = int(job["spec"].get("parallelism") or 1)
    containers = job["spec"]["template"]["spec"].get("containers") or []
    counts = [(container.get("resources") or {}).get("limits", {}).get(GPU_RESOURCE, 0) for container in containers]
    return pods * sum(int(count) for count in counts if str(count).isdigit())


def run_status(job: Mapping[str, Any], observed: Observed | None = None) -> RunStatus:
    """A run whose Job is there; `observed` is what its trainer has told."""
    metadata, status = job["metadata"], job.get("status") or {}
    labels = metadata.get("labels") or {}
    state, reason = job_state(job)
    told = observed or Observed()
    failed = [item["lastTransitionTime"] for item in status.get("conditions") or [] if item["type"] == "Failed"]
    return RunStatus(
        name=labels.get(RUN, metadata["name"]),
        framework=labels.get(FRAMEWORK, ""),
        training_type=labels.get(TYPE, ""),
        target="kubernetes",
        state=state,
        reason=reason,
        user=labels.get(USER, ""),
        gpus=job_gpus(job),
        created=time(metadata.get("creationTimestamp")),
        started=time(status.get("startTime")),
        finished=time(status.get("completionTime") or next(iter(failed), None)),
        output_dir=(metadata.get("annotations") or {}).get(OUTPUT),
        progress=told.progress,
        outcome=told.outcome,
        roles=(RoleStatus("trainer", state, reason, attempts=1 + int(status.get("failed") or 0)),),
    )


def jobless_status(record: Mapping[str, Any], launched: bool) -> RunStatus:
    """A run of which only the record is left."""
    metadata = record["metadata"]
    labels = metadata.get("labels") or {}
    state, reason = (State.UNKNOWN, "cleaned up") if launched else (State.FAILED, "launch interrupted")
    return RunStatus(
        name=labels.get(RUN, metadata["name"]),
        framework=labels.get(FRAMEWORK, ""),
        training_type=labels.get(TYPE, ""),
        target="kubernetes",
        state=state,
        reason=reason,
        user=labels.get(USER, ""),
        created=time(metadata.get("creationTimestamp")),
    )


def time(text: str | None) -> datetime | None:
    """A Kubernetes time."""
    return datetime.fromisoformat(text) if text else None


def newest_first(pods: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Pods by age, the youngest first; of one age, by name."""
    return sorted(pods, key=lambda pod: (pod["metadata"]["creationTimestamp"], pod["metadata"]["name"]), reverse=True)
