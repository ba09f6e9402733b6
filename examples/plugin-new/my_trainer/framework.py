"""How cw trains with this plugin. The methods above the line are needed, those below it are optional."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cw_cli.core.framework import BaseTrainingFramework, TrainingType
from cw_cli.core.launch_keys import launch_schema
from cw_cli.core.resources import Resources

from .my_trainer_recipe.settings import Settings

HERE = Path(__file__).parent


class MyTrainerFramework(BaseTrainingFramework):
    def __init__(self, kubeconfig_dir: Path) -> None:
        super().__init__("my-trainer", kubeconfig_dir)

    def validate_config(self, config_data: dict[str, Any], training_type: TrainingType) -> bool:
        return True  # the schema says what a config may hold

    def prepare_config(self, config_data: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in config_data.items() if key not in launch_schema().keys}

    def get_configmap_name(self, training_type: TrainingType) -> str:
        return "my-trainer-train-config"

    def get_job_name(self, training_type: TrainingType) -> str:
        return "my-trainer-train"

    def get_yaml_templates(self, training_type: TrainingType) -> list[Path]:
        return [self.kubeconfig_dir / "job.yaml"]

    def get_default_image(self) -> str:
        return "huggingface/trl:1.16.0"  # any image with Python and PyYAML

    # ---------------------------------------------------------------------------------------------------------------

    def get_schema(self, training_type: TrainingType) -> type:
        return Settings

    def default_resources(self, config, gpu):
        return Resources(gpu=gpu or 0, cpu="1", memory="1Gi")

    def recipes(self) -> Path:
        return HERE / "my_trainer_recipe"

    def example(self, training_type: TrainingType) -> str:
        return (HERE / "example.yaml").read_text("utf-8")
