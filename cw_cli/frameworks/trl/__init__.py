"""TRL: its plugin, its framework, and what its configs may hold beyond what its dataclasses say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cw_cli import __version__
from cw_cli.core.framework import TrainingType
from cw_cli.core.plugins import FrameworkPlugin

if TYPE_CHECKING:
    from cw_cli.frameworks.trl.framework import TRLFramework


class TRLPlugin(FrameworkPlugin):
    name = "trl"
    version = __version__
    description = "TRL: supervised fine-tuning."

    def get_framework_class(self) -> type[TRLFramework]:
        from cw_cli.frameworks.trl.framework import TRLFramework

        return TRLFramework

    def get_supported_training_types(self) -> Sequence[TrainingType]:
        return [TrainingType.SFT]


def get_plugin() -> TRLPlugin:
    return TRLPlugin()
