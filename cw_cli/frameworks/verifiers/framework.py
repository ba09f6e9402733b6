"""Verifiers: an evaluation with its own eval, and reinforcement learning with prime-rl, each with its model server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from cw_cli.core import images
from cw_cli.core.config import Config
from cw_cli.core.exceptions import FrameworkError
from cw_cli.core.framework import LocalCommand, TrainingType
from cw_cli.core.launch_keys import LaunchKeys, launch_schema
from cw_cli.core.problems import KeyPath, Problem
from cw_cli.core.resources import Resources
from cw_cli.core.schema import Schema
from cw_cli.core.shipped import shipped
from cw_cli.frameworks import BuiltInFramework, of_gpus
from cw_cli.frameworks.verifiers import checks, evals, prime_rl, programs


class VerifiersFramework(BuiltInFramework):
    """Verifiers' or prime-rl's own TOML, or the same keys as YAML."""

    elsewhere: ClassVar[Mapping[str, str]] = {"rl": "Reinforcement learning with prime-rl is cw verifiers grpo CONFIG."}

    def __init__(self, kubeconfig_dir: Path) -> None:
        super().__init__("verifiers", kubeconfig_dir)

    def validate_config(self, config_data: dict[str, Any], training_type: TrainingType) -> bool:
        needed = ("orchestrator",) if training_type == TrainingType.GRPO else ("model", "env")
        return all(key in config_data for key in needed)

    def prepare_config(self, config_data: dict[str, Any]) -> dict[str, Any]:
        own = launch_schema(evals.TAKEN).keys
        return {key: value for key, value in config_data.items() if key not in own}

    def get_job_name(self, training_type: TrainingType) -> str:
        return f"cw-verifiers-{self._known(training_type)}"

    def get_yaml_templates(self, training_type: TrainingType) -> list[Path]:
        folder = self.kubeconfig_dir / "verifiers"
        parts = ["inference-deployment.yaml", f"{self._known(training_type)}_job.yaml"]
        if training_type == TrainingType.GRPO:
            parts.insert(1, "orchestrator-deployment.yaml")
        return [folder / part for part in parts]

    def get_default_image(self) -> str:
        # Verifiers prepares the programs of its harnesses with uv, which brings verifiers too where it is missing.
        return "ghcr.io/astral-sh/uv:python3.12-bookworm"

    def template_images(self, training_type: TrainingType) -> Mapping[str, str]:
        if training_type == TrainingType.GRPO:
            return {"trainer": prime_rl.IMAGE}
        return {"inference": evals.SERVER_IMAGE}

    def get_training_types(self) -> Sequence[TrainingType]:
        return (TrainingType.EVAL, TrainingType.GRPO)

    def get_schema(self, training_type: TrainingType) -> Schema:
        return prime_rl.schema() if self._known(training_type) == TrainingType.GRPO else evals.schema()

    def cross_checks(self, config: Config, keys: LaunchKeys, training_type: TrainingType) -> list[Problem]:
        if training_type == TrainingType.GRPO:
            return list(prime_rl.cross_checks(config, keys))
        # What the rollouts run in; the model's server has an image of its own.
        held = images.checks(config, keys.image, self.name, checks.needs(config), keys.resources.gpu or 0)
        return [*checks.cross_checks(config, keys), *held]

    def target_checks(self, config: Config, training_type: TrainingType, target: str) -> list[Problem]:
        playing = prime_rl.playing(config) if training_type == TrainingType.GRPO else programs.roles(config)
        said = programs.here if target == "local" else programs.in_a_cluster
        return list(said(config, playing))

    def default_resources(self, config: Config, gpu: int | None) -> Resources:
        """The rollouts of an evaluation ask a server and compute nothing themselves."""
        if config.has("orchestrator"):
            count = prime_rl.gpus(config, "train") if gpu is None else gpu
            return of_gpus(count, cpu=2, memory=8)
        return Resources(gpu=0, cpu="4", memory="16Gi")

    def service_resources(self, role: str, config: Config, gpu: int) -> Resources:
        """GPUs for the model's server, unless the config or this machine has none."""
        if role == "orchestrator":
            return Resources(gpu=0, cpu="8", memory="32Gi")
        if config.get("gpu") == 0:
            return of_gpus(0, cpu=2, memory=8)
        count = prime_rl.gpus(config, "infer") if config.has("orchestrator") else 1
        return of_gpus(count, cpu=2, memory=8)

    def template_variables(self, config: Config, training_type: TrainingType) -> Mapping[str, Any]:
        if training_type == TrainingType.GRPO:
            return prime_rl.summary(config)
        return {"serves": evals.endpoint(config) is None, "server": "serve_model", "server_image": evals.SERVER_IMAGE}

    def local_command(self, training_type: TrainingType, argv: tuple[str, ...]) -> LocalCommand:
        return LocalCommand(argv, ("prime_rl" if training_type == TrainingType.GRPO else "verifiers",))

    def file_keys(self, config: Config, training_type: TrainingType) -> Sequence[KeyPath]:
        return prime_rl.FILES if training_type == TrainingType.GRPO else evals.FILES

    def example(self, training_type: TrainingType) -> str:
        return (shipped("examples") / "init" / f"verifiers_{self._known(training_type)}.yaml").read_text("utf-8")

    def _known(self, training_type: TrainingType) -> str:
        if training_type not in self.get_training_types():
            known = ", ".join(self.get_training_types())
            raise FrameworkError(f"Verifiers has no training type {training_type} here", f"There are {known}.")
        return str(training_type)
