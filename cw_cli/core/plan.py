"""Everything that a launch will do, as one frozen value; `launch` can only do what it says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cw_cli.core import guard as guards
from cw_cli.core import manifests, patch
from cw_cli.core.checks import CheckedConfig
from cw_cli.core.confinement import confined, with_home
from cw_cli.core.exceptions import TemplateError
from cw_cli.core.files import FILES_PATH, FILES_VOLUME, pack_recipes
from cw_cli.core.names import RECIPES, object_name, run_labels, run_name
from cw_cli.core.pods import add_volume, carry, main_container, pod_of
from cw_cli.core.problems import Problem
from cw_cli.core.record import Launch, make_record, record_map
from cw_cli.core.resources import Resources
from cw_cli.core.roles import GUARD, TRAINER, Role, of_services, services_of
from cw_cli.core.services import check_services, make_service
from cw_cli.core.shipped import shipped
from cw_cli.core.trainer import Trainer, make_trainer

Manifest = Mapping[str, Any]
"""One Kubernetes object as plain data."""


class Plan(NamedTuple):
    """A launch: its identity, the objects in apply order, and the record that outlives it."""

    run: str
    framework: str
    training_type: str
    target: str
    user: str
    image: str
    output_dir: str
    """Where the trainer writes, as the container sees it."""
    roles: tuple[Role, ...]
    objects: tuple[Manifest, ...]
    record: Mapping[str, Any]
    """Config as given and as resolved, overrides, versions, git commit, manifests' digest; plain JSON data."""
    warnings: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()
    """Sentences about defaults that cw filled in."""
    guard: str | None = None
    """Name of the Job to which the services belong, where the run has both services and a trainer."""
    modules: tuple[str, ...] = ()
    """Python modules without which the trainer cannot run on this machine."""

    @property
    def total_gpus(self) -> int:
        return sum(role.total_gpus for role in self.roles)


class _Parts(NamedTuple):
    """What a run is made of, before it is put together."""

    run: str
    labels: Mapping[str, str]
    trainer: Trainer
    services: tuple[tuple[Role, list[dict[str, Any]]], ...]
    rest: tuple[dict[str, Any], ...]
    """Objects of the templates that are neither."""

    @property
    def roles(self) -> tuple[Role, ...]:
        return tuple(role for role, _ in self.services)


def make_plan(checked: CheckedConfig, launch: Launch) -> Plan:
    """The plan of a checked config.

    Raises `TemplateError` when the framework's templates do not give one trainer Job, and `ConfigError` when a file
    that the config names cannot travel, or a service that it speaks of does not exist.
    """
    framework, training_type, keys = checked.framework, checked.training_type, checked.keys
    job_name = framework.get_job_name(training_type)
    run = _run_name(job_name, launch.name or checked.given.folder.joinpath(checked.given.source).stem)
    labels = {**run_labels(run, framework.name, training_type, launch.user), **keys.labels}
    defaults = framework.default_resources(checked.config, keys.resources.gpu)
    objects, found = _rendered(checked, run, defaults, launch.services_of)
    template = _trainer(objects, run, job_name)
    services = services_of(objects, launch.services_of or run)
    check_services(checked, services)
    trainer = make_trainer(checked, template, labels, defaults, run, launch.target)
    gpu = trainer.resources.gpu or 0
    made = (make_service(service, checked, labels, trainer.image, gpu) for service in services)
    known = [template, *of_services(services)]
    rest = (confined(item) for item in objects if not any(item is other for other in known))
    modules = _start_here(checked, trainer.job) if launch.target == "local" else ()
    parts = _Parts(run, labels, trainer, tuple(made), tuple(rest))
    guard = object_name(run, GUARD) if _guarded(parts, launch) else None
    body = [_labelled(item, labels, keys.annotations) for item in _body(parts, checked, launch, guard)]
    record = make_record(checked, launch, run, body, trainer.config, trainer.output_dir)
    doubt = checked.doubt() if launch.target != "local" else ""
    first = _labelled(record_map(run, trainer.config, record), labels, keys.annotations)
    return Plan(
        run=run,
        framework=framework.name,
        training_type=str(training_type),
        target=launch.target,
        user=launch.user,
        image=trainer.image,
        output_dir=trainer.output_dir,
        roles=tuple(_roles(parts, launch)),
        objects=tuple(_in_namespace(item, launch.namespace) for item in (first, *body)),
        record=record,
        warnings=(*checked.warnings, *found, *trainer.warnings),
        notes=(*filter(None, (launch.note, doubt)), *trainer.notes),
        guard=guard,
        modules=modules,
    )


def _roles(parts: _Parts, launch: Launch) -> Iterator[Role]:
    """What the launch itself starts."""
    if not launch.services_only:
        yield Role(TRAINER, parts.run, parts.trainer.resources)
    if not launch.services_of:
        yield from parts.roles


def _guarded(parts: _Parts, launch: Launch) -> bool:
    """On this machine the run's supervisor ends the services; services alone stay until they are deleted."""
    return bool(parts.services) and not (launch.target == "local" or launch.services_only or launch.services_of)


def _body(parts: _Parts, checked: CheckedConfig, launch: Launch, guard: str | None) -> list[dict[str, Any]]:
    """Every object but the record, in apply order: the guard before what belongs to it, the trainer after that, the
    mark that the launch came to its end last."""
    here, keys = launch.target == "local", checked.keys
    deployments = [] if launch.services_of else [objects[-1] for _, objects in parts.services]
    job = parts.trainer.job
    _share_files(job, deployments)
    brought = _bring_recipes(checked, [job, *deployments])
    if parts.services and not here:
        gate = guards.gate(parts.roles, parts.trainer.image, guard)
        job = patch.behind_gate(job, gate, guards.NEVER_HEALTHY)
        brought.update(_bring_gate(job))
    first = manifests.in_apply_order([*parts.rest, *parts.trainer.files, *brought.values()])
    services: list[dict[str, Any]] = []
    if not launch.services_of and parts.services:
        services = [] if here else guards.network_policy(parts.run, shared=launch.services_only)
        services += [item for _, objects in parts.services for item in objects]
    body = [*first, *(guards.guard_objects(parts.run, keys, parts.labels) if guard else []), *services]
    body += [] if launch.services_only else [job]
    body += [guards.launched_mark(parts.run)] if guard else []
    # Here, the user's own home serves.
    homeless = () if here else (job, *deployments)
    return [with_home(item) if any(item is other for other in homeless) else item for item in body]


def _share_files(job: dict[str, Any], services: Sequence[dict[str, Any]]) -> None:
    """Services read the same config, so they see the files that it names."""
    for volume in pod_of(job).get("volumes") or []:
        if volume["name"] == FILES_VOLUME:
            for service in services:
                add_volume(service, volume, FILES_PATH)


def _bring_recipes(checked: CheckedConfig, workloads: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Let the workloads import the framework's recipes; returns the ConfigMaps that bring them, by name."""
    if (folders := checked.framework.recipes()) is None:
        return {}
    recipes = pack_recipes(*([folders] if isinstance(folders, Path) else folders))
    for workload in workloads:
        carry(workload, recipes)
    return {recipes.name: recipes.config_map()}


def _bring_gate(job: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The gate is one of cw's own recipes, whatever the framework brings."""
    recipes = pack_recipes(shipped("containers") / "cw_train")
    carry(job, recipes, job["spec"]["template"]["spec"]["initContainers"][0])
    return {recipes.name: recipes.config_map()}


def _run_name(job_name: str, stem: str) -> str:
    """The stem adds nothing to a name that ends with it: `cw-trl-train-sft` and `sft.yaml`."""
    return run_name(job_name, "" if job_name.endswith(f"-{stem}") else stem)


def _rendered(
    checked: CheckedConfig, run: str, defaults: Resources, services_of: str | None
) -> tuple[list[dict[str, Any]], list[Problem]]:
    """The objects under their names, and warnings about the templates."""
    framework, training_type, asked = checked.framework, checked.training_type, checked.keys.resources
    gpu = asked.gpu if asked.gpu is not None else defaults.gpu or 0
    job, config_map = framework.get_job_name(training_type), framework.get_configmap_name(training_type)
    own = {"run": run, "job": job, "nodes": asked.nodes, "gpu": gpu, "processes": max(gpu, 1)}
    variables = {**framework.template_variables(checked.config, training_type), **own}
    folders, found = framework.template_folders(), list[Problem]()
    objects = [
        item
        for template in framework.get_yaml_templates(training_type)
        for item in manifests.render(Path(template), variables, folders, found)
    ]
    return manifests.name_for_run(objects, run, job, config_map, services_of), found


def _start_here(checked: CheckedConfig, job: dict[str, Any]) -> tuple[str, ...]:
    """Let the Job start as the framework wants it on this machine; the modules that it needs there."""
    main = main_container(job)
    if not main.get("command"):
        return ()
    argv = (*main["command"], *(main.get("args") or ()))
    local = checked.framework.local_command(checked.training_type, argv)
    if tuple(local.argv) != argv:
        main["command"], main["args"] = list(local.argv), []
    return tuple(local.modules)


def _trainer(objects: list[dict[str, Any]], run: str, job_name: str) -> dict[str, Any]:
    jobs = [item for item in objects if item["kind"] == "Job" and item["metadata"]["name"] == run]
    if len(jobs) != 1:
        message = f"the templates hold {len(jobs) or 'no'} Job{'s' if len(jobs) > 1 else ''} called {job_name}"
        raise TemplateError(message, "The trainer is the one Job whose name get_job_name returns.")
    return jobs[0]


def _labelled(item: Manifest, labels: Mapping[str, str], annotations: Mapping[str, str]) -> dict[str, Any]:
    """The object as part of the run; recipes are no run's own."""
    shared = RECIPES in (item["metadata"].get("labels") or {})
    return dict(item) if shared else patch.labelled(item, labels, annotations)


def _in_namespace(item: Manifest, namespace: str | None) -> Manifest:
    return {**item, "metadata": {**item["metadata"], "namespace": namespace}} if namespace else item
