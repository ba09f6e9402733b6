"""`cw pods [RUN]`: the pods behind runs."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

import typer

from cw_cli.cli import report
from cw_cli.cli.errors import say
from cw_cli.cli.options import Context, Namespace
from cw_cli.cli.tables import Column, OutputWide, print_records

COLUMNS = (
    Column("NAME", lambda pod: pod["name"]),
    Column("RUN", lambda pod: pod["run"]),
    Column("ROLE", lambda pod: pod["role"]),
    Column("STATE", lambda pod: pod["state"]),
    Column("REASON", lambda pod: pod["reason"]),
    Column("GPUS", lambda pod: pod["gpus"]),
    Column("RESTARTS", lambda pod: pod["restarts"]),
    Column("NODE", lambda pod: pod["node"]),
    Column("AGE", lambda pod: report.age(datetime.fromisoformat(pod["created"]))),
    Column("USER", lambda pod: pod["user"], wide=True),
    Column("IP", lambda pod: pod["ip"], wide=True),
    Column("IMAGE", lambda pod: pod["image"], wide=True),
)


def command(
    run: Annotated[str | None, typer.Argument(metavar="[RUN]", help="Only the pods of this run.")] = None,
    output: OutputWide = None,
    context: Context = None,
    namespace: Namespace = None,
) -> None:
    """List the pods of your runs, or of one run, newest first."""
    from cw_cli.cli.cluster import find_cluster_run, open_cluster
    from cw_cli.core.names import MANAGED_BY, RUN, selector
    from cw_cli.targets.kubernetes.observe import newest_first

    labels = {MANAGED_BY: "cw"}
    if run is not None:
        target, name = find_cluster_run(run, context, namespace, "It has no pods: cw describe shows its processes.")
        labels[RUN] = name
    else:
        target = open_cluster(context, namespace)
    pods = newest_first(list(target.connection.list("Pod", labels=selector(labels))))
    print_records([_record(pod) for pod in pods], COLUMNS, output)
    if not pods:
        say("note", f"there are no pods of {run or 'runs'} in namespace {target.connection.namespace}", "cyan")


def _record(pod: Mapping[str, Any]) -> dict[str, Any]:
    from cw_cli.core.names import ROLE, RUN, USER
    from cw_cli.core.resources import GPU_RESOURCE
    from cw_cli.targets.kubernetes.capacity import pod_requests

    metadata, spec, status = pod["metadata"], pod["spec"], pod.get("status") or {}
    labels = metadata.get("labels") or {}
    containers = status.get("containerStatuses") or []
    return {
        "name": metadata["name"],
        "run": labels.get(RUN, ""),
        "role": labels.get(ROLE, ""),
        "user": labels.get(USER, ""),
        "state": status.get("phase", "Unknown"),
        "reason": _reason(status),
        "gpus": int(pod_requests(spec).get(GPU_RESOURCE, 0)),
        "restarts": sum(item.get("restartCount", 0) for item in containers),
        "node": spec.get("nodeName", ""),
        "ip": status.get("podIP", ""),
        "image": spec["containers"][0].get("image", ""),
        "created": metadata["creationTimestamp"],
    }


def _reason(status: Mapping[str, Any]) -> str:
    """Why the pod is not simply running or done: its own word, a container's, or the scheduler's."""
    if status.get("reason"):
        return str(status["reason"])
    for item in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
        for kind in ("waiting", "terminated"):
            reason = ((item.get("state") or {}).get(kind) or {}).get("reason", "")
            if reason and reason != "Completed":
                return str(reason)
    unmet = [item for item in status.get("conditions") or [] if item["type"] == "PodScheduled"]
    return next((str(item.get("reason", "")) for item in unmet if item["status"] != "True"), "")
