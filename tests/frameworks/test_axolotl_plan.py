"""What a run of Axolotl is made of: its command, its server, and where its prepared data lies."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from cw_cli.core.checks import check_config
from cw_cli.core.config import parse_config
from cw_cli.core.exceptions import FrameworkError
from cw_cli.core.framework import TrainingType
from cw_cli.core.overrides import Override
from cw_cli.core.plan import Plan, make_plan
from cw_cli.core.record import Launch
from cw_cli.core.registry import FrameworkRegistry
from cw_cli.core.shipped import shipped
from cw_cli.frameworks.axolotl import kinds
from cw_cli.frameworks.axolotl.keys import deepspeed_names
from cw_cli.frameworks.axolotl.prepared import name as prepared

from .test_axolotl_checks import BASE
from .test_axolotl_shapes import folder as folder

GRPO = """
base_model: owner/model
learning_rate: 1e-5
rl: grpo
micro_batch_size: 8
datasets: [{path: owner/sums, type: rewards.to_prompt}]
trl: {use_vllm: true, num_generations: 4, reward_funcs: [rewards.correct, axolotl.rewards.x]}
vllm: {tensor_parallel_size: 2}
"""


def plan(kind: str, text: str, folder: Path, *overrides: str, target: str = "kubernetes") -> Plan:
    typed = [Override(*item.split("=", 1), item) for item in overrides]
    given = parse_config(text, str(folder / "config.yaml"))
    checked = check_config(FrameworkRegistry().get("axolotl"), TrainingType(kind), given, typed)
    return make_plan(checked, Launch(user="ada", target=target))


def of_kind(found: Plan, kind: str) -> list[Any]:
    return [item for item in found.objects if item["kind"] == kind]


def trainer(found: Plan) -> Any:
    (job,) = [item for item in of_kind(found, "Job") if item["metadata"]["name"] == found.run]
    return job["spec"]["template"]["spec"]["containers"][0]


def environment(container: Any) -> dict[str, str]:
    return {entry["name"]: entry.get("value", "") for entry in container["env"]}


def config_of(found: Plan) -> Any:
    return yaml.safe_load(found.objects[0]["data"]["config.yaml"])


def test_one_gpu_needs_no_launcher(folder: Path) -> None:
    command = trainer(plan("sft", BASE, folder))["command"]
    assert command == ["python3", "-m", "cw_train", "axolotl_train", "--config", "/cw/config/config.yaml"]


def test_nodes_meet_under_one_name(folder: Path) -> None:
    found = plan("sft", BASE, folder, "gpu=4", "nodes=2")
    command = trainer(found)["command"]
    assert {"--nnodes=2", "--nproc-per-node=4", "--rdzv-id", found.run} <= set(command)
    assert f"{found.run}-0.{found.run}-ranks:29500" in command
    assert [item["metadata"]["name"] for item in of_kind(found, "Service")] == [f"{found.run}-ranks"]


def test_the_config_is_axolotls_own(folder: Path) -> None:
    found = plan("sft", f"{BASE}wandb_project:\noutput_dir: ./outputs/x\ngpu: 2\nretries: 3\n", folder)
    config = config_of(found)
    assert config["output_dir"] == "/model-checkpoints/outputs/x"
    assert config["wandb_project"] is None
    assert not {"gpu", "retries"} & set(config)
    assert of_kind(found, "Job")[0]["spec"]["backoffLimit"] == 3


def test_generation_has_a_server_of_its_own(folder: Path) -> None:
    found = plan("grpo", GRPO, folder)
    assert [(role.name, role.total_gpus) for role in found.roles] == [("trainer", 1), ("vllm", 2)]
    assert found.roles[1].health == f"http://{found.run}-vllm:8000/health/"
    (service,) = [item for item in of_kind(found, "Service") if item["metadata"]["name"] == f"{found.run}-vllm"]
    assert [port["port"] for port in service["spec"]["ports"]] == [8000, 51216]
    assert environment(trainer(found))["CW_VLLM"] == f"{found.run}-vllm:8000"
    (server,) = of_kind(found, "Deployment")
    assert server["spec"]["template"]["spec"]["containers"][0]["command"][2:4] == ["cw_train", "axolotl_vllm"]


@pytest.mark.parametrize(
    "change", ["use_vllm: false", "use_vllm: true, vllm_mode: colocate", "use_vllm: true, vllm_server_host: elsewhere"]
)
def test_without_a_server_there_is_none(change: str, folder: Path) -> None:
    found = plan("grpo", GRPO.replace("use_vllm: true", change), folder)
    assert [role.name for role in found.roles] == ["trainer"]
    assert "CW_VLLM" not in environment(trainer(found))


def test_rewards_beside_the_config_travel(folder: Path) -> None:
    config = config_of(plan("grpo", GRPO, folder))
    assert config["trl"]["reward_funcs"] == ["/cw/files/rewards.py:correct", "axolotl.rewards.x"]
    assert config["datasets"][0]["type"] == "/cw/files/rewards.py:to_prompt"
    here = config_of(plan("grpo", GRPO, folder, target="local"))
    assert here["trl"]["reward_funcs"][0] == f"{folder}/rewards.py:correct"


def travelling(found: Plan, name: str) -> Any:
    """The JSON file of this name that goes with the run."""
    maps = [item.get("binaryData") or {} for item in of_kind(found, "ConfigMap")]
    (data,) = [data for files in maps for file, data in files.items() if file.endswith(name)]
    return json.loads(base64.b64decode(data))


@pytest.mark.parametrize(
    "said", ["zero2", "zero2.json", "deepspeed_configs/zero2.json", "./deepspeed_configs/zero2.json"]
)
def test_a_deepspeed_config_travels_by_its_name(said: str, folder: Path) -> None:
    found = plan("sft", f"{BASE}deepspeed: {said}\n", folder, "gpu=2")
    assert config_of(found)["deepspeed"] == "/cw/files/zero2.json"
    assert travelling(found, "zero2.json")["zero_optimization"]["stage"] == 2


def test_a_deepspeed_config_beside_the_config_comes_first(folder: Path) -> None:
    found = plan("sft", f"{BASE}deepspeed: deepspeed_configs/zero3.json\n", folder, "gpu=2")
    assert travelling(found, "zero3.json") == {"zero_optimization": {"stage": 3}}


@pytest.mark.parametrize("name", deepspeed_names())
def test_transformers_fills_in_what_a_deepspeed_config_leaves_open(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    deepspeed = pytest.importorskip("transformers.integrations.deepspeed")
    from accelerate.utils.deepspeed import HfDeepSpeedConfig
    from transformers import TrainingArguments

    # What Transformers has for a base where DeepSpeed is installed.
    configs = type("Config", (deepspeed.HfTrainerDeepSpeedConfig, HfDeepSpeedConfig), {})
    monkeypatch.setattr(deepspeed, "_hf_deepspeed_config_weak_ref", None)
    monkeypatch.setattr(deepspeed, "dep_version_check", lambda name: None)  # DeepSpeed itself is for GPUs
    arguments = TrainingArguments(output_dir="out", use_cpu=True, bf16=False, report_to="none")
    filled = configs(str(shipped("examples") / "axolotl" / "deepspeed_configs" / f"{name}.json"))
    arguments.bf16 = "bf16" in name
    filled.trainer_config_process(arguments)
    filled.trainer_config_finalize(arguments, SimpleNamespace(config=SimpleNamespace(hidden_size=64)), 10)
    assert "auto" not in json.dumps(filled.config)
    assert name.startswith(f"zero{filled.config['zero_optimization']['stage']}")
    assert filled.is_offload() == ("cpuoffload" in name)


def test_preparing_data_takes_no_gpu(folder: Path) -> None:
    found = plan(
        "preprocess", f"{BASE}gpu: 8\nnodes: 4\nfsdp_version: 2\nfsdp_config: {{offload_params: true}}\n", folder
    )
    assert found.total_gpus == 0
    assert trainer(found)["command"][3] == "axolotl_preprocess"
    assert "nvidia.com/gpu" not in trainer(found)["resources"]["limits"]


def test_training_looks_where_the_data_was_prepared(folder: Path) -> None:
    both = [plan(kind, BASE, folder) for kind in ("preprocess", "sft")]
    first, second = (environment(trainer(found))["CW_PREPARED"] for found in both)
    assert first == second


def test_other_data_is_prepared_elsewhere(folder: Path) -> None:
    def of(text: str) -> str:
        return prepared(parse_config(text, str(folder / "config.yaml")))

    text = BASE.replace("owner/data", "data.jsonl")
    before = of(text)
    assert of(f"{text}num_epochs: 3\nsave_steps: 5\nadapter: lora\n") == before
    assert of(f"{text}sequence_len: 99\n") != before
    (folder / "data.jsonl").write_text(json.dumps({"instruction": "x", "output": "y"}) + "\n")
    assert of(text) != before


@pytest.mark.parametrize("kind", kinds.TYPES)
def test_every_kind_has_a_name_that_kubernetes_takes(kind: str) -> None:
    name = FrameworkRegistry().get("axolotl").get_job_name(TrainingType(kind))
    assert name == f"cw-axolotl-train-{kind.replace('_', '-')}"


@pytest.mark.parametrize("kind", kinds.TYPES)
def test_every_kind_has_a_config_to_begin_with(kind: str, tmp_path: Path) -> None:
    framework = FrameworkRegistry().get("axolotl")
    given = parse_config(framework.example(TrainingType(kind)), str(tmp_path / "config.yaml"))
    assert not check_config(framework, TrainingType(kind), given).warnings


def test_what_axolotl_has_not_is_said() -> None:
    with pytest.raises(FrameworkError, match="Axolotl has no training type ppo") as raised:
        FrameworkRegistry().get("axolotl").get_schema(TrainingType("ppo"))
    assert "grpo" in str(raised.value.hint)
