"""What a pod says of itself: its containers' states, what it waits for, how it ended."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Pod = Mapping[str, Any]

INDEX = "batch.kubernetes.io/job-completion-index"
"""Annotation on the pods of an Indexed Job: which node of a multi-node run it is."""
DISRUPTED = "DisruptionTarget"
"""Condition of a pod that somebody else ends: a preemption, an eviction, a lost node."""


def condition(pod: Pod, kind: str, status: str = "True") -> Mapping[str, Any] | None:
    """The pod's condition of this kind, if it has this status."""
    held = (pod.get("status") or {}).get("conditions") or []
    return next((item for item in held if item["type"] == kind and item.get("status") == status), None)


def index(pod: Pod) -> int | None:
    """Which node of a multi-node run the pod is."""
    text = (pod["metadata"].get("annotations") or {}).get(INDEX)
    return int(text) if text is not None else None


def phase(pod: Pod) -> str:
    return str((pod.get("status") or {}).get("phase", ""))


def trainer_status(pod: Pod) -> Mapping[str, Any]:
    """The status of the container that trains: the first of the pod's; empty as long as there is none."""
    name = pod["spec"]["containers"][0]["name"]
    statuses = (pod.get("status") or {}).get("containerStatuses") or []
    return next((item for item in statuses if item["name"] == name), {})


def terminated(pod: Pod) -> Mapping[str, Any]:
    """How the trainer's container ended; empty as long as it has not."""
    found: Mapping[str, Any] = (trainer_status(pod).get("state") or {}).get("terminated") or {}
    return found


def exit_code(pod: Pod) -> int | None:
    """The trainer's exit code, once there is one."""
    return terminated(pod).get("exitCode")


def has_log(pod: Pod) -> bool:
    """Whether the trainer has begun in this pod, so that it may have written something."""
    status = trainer_status(pod)
    state = status.get("state") or {}
    return "running" in state or "terminated" in state or bool(status.get("restartCount"))


def waiting(pod: Pod) -> Iterator[tuple[str, Mapping[str, Any], bool]]:
    """Containers that wait: name, `state.waiting`, and whether it is an init container; those first."""
    status = pod.get("status") or {}
    for key in ("initContainerStatuses", "containerStatuses"):
        for item in status.get(key) or []:
            if held := (item.get("state") or {}).get("waiting"):
                yield item["name"], held, key == "initContainerStatuses"


def waiting_reason(pod: Pod) -> str:
    """One word for what a pending pod waits for, as in `Unschedulable` or `ImagePullBackOff`."""
    if phase(pod) != "Pending":
        return ""
    if unplaced := condition(pod, "PodScheduled", "False"):
        return str(unplaced.get("reason", ""))
    reasons = [str(held.get("reason", "")) for _, held, _ in waiting(pod)]
    telling = next((reason for reason in reasons if reason not in ("PodInitializing", "")), None)
    return telling or _initializing(pod) or "".join(reasons[:1])


def _initializing(pod: Pod) -> str:
    """How many init containers are done, as kubectl says it: `Init:0/1`."""
    statuses = (pod.get("status") or {}).get("initContainerStatuses") or []
    done = sum((item.get("state") or {}).get("terminated", {}).get("exitCode") == 0 for item in statuses)
    return f"Init:{done}/{len(statuses)}" if done < len(statuses) else ""


def telling_pod(pods: Sequence[Pod]) -> Pod | None:
    """The pod that tells how the run is: of each node's newest attempt the one that failed first, because the others
    were stopped for it; else the newest. `pods` are the trainer's, newest first."""
    newest: dict[int | None, Pod] = {}
    for pod in pods:
        newest.setdefault(index(pod), pod)
    failed = [pod for pod in newest.values() if exit_code(pod)]
    if failed:
        return min(failed, key=lambda pod: str(terminated(pod).get("finishedAt", "")))
    return pods[0] if pods else None
