"""All runs of a namespace, by as few bytes as will say it: one read of the Jobs, page by page, and never a pod."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cw_cli.core.names import MANAGED_BY, RECORD, ROLE, RUN, object_name, selector
from cw_cli.core.status import RunStatus
from cw_cli.targets.kubernetes.connection import Connection
from cw_cli.targets.kubernetes.launch import LAUNCHED
from cw_cli.targets.kubernetes.observe import jobless_status, run_status
from cw_cli.targets.kubernetes.services import deployments_of, services_alone, with_services

TRAINERS = selector({MANAGED_BY: "cw", ROLE: "trainer"})
RECORDS = selector({MANAGED_BY: "cw", RECORD: "true"})

JOBS_A_PAGE = 200
"""A Job is some 6 kB of JSON, and ten times that once it is read: this keeps the memory down."""
FEW = 10
"""As many records as are read one by one."""


def run_names(connection: Connection) -> Iterator[str]:
    """The names of all runs that have a record."""
    for item in connection.list("ConfigMap", labels=RECORDS, metadata=True):
        yield item["metadata"]["labels"].get(RUN, "")


def list_runs(connection: Connection) -> list[RunStatus]:
    """Every run, newest first: those with a Job, and those of which the record is left."""
    with _no_collector():
        jobs = connection.list("Job", labels=TRAINERS, page=JOBS_A_PAGE)
        services = _services(connection)
        runs = {status.name: with_services(status, services.pop(status.name, ())) for status in map(run_status, jobs)}
        runs.update({name: services_alone(name, deployments) for name, deployments in services.items()})
        seen = {object_name(name, "config") for name in runs}
        for record in _records(connection, [name for name in _record_names(connection) if name not in seen]):
            status = jobless_status(record, LAUNCHED in (record["metadata"].get("annotations") or {}))
            runs.setdefault(status.name, status)
    return sorted(runs.values(), key=lambda run: (run.created is not None, run.created, run.name), reverse=True)


def _services(connection: Connection) -> dict[str, list[dict[str, Any]]]:
    """The Deployments of all runs, by run."""
    found: dict[str, list[dict[str, Any]]] = {}
    for item in deployments_of(connection):
        found.setdefault(item["metadata"]["labels"].get(RUN, ""), []).append(item)
    return found


def _record_names(connection: Connection) -> Iterator[str]:
    """The names of the records: as a table without objects, which is a tenth of their metadata."""
    return (cells[0] for cells in connection.table("ConfigMap", labels=RECORDS))


def _records(connection: Connection, names: list[str]) -> Iterator[dict[str, Any]]:
    """The metadata of these records: one by one when there are few, else out of all."""
    if len(names) > FEW:
        wanted = set(names)
        everything = connection.list("ConfigMap", labels=RECORDS, metadata=True)
        yield from (record for record in everything if record["metadata"]["name"] in wanted)
        return
    for name in names:
        if (record := connection.get("ConfigMap", name)) is not None:
            yield record


@contextmanager
def _no_collector() -> Iterator[None]:
    """What JSON becomes has no cycles; looking for some takes longer than reading it."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
