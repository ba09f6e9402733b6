"""What the cluster says to a plan before anything is created."""

from __future__ import annotations

from cw_cli.core.plan import Plan
from cw_cli.core.problems import Problem
from cw_cli.targets.kubernetes.connection import Connection
from cw_cli.targets.kubernetes.refusals import ApiError


def check_plan(connection: Connection, plan: Plan) -> list[Problem]:
    """What stands in the way of this plan: claims that are missing."""
    problems = []
    for name in sorted(_claims(plan)):
        try:
            found = connection.get("PersistentVolumeClaim", name)
        except ApiError as error:
            if error.status != 403:
                raise
            continue  # not allowed to look: the pod will say it
        if found is None:
            connection.require_namespace()
            message = f"namespace {connection.namespace} has no volume claim {name}"
            remedy = f"name one that it has: `volumes: {{CLAIM: /model-checkpoints}}`, or `volumes: {{{name}: null}}`"
            problems.append(Problem(message, remedy))
    return problems


def _claims(plan: Plan) -> set[str]:
    pods = [item["spec"]["template"]["spec"] for item in plan.objects if item["kind"] in ("Job", "Deployment")]
    volumes = [volume for pod in pods for volume in pod.get("volumes") or []]
    return {volume["persistentVolumeClaim"]["claimName"] for volume in volumes if "persistentVolumeClaim" in volume}
