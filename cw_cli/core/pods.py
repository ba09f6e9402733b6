"""The pods that a workload makes: their main container, their volumes, their variables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cw_cli.core.files import RECIPES_PATH, Recipes

Manifest = Mapping[str, Any]


def pod_of(workload: Manifest) -> dict[str, Any]:
    """The pod specification in a Job or a Deployment."""
    pod: dict[str, Any] = workload["spec"]["template"]["spec"]
    return pod


def main_container(workload: Manifest) -> dict[str, Any]:
    """The container that does the workload's work: the first one."""
    container: dict[str, Any] = pod_of(workload)["containers"][0]
    return container


def writable_claims(workload: Manifest) -> list[str]:
    """Where the main container mounts persistent volumes that it can write to."""
    claims = {volume["name"] for volume in pod_of(workload).get("volumes") or [] if "persistentVolumeClaim" in volume}
    mounts = main_container(workload).get("volumeMounts") or []
    return [mount["mountPath"] for mount in mounts if mount["name"] in claims and not mount.get("readOnly")]


def add_volume(workload: Manifest, volume: Manifest, path: str, container: dict[str, Any] | None = None) -> None:
    """Give a container, the main one unless it is named, one more volume; only an empty one can be written to."""
    pod, holder = pod_of(workload), container if container is not None else main_container(workload)
    if all(volume["name"] != other["name"] for other in pod.get("volumes") or []):
        pod["volumes"] = [*(pod.get("volumes") or []), dict(volume)]
    mount = {"name": volume["name"], "mountPath": path, **({} if "emptyDir" in volume else {"readOnly": True})}
    holder["volumeMounts"] = [*(holder.get("volumeMounts") or []), mount]


def carry(workload: Manifest, recipes: Recipes, container: dict[str, Any] | None = None) -> None:
    """Make the recipes importable in a container, the main one unless it is named."""
    holder = container if container is not None else main_container(workload)
    add_volume(workload, {"name": recipes.volume, "configMap": {"name": recipes.name}}, RECIPES_PATH, holder)
    env, path = holder.setdefault("env", []), recipes.python_path
    own = next((entry["value"] for entry in env if entry["name"] == "PYTHONPATH" and "value" in entry), None)
    env[:] = [entry for entry in env if entry["name"] != "PYTHONPATH"]
    env.append({"name": "PYTHONPATH", "value": f"{path}:{own}" if own else path})
