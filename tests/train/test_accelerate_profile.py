"""A profile of Accelerate does in a recipe what `accelerate launch` would do with it, but for starting processes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from training_lab import Lab

# One of the processes: lines that two print at the same time run into each other.
SHOW = "import json, os; os.environ['RANK'] == '0' and print('::cw:: ' + json.dumps(dict(os.environ)))"
# DeepSpeed itself is not needed to see what it would be told; the launcher asks for one name of it.
LAUNCH = """
import sys, types
import accelerate.commands.launch as launch
launch.is_deepspeed_available = lambda: True
parts = {name: types.ModuleType(name) for name in ("deepspeed", "deepspeed.launcher", "deepspeed.launcher.runner")}
parts["deepspeed.launcher.runner"].DEEPSPEED_ENVIRONMENT_NAME = ".deepspeed_env"
sys.modules |= parts
launch.main()
"""
OURS = """
import json
from cw_train.accelerate_profile import variables
print('::cw:: ' + json.dumps(variables('config.yaml', {name!r})))
"""
OWN_FILE = {
    "compute_environment": "LOCAL_MACHINE",
    "distributed_type": "FSDP",
    "fsdp_config": {"fsdp_version": 2, "fsdp_offload_params": True, "fsdp_state_dict_type": "SHARDED_STATE_DICT"},
    "gpu_ids": "0,1",
    "machine_rank": 0,
    "mixed_precision": "bf16",
    "num_machines": 3,
    "num_processes": 24,
}


def taken(lab: Lab, tmp_path: Path, name: str, processes: str = "2") -> dict[str, str]:
    ended = lab.run(["-c", OURS.format(name=name)], tmp_path / "ours", environment={"WORLD_SIZE": processes})
    assert ended.code == 0, ended.err
    return ended.messages[0]


@pytest.mark.parametrize("name", ["fsdp2", "zero3", "mine"])
def test_the_variables_are_those_of_accelerate_launch(lab: Lab, tmp_path: Path, name: str) -> None:
    import trl

    file = Path(trl.__file__).parent / "accelerate_configs" / f"{name}.yaml"
    if name == "mine":
        file = tmp_path / "mine.yaml"
        file.write_text(yaml.safe_dump(OWN_FILE))
    script = tmp_path / "show.py"
    script.write_text(SHOW)
    flags = ["--num_machines", "1", "--num_processes", "2", "--gpu_ids", "all"]
    theirs = lab.run(["-c", LAUNCH, "--config_file", str(file), *flags, str(script)], tmp_path / "theirs")
    assert theirs.code == 0, theirs.err
    launched = {key: text for key, text in theirs.messages[0].items() if key.startswith(("ACCELERATE_", "FSDP_"))}
    ended = lab.run(
        ["-c", OURS.format(name=str(file) if name == "mine" else name)],
        tmp_path / "ours",
        environment={"WORLD_SIZE": "16"},
    )
    assert ended.code == 0, ended.err
    assert ended.messages[0] == launched
    kind = "DEEPSPEED" if name == "zero3" else "FSDP"
    assert launched[f"ACCELERATE_USE_{kind}"] == "true"


def test_a_recipe_takes_a_profile_and_trains(lab: Lab, tmp_path: Path) -> None:
    how = {"max_steps": 3, "save_strategy": "no", "eval_strategy": "no"}
    losses = []
    for name in ("multi_gpu", None):
        ended = lab.train(tmp_path / str(name), accelerate=name, **how)
        assert ended.code == 0, ended.err
        losses.append([row["loss"] for row in ended.rows])
    assert losses[0] == losses[1]


def test_a_profile_that_is_not_there(lab: Lab, tmp_path: Path) -> None:
    ended = lab.train(tmp_path / "none", accelerate="zero4")
    assert ended.code == 2
    assert "accelerate: there is no profile zero4; there is fsdp1, fsdp2, multi_gpu" in ended.last_line


@pytest.mark.parametrize(
    ("values", "asked", "left", "single"),
    [
        ({"deepspeed": "zero2"}, ["zero2"], {}, True),
        ({"deepspeed": "ds.json"}, [], {"deepspeed": "ds.json"}, True),
        ({"accelerate": "fsdp2", "bf16": False}, ["fsdp2"], {"bf16": False}, False),
        ({}, [], {}, False),
    ],
)
def test_what_is_taken_and_what_a_single_process_is_told(
    values: dict[str, Any], asked: list[str], left: dict[str, Any], single: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DeepSpeed by name is a profile too, and wants torchrun's variables even where one process runs without it."""
    from cw_train import accelerate_profile

    names = []

    def variables(config: str, name: str) -> dict[str, str]:
        names.append(name)
        kind = "DEEPSPEED" if name.startswith("zero") else "FSDP"
        return {f"ACCELERATE_USE_{kind}": "true", "ACCELERATE_MIXED_PRECISION": "bf16"}

    monkeypatch.setattr(accelerate_profile, "variables", variables)
    monkeypatch.setattr("os.environ", {})
    accelerate_profile.take_profile("config.yaml", values)
    assert (names, values) == (asked, left)
    assert (os.environ.get("WORLD_SIZE") == "1") is single
    assert ("MASTER_PORT" in os.environ) is single
    assert ("ACCELERATE_MIXED_PRECISION" in os.environ) is (asked == ["zero2"])  # where the config says nothing
