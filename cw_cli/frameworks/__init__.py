"""The built-in frameworks, each a plugin like any other."""

from __future__ import annotations

from collections.abc import Sequence

from cw_cli import __version__
from cw_cli.core.framework import BaseTrainingFramework, TrainingType
from cw_cli.core.plugins import FrameworkPlugin
from cw_cli.core.registry import BUILT_IN


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
