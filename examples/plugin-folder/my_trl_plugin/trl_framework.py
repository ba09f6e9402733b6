"""How cw trains with this plugin: what a config holds, and how the objects in `kubeconfigs` are called."""

from pathlib import Path
from typing import Any

from cw_cli.core.framework import BaseTrainingFramework, TrainingType

CLUSTER_FIELDS = ("image", "gpu", "cpu", "memory", "resources")
NEEDED = ("model_name", "dataset_name")


class TRLFramework(BaseTrainingFramework):
    def __init__(self, kubeconfig_dir: Path):
        super().__init__("trl", kubeconfig_dir)

    def validate_config(self, config_data: dict[str, Any], training_type: TrainingType) -> bool:
        missing = [name for name in NEEDED if name not in config_data]
        if missing:
            raise ValueError(f"{' and '.join(missing)} must be there")
        return True

    def prepare_config(self, config_data: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in config_data.items() if name not in CLUSTER_FIELDS}

    def get_configmap_name(self, training_type: TrainingType) -> str:
        return "cw-trl-train-sft-config"

    def get_job_name(self, training_type: TrainingType) -> str:
        return "cw-trl-train-sft"

    def get_yaml_templates(self, training_type: TrainingType) -> list[Path]:
        return [self.kubeconfig_dir / "trl" / "sft_job.yaml"]

    def get_default_image(self) -> str:
        return "huggingface/trl:1.16.0"

    # All that follows is optional.

    def file_keys(self, config, training_type):
        """Both may name something beside the config: it is found there, and travels with the run."""
        return [("model_name",), ("dataset_name",)]

    def example(self, training_type: TrainingType) -> str:
        return (Path(__file__).parent / "example.yaml").read_text("utf-8")
