"""A plan's objects into the cluster, in order, each with its undo."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from cw_cli.core.exceptions import TargetError
from cw_cli.core.names import RUN
from cw_cli.core.plan import Plan
from cw_cli.targets.kubernetes.connection import ApiError, Connection

LAUNCHED = "cw.dev/launched"
"""Annotation on the run's ConfigMap: the launch came to its end. A record without it and without a Job is a launch
that died half-way."""


def launch(connection: Connection, plan: Plan) -> None:
    """Create the run. An error or an interrupt undoes what was done; then the error goes on.

    The first object claims the run's name, the Job comes last: a launch that is killed anywhere holds no GPU unless
    the Job was created, and then the run is whole.
    """
    undo: list[Callable[[], object]] = []
    record, *others = plan.objects
    try:
        _claim(connection, record, plan.run)
        undo.append(lambda: connection.delete("ConfigMap", record["metadata"]["name"]))
        for item in others:
            if RUN in item["metadata"]["labels"]:
                undo.append(_removal(connection, item))
            applied = connection.apply(item)
            if item["kind"] == "Job" and item["metadata"]["name"] == plan.run:
                _hand_over(connection, plan, applied)
        patch = {"metadata": {"annotations": {LAUNCHED: "true"}}}
        connection.merge("ConfigMap", record["metadata"]["name"], patch)
    except BaseException:
        _undo(undo)
        raise


def _claim(connection: Connection, record: Mapping[str, Any], run: str) -> None:
    """Create the run's ConfigMap, which must be new. An answer that got lost is asked for again."""
    try:
        connection.create(record)
    except ApiError as error:
        # Whether the request arrived, only the object can tell.
        lost = error.status in (0, 409, 500, 502, 503, 504) and error.reason != "unreachable"
        found = connection.get("ConfigMap", record["metadata"]["name"]) if lost else None
        if found is None and lost and error.status != 409:
            connection.create(record)
        elif found is None:
            raise
        elif found.get("data") != record["data"]:
            raise TargetError(f"there is a run called {run} already", "Launch again: it gets another name.") from None


def _removal(connection: Connection, item: Mapping[str, Any]) -> Callable[[], object]:
    return lambda: connection.delete(item["kind"], item["metadata"]["name"])


def _undo(steps: list[Callable[[], object]]) -> None:
    """Every step, the last first; one that fails does not keep the others from being tried."""
    failed = None
    for step in reversed(steps):
        try:
            step()
        except TargetError as error:
            failed = error
    if failed is not None:
        raise TargetError(
            f"the launch failed, and so did cleaning up after it: {failed.message}",
            "cw list shows what is left; cw delete removes it.",
        )


def _hand_over(connection: Connection, plan: Plan, job: Mapping[str, Any]) -> None:
    """Make the Job the owner of what only it needs, so that this goes when the Job goes. The record stays."""
    owner = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "name": job["metadata"]["name"],
        "uid": job["metadata"]["uid"],
    }
    for item in plan.objects[1:]:
        if item["kind"] != "Job" and item["metadata"]["labels"].get(RUN) == plan.run:
            owned = {**item["metadata"], "ownerReferences": [owner]}
            connection.apply({**item, "metadata": owned})
