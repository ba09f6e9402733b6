"""A machine for a test: folders, environment, and plans made by hand around small Python programs."""

from __future__ import annotations

import base64
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings

from cw_cli.core.plan import Plan, Role
from cw_cli.core.resources import Resources
from cw_cli.core.status import RunStatus
from cw_cli.targets.local.target import LocalTarget

patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""For properties: a slow machine is no reason to fail."""

LIMIT = 60.0
"""Seconds until a test gives up waiting; far more than any machine needs."""


def job(run: str, program: str, **changes: Any) -> dict[str, Any]:
    """A Job that runs `program` with Python. Changes: `spec`, `pod` and `container` are merged into those."""
    labels = {"app.kubernetes.io/managed-by": "cw", "cw.dev/run": run, "cw.dev/role": "trainer"}
    container = {
        "name": "trainer",
        "command": ["python3", "-c", program],
        "volumeMounts": [
            {"name": "config", "mountPath": "/cw/config"},
            {"name": "model-checkpoints", "mountPath": "/model-checkpoints"},
            {"name": "shared-memory", "mountPath": "/dev/shm"},
        ],
        **changes.get("container", {}),
    }
    pod = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 5,
        "containers": [container],
        "volumes": [
            {"name": "config", "configMap": {"name": f"{run}-config"}},
            {"name": "model-checkpoints", "persistentVolumeClaim": {"claimName": "model-checkpoints"}},
            {"name": "shared-memory", "emptyDir": {"medium": "Memory"}},
        ],
        **changes.get("pod", {}),
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": run, "labels": labels},
        "spec": {
            "backoffLimit": 0,
            "template": {"metadata": {"labels": labels}, "spec": pod},
            **changes.get("spec", {}),
        },
    }


def config_map(name: str, data: dict[str, str], binary: dict[str, bytes] | None = None) -> dict[str, Any]:
    binary_data = {key: base64.b64encode(content).decode() for key, content in (binary or {}).items()}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name},
        "data": data,
        "binaryData": binary_data,
    }


def plan(run: str, program: str, *, config: str = "a: 1\n", gpu_type: str | None = None, **changes: Any) -> Plan:
    resources = Resources(gpu=0, gpu_type=gpu_type)
    return Plan(
        run=run,
        framework="trl",
        training_type="sft",
        target="local",
        user="ada",
        image="none",
        output_dir=changes.get("output_dir", f"/model-checkpoints/{run}"),
        roles=(Role("trainer", run, resources),),
        objects=(config_map(f"{run}-config", {"config.yaml": config}), job(run, program, **changes)),
        record={"config": {"a": 1}},
    )


def deployment(run: str, role: str, program: str, **changes: Any) -> dict[str, Any]:
    """A Deployment that runs `program` with Python behind port 8000. Changes are those of `job`."""
    base = job(run, program, **{"pod": {"terminationGracePeriodSeconds": 5}, **changes, "spec": {}})
    labels = {**base["metadata"]["labels"], "cw.dev/role": role}
    template = base["spec"]["template"]
    container = {"ports": [{"name": "http", "containerPort": 8000}], **template["spec"]["containers"][0], "name": role}
    pod = {**template["spec"], "containers": [container]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": f"{run}-{role}", "labels": labels},
        "spec": {"replicas": 1, "template": {"metadata": {"labels": labels}, "spec": pod}, **changes.get("spec", {})},
    }


def service(run: str, role: str) -> dict[str, Any]:
    """The Service of that Deployment."""
    ports = [{"name": "http", "port": 8000, "targetPort": "http"}]
    selector = {"cw.dev/run": run, "cw.dev/role": role}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": f"{run}-{role}-service"},
        "spec": {"selector": selector, "ports": ports},
    }


def plan_of_roles(
    run: str,
    trainer: str | None,
    services: Mapping[str, str],
    *,
    services_of: str | None = None,
    start_limit: int = 60,
    health: str | None = "/health",
    trainer_changes: Mapping[str, Any] | None = None,
    **changes: Any,
) -> Plan:
    """A run whose services are the programs by role; without `trainer` they are all of it. `changes` are those of
    the Deployments."""
    base = plan(run, trainer or "", **{"container": {}, **(trainer_changes or {})})
    owner = services_of or run
    urls = [{"name": f"{role.upper()}_URL", "value": f"http://{owner}-{role}-service:8000"} for role in services]
    trainer_job = base.objects[-1]
    trainer_job["spec"]["template"]["spec"]["containers"][0]["env"] = urls
    objects, roles = [base.objects[0]], []
    for role, program in services.items():
        if not services_of:
            made = deployment(run, role, program, **changes)
            objects += [service(run, role), made]
            url = f"http://{run}-{role}-service:8000{health}" if health else None
            count = made["spec"]["replicas"]
            roles.append(Role(role, f"{run}-{role}", Resources(gpu=0), count, url, start_limit))
    return base._replace(
        objects=(*objects, *([trainer_job] if trainer is not None else [])),
        roles=(*(base.roles if trainer is not None else ()), *roles),
        record={**base.record, "services_only": trainer is None, "services_of": services_of},
    )


@dataclass
class Machine:
    """One user's machine."""

    home: Path
    environment: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.environment = {
            **{name: value for name, value in os.environ.items() if name not in ("CUDA_VISIBLE_DEVICES", "HF_TOKEN")},
            "HOME": str(self.home),
            "XDG_STATE_HOME": str(self.home / "state"),
            "XDG_DATA_HOME": str(self.home / "data"),
        }

    @property
    def target(self) -> LocalTarget:
        return LocalTarget(self.environment, cwd=str(self.home))

    @property
    def volume(self) -> Path:
        return self.home / "data/cw/volumes/model-checkpoints"

    def folder(self, run: str) -> Path:
        return self.home / "state/cw/runs" / run

    def run(self, run: str, program: str, **changes: Any) -> RunStatus:
        """Launch and wait for the end."""
        self.target.launch(plan(run, program, **changes), attached=False)
        return self.ended(run)

    def ended(self, run: str) -> RunStatus:
        eventually(lambda: self.target.status(run).state.ended, f"{run} does not end")
        return self.target.status(run)

    def lines(self, run: str, role: str | None = None) -> list[str]:
        return list(self.target.logs(run, role=role, follow=False, tail=None))

    def saw(self, run: str, text: str, role: str | None = None, times: int = 1) -> None:
        """Wait until the log has that many lines with `text`."""
        otherwise = f"{run} never said {text!r}"
        eventually(lambda: sum(text in line for line in self.lines(run, role)) >= times, otherwise)


def eventually(holds: Callable[[], bool], otherwise: str) -> None:
    end = time.monotonic() + LIMIT
    while not holds():
        assert time.monotonic() < end, otherwise
        time.sleep(0.02)
