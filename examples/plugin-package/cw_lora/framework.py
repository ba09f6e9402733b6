"""How cw runs the recipes: what their configs hold, what they take, and what is wrong before anything starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cw_cli.core.config import Config
from cw_cli.core.framework import BaseTrainingFramework, LocalCommand, TrainingType
from cw_cli.core.launch_keys import LaunchKeys, launch_schema
from cw_cli.core.paths import local_path, looks_local
from cw_cli.core.problems import KeyPath, Problem
from cw_cli.core.resources import Resources
from cw_lora.lora_recipe import settings

HERE = Path(__file__).parent
SETTINGS = {"train": settings.Train, "distill": settings.Distill, "merge": settings.Merge}
PATHS = ("model", "data", "adapter", "teacher")
"""Keys that name files and folders."""


class LoRAFramework(BaseTrainingFramework):
    def __init__(self, kubeconfig_dir: Path) -> None:
        super().__init__("lora", kubeconfig_dir)

    def validate_config(self, config_data: dict[str, Any], training_type: TrainingType) -> bool:
        return True  # the schema and the cross-checks have seen everything

    def prepare_config(self, config_data: dict[str, Any]) -> dict[str, Any]:
        own = launch_schema().keys
        return {key: value for key, value in config_data.items() if key not in own}

    def get_configmap_name(self, training_type: TrainingType) -> str:
        return f"lora-{training_type}-config"

    def get_job_name(self, training_type: TrainingType) -> str:
        return f"lora-{training_type}"

    def get_yaml_templates(self, training_type: TrainingType) -> list[Path]:
        folder = self.kubeconfig_dir / "lora"
        service = [folder / "teacher.yaml"] if training_type == "distill" else []
        return [*service, folder / "job.yaml"]

    def get_default_image(self) -> str:
        return "huggingface/trl:1.16.0"

    def get_schema(self, training_type: TrainingType) -> type:
        return SETTINGS[training_type]

    def cross_checks(self, config: Config, keys: LaunchKeys, training_type: TrainingType) -> list[Problem]:
        return [
            *_missing_files(config),
            *_rank(config),
            *(_no_gpus(config, keys) if training_type == "merge" else []),
        ]

    def template_variables(self, config: Config, training_type: TrainingType) -> Mapping[str, Any]:
        return {"recipe": str(training_type)}

    def default_resources(self, config: Config, gpu: int | None) -> Resources:
        count = gpu if gpu is not None else int(config.has("data"))  # a merge needs none
        return Resources(gpu=count, cpu="8" if count else "2", memory="64Gi" if count else "16Gi")

    def service_resources(self, role: str, config: Config, gpu: int) -> Resources:
        count = min(gpu, 1)  # without a GPU for the trainer, the teacher needs none
        return Resources(gpu=count, cpu="4" if count else "1", memory="32Gi" if count else "4Gi")

    def local_command(self, training_type: TrainingType, argv: tuple[str, ...]) -> LocalCommand:
        return LocalCommand(argv, ("torch", "transformers", "peft"))

    def recipes(self) -> Path:
        return HERE / "lora_recipe"

    def file_keys(self, config: Config, training_type: TrainingType) -> Sequence[KeyPath]:
        return [(key,) for key in PATHS]

    def example(self, training_type: TrainingType) -> str:
        return (HERE / f"{training_type}.example.yaml").read_text("utf-8")


def _missing_files(config: Config) -> list[Problem]:
    """What is named as a file and is not there."""
    return [
        config.problem((key,), f"{key}: there is no {value}", "write the path from the folder of the config file")
        for key in PATHS
        if isinstance(value := config.get(key), str) and looks_local(value) and not value.startswith("/")
        if local_path(value, config.folder) is None
    ]


def _rank(config: Config) -> list[Problem]:
    """An adapter of more than the model's width would be larger than what it adapts."""
    rank = config.get("rank")
    if not isinstance(rank, int) or rank <= 1024:
        return []
    return [config.problem(("rank",), f"rank {rank} adapts every weight", "write 4 to 256", warning=True)]


def _no_gpus(config: Config, keys: LaunchKeys) -> list[Problem]:
    if not keys.resources.gpu:
        return []
    return [config.problem(("gpu",), "a merge uses no GPU", "leave `gpu` out", warning=True)]
