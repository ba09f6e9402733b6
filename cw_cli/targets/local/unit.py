"""From a plan's manifests to what this machine has to start: one frozen value per process. Pure."""

from __future__ import annotations

import os
import posixpath
import re
import sys
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from cw_cli.core.problems import Problem
from cw_cli.targets.local.environment import Environment
from cw_cli.targets.local.folder import process_name
from cw_cli.targets.local.mounts import Manifest, Mounts, Places, read_mounts
from cw_cli.targets.local.ports import HERE, Addresses, own_variables, replicas_of, shown, with_own_ports

if TYPE_CHECKING:  # Plans are made of templates; looking after runs needs none.
    from cw_cli.core.roles import Role

ROLE_LABEL = "cw.dev/role"
DEFAULT_GRACE = 30.0
"""Seconds between the request to end and the kill, when the manifest names none: Kubernetes' own default."""

_UNFIT_FOR_PATHS = re.compile(r"[^\w ./@+,=~-]")
_PLACES_OF_WORKERS = ("--standalone", "--rdzv", "--master", "--node")


@dataclass(frozen=True, slots=True)
class Unit:
    """One process, as its Job or its Deployment describes it."""

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
    replica: int = 0
    service: Answering | None = None
    """None for a process that comes to an end."""

    @property
    def name(self) -> str:
        return process_name({"role": self.role, "replica": self.replica})


@dataclass(frozen=True, slots=True)
class Answering:
    """What makes a process a service."""

    address: str | None
    """Where it is reached, for people."""
    health: str | None
    """The URL that answers once it can work."""
    start_limit: int
    """Seconds until that."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the processes of a run find on this machine."""

    run: str
    places: Places
    caller: Mapping[str, str]
    """The environment that they inherit."""
    cwd: str
    addresses: Addresses = field(default_factory=Addresses)
    roles: Sequence[Role] = ()
    """The plan's."""


def read_units(objects: Sequence[Manifest], around: Surroundings) -> tuple[list[Unit], list[Problem]]:
    """A unit for every process of the Jobs and Deployments among `objects`, Jobs first, and everything that cannot
    run on this machine."""
    problems = _unfit_places(around.places)
    units: list[Unit] = []
    config_maps = {item["metadata"]["name"]: item for item in objects if item.get("kind") == "ConfigMap"}
    for manifest in sorted(objects, key=lambda item: item.get("kind") != "Job"):
        kind, name = manifest.get("kind"), manifest.get("metadata", {}).get("name", "")
        if kind in ("Job", "Deployment"):
            for replica in range(replicas_of(manifest) if kind == "Deployment" else 1):
                unit, found = _read_workload(manifest, replica, config_maps, around)
                units.append(unit)
                problems += found
        elif kind in ("StatefulSet", "DaemonSet", "Pod"):
            message = f"The {kind} `{name}` cannot run on this machine: only Jobs and Deployments can."
            problems.append(Problem(message, "Run it on the cluster, or write it as a Deployment."))
    if not units and not problems:
        problems.append(Problem("There is no Job among the run's objects, so nothing to start."))
    names = [unit.name for unit in units]
    problems += [
        Problem(f"Two processes of the run are called `{name}`.", "Give their roles other names with `cw.dev/role`.")
        for name in {name for name in names if names.count(name) > 1}
    ]
    return units, list(dict.fromkeys(problems))


def _read_workload(
    workload: Manifest, replica: int, config_maps: Mapping[str, Manifest], around: Surroundings
) -> tuple[Unit, list[Problem]]:
    """One process of a Job or Deployment."""
    spec, template = workload["spec"], workload["spec"]["template"]
    pod, addresses = template["spec"], around.addresses
    container = pod["containers"][0]
    is_service = workload["kind"] == "Deployment"
    own = addresses.own[workload["metadata"]["name"]][replica] if is_service else {}
    role = _role(workload)
    name = process_name({"role": role, "replica": replica})
    places = replace(around.places, mounts=posixpath.join(around.places.mounts, name))
    mounts, unmountable = read_mounts(pod, container, config_maps, places, addresses.in_text)
    environment = Environment(around.run, template, config_maps, around.caller, mounts.localize)
    environment.read(container)
    if is_service:
        environment.raw = own_variables(environment.raw, own)
    if spec.get("completionMode") == "Indexed":
        environment.raw.setdefault("JOB_COMPLETION_INDEX", "0")
    argv, no_command = _argv(container, environment)
    argv = tuple(map(addresses.in_text, with_own_ports(argv, own) if is_service else argv))
    working_folder = _working_folder(container, environment)
    if working_folder:  # Kubernetes makes it too.
        mounts = replace(mounts, folders=(*mounts.folders, working_folder))
    limits = [limit for limit in (spec.get("activeDeadlineSeconds"), pod.get("activeDeadlineSeconds")) if limit]
    variables = {name: addresses.in_variable(value) for name, value in environment.values.items()}
    unit = Unit(
        role=role,
        argv=argv,
        env={**variables, **(_past_proxies(variables, around.caller) if addresses.named else {})},
        cwd=working_folder or around.cwd,
        mounts=mounts,
        gpus=_gpus(container),
        retries=int(spec.get("backoffLimit") or 0),
        time_limit=float(min(limits)) if limits else None,
        grace=float(pod.get("terminationGracePeriodSeconds", DEFAULT_GRACE)),
        replica=replica,
        service=_answering(workload, replica, around) if is_service else None,
    )
    unfit = _unfit_workload(workload, addresses.services)
    return unit, [*unfit, *no_command, *unmountable, *environment.problems]


def _answering(deployment: Manifest, replica: int, around: Surroundings) -> Answering:
    name = deployment["metadata"]["name"]
    role = next((role for role in around.roles if role.workload == name), None)
    health = around.addresses.in_text(role.health, replica) if role and role.health else None
    address = shown(health, around.addresses.own[name][replica])
    return Answering(address, health, role.start_limit if role else 0)


def _past_proxies(variables: Mapping[str, str], caller: Mapping[str, str]) -> dict[str, str]:
    """Nothing between two processes of this machine is a proxy's business."""
    if not any(name.lower().endswith("_proxy") for name in caller):
        return {}
    return {
        name: ",".join(filter(None, (variables.get(name, caller.get(name)), HERE))) for name in ("no_proxy", "NO_PROXY")
    }


def _role(workload: Manifest) -> str:
    for labelled in (workload, workload["spec"]["template"]):
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


def _unfit_workload(workload: Manifest, services: Container[str]) -> list[Problem]:
    spec, pod = workload["spec"], workload["spec"]["template"]["spec"]
    what, problems = f"The {workload['kind']} `{workload['metadata']['name']}`", []
    nodes = int(spec.get("completions") or spec.get("parallelism") or 1)
    if nodes > 1:
        problems.append(
            Problem(f"The run asks for {nodes} nodes; this machine is one.", "Leave out `nodes`, or run on a cluster.")
        )
    first = [container for container in pod.get("initContainers") or () if not _only_waits(container, services)]
    if first:
        names = ", ".join(container.get("name", "?") for container in first)
        problems.append(
            Problem(
                f"{what} has init containers ({names}), which runs on this machine cannot start.",
                "Run it on the cluster, or do their work in the main command.",
            )
        )
    if len(pod["containers"]) > 1:
        problems.append(
            Problem(
                f"{what} has {len(pod['containers'])} containers; a local role is one process.",
                "Run it on the cluster.",
            )
        )
    return problems


def _only_waits(container: Manifest, services: Container[str]) -> bool:
    """Whether an init container speaks of a service of the run: the supervisor waits in its place."""
    words = [*(container.get("command") or ()), *(container.get("args") or ())]
    return any(name in services for word in words for name in re.findall(r"[\w-]+", str(word)))


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
