"""Why a run on a cluster is in its state: from its Job, pods, events and log to one verdict."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from cw_cli.core.progress import observe
from cw_cli.core.verdict import Facts, Verdict, explain
from cw_cli.targets.kubernetes.connection import Connection
from cw_cli.targets.kubernetes.observe import run_status


def explain_run(
    connection: Connection, run: str, job: Mapping[str, Any] | None, record: Callable[[], Mapping[str, Any]]
) -> Verdict:
    """One sentence that says what, one that says what to do."""
    if job is None:
        record()
        return Verdict("Its Job is gone: it ended, and its time to live was over.", f"Start it again: cw rerun {run}")
    status = run_status(job, observe([]))
    return explain(Facts(run=run, state=status.state, reason=status.reason))
