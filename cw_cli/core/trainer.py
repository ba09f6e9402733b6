"""The trainer of a run: its Job with everything patched in, and the config as it will see it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from cw_cli.core import files, patch
from cw_cli.core.checks import CheckedConfig
from cw_cli.core.config import Config
from cw_cli.core.exceptions import ConfigError
from cw_cli.core.names import OUTPUT, object_name
from cw_cli.core.pods import add_volume, main_container, writable_claims
from cw_cli.core.problems import Origin, Problem, errors
from cw_cli.core.resources import Resources, resources_in
from cw_cli.core.roles import TRAINER


class Trainer(NamedTuple):
    """A patched Job and what goes with it."""

    job: dict[str, Any]
    resources: Resources
    """What it takes in the end, the template's own words included."""
    config: Mapping[str, Any]
    """The config as the container reads it."""
    output_dir: str
    files: tuple[dict[str, Any], ...]
    """The ConfigMap with the files that the config names, if it names any that travel."""
    warnings: tuple[Problem, ...]
    notes: tuple[str, ...]

    @property
    def image(self) -> str:
        return str(main_container(self.job)["image"])


def make_trainer(
    checked: CheckedConfig,
    template: Mapping[str, Any],
    labels: Mapping[str, str],
    defaults: Resources,
    run: str,
    target: str,
) -> Trainer:
    """The trainer of `run` from its Job in the templates. `labels` are the run's and the user's.

    Raises `ConfigError` when a file that the config names cannot travel, `TemplateError` when the Job has no container.
    """
    framework, keys = checked.framework, checked.keys
    own_labels = patch.with_role(labels, TRAINER)
    job = patch.patched_trainer(template, own_labels, keys, framework.get_default_image(), defaults)
    resources = resources_in(main_container(job), keys.resources)
    config, notes = _completed(checked, resources)
    config, output_dir, warnings = _output(config, job, framework.output_key, run, target)
    job["metadata"].setdefault("annotations", {})[OUTPUT] = output_dir
    config, travelling = _files(checked, config, job, run, target)
    read = framework.prepare_config(dict(config.values))
    return Trainer(job, resources, read, output_dir, tuple(travelling), tuple(warnings), tuple(notes))


def _completed(checked: CheckedConfig, resources: Resources) -> tuple[Config, list[str]]:
    """The config with the keys that a run without GPUs needs, and a sentence about each."""
    config, notes = checked.config, []
    if resources.total_gpus == 0:
        for key, value in checked.framework.defaults_without_gpu().items():
            if not config.has(key):
                config = config.with_value((key,), value, Origin("cw, because the run has no GPU"))
                notes.append(f"no GPU, so {key}: {json.dumps(value)}")
    return config, notes


def _output(config: Config, job: dict[str, Any], key: str, run: str, target: str) -> tuple[Config, str, list[Problem]]:
    """The config with an absolute output folder: the user's, or one of the run's own, on a volume if there is one."""
    claims = writable_claims(job)
    given = config.get(key)
    if not claims and not given:
        add_volume(job, {"name": "output", "emptyDir": {}}, "/cw/output")
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
    mounts = [mount["mountPath"] for mount in main_container(job).get("volumeMounts") or []]
    config, travellers, problems = files.travelling(config, keys, mounts)
    if errors(problems):
        raise ConfigError(f"{config.source} names files that cannot travel; nothing was started", problems)
    if not travellers.files:
        return config, []
    name = object_name(run, "files")
    add_volume(job, travellers.volume(name), files.FILES_PATH)
    return config, [travellers.config_map(name)]
