"""A plugin for cw: `cw lora train CONFIG`, `cw lora distill CONFIG` and `cw lora merge CONFIG`."""

from __future__ import annotations

from cw_cli.core.framework import TrainingType
from cw_cli.core.plugins import FrameworkPlugin


class LoRAPlugin(FrameworkPlugin):
    name = "lora"
    version = "1.0.0"
    description = "LoRA with the plain transformers.Trainer."

    def get_framework_class(self):
        from cw_lora.framework import LoRAFramework

        return LoRAFramework

    def get_supported_training_types(self):
        return [TrainingType("train"), TrainingType("distill"), TrainingType("merge")]


def get_plugin() -> LoRAPlugin:
    return LoRAPlugin()
