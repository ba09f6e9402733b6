"""What cw adds to a run with services: a gate before the trainer, a wall around the services, and the guard that frees
them when the trainer is gone."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from cw_cli.core import manifests, patch
from cw_cli.core.confinement import confined, container_security
from cw_cli.core.launch_keys import LaunchKeys
from cw_cli.core.names import ROLE, object_name
from cw_cli.core.resources import GPU_RESOURCE
from cw_cli.core.roles import GUARD, Role
from cw_cli.core.shipped import shipped

IMAGE = "busybox:1.36"
PORT = 7000
GRACE = 15
"""Seconds that the trainer's name may be gone before its services are freed."""
UNSEEN_GRACE = 40
"""The same for a trainer that said that it starts and whose name was never seen."""
GRACE_BETWEEN_ATTEMPTS = 900
"""The same where the trainer may be started again: a back-off takes up to six minutes, and a node is looked for."""
LAUNCH_LIMIT = 300
"""Seconds after which a launch that made no mark is taken for dead; a kubelet shows the mark after up to 90."""
START_LIMIT = 3600
"""Seconds that services wait for a trainer to start."""
QUEUED_START_LIMIT = 24 * 3600
NEVER_HEALTHY = 3
"""Exit code of the gate when a service did not answer in time."""


def guard_objects(run: str, keys: LaunchKeys, labels: Mapping[str, str]) -> list[dict[str, Any]]:
    """The names by which the guard and the trainer find each other, and the guard's Job; `labels` are the run's."""
    variables = {
        "run": run,
        "image": keys.guard_image or IMAGE,
        "port": PORT,
        "grace": GRACE_BETWEEN_ATTEMPTS if keys.retries else GRACE,
        "unseen_grace": GRACE_BETWEEN_ATTEMPTS if keys.retries else UNSEEN_GRACE,
        "launch_limit": LAUNCH_LIMIT,
        "start_limit": start_limit(run, keys),
    }
    *services, job = manifests.render(shipped("kubeconfigs") / "guard.yaml", variables)
    template = job["spec"]["template"]
    template["metadata"] = {"labels": patch.with_role({**labels, **keys.labels}, GUARD)}
    # It may run anywhere, on a GPU node too if there is no other; the run's own taints are no obstacle to it.
    gpu_nodes = {"key": GPU_RESOURCE, "operator": "Exists", "effect": "NoSchedule"}
    template["spec"]["tolerations"] = [*keys.tolerations, gpu_nodes]
    shared = {key: keys.pod[key] for key in ("imagePullSecrets", "priorityClassName") if key in keys.pod}
    template["spec"].update(shared)
    return [*services, patch.labelled(confined(job), {ROLE: GUARD}, {})]


def start_limit(run: str, keys: LaunchKeys) -> int:
    """Seconds that services wait for their trainer to start.

    Two runs whose services keep each other's trainer waiting must not give up at the same moment, so each waits up to
    half as long again.
    """
    limit = keys.start_limit or (QUEUED_START_LIMIT if keys.queue else START_LIMIT)
    return limit + limit * (zlib.crc32(run.encode()) % 1000) // 2000


def launched_mark(run: str) -> dict[str, Any]:
    """The ConfigMap whose presence tells the guard that the launch came to its end; made last."""
    name = object_name(run, "launched")
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"launched": "true"}}


def network_policy(run: str, *, shared: bool) -> list[dict[str, Any]]:
    """Who may reach the services: this run's pods, or with `shared` those of every run."""
    return manifests.render(shipped("kubeconfigs") / "policy.yaml", {"run": run, "shared": shared})


def gate(roles: Sequence[Role], image: str, guard: str | None) -> dict[str, Any]:
    """The init container that waits until every service answers, and ends the run with a sentence when one does not.

    It is given the mounts and the environment of the recipes afterwards.
    """
    waits = [f"{role.name}={role.start_limit}={role.health}" for role in roles if role.health]
    env = [{"name": "CW_GUARD", "value": f"{guard}:{PORT}"}] if guard else []
    return {
        "name": "wait-for-services",
        "image": image,
        "command": ["python3", "-m", "cw_train.wait_for", *waits],
        "env": [{"name": "PYTHONUNBUFFERED", "value": "1"}, *env],
        "securityContext": container_security({"readOnlyRootFilesystem": True}),
        "resources": {
            "requests": {"cpu": "50m", "memory": "64Mi"},
            "limits": {"cpu": "500m", "memory": "256Mi"},
        },
    }
