"""Axolotl: every kind of training that it has, from its own YAML as it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from cw_cli.core.config import Config
from cw_cli.core.exceptions import FrameworkError
from cw_cli.core.framework import LocalCommand, TrainingType
from cw_cli.core.launch_keys import LaunchKeys
from cw_cli.core.paths import local_path
from cw_cli.core.problems import KeyPath, Problem
from cw_cli.core.resources import Resources
from cw_cli.core.shipped import shipped
from cw_cli.frameworks import BuiltInFramework, of_gpus
from cw_cli.frameworks.axolotl import keys as axolotl_keys
from cw_cli.frameworks.axolotl import kinds, prepared
from cw_cli.frameworks.axolotl.checks import cross_checks, online

FILES: tuple[KeyPath, ...] = (
    *(("base_model",), ("base_model_config",), ("tokenizer_config",), ("lora_model_dir",), ("resume_from_checkpoint",)),
    *(("deepspeed",), ("chat_template_jinja",), ("datasets", "*", "chat_template_jinja")),
    *axolotl_keys.CODE,
)

EXAMPLES = {"ipo": "dpo", "simpo": "dpo", "gdpo": "grpo", "preprocess": "sft"}
"""Kinds whose example is that of another, but for the name."""


class AxolotlFramework(BuiltInFramework):
    """Axolotl with its YAML."""

    elsewhere: ClassVar[Mapping[str, str]] = {
        "ppo": "Axolotl left PPO when TRL did. Learn from rewards with cw axolotl grpo, or with cw trl rlhf."
    }

    def __init__(self, kubeconfig_dir: Path) -> None:
        super().__init__("axolotl", kubeconfig_dir)

    def validate_config(self, config_data: dict[str, Any], training_type: TrainingType) -> bool:
        return bool(config_data.get("base_model"))

    def get_job_name(self, training_type: TrainingType) -> str:
        return f"cw-axolotl-train-{self._known(training_type).replace('_', '-')}"

    def get_yaml_templates(self, training_type: TrainingType) -> list[Path]:
        folder = self.kubeconfig_dir / "axolotl"
        served = self._known(training_type) in kinds.ONLINE
        return [*([folder / "vllm-deployment.yaml"] if served else []), folder / "training-job.yaml"]

    def get_default_image(self) -> str:
        return "axolotlai/axolotl:0.19.0"

    def get_training_types(self) -> Sequence[TrainingType]:
        return [TrainingType(name) for name in kinds.TYPES]

    def get_schema(self, training_type: TrainingType) -> axolotl_keys.AxolotlSchema:
        schema = axolotl_keys.schema()
        return axolotl_keys.PreparingSchema(*schema) if self._known(training_type) == kinds.PREPROCESS else schema

    def cross_checks(self, config: Config, keys: LaunchKeys, training_type: TrainingType) -> list[Problem]:
        gpus = keys.resources.gpu
        return cross_checks(config, keys, str(training_type), gpus=1 if gpus is None else gpus)

    def default_resources(self, config: Config, gpu: int | None) -> Resources:
        """One GPU."""
        count = 1 if gpu is None else gpu
        return of_gpus(count, cpu=4, memory=16)

    def service_resources(self, role: str, config: Config, gpu: int) -> Resources:
        """As many GPUs as vLLM spreads the model over."""
        sizes = [config.get("vllm", key) or 1 for key in ("tensor_parallel_size", "data_parallel_size")]
        count = sizes[0] * sizes[1] if gpu else 0
        return of_gpus(count, cpu=2, memory=8)

    def defaults_without_gpu(self) -> dict[str, Any]:
        # `bf16: auto`, the default, turns to fp16 where there is no GPU, and that cannot be trained.
        return {"bf16": False, "fp16": False}

    def template_variables(self, config: Config, training_type: TrainingType) -> Mapping[str, Any]:
        preprocess = self._known(training_type) == kinds.PREPROCESS
        return {
            "recipe": "axolotl_preprocess" if preprocess else "axolotl_train",
            "prepared": prepared.name(config),
            "vllm": online.serves(config),
        }

    def local_command(self, training_type: TrainingType, argv: tuple[str, ...]) -> LocalCommand:
        return LocalCommand(argv, ("torch", "axolotl"))

    def file_keys(self, config: Config, training_type: TrainingType) -> Sequence[KeyPath]:
        keys = list(FILES)
        for name in ("datasets", "test_datasets", "pretraining_dataset"):
            for index, entry in enumerate(config.get(name) or []):
                keys.append((name, index, "path"))
                folder = local_path(str(entry.get("path", "")), config.folder)
                if folder is None or not folder.is_dir():
                    # Beside a folder, these are relative to it, and it travels whole.
                    keys += [(name, index, "data_files"), (name, index, "data_files", "*")]
        return keys

    def example(self, training_type: TrainingType) -> str:
        found = self._known(training_type)
        base = EXAMPLES.get(found, found)
        file = shipped("examples") / "init" / f"axolotl_{base}.yaml"
        if not file.is_file():
            return ""
        text = file.read_text("utf-8")
        return text.replace(f"axolotl {base} ", f"axolotl {found} ").replace(f"rl: {base}", f"rl: {found}")

    def _known(self, training_type: TrainingType) -> str:
        if training_type not in kinds.TYPES:
            raise FrameworkError(f"Axolotl has no training type {training_type}", f"There is {', '.join(kinds.TYPES)}.")
        return str(training_type)
