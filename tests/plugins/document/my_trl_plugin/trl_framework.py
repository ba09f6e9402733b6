from pathlib import Path
from typing import Any, Dict, List

from cw_cli.core.framework import BaseTrainingFramework, TrainingType


class TRLFramework(BaseTrainingFramework):
    def __init__(self, kubeconfig_dir: Path):
        super().__init__("trl", kubeconfig_dir)

    def validate_config(self, config_data: Dict[str, Any], training_type: TrainingType) -> bool:
        if training_type == TrainingType.SFT:
            return "model_name" in config_data and "dataset_name" in config_data
        elif training_type == TrainingType.GRPO:
            return "reward_model" in config_data
        return True

    def prepare_config(self, config_data: Dict[str, Any]) -> Dict[str, Any]:
        config = config_data.copy()
        for name in ["image", "gpu", "cpu", "memory", "resources"]:
            config.pop(name, None)
        return config

    def get_configmap_name(self, training_type: TrainingType) -> str:
        if training_type == TrainingType.SFT:
            return "cw-trl-train-sft-config"
        elif training_type == TrainingType.GRPO:
            return "cw-trl-train-rlhf-config"
        else:
            raise ValueError(f"no {training_type} here")

    def get_job_name(self, training_type: TrainingType) -> str:
        if training_type == TrainingType.SFT:
            return "cw-trl-train-sft"
        elif training_type == TrainingType.GRPO:
            return "cw-trl-train-rlhf"
        else:
            raise ValueError(f"no {training_type} here")

    def get_yaml_templates(self, training_type: TrainingType) -> List[Path]:
        if training_type == TrainingType.SFT:
            return [self.kubeconfig_dir / "trl" / "sft_job.yaml"]
        rlhf = self.kubeconfig_dir / "trl" / "rlhf"
        return [rlhf / "reward-model-deployment.yaml", rlhf / "rlhf-training-job.yaml"]

    def get_default_image(self) -> str:
        return "huggingface/transformers-pytorch-gpu:latest"
