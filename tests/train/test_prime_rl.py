"""The parts of a prime-rl run, with programs in prime-rl's place that write down how they were called.

prime-rl itself needs GPUs and is on no package index: what is shown here is what cw does around it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from cw_train.prime_rl import commands, complete, environments, without_none

CONTAINERS = Path(__file__).resolve().parents[2] / "containers"

RL = """
import os, pathlib, sys, tomllib
text = pathlib.Path(sys.argv[2]).read_text()
values = tomllib.loads(text)
pathlib.Path(os.environ["WITNESS"], "rl.seen").write_text(text)
if "mistake" in values:
    sys.exit("mistake: Extra inputs are not permitted")
assert values["dry_run"] is True
configs = pathlib.Path(values["output_dir"], "configs")
configs.mkdir(parents=True)
for part in ("trainer", "inference", "orchestrator", "env_server_train_words"):
    (configs / f"{part}.toml").write_text(f"output_dir = '{values['output_dir']}'\\n")
"""
PART = """
import os, pathlib, sys, time
name = pathlib.Path(sys.argv[0]).name
config = pathlib.Path(sys.argv[-1])
here = pathlib.Path(os.environ["WITNESS"])
(here / name).write_text(config.read_text() + os.environ.get("PYTHONPATH", ""))
until = time.monotonic() + float(os.environ.get("LAST", "0"))
while name == "env-server" or time.monotonic() < until:
    time.sleep(0.05)
sys.exit(int(os.environ.get(name.upper() + "_CODE", "0")))
"""


@pytest.fixture
def around(tmp_path: Path) -> dict[str, str]:
    """An environment in which prime-rl's programs are the ones above."""
    pytest.importorskip("tomli_w", reason="prime-rl's image has it, and the verifiers extra brings it")
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("rl", "inference", "orchestrator", "torchrun", "env-server"):
        (programs / name).write_text(f"#!{sys.executable}\n{RL if name == 'rl' else PART}")
        (programs / name).chmod(0o755)
    packages = tmp_path / "packages"
    pathing = packages / "prime_rl" / "utils" / "pathing.py"
    pathing.parent.mkdir(parents=True)
    pathing.write_text(
        "def get_ckpt_dir(output):\n    return output / 'checkpoints'\n"
        "def resolve_latest_ckpt_step(folder):\n    return max(int(path.name[5:]) for path in folder.glob('step_*'))\n"
        "def clean_future_steps(output, step):\n    (output / 'cleaned').write_text(str(step))\n"
    )
    kept = {name: os.environ[name] for name in ("HOME", "LANG", "TMPDIR") if name in os.environ}
    return kept | {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PYTHONPATH": f"{CONTAINERS}:{packages}",
        "WITNESS": str(tmp_path),
        "CW_RUN": "run-1",
        "INFERENCE_URL": "http://inference:8000/v1",
    }


def start(tmp_path: Path, around: dict[str, str], role: str, **changes: Any) -> subprocess.Popen[str]:
    taskset = tmp_path / "tasks" / "words"
    taskset.mkdir(parents=True, exist_ok=True)
    (taskset / "__init__.py").touch()
    env = [{"taskset": {"id": str(taskset)}, "harness": {"id": "null"}}]
    values = {"max_steps": 2, "inference": {}, "orchestrator": {"train": {"env": env}}} | changes
    values["output_dir"] = str(tmp_path / "shared")
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(values))
    command = [sys.executable, "-m", "cw_train", "prime_rl", "--config", str(config)]
    environment = around | {"PRIME_RL_ROLE": role}
    return subprocess.Popen(
        command, env=environment, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_the_trainer_reads_its_part_with_the_shared_folder(tmp_path: Path, around: dict[str, str]) -> None:
    process = start(tmp_path, around, "trainer")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    said = (tmp_path / "torchrun").read_text()
    assert said.startswith(f"output_dir = '{tmp_path / 'shared'}'\n")
    assert str(tmp_path / "tasks") in said
    assert '"event":"done"' in out


def test_the_orchestrator_has_its_environments_beside_it_and_rests_when_done(
    tmp_path: Path, around: dict[str, str]
) -> None:
    process = start(tmp_path, around, "orchestrator")
    assert process.stdout is not None
    for line in process.stdout:
        if '"event":"done"' in line:
            break
    assert (tmp_path / "env-server").exists()
    assert process.poll() is None  # a Deployment would start it again
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    process.communicate()


def test_the_trainer_ends_when_another_part_fails(tmp_path: Path, around: dict[str, str]) -> None:
    trainer = start(tmp_path, around | {"LAST": "60"}, "trainer")
    until = time.monotonic() + 30
    while not (tmp_path / "torchrun").exists() and time.monotonic() < until:
        time.sleep(0.05)
    other = start(tmp_path, around | {"ORCHESTRATOR_CODE": "7"}, "orchestrator")
    _, err = other.communicate(timeout=60)
    assert other.returncode == 1
    assert "prime-rl's orchestrator ended with exit code 7" in err
    _, err = trainer.communicate(timeout=60)
    assert trainer.returncode == 1
    assert err.splitlines()[-1] == "error: prime-rl's orchestrator failed, and the trainer was ended; see its log"


def test_what_prime_rl_refuses_is_refused_for_good(tmp_path: Path, around: dict[str, str]) -> None:
    process = start(tmp_path, around, "trainer", mistake=1)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "Extra inputs are not permitted" in err
    assert err.splitlines()[-1].endswith("prime-rl refuses it; its sentence is above")


def test_addresses_and_folders_are_filled_in() -> None:
    values: dict[str, Any] = {"inference": {"model": {"a": None}}, "orchestrator": {"env": [{"taskset": {}}]}}
    complete(values, {"PORT": "8000", "INFERENCE_URL": "http://i:8000/v1"})
    assert without_none(values) == {
        "inference": {"model": {}, "server": {"host": "0.0.0.0", "port": 8000}},
        "orchestrator": {"env": [{"taskset": {}}], "model": {"client": {"base_url": ["http://i:8000/v1"]}}},
        "weight_broadcast": {"type": "filesystem"},
        "deployment": {"num_train_gpus": 1, "num_infer_gpus": 1, "gpus_per_node": 8},
    }
    assert environments(values) == [{"taskset": {}}]


def test_several_nodes_meet_under_one_id(tmp_path: Path) -> None:
    around = {"NODES": "2", "JOB_COMPLETION_INDEX": "1", "CW_RUN": "run-1", "FIRST_NODE": "run-1-0.run-1-ranks"}
    (command,) = commands("trainer", tmp_path, around | {"PROCESSES": "8"})
    assert {"--rdzv-id=run-1", "--node-rank=1", "--nproc-per-node=8"} <= set(command)
    assert "--rdzv-endpoint=run-1-0.run-1-ranks:29500" in command


def test_several_nodes_are_one_big_one_for_prime_rl() -> None:
    values: dict[str, Any] = {"deployment": {"num_train_gpus": 8, "num_infer_gpus": 4}}
    complete(values, {"NODES": "2"})
    assert values["deployment"] == {"num_train_gpus": 16, "num_infer_gpus": 4, "gpus_per_node": 20}


@pytest.mark.parametrize(("role", "cleans"), [("inference", True), ("trainer", False)])
def test_a_folder_with_checkpoints_is_gone_on_in(
    tmp_path: Path, around: dict[str, str], role: str, cleans: bool
) -> None:
    for step in (10, 20):
        (tmp_path / "shared" / "checkpoints" / f"step_{step}").mkdir(parents=True)
    process = start(tmp_path, around, role, ckpt={"interval": 5})
    assert process.stdout is not None
    for line in process.stdout:
        if '"event":"done"' in line:
            break
    process.terminate()
    _, err = process.communicate(timeout=60)
    assert "resume_step = 20" in (tmp_path / "rl.seen").read_text(), err
    assert (tmp_path / "shared" / "cleaned").exists() is cleans
    if cleans:
        assert (tmp_path / "shared" / "cleaned").read_text() == "20"
