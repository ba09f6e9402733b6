"""cw's own keys as a pydantic model, and the program that writes them to `cw.json`.

The command line reads the data, because importing pydantic would double the time that a dry run takes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from cw_cli.core.json_schema import flat
from cw_cli.schemas.written import written

FILE = Path(__file__).with_name("cw.json")


class GpuRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")
    type: str = Field(description="GPU type, as in H100.")
    count: int = Field(1, ge=0, description="GPUs on each node.")


class ResourcesBlock(BaseModel):
    model_config = ConfigDict(extra="forbid")
    requests: dict[str, str | int | float] = Field({}, description="What the scheduler sets aside, by resource name.")
    limits: dict[str, str | int | float] = Field({}, description="What the container may use, by resource name.")


class ServiceBlock(BaseModel):
    """What one service of a run takes: a reward model, an inference server."""

    model_config = ConfigDict(extra="forbid")
    gpu: int | str | GpuRequest | None = Field(None, description="GPUs of each replica: 2, or with a type H100:2.")
    cpu: int | float | str | None = Field(None, description="Processor cores of each replica.")
    memory: int | str | None = Field(None, description='Memory of each replica: "32Gi".')
    image: str | None = Field(None, description="Container image, where it is not the trainer's.")
    replicas: int | None = Field(None, ge=1, le=1000, description="How many there are; requests spread over them.")
    env: dict[str, str | int | float | bool | None] | None = Field(None, description="Environment variables.")
    start_limit: int | str | None = Field(
        None, description="How long the trainer waits for it to answer: 30m, 2h, or seconds."
    )
    pod: dict[str, Any] | None = Field(None, description="A patch to the pod specification, merged last.")


class LaunchKeys(BaseModel):
    """Keys that say how a run is launched; they stand beside the framework's own keys in the same file."""

    model_config = ConfigDict(extra="forbid")

    gpu: int | str | GpuRequest | None = Field(None, description="GPUs on each node: 4, or with a type H100:4.")
    cpu: int | float | str | None = Field(None, description='Processor cores on each node: "32" or "500m".')
    memory: int | str | None = Field(None, description='Memory on each node: "500Gi".')
    nodes: int | None = Field(None, ge=1, le=1024, description="Nodes that train together.")
    image: str | None = Field(None, description="Container image; anything with torch and the framework in it.")
    pull: bool | None = Field(None, description="Pull the image even where a node has it already.")
    resources: ResourcesBlock | None = Field(
        None, description="Requests and limits beyond gpu, cpu and memory, or different from each other."
    )
    env: dict[str, str | int | float | bool | None] | None = Field(
        None, description="Environment variables of the training process."
    )
    secrets: dict[str, str | dict[str, Any] | None] | None = Field(
        None, description="Environment variables from Kubernetes Secrets: VARIABLE: secret-name or secret-name/key."
    )
    volumes: dict[str, str | dict[str, Any] | None] | None = Field(
        None, description="Volumes by claim name: claim: /path, or claim: /path:ro, or a mapping with path and more."
    )
    node_selector: dict[str, str | int | bool] | None = Field(None, description="Labels that a node must carry.")
    tolerations: list[str | dict[str, Any]] | None = Field(
        None, description="Taints that the run puts up with: key, key=value or key=value:Effect."
    )
    queue: str | None = Field(None, description="Kueue queue that admits the run.")
    priority: str | None = Field(None, description="Priority class of the pods.")
    labels: dict[str, str | int | float | bool] | None = Field(None, description="Labels on every object of the run.")
    annotations: dict[str, str | int | float | bool] | None = Field(
        None, description="Annotations on every object of the run."
    )
    services: dict[str, ServiceBlock | None] | None = Field(
        None, description="What the run's services take, by role: `reward: {gpu: 1, memory: 32Gi, replicas: 2}`."
    )
    start_limit: int | str | None = Field(
        None, description="How long services wait for the trainer to start before their GPUs are freed: 1h, 90m."
    )
    guard_image: str | None = Field(
        None, description="Image of the small container that frees services' GPUs; it needs a shell and nslookup."
    )
    timeout: int | str | None = Field(None, description="Longest time that the run may take: 8h, 90m, 2d, or seconds.")
    retries: int | None = Field(None, ge=0, le=1000, description="How often a failed trainer is started again.")
    ttl: int | str | None = Field(
        None, description="How long a finished run stays in the cluster with its logs: 7d, 12h, or seconds."
    )
    pod: dict[str, Any] | None = Field(
        None, description="A patch to the pod specification, merged last: whatever Kubernetes knows and cw does not."
    )


class PluginsBlock(BaseModel):
    model_config = ConfigDict(extra="forbid")
    folders: list[str] = Field([], description="More folders that are plugins, or hold some.")
    replace: list[str] = Field([], description="Built-in frameworks that a plugin of the same name may replace.")


class Settings(LaunchKeys):
    """The user's defaults: every launch key, and where runs go."""

    target: str | None = Field(
        None,
        description="Where runs go: kubernetes or local.",
        json_schema_extra={"enum": ["kubernetes", "local", None]},
    )
    context: str | None = Field(None, description="Context of the kubeconfig.")
    namespace: str | None = Field(None, description="Namespace of the runs.")
    user: str | None = Field(None, description="Name that marks your runs among other people's.")
    plugins: PluginsBlock | None = Field(None, description="Where plugins lie, and which may replace what is built in.")


def properties(model: type[BaseModel]) -> dict[str, Any]:
    """The model's JSON Schema properties with references resolved and alternatives joined into one list of types."""
    schema = model.model_json_schema()
    return {name: _flat(spec, schema.get("$defs", {})) for name, spec in schema["properties"].items()}


def _flat(spec: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    return _sorted(flat(spec, definitions))


def _sorted(spec: dict[str, Any]) -> dict[str, Any]:
    """The words of a property in one order and without titles; its own properties stay in the model's order."""
    result = {key: value for key, value in sorted(spec.items()) if key != "title"}
    for key in ("items", "additionalProperties"):
        if isinstance(result.get(key), dict):
            result[key] = _sorted(result[key])
    if "properties" in result:
        result["properties"] = {key: _sorted(value) for key, value in result["properties"].items()}
    return result


def generated() -> str:
    """The text of `cw.json`."""
    launch, settings = properties(LaunchKeys), properties(Settings)
    only = {name: spec for name, spec in settings.items() if name not in launch}
    groups = {
        "launch": {"title": "Launch (cw's own keys)", "keys": launch},
        "settings": {"title": "Where runs go", "keys": only},
    }
    types = {"launch": ["launch"], "settings": ["launch", "settings"]}
    return json.dumps({"groups": groups, "types": types}, indent=1) + "\n"


def main(arguments: list[str]) -> int:
    return written(FILE, generated(), "its model", arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
