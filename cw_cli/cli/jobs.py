"""`cw jobs`: the Jobs of the namespace, those of runs and others."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from cw_cli.cli import report
from cw_cli.cli.errors import say
from cw_cli.cli.options import Context, Namespace
from cw_cli.cli.tables import Column, OutputWide, print_records

COLUMNS = (
    Column("NAME", lambda job: job["name"]),
    Column("STATE", lambda job: job["state"]),
    Column("REASON", lambda job: job["reason"]),
    Column("DONE", lambda job: f"{job['succeeded']}/{job['completions']}"),
    Column("FAILED", lambda job: job["failed"]),
    Column("GPUS", lambda job: job["gpus"]),
    Column("USER", lambda job: job["user"]),
    Column("AGE", lambda job: report.age(datetime.fromisoformat(job["created"]))),
    Column("RUN", lambda job: job["run"], wide=True),
    Column("QUEUE", lambda job: job["queue"], wide=True),
    Column("IMAGE", lambda job: job["image"], wide=True),
)


def command(output: OutputWide = None, context: Context = None, namespace: Namespace = None) -> None:
    """List the Jobs of the namespace, those that cw did not make as well, newest first."""
    from cw_cli.cli.cluster import open_cluster
    from cw_cli.targets.kubernetes.observe import newest_first

    connection = open_cluster(context, namespace).connection
    jobs = newest_first(list(connection.list("Job")))
    print_records([_record(job) for job in jobs], COLUMNS, output)
    if not jobs:
        say("note", f"there are no Jobs in namespace {connection.namespace}", "cyan")


def _record(job: Mapping[str, Any]) -> dict[str, Any]:
    from cw_cli.core.names import RUN, USER
    from cw_cli.targets.kubernetes.observe import job_gpus, job_state

    metadata, spec, status = job["metadata"], job["spec"], job.get("status") or {}
    labels = metadata.get("labels") or {}
    state, reason = job_state(job)
    return {
        "name": metadata["name"],
        "run": labels.get(RUN, ""),
        "user": labels.get(USER, ""),
        "queue": labels.get("kueue.x-k8s.io/queue-name", ""),
        "state": str(state),
        "reason": reason,
        "completions": spec.get("completions") or 1,
        "succeeded": status.get("succeeded", 0),
        "failed": status.get("failed", 0),
        "gpus": job_gpus(job),
        "image": spec["template"]["spec"]["containers"][0].get("image", ""),
        "created": metadata["creationTimestamp"],
    }
