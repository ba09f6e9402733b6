"""A plugin for cw: `cw my-trainer train CONFIG`."""

from __future__ import annotations

from cw_cli.core.framework import TrainingType
from cw_cli.core.plugins import FrameworkPlugin


class MyTrainerPlugin(FrameworkPlugin):
    name = "my-trainer"
    version = "0.1.0"
    description = "Fits a line to points."

    def get_framework_class(self):
        from .framework import MyTrainerFramework

        return MyTrainerFramework

    def get_supported_training_types(self):
        return [TrainingType("train")]


def get_plugin() -> MyTrainerPlugin:
    return MyTrainerPlugin()
