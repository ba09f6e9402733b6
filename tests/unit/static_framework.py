"""A framework as somebody else would write it: a plain Kubernetes file, and nothing but the abstract methods."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cw_cli.core.framework import BaseTrainingFramework, TrainingType

TEMPLATES = Path(__file__).parent / "templates"


class StaticFramework(BaseTrainingFramework):
    def __init__(self, *templates: Path) -> None:
        super().__init__("team", TEMPLATES)
        self.templates = list(templates) or [TEMPLATES / "static_sft_job.yaml"]

    def validate_config(self, config_data: dict[str, Any], training_type: TrainingType) -> bool:
        return "model_name" in config_data

    def prepare_config(self, config_data: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in config_data.items() if key not in ("gpu", "cpu", "memory", "image")}

    def get_configmap_name(self, training_type: TrainingType) -> str:
        return "team-train-sft-config"

    def get_job_name(self, training_type: TrainingType) -> str:
        return "team-train-sft"

    def get_yaml_templates(self, training_type: TrainingType) -> list[Path]:
        return self.templates

    def get_default_image(self) -> str:
        return "team/trainer:1"
