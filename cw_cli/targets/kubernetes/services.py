"""The services of runs: their Deployments, how they are, and what may be done to them while the run goes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from cw_cli.core.exceptions import TargetError
from cw_cli.core.names import FRAMEWORK, MANAGED_BY, ROLE, RUN, TYPE, USER, selector
from cw_cli.core.resources import GPU_RESOURCE
from cw_cli.core.status import RoleStatus, RunStatus, State
from cw_cli.targets.kubernetes.connection import Connection
from cw_cli.targets.kubernetes.observe import time
from cw_cli.targets.kubernetes.refusals import ApiError

RESTARTED = "kubectl.kubernetes.io/restartedAt"
"""The annotation by which kubectl restarts a Deployment too."""


def deployments_of(connection: Connection, run: str | None = None) -> list[dict[str, Any]]:
    """The Deployments of one run or of all; none where the cluster does not let us look."""
    labels = selector({MANAGED_BY: "cw", **({RUN: run} if run else {})})
    try:
        return list(connection.list("Deployment", labels=labels))
    except ApiError as error:
        if error.status != 403:
            raise
        return []


def role_status(deployment: Mapping[str, Any]) -> RoleStatus:
    """How a service is: Running once every replica answers."""
    wanted = int(deployment["spec"].get("replicas") or 0)
    ready = int((deployment.get("status") or {}).get("readyReplicas") or 0)
    state = State.RUNNING if ready >= wanted > 0 else State.PENDING
    return RoleStatus(_role(deployment), state, f"{ready}/{wanted} ready" if ready < wanted or wanted > 1 else "")


def gpus(deployment: Mapping[str, Any]) -> int:
    """GPUs that all replicas take together."""
    containers = deployment["spec"]["template"]["spec"]["containers"]
    counts = [(item.get("resources") or {}).get("limits", {}).get(GPU_RESOURCE, 0) for item in containers]
    return int(deployment["spec"].get("replicas") or 0) * sum(int(count) for count in counts if str(count).isdigit())


def with_services(status: RunStatus, deployments: Sequence[Mapping[str, Any]]) -> RunStatus:
    """The run with a role for each of its Deployments, and their GPUs."""
    own = [item for item in deployments if item["metadata"]["labels"].get(RUN) == status.name]
    if not own:
        return status
    return status._replace(roles=(*status.roles, *map(role_status, own)), gpus=status.gpus + sum(map(gpus, own)))


def services_alone(run: str, deployments: Sequence[Mapping[str, Any]]) -> RunStatus:
    """A run that is services and no trainer."""
    labels = deployments[0]["metadata"]["labels"]
    roles = tuple(map(role_status, deployments))
    waiting = next((role for role in roles if role.state is not State.RUNNING), None)
    return RunStatus(
        name=run,
        framework=labels.get(FRAMEWORK, ""),
        training_type=labels.get(TYPE, ""),
        target="kubernetes",
        state=State.PENDING if waiting else State.RUNNING,
        reason=f"{waiting.role} {waiting.reason}" if waiting else "services",
        user=labels.get(USER, ""),
        gpus=sum(map(gpus, deployments)),
        created=time(deployments[0]["metadata"].get("creationTimestamp")),
        roles=roles,
    )


def restart(connection: Connection, run: str, role: str) -> None:
    """Replace the pods of a service."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    patch = {"spec": {"template": {"metadata": {"annotations": {RESTARTED: now}}}}}
    connection.merge("Deployment", _deployment(connection, run, role), patch)


def scale(connection: Connection, run: str, role: str, replicas: int) -> None:
    """Change how many of a service there are."""
    connection.merge("Deployment", _deployment(connection, run, role), {"spec": {"replicas": replicas}})


def _deployment(connection: Connection, run: str, role: str) -> str:
    """The name of the role's Deployment; raises `TargetError` with the roles that there are."""
    found = {_role(item): str(item["metadata"]["name"]) for item in deployments_of(connection, run)}
    if role in found:
        return found[role]
    if role == "trainer":
        raise TargetError(f"the trainer of {run} is no service", f"Start the run again: cw rerun {run}")
    there = f"It has {', '.join(sorted(found))}." if found else "It has no services, or they have ended with it."
    raise TargetError(f"{run} has no service {role}", there)


def _role(deployment: Mapping[str, Any]) -> str:
    return str(deployment["metadata"]["labels"].get(ROLE, ""))
