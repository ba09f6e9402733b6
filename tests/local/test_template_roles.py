"""A team's own template with a service in it, from its config to the end of its run on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cw_cli.core.checks import check_config
from cw_cli.core.config import parse_config
from cw_cli.core.framework import BaseTrainingFramework, TrainingType
from cw_cli.core.plan import Plan, make_plan
from cw_cli.core.record import Launch
from cw_cli.core.status import State

from .machines import Machine, eventually

TEMPLATES = Path(__file__).parent / "templates"


class TeamFramework(BaseTrainingFramework):
    """The abstract methods and nothing else."""

    def validate_config(self, config_data: dict[str, Any], training_type: TrainingType) -> bool:
        return True

    def prepare_config(self, config_data: dict[str, Any]) -> dict[str, Any]:
        return {"judge": "http://team-judge-service/score", "rate": config_data["rate"]}

    def get_configmap_name(self, training_type: TrainingType) -> str:
        return "team-train-config"

    def get_job_name(self, training_type: TrainingType) -> str:
        return "team-train"

    def get_yaml_templates(self, training_type: TrainingType) -> list[Path]:
        return [self.kubeconfig_dir / "pair.yaml"]

    def get_default_image(self) -> str:
        return "team/trainer:1"


def planned(text: str, **launch: Any) -> Plan:
    framework = TeamFramework("team", TEMPLATES)
    config, nothing = parse_config(text, "config.yaml"), parse_config("", "settings.yaml")
    checked = check_config(framework, TrainingType("rlhf"), config, [], nothing)
    return make_plan(checked, Launch(target="local", user="ada", **launch))


@pytest.mark.parametrize("replicas", [1, 2])
def test_a_template_with_a_service_runs(machine: Machine, replicas: int) -> None:
    plan = planned(f"rate: 1\nservices: {{judge: {{replicas: {replicas}, start_limit: 40s}}}}\n")
    assert [(role.name, role.replicas, role.start_limit) for role in plan.roles[1:]] == [("judge", replicas, 40)]
    assert machine.target.check(plan) == []
    machine.target.launch(plan, attached=False)
    status = machine.ended(plan.run)
    assert status.state is State.SUCCEEDED, machine.target.why(plan.run)
    assert machine.lines(plan.run).count("rate: 1") == replicas
    assert [role.role for role in status.roles] == ["trainer", "judge"]
    assert len(status.roles[1].addresses) == replicas


def test_its_services_alone_and_a_trainer_that_uses_them(machine: Machine) -> None:
    services = planned("rate: 1\n", services_only=True)
    machine.target.launch(services, attached=False)
    trainer = planned("rate: 2\n", services_of=services.run)
    assert machine.target.check(trainer) == []
    machine.target.launch(trainer, attached=False)
    assert machine.ended(trainer.run).state is State.SUCCEEDED
    assert "rate: 1" in machine.lines(trainer.run)
    eventually(lambda: machine.target.status(services.run).state is State.RUNNING, "the services do not stay")
    machine.target.delete([services.run])
