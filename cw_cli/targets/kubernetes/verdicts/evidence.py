"""What is looked at before the verdict on a run: its Job, pods, events and log, and more where that is the question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from cw_cli.core.names import MANAGED_BY, ROLE, RUN, selector
from cw_cli.core.progress import Observed, observe
from cw_cli.core.status import State
from cw_cli.targets.kubernetes.capacity import Capacity, read_capacity
from cw_cli.targets.kubernetes.connection import Connection
from cw_cli.targets.kubernetes.logs import tail_of
from cw_cli.targets.kubernetes.observe import job_state, newest_first
from cw_cli.targets.kubernetes.pods import condition, has_log, telling_pod

Item = Mapping[str, Any]


class Evidence(NamedTuple):
    """Everything that the verdict is made from. `pods` are the trainer's, newest first; `pod` is the one that tells;
    `events` are the Job's and that pod's, newest last."""

    run: str
    job: Item
    pods: Sequence[Item] = ()
    pod: Item | None = None
    events: Sequence[Item] = ()
    log: tuple[str, ...] = ()
    observed: Observed = Observed()
    capacity: Capacity | None = None
    """Nodes and what is taken of them; None where nobody asked, or where the cluster does not let cw look."""
    claims: Mapping[str, Item | None] = {}
    """The pod's volume claims by name, None for one that does not exist."""

    @property
    def state(self) -> State:
        return job_state(self.job)[0]

    @property
    def reason(self) -> str:
        return job_state(self.job)[1]


def gather(connection: Connection, run: str, job: Item) -> Evidence:
    """Look at the run. Nodes and claims are asked for only when a pod cannot be placed."""
    pods = newest_first(list(connection.list("Pod", labels=selector({MANAGED_BY: "cw", RUN: run, ROLE: "trainer"}))))
    pod = telling_pod(pods)
    unplaced = next((item for item in pods if condition(item, "PodScheduled", "False")), None)
    if unplaced is not None and not job_state(job)[0].ended:
        pod = unplaced
    log = tuple(tail_of(connection, pod["metadata"]["name"])) if pod and has_log(pod) else ()
    events = _events(connection, "Job", run)
    name = pod["metadata"]["name"] if pod else _vanished_pod(events)
    events = sorted([*events, *(_events(connection, "Pod", name) if name else ())], key=when)
    seen = Evidence(run, job, pods, pod, events, log, observe(log))
    return _with_cluster(connection, seen) if pod is unplaced and pod is not None else seen


def _with_cluster(connection: Connection, seen: Evidence) -> Evidence:
    assert seen.pod is not None
    volumes = [item.get("persistentVolumeClaim") for item in seen.pod["spec"].get("volumes") or []]
    names = [volume["claimName"] for volume in volumes if volume]
    return seen._replace(
        capacity=read_capacity(connection),
        claims={name: connection.get("PersistentVolumeClaim", name) for name in names},
    )


def _events(connection: Connection, kind: str, name: str) -> list[dict[str, Any]]:
    return list(connection.list("Event", fields=f"involvedObject.kind={kind},involvedObject.name={name}"))


def _vanished_pod(events: Sequence[Item]) -> str | None:
    """The newest pod that the Job made, when it is gone; only the Job's event knows its name."""
    made = [event["message"] for event in sorted(events, key=when) if event.get("reason") == "SuccessfulCreate"]
    return made[-1].rpartition(" ")[2] if made else None


def when(event: Item) -> str:
    """When an event was last seen; times of one format sort as text."""
    series = event.get("series") or {}
    times = (series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime"))
    return str(next(filter(None, times), None) or event["metadata"].get("creationTimestamp") or "")


def newest_event(seen: Evidence, *reasons: str) -> str | None:
    """The newest message among events of these reasons."""
    messages = [event.get("message") or "" for event in seen.events if event.get("reason") in reasons]
    return messages[-1] if messages else None
