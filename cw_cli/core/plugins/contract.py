"""What a plugin is: the few sentences that a third party implements, and built-in frameworks with them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from cw_cli.core.framework import BaseTrainingFramework, TrainingType


class PluginContext(NamedTuple):
    """What a plugin is told when it is loaded."""

    version: str
    """The version of cw."""
    folder: Path
    """Where the plugin's code lies."""
    kubeconfig_dir: Path
    """Where its templates are looked for: its own `kubeconfigs` folder, or else the one that ships with cw."""


class FrameworkPlugin(ABC):
    """One framework for `cw NAME TYPE CONFIG`. The module that holds it has a function `get_plugin()` that returns it.

    `cw --help` reads name, description and types without running the code, so they are best written as plain
    constants.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """The command: small letters, digits and dashes."""

    @property
    @abstractmethod
    def version(self) -> str:
        """Version of the plugin; the record of a run keeps it."""

    @property
    @abstractmethod
    def description(self) -> str:
        """One line of help."""

    @abstractmethod
    def get_framework_class(self) -> type[BaseTrainingFramework]:
        """The framework; it is made with one argument, the folder that holds the templates."""

    @abstractmethod
    def get_supported_training_types(self) -> Sequence[TrainingType]:
        """What the framework can run, which is more or less than it says itself: `cw NAME TYPE` follows this."""

    def initialize(self, context: PluginContext) -> None:  # noqa: B027 - a default, not a duty
        """Called once, before the framework is made."""

    def cleanup(self) -> None:  # noqa: B027 - a default, not a duty
        """Called once, when the command ends."""
