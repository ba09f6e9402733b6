"""The built-in frameworks, each a plugin like any other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cw_cli import __version__
from cw_cli.core.framework import BaseTrainingFramework, TrainingType
from cw_cli.core.launch_keys import launch_schema
from cw_cli.core.plugins import FrameworkPlugin
from cw_cli.core.registry import BUILT_IN
from cw_cli.core.resources import Resources
from cw_cli.core.shipped import shipped


class BuiltInPlugin(FrameworkPlugin):
    """The plugin of a built-in framework, which says of itself what the table of them says."""

    version = __version__

    def __init__(self, name: str, framework: type[BaseTrainingFramework]) -> None:
        self._name = name
        self._framework = framework

    @property
    def name(self) -> str:
        return self._name

    @property
    def description(self) -> str:
        return BUILT_IN[self._name].help

    def get_framework_class(self) -> type[BaseTrainingFramework]:
        return self._framework

    def get_supported_training_types(self) -> Sequence[TrainingType]:
        return [TrainingType(item) for item in BUILT_IN[self._name].types]


class BuiltInFramework(BaseTrainingFramework):
    """A built-in framework, whose trainer is a recipe that gets the config less cw's own keys."""

    def prepare_config(self, config_data: dict[str, Any]) -> dict[str, Any]:
        own = launch_schema().keys
        return {key: value for key, value in config_data.items() if key not in own}

    def get_configmap_name(self, training_type: TrainingType) -> str:
        return f"{self.get_job_name(training_type)}-config"

    def recipes(self) -> Path:
        return shipped("containers") / "cw_train"


def of_gpus(count: int, *, cpu: int, memory: int) -> Resources:
    """For each GPU 8 cores and 64 GiB, as on common nodes; without any, `cpu` cores and `memory` GiB."""
    return Resources(gpu=count, cpu=str(8 * count or cpu), memory=f"{64 * count or memory}Gi")
