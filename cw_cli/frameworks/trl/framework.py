"""TRL: its own trainers on data and from rewards, and PPO from a reward service."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from cw_cli.core import images
from cw_cli.core.config import Config
from cw_cli.core.exceptions import FrameworkError
from cw_cli.core.framework import LocalCommand, TrainingType
from cw_cli.core.launch_keys import LaunchKeys
from cw_cli.core.paths import local_path
from cw_cli.core.problems import KeyPath, Problem
from cw_cli.core.resources import Resources
from cw_cli.core.schema import Schema
from cw_cli.core.shipped import shipped
from cw_cli.frameworks import BuiltInFramework, of_gpus
from cw_cli.frameworks.trl import accelerate, distillation, inference, packages, rewards, rlhf
from cw_cli.frameworks.trl import keys as trl_keys
from cw_cli.frameworks.trl.checks import cross_checks

FROM_DATA = (TrainingType.SFT, *map(TrainingType, ("dpo", "kto", "reward", "distillation")))
"""Training types whose data is all there when they begin."""
ONLINE = (TrainingType.GRPO, TrainingType("rloo"))
"""Training types that write completions and learn from rewards for them."""
WRITING = (*ONLINE, distillation.DISTILLATION)
"""Training types that write completions, and may have vLLM write them."""


class TRLFramework(BuiltInFramework):
    """TRL with its flat YAML, or with `model_name` and a `trainer_args:` block."""

    elsewhere: ClassVar[Mapping[str, str]] = {
        "ppo": "TRL removed PPO in 1.13. cw has a PPO of its own: cw trl rlhf CONFIG.",
        "orpo": "In TRL it is an experiment without a command. Axolotl trains it: cw axolotl orpo CONFIG.",
        **dict.fromkeys(("simpo", "cpo"), "TRL has no command for it. Axolotl trains SimPO: cw axolotl simpo CONFIG."),
        "gkd": "cw trl distillation CONFIG distills on the student's own completions.",
    }

    def __init__(self, kubeconfig_dir: Path) -> None:
        super().__init__("trl", kubeconfig_dir)

    def validate_config(self, config_data: dict[str, Any], training_type: TrainingType) -> bool:
        model = "model_name" in config_data or "model_name_or_path" in config_data
        if training_type == rlhf.RLHF:
            return model and "reward_model" in config_data
        return model and ("dataset_name" in config_data or "datasets" in config_data)

    def get_job_name(self, training_type: TrainingType) -> str:
        return f"cw-trl-train-{self._known(training_type)}"

    def get_yaml_templates(self, training_type: TrainingType) -> list[Path]:
        folder = self.kubeconfig_dir / "trl"
        if self._known(training_type) == rlhf.RLHF:
            return [folder / "rlhf" / "reward-model-deployment.yaml", folder / "rlhf" / "rlhf-training-job.yaml"]
        services = ["inference-deployment.yaml"] if training_type in WRITING else []
        services += ["reward-deployment.yaml"] if training_type in ONLINE else []
        return [folder / name for name in (*services, "sft_job.yaml")]

    def get_default_image(self) -> str:
        return "huggingface/trl:1.16.0"

    def get_training_types(self) -> Sequence[TrainingType]:
        return (*FROM_DATA, *ONLINE, rlhf.RLHF)

    def get_schema(self, training_type: TrainingType) -> Schema:
        return rlhf.schema() if self._known(training_type) == rlhf.RLHF else trl_keys.schema(str(training_type))

    def schema_of_image(self, training_type: TrainingType, image: str) -> Schema:
        pair = images.matching_name(image, self.name)
        if pair is None or training_type == rlhf.RLHF:
            return self.get_schema(training_type)
        return trl_keys.schema(str(training_type), pair.file)

    def cross_checks(self, config: Config, keys: LaunchKeys, training_type: TrainingType) -> list[Problem]:
        resources = keys.resources
        gpus = self.default_resources(config, resources.gpu).gpu or 0
        if gpus == 0:
            config = config.over(Config("cw, because the run has no GPU", values=self.defaults_without_gpu()))
        found = list(images.checks(config, keys.image, self.name, packages.needs(config), gpus))
        if training_type == rlhf.RLHF:
            return [*found, *rlhf.cross_checks(config)]
        found += cross_checks(config, training_type, gpus=gpus, nodes=resources.nodes)
        if training_type in WRITING:
            found += inference.checks(config, keys, gpus)
        if training_type in ONLINE:
            found += rewards.packages(config, keys.image)
        return found

    def default_resources(self, config: Config, gpu: int | None) -> Resources:
        """One GPU unless the config trains on the processor."""
        count = gpu if gpu is not None else 0 if config.get("use_cpu") else 1
        return of_gpus(count, cpu=2, memory=8)

    def service_resources(self, role: str, config: Config, gpu: int) -> Resources:
        """One GPU for a reward model where the trainer has some; a small machine's worth where it has none, and for a
        function."""
        if role == inference.ROLE:
            return inference.resources(config)
        model = not rewards.is_function(config.get(rewards.SERVED) or "")
        return Resources(gpu=1, cpu="8", memory="64Gi") if gpu and model else Resources(gpu=0, cpu="1", memory="4Gi")

    def defaults_without_gpu(self) -> dict[str, Any]:
        # TRL asks for bf16 unless told otherwise, and refuses it where there is no GPU.
        return {"use_cpu": True, "bf16": False}

    def template_variables(self, config: Config, training_type: TrainingType) -> Mapping[str, Any]:
        return {
            "recipe": f"trl_{self._known(training_type)}",
            "inference": training_type in WRITING and inference.is_served(config),
            "reward": training_type in ONLINE and bool(config.get(rewards.SERVED)),
            "token": secrets.token_urlsafe(24) if config.get(rewards.SERVICE, "token") else "",
        }

    def local_command(self, training_type: TrainingType, argv: tuple[str, ...]) -> LocalCommand:
        return LocalCommand(argv, ("torch", "trl"))

    def file_keys(self, config: Config, training_type: TrainingType) -> Sequence[KeyPath]:
        if training_type == rlhf.RLHF:
            return rlhf.FILES
        single = ("model_name_or_path", "dataset_name", "chat_template_path", "deepspeed", "fsdp_config")
        keys: list[KeyPath] = [
            (name,) for name in (*single, "accelerator_config", "resume_from_checkpoint", accelerate.KEY)
        ]
        if training_type == distillation.DISTILLATION:
            keys.append((distillation.TEACHER,))
        if training_type in ONLINE:
            keys += rewards.file_keys(config)
        for index, entry in enumerate(config.get("datasets") or []):
            keys.append(("datasets", index, "path"))
            folder = local_path(str(entry.get("path", "")), config.folder)
            if folder is None or not folder.is_dir():
                # Beside a folder, these are relative to it, and it travels whole.
                keys += [("datasets", index, "data_dir"), ("datasets", index, "data_files")]
                keys += [("datasets", index, "data_files", "*"), ("datasets", index, "data_files", "*", "*")]
        return keys

    def example(self, training_type: TrainingType) -> str:
        return (shipped("examples") / "init" / f"trl_{self._known(training_type)}.yaml").read_text("utf-8")

    def _known(self, training_type: TrainingType) -> str:
        if training_type not in self.get_training_types():
            known = ", ".join(self.get_training_types())
            raise FrameworkError(f"TRL has no training type {training_type} here", f"There is {known}.")
        return str(training_type)
