"""What the cluster's objects say of a run: pure functions from Jobs, pods and records to a `RunStatus`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from cw_cli.core.names import FRAMEWORK, OUTPUT, RUN, TYPE, USER
from cw_cli.core.progress import Observed
from cw_cli.core.resources import GPU_RESOURCE
from cw_cli.core.status import RoleStatus, RunStatus, State
from cw_cli.targets.kubernetes.pods import exit_code, telling_pod, waiting_reason

CANCELLED = "cw.dev/cancelled"
"""Annotation on a Job that `cw cancel` stopped."""


def job_state(job: Mapping[str, Any]) -> tuple[State, str]:
    """State and reason of a Job by its own words; a live one that has no ready pod is Pending.

    A Job whose end is decided (`FailureTarget`) runs on until its last pod has ended: that one still holds its GPUs
    and may be writing a checkpoint.
    """
    status = job.get("status") or {}
    cancelled = CANCELLED in (job["metadata"].get("annotations") or {})
    held = {item["type"]: item for item in status.get("conditions") or [] if item.get("status") == "True"}
    if "Complete" in held:
        return State.SUCCEEDED, ""
    if "Failed" in held:
        return State.FAILED, "cancelled" if cancelled else str(held["Failed"].get("reason", ""))
    if job["spec"].get("suspend"):
        return (State.FAILED, "cancelled") if cancelled else (State.PENDING, "Suspended")
    if cancelled:
        return State.RUNNING, "cancelling"
    if "FailureTarget" in held:
        return State.RUNNING, "stopping"
    if status.get("ready") or "SuccessCriteriaMet" in held:
        return State.RUNNING, ""
    return State.PENDING, "Retrying" if status.get("failed") and not status.get("active") else ""


def job_gpus(job: Mapping[str, Any]) -> int:
    """GPUs that all pods of the Job take together."""
    pods = int(job["spec"].get("parallelism") or 1)
    containers = job["spec"]["template"]["spec"].get("containers") or []
    counts = [(container.get("resources") or {}).get("limits", {}).get(GPU_RESOURCE, 0) for container in containers]
    return pods * sum(int(count) for count in counts if str(count).isdigit())


def run_status(
    job: Mapping[str, Any], observed: Observed | None = None, pods: Sequence[Mapping[str, Any]] = ()
) -> RunStatus:
    """A run whose Job is there; `observed` is what its trainer has told, `pods` are the trainer's, where known."""
    metadata, status = job["metadata"], job.get("status") or {}
    state, reason = job_state(job)
    if state is State.PENDING and not reason:
        reason = next(filter(None, map(waiting_reason, pods)), "")
    code = _exit_code(state, pods)
    told = observed or Observed()
    failed = [item["lastTransitionTime"] for item in status.get("conditions") or [] if item["type"] == "Failed"]
    return _labelled(metadata, state, reason)._replace(
        gpus=job_gpus(job),
        started=time(status.get("startTime")),
        finished=time(status.get("completionTime") or next(iter(failed), None)),
        exit_code=code,
        output_dir=(metadata.get("annotations") or {}).get(OUTPUT),
        progress=told.progress,
        outcome=told.outcome,
        roles=(RoleStatus("trainer", state, reason, exit_code=code, attempts=_attempts(job)),),
    )


def _exit_code(state: State, pods: Sequence[Mapping[str, Any]]) -> int | None:
    if state is State.SUCCEEDED:
        return 0
    pod = telling_pod(pods) if state.ended else None
    return exit_code(pod) if pod else None


def _attempts(job: Mapping[str, Any]) -> int:
    """How often the trainer was started: each failed pod is followed by another, unless the Job gave up."""
    status = job.get("status") or {}
    failed = int(status.get("failed") or 0)
    return max(failed if job_state(job)[0] is State.FAILED else failed + 1, 1)


def jobless_status(record: Mapping[str, Any], launched: bool) -> RunStatus:
    """A run of which only the record is left."""
    state, reason = (State.UNKNOWN, "cleaned up") if launched else (State.FAILED, "launch interrupted")
    return _labelled(record["metadata"], state, reason)


def _labelled(metadata: Mapping[str, Any], state: State, reason: str) -> RunStatus:
    """What an object of a run says of it, be it the Job or the record."""
    labels = metadata.get("labels") or {}
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
