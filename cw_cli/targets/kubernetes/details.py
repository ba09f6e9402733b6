"""What the list of runs shows beyond their Jobs, for a number of requests that does not grow with the runs."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from cw_cli.core.names import MANAGED_BY, ROLE, RUN, selector
from cw_cli.core.progress import Observed, observe
from cw_cli.core.status import RunStatus, State
from cw_cli.targets.kubernetes.connection import Connection
from cw_cli.targets.kubernetes.logs import tail_of
from cw_cli.targets.kubernetes.pods import index

FOLLOWED = 20
"""So many running runs are asked for their progress."""
LOG_LINES = 200
_AT_ONCE = 8
_STATUS, _NODE = 2, 6
"""Columns of a table of pods."""
_TRAINERS = selector({MANAGED_BY: "cw", ROLE: "trainer"})


def with_details(connection: Connection, runs: Sequence[RunStatus]) -> list[RunStatus]:
    """The same runs, newest first as before: why each pending one waits, and how far the newest running ones are."""
    reasons = _waiting_reasons(connection, [run.name for run in runs if run.state is State.PENDING and not run.reason])
    running = [run.name for run in runs if run.state is State.RUNNING][:FOLLOWED]
    told = _progress(connection, running)
    return [
        run._replace(
            reason=reasons.get(run.name, run.reason),
            progress=told[run.name].progress if run.name in told else run.progress,
        )
        for run in runs
    ]


def _waiting_reasons(connection: Connection, pending: Sequence[str]) -> dict[str, str]:
    """From one list of all pending pods; of runs that have none, from one list of what was refused."""
    if not pending:
        return {}
    waiting = set(pending)
    reasons = {}
    for cells in connection.table("Pod", labels=_TRAINERS, fields="status.phase=Pending"):
        if run := _run_of_name(str(cells[0]), waiting):
            reasons[run] = _reason_in(cells)
    if any(run not in reasons for run in pending):
        fields = "reason=FailedCreate,involvedObject.kind=Job"
        refused = {event["involvedObject"]["name"]: event for event in connection.list("Event", fields=fields)}
        for run in pending:
            if run not in reasons and run in refused:
                quota = "exceeded quota" in str(refused[run].get("message"))
                reasons[run] = "QuotaExceeded" if quota else "PodRefused"
    return {run: reasons[run] for run in pending if reasons.get(run)}


def _run_of_name(pod: str, runs: Container[str]) -> str:
    """The run whose trainer's pod has this name: `<run>-<5 letters>`, or `<run>-<node>-<5 letters>`."""
    job = pod.rpartition("-")[0]
    return next((name for name in (job, job.rpartition("-")[0]) if name in runs), "")


def _reason_in(cells: Sequence[Any]) -> str:
    """What a row of `kubectl get pods -o wide` says that the pod waits for."""
    status, node = str(cells[_STATUS]), str(cells[_NODE])
    return "Unschedulable" if status == "Pending" and node == "<none>" else status


def _progress(connection: Connection, running: Sequence[str]) -> dict[str, Observed]:
    """What the trainers of these runs told last."""
    if not running:
        return {}
    labels = f"{_TRAINERS},{RUN} in ({','.join(running)})"
    pods = connection.list("Pod", labels=labels, fields="status.phase=Running")
    # The first node of a multi-node run is the one that tells.
    names = {_run_of(pod): pod["metadata"]["name"] for pod in pods if not index(pod)}
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        tails = pool.map(lambda name: observe(tail_of(connection, name, LOG_LINES)), names.values())
        return dict(zip(names, tails, strict=True))


def _run_of(pod: Mapping[str, Any]) -> str:
    return str(pod["metadata"]["labels"].get(RUN, ""))
