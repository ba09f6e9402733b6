"""From a plan's manifests to what this machine has to start: one frozen value per role. Pure."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cw_cli.core.problems import Problem
from cw_cli.targets.local.environment import Environment
from cw_cli.targets.local.mounts import Manifest, Mounts, Places, read_mounts

ROLE_LABEL = "cw.dev/role"
DEFAULT_GRACE = 30.0
"""Seconds between the request to end and the kill, when the manifest names none: Kubernetes' own default."""

_UNFIT_FOR_PATHS = re.compile(r"[^\w ./@+,=~-]")
_PLACES_OF_WORKERS = ("--standalone", "--rdzv", "--master", "--node")


@dataclass(frozen=True, slots=True)
class Unit:
    """One role's process, as its Job describes it."""

    role: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    """What the manifest sets on top of the caller's environment."""
    cwd: str
    mounts: Mounts
    gpus: int = 0
    retries: int = 0
    time_limit: float | None = None
    grace: float = DEFAULT_GRACE


def read_units(
    objects: Iterable[Manifest], *, run: str, places: Places, caller: Mapping[str, str], cwd: str
) -> tuple[list[Unit], list[Problem]]:
    """A unit for every Job among `objects`, and everything that cannot run on this machine."""
    problems = _unfit_places(places)
    units: list[Unit] = []
    config_maps = {
        manifest["metadata"]["name"]: manifest for manifest in objects if manifest.get("kind") == "ConfigMap"
    }
    for manifest in objects:
        kind, name = manifest.get("kind"), manifest.get("metadata", {}).get("name", "")
        if kind == "Job":
            unit, found = _read_job(manifest, run, config_maps, places, caller, cwd)
            units.append(unit)
            problems += found
        elif kind in ("Deployment", "StatefulSet", "DaemonSet", "Pod"):
            problems.append(
                Problem(
                    f"The {kind} `{name}` is a service; runs on this machine cannot start services yet.",
                    "Run it on the cluster, or leave the services out of the config.",
                )
            )
    if not units and not problems:
        problems.append(Problem("There is no Job among the run's objects, so nothing to start."))
    return units, problems


def _read_job(
    job: Manifest,
    run: str,
    config_maps: Mapping[str, Manifest],
    places: Places,
    caller: Mapping[str, str],
    cwd: str,
) -> tuple[Unit, list[Problem]]:
    spec, template = job["spec"], job["spec"]["template"]
    pod = template["spec"]
    container = pod["containers"][0]
    mounts, unmountable = read_mounts(pod, container, config_maps, places)
    environment = Environment(run, template, config_maps, caller, mounts.localize)
    environment.read(container)
    if spec.get("completionMode") == "Indexed":
        environment.raw.setdefault("JOB_COMPLETION_INDEX", "0")
    argv, no_command = _argv(container, environment)
    working_folder = _working_folder(container, environment)
    if working_folder:  # Kubernetes makes it too.
        mounts = replace(mounts, folders=(*mounts.folders, working_folder))
    limits = [limit for limit in (spec.get("activeDeadlineSeconds"), pod.get("activeDeadlineSeconds")) if limit]
    unit = Unit(
        role=_role(job),
        argv=argv,
        env=environment.values,
        cwd=working_folder or cwd,
        mounts=mounts,
        gpus=_gpus(container),
        retries=int(spec.get("backoffLimit") or 0),
        time_limit=float(min(limits)) if limits else None,
        grace=float(pod.get("terminationGracePeriodSeconds", DEFAULT_GRACE)),
    )
    return unit, [*_unfit_job(job), *no_command, *unmountable, *environment.problems]


def _role(job: Manifest) -> str:
    for labelled in (job, job["spec"]["template"]):
        role = ((labelled.get("metadata") or {}).get("labels") or {}).get(ROLE_LABEL)
        if role:
            return str(role)
    return "trainer"


def _argv(container: Manifest, environment: Environment) -> tuple[tuple[str, ...], list[Problem]]:
    """The command line, with this machine's Python for the image's. Without `command` only the image knows it."""
    if not container.get("command"):
        return (), [
            Problem(
                f"The container `{container.get('name', '')}` names no `command`, so only its image knows what to run.",
                "Write the `command` into the template, or run it on the cluster.",
            )
        ]
    words = [*container["command"], *(container.get("args") or ())]
    program, *arguments = [environment.text(str(word), "the command line") for word in words]
    return (*_program(program, arguments), *arguments), []


def _program(program: str, arguments: Sequence[str]) -> tuple[str, ...]:
    name = os.path.basename(program)
    if re.fullmatch(r"python(3(\.\d+)?)?", name):
        return (sys.executable,)
    if name == "torchrun":
        # Without a place to meet all runs would meet at the same port, and the second one would fail.
        placed = any(word.replace("_", "-").startswith(_PLACES_OF_WORKERS) for word in arguments)
        return (sys.executable, "-m", "torch.distributed.run", *(() if placed else ("--standalone",)))
    return (program,)


def _working_folder(container: Manifest, environment: Environment) -> str | None:
    """The container's `workingDir` if it lies on a mount; the image's folders are not here."""
    wanted = str(container.get("workingDir") or "")
    local = environment.text(wanted, "the working directory")
    return local if local != wanted else None


def _gpus(container: Manifest) -> int:
    resources = container.get("resources") or {}
    amounts: dict[str, Any] = {**(resources.get("requests") or {}), **(resources.get("limits") or {})}
    return sum(int(amount) for name, amount in amounts.items() if name.endswith("/gpu"))


def _unfit_job(job: Manifest) -> list[Problem]:
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    name, problems = job["metadata"]["name"], []
    nodes = int(spec.get("completions") or spec.get("parallelism") or 1)
    if nodes > 1:
        problems.append(
            Problem(f"The run asks for {nodes} nodes; this machine is one.", "Leave out `nodes`, or run on a cluster.")
        )
    if pod.get("initContainers"):
        names = ", ".join(container.get("name", "?") for container in pod["initContainers"])
        problems.append(
            Problem(
                f"The Job `{name}` has init containers ({names}), which runs on this machine cannot start.",
                "Run it on the cluster, or do their work in the main command.",
            )
        )
    if len(pod["containers"]) > 1:
        problems.append(
            Problem(
                f"The Job `{name}` has {len(pod['containers'])} containers; a local role is one process.",
                "Run it on the cluster.",
            )
        )
    return problems


def _unfit_places(places: Places) -> list[Problem]:
    """Paths go into YAML, commands and search paths as they are, so they must not need quoting there."""
    problems = []
    for path, variable in ((places.mounts, "XDG_STATE_HOME"), (places.volumes, "XDG_DATA_HOME")):
        if found := _UNFIT_FOR_PATHS.search(path):
            problems.append(
                Problem(
                    f"cw keeps files of the run under {path}, whose {found[0]!r} would be misread in a config.",
                    f"Set {variable} to a folder with a plain name.",
                )
            )
    return problems
