"""`cw verifiers grpo`: prime-rl's config handed on, and what a launch must know of it."""

from __future__ import annotations

from typing import Any

import pytest

from cw_cli.core.checks import CheckedConfig, check_config
from cw_cli.core.config import parse_config
from cw_cli.core.exceptions import ConfigError
from cw_cli.core.framework import TrainingType
from cw_cli.core.overrides import Override
from cw_cli.core.plan import Plan, make_plan
from cw_cli.core.record import Launch
from cw_cli.core.registry import FrameworkRegistry

BASE = """\
image = "primeintellect/prime-rl@sha256:1"
max_steps = 20
[inference]
[[orchestrator.train.env]]
taskset = {id = "reverse-text"}
"""


def checked(text: str, *overrides: str) -> CheckedConfig:
    typed = [Override(*item.split("=", 1), f"--set {item}") for item in overrides]
    framework = FrameworkRegistry().get("verifiers")
    return check_config(framework, TrainingType.GRPO, parse_config(text, "rl.toml"), typed)


def said(text: str, *overrides: str) -> list[str]:
    try:
        problems = checked(text, *overrides).warnings
    except ConfigError as error:
        problems = tuple(error.problems)
    return [f"{'*' if item.severity == 'warning' else ''}{item.message}; {item.remedy}" for item in problems]


def planned(text: str, *overrides: str) -> Plan:
    return make_plan(checked(text, *overrides), Launch(target="kubernetes", user="ada"))


def test_what_prime_rl_publishes_is_taken_as_it_is() -> None:
    assert said(BASE) == []


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (
            ["max_prompt_length=3"],
            "max_prompt_length no longer exists in prime-rl 0.8: that was verifiers' own trainer",
        ),
        (["trainer.args.lr=1"], "trainer.args is of verifiers 0.1, whose trainer is gone"),
        (["slurm.partition=x"], "slurm no longer exists in prime-rl 0.8: cw places the parts itself"),
        (["deployment.type=multi_node"], "deployment.type multi_node is for SLURM"),
        (["weight_broadcast.type=nccl"], "weight_broadcast.type nccl connects pods directly"),
        (["orchestrator.rollout_transport.type=zmq"], "orchestrator.rollout_transport.type zmq connects pods directly"),
        (["orchestrator.model.client.base_url=['http://x/v1']"], "the run starts the inference server"),
        (["retries=1"], "prime-rl's parts start together"),
        (["gpu=2"], "gpu says 2 GPUs and deployment.num_train_gpus 1; write `deployment.num_train_gpus: 2` as well"),
        (["gpu=0"], "gpu is 0, and prime-rl works on GPUs alone"),
        (["services.inference.gpu=2"], "services.inference.gpu says 2 GPUs and deployment.num_infer_gpus 1"),
        (["services.inference.replicas=2"], "each inference server gets new weights at its own address"),
        (
            ["inference.parallel.tp=2", "inference.parallel.dp=2"],
            "inference.parallel asks for 2 x 2 GPUs, and there are 1",
        ),
        (["env_server_base_port=80"], "env_server_base_port cannot be 80"),
        (["inference.server.port=9000"], "*inference.server.port 9000: the run's service is at 8000"),
        (["max_step=3"], "*max_step is not a key of prime-rl 0.8; did you mean max_steps?"),
        (["orchestrator.train.env=[]"], "orchestrator names no environment to train in"),
        (["max_steps=many"], "max_steps is the text 'many'"),
    ],
)
def test_a_mistake(overrides: list[str], says: str) -> None:
    (problem,) = said(BASE, *overrides)
    assert problem.startswith(says)


def test_without_inference_there_must_be_a_server() -> None:
    text = BASE.replace("[inference]\n", "")
    assert said(text)[0].startswith("there is neither an inference block nor a server of yours")
    plan = planned(text + '[orchestrator.model.client]\nbase_url = ["http://host/v1"]\n')
    assert [role.name for role in plan.roles] == ["trainer", "orchestrator"]


def test_an_image_that_moves_is_mentioned() -> None:
    (problem,) = said(BASE.replace("image", "#"))
    assert problem.startswith("*the image primeintellect/prime-rl:main changes")


def test_the_parts_share_config_image_volume_and_tasksets() -> None:
    plan = planned(BASE, "deployment.num_infer_gpus=4", "deployment.num_train_gpus=2", "gpu=2")
    assert {role.name: role.resources.gpu for role in plan.roles} == {"trainer": 2, "inference": 4, "orchestrator": 0}
    works: list[Any] = [item for item in plan.objects if item["kind"] == "Deployment"]
    works += [item for item in plan.objects if item["metadata"]["name"] == plan.run and item["kind"] == "Job"]
    for work in works:
        pod = work["spec"]["template"]["spec"]
        main = pod["containers"][0]
        env = {entry["name"]: entry.get("value") for entry in main["env"]}
        assert main["image"] == "primeintellect/prime-rl@sha256:1"
        assert env["INFERENCE_URL"] == f"http://{plan.run}-inference:8000/v1"
        assert env["PRIME_RL_ROLE"] in ("trainer", "inference", "orchestrator")
        assert "/model-checkpoints" in [mount["mountPath"] for mount in main["volumeMounts"]]
    assert env["PROCESSES"] == "2"


def test_several_nodes_meet_at_the_first() -> None:
    plan = planned(BASE, "nodes=2")
    (job,) = [item for item in plan.objects if item["metadata"]["name"] == plan.run and item["kind"] == "Job"]
    env = {entry["name"]: entry.get("value") for entry in job["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert job["spec"]["completionMode"] == "Indexed"
    assert env["FIRST_NODE"] == f"{plan.run}-0.{plan.run}-ranks"


@pytest.mark.parametrize(
    ("entry", "warned"),
    [
        ('env = {taskset = {id = "x"}, agent = {runtime = {type = "subprocess"}}}', True),
        ('taskset = {id = "x"}\nharness = {id = "bash", runtime = {type = "subprocess"}}', True),
        ('taskset = {id = "x"}\nharness = {id = "null", runtime = {type = "subprocess"}}', False),
        ('env = {taskset = {id = "x"}}', False),
    ],
)
def test_on_this_machine_cw_says_who_runs_what_a_model_writes(entry: str, warned: bool) -> None:
    text = BASE + f"[[orchestrator.train.source]]\n{entry}\n"
    framework = FrameworkRegistry().get("verifiers")
    found = check_config(framework, TrainingType.GRPO, parse_config(text, "rl.toml"), target="local").warnings
    assert any("runs commands that the model writes" in item.message for item in found) is warned
    assert said(text) == []
