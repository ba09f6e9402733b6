"""Everything that a launch will do, as one frozen value; `launch` can only do what it says."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from cw_cli.core import files, manifests, patch
from cw_cli.core.checks import CheckedConfig
from cw_cli.core.config import Config
from cw_cli.core.exceptions import ConfigError, TemplateError
from cw_cli.core.names import OUTPUT, RECORD, object_name, run_labels, run_name
from cw_cli.core.problems import Origin, Problem, errors
from cw_cli.core.resources import GPU_RESOURCE, Resources
from cw_cli.core.yaml_writer import to_yaml

Manifest = Mapping[str, Any]
"""One Kubernetes object as plain data."""

CONFIG_FILE = "config.yaml"
TRAINER = "trainer"


class Role(NamedTuple):
    """One set of identical processes of a run: the workload object that starts it, and what it takes."""

    name: str
    workload: str
    """Name of the Job or Deployment."""
    resources: Resources


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
    modules: tuple[str, ...] = ()
    """Python modules without which the trainer cannot run on this machine."""


class Launch(NamedTuple):
    """Who launches, where, and what the record shall say of it."""

    target: str
    """`kubernetes` or `local`."""
    user: str
    name: str | None = None
    namespace: str | None = None
    version: str = ""
    commit: str | None = None
    note: str | None = None
    """How the target was chosen, if cw chose it."""


def make_plan(checked: CheckedConfig, launch: Launch) -> Plan:
    """The plan of a checked config.

    Raises `TemplateError` when the framework's templates do not give one trainer Job, and `ConfigError` when a file
    that the config names cannot travel.
    """
    framework, training_type, keys = checked.framework, checked.training_type, checked.keys
    job_name = framework.get_job_name(training_type)
    run = _run_name(job_name, launch.name or checked.given.folder.joinpath(checked.given.source).stem)
    labels = run_labels(run, framework.name, training_type, launch.user)
    defaults = framework.default_resources(checked.config, keys.resources.gpu)

    objects, found = _rendered(checked, run, defaults)
    trainer = _trainer(objects, run, job_name)
    job = patch.patched_trainer(
        trainer, patch.with_role({**labels, **keys.labels}, TRAINER), keys, framework.get_default_image(), defaults
    )
    resources = _resources_of(job, keys.resources)
    config, notes = _completed(checked, resources)
    config, output_dir, warnings = _output(config, job, framework.output_key, run, launch.target)
    job["metadata"].setdefault("annotations", {})[OUTPUT] = output_dir
    config, extras = _files(checked, config, job, run, launch.target)
    container_config = framework.prepare_config(dict(config.values))
    every = {**labels, **keys.labels}
    others = [patch.confined(patch.labelled(item, every, keys.annotations)) for item in objects if item is not trainer]
    extras = [patch.labelled(item, every, keys.annotations) for item in extras]
    if (folders := framework.recipes()) is not None:
        recipes = files.pack_recipes(*([folders] if isinstance(folders, Path) else folders))
        _add_volume(job, {"name": "recipes", "configMap": {"name": recipes.name}}, files.RECIPES_PATH)
        _prepend_python_path(job, recipes.python_path)
        extras.append(recipes.config_map())
    modules = _start_here(checked, job) if launch.target == "local" else ()
    if launch.target != "local":  # here, the user's own home serves
        job = patch.with_home(job)
    body = manifests.in_apply_order([*others, *extras, job])
    record = _record(checked, launch, run, body, container_config, output_dir)
    config_map = _config_map(run, container_config, record)
    config_map = patch.labelled(config_map, every, keys.annotations)
    return Plan(
        run=run,
        framework=framework.name,
        training_type=str(training_type),
        target=launch.target,
        user=launch.user,
        image=patch.trainer_container(job)["image"],
        output_dir=output_dir,
        roles=(Role(TRAINER, run, resources),),
        objects=tuple(_in_namespace(item, launch.namespace) for item in (config_map, *body)),
        record=record,
        warnings=(*checked.warnings, *found, *warnings),
        notes=((launch.note,) if launch.note else ()) + tuple(notes),
        modules=modules,
    )


def _run_name(job_name: str, stem: str) -> str:
    """The stem adds nothing to a name that ends with it: `cw-trl-train-sft` and `sft.yaml`."""
    return run_name(job_name, "" if job_name.endswith(f"-{stem}") else stem)


def _rendered(checked: CheckedConfig, run: str, defaults: Resources) -> tuple[list[dict[str, Any]], list[Problem]]:
    """The objects under names of this run, and warnings about the templates."""
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
    return manifests.name_for_run(objects, run, job, config_map), found


def _start_here(checked: CheckedConfig, job: dict[str, Any]) -> tuple[str, ...]:
    """Let the Job start as the framework wants it on this machine; the modules that it needs there."""
    main = patch.trainer_container(job)
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


def _resources_of(job: Mapping[str, Any], asked: Resources) -> Resources:
    """What the trainer's container takes in the end, the template's own words included."""
    limits = patch.trainer_container(job)["resources"]["limits"]
    gpu = str(limits.get(GPU_RESOURCE, 0))
    return asked._replace(gpu=int(gpu) if gpu.isdigit() else 0, cpu=limits.get("cpu"), memory=limits.get("memory"))


def _completed(checked: CheckedConfig, resources: Resources) -> tuple[Config, list[str]]:
    """The config with the keys that a run without GPUs needs, and a sentence about each."""
    config, notes = checked.config, []
    if resources.total_gpus == 0:
        for key, value in checked.framework.defaults_without_gpu().items():
            if not config.has(key):
                config = config.with_value((key,), value, Origin("cw, because the run has no GPU"))
                notes.append(f"no GPU, so {key}: {json.dumps(value)}")
    return config, notes


def _claims(job: Mapping[str, Any]) -> list[str]:
    """Where the trainer mounts persistent volumes that it can write to."""
    pod = job["spec"]["template"]["spec"]
    claims = {volume["name"] for volume in pod.get("volumes") or [] if "persistentVolumeClaim" in volume}
    mounts = patch.trainer_container(job).get("volumeMounts") or []
    return [mount["mountPath"] for mount in mounts if mount["name"] in claims and not mount.get("readOnly")]


def _output(config: Config, job: dict[str, Any], key: str, run: str, target: str) -> tuple[Config, str, list[Problem]]:
    """The config with an absolute output folder: the user's, or one of the run's own, on a volume if there is one."""
    claims = _claims(job)
    given = config.get(key)
    if not claims and not given:
        _add_volume(job, {"name": "output", "emptyDir": {}}, "/cw/output")
    root = claims[0] if claims else "/cw/output"
    if not isinstance(given, str):
        folder = f"{root}/{run}"
    elif target == "local":
        folder = os.path.abspath(os.path.expanduser(given))
    else:
        folder = os.path.normpath(os.path.join(root, given))
    warnings = []
    if target != "local" and not any(folder == claim or folder.startswith(f"{claim}/") for claim in claims):
        message = f"{key} {folder} is on no volume: the model is lost when the pod ends"
        remedy = f"add `volumes: {{CLAIM: {folder}}}` with a claim of yours"
        warnings.append(config.problem((key,), message, remedy, warning=True))
    origin = config.origin(key) if given else Origin("cw, one folder for each run")
    return config.with_value((key,), folder, origin), folder, warnings


def _files(
    checked: CheckedConfig, config: Config, job: dict[str, Any], run: str, target: str
) -> tuple[Config, list[dict[str, Any]]]:
    """The config with the files that it names where the trainer finds them, and the ConfigMap that brings them."""
    keys = checked.framework.file_keys(config, checked.training_type)
    if target == "local":
        return files.in_place(config, keys), []
    mounts = [mount["mountPath"] for mount in patch.trainer_container(job).get("volumeMounts") or []]
    config, travellers, problems = files.travelling(config, keys, mounts)
    if errors(problems):
        raise ConfigError(f"{config.source} names files that cannot travel; nothing was started", problems)
    if not travellers.files:
        return config, []
    name = object_name(run, "files")
    _add_volume(job, travellers.volume(name), files.FILES_PATH)
    return config, [travellers.config_map(name)]


def _add_volume(job: dict[str, Any], volume: Mapping[str, Any], path: str) -> None:
    pod, main = job["spec"]["template"]["spec"], patch.trainer_container(job)
    pod["volumes"] = [*(pod.get("volumes") or []), dict(volume)]
    mount = {"name": volume["name"], "mountPath": path, **({} if "emptyDir" in volume else {"readOnly": True})}
    main["volumeMounts"] = [*(main.get("volumeMounts") or []), mount]


def _prepend_python_path(job: dict[str, Any], path: str) -> None:
    env = patch.trainer_container(job)["env"]
    own = next((entry["value"] for entry in env if entry["name"] == "PYTHONPATH" and "value" in entry), None)
    env[:] = [entry for entry in env if entry["name"] != "PYTHONPATH"]
    env.append({"name": "PYTHONPATH", "value": f"{path}:{own}" if own else path})


def _in_namespace(item: Manifest, namespace: str | None) -> Manifest:
    return {**item, "metadata": {**item["metadata"], "namespace": namespace}} if namespace else item


def _config_map(run: str, config: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, Any]:
    """The run's own ConfigMap: the config that the trainer reads, and the record, which outlives the Job."""
    rest = {key: value for key, value in record.items() if key != "given"}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": object_name(run, "config"), "labels": {RECORD: "true"}},
        "data": {
            CONFIG_FILE: to_yaml(dict(config)),
            "given.yaml": record["given"],
            "record.json": json.dumps(rest, indent=1, ensure_ascii=False) + "\n",
        },
    }


def _record(
    checked: CheckedConfig,
    launch: Launch,
    run: str,
    objects: list[dict[str, Any]],
    config: Mapping[str, Any],
    output_dir: str,
) -> dict[str, Any]:
    """What a launch leaves behind for `list`, `describe`, `diff` and `rerun`."""
    digest = hashlib.sha256(json.dumps([objects, dict(config)], sort_keys=True, default=str).encode())
    schema = checked.framework.get_schema(checked.training_type)
    return {
        "run": run,
        "framework": checked.framework.name,
        "type": str(checked.training_type),
        "target": launch.target,
        "user": launch.user,
        "name": launch.name,
        "namespace": launch.namespace,
        "config": checked.given.source,
        "folder": os.path.abspath(checked.given.folder),
        "given": checked.given.text,
        "overrides": [{"key": item.key, "text": item.text, "flag": item.flag} for item in checked.overrides],
        "output_dir": output_dir,
        "cw": launch.version,
        "schema": schema.subject if schema else None,
        **({"plugin": f"{checked.framework.name} {checked.framework.version}"} if checked.framework.version else {}),
        "commit": launch.commit,
        "digest": f"sha256:{digest.hexdigest()}",
    }
