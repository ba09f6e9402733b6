"""GPUs, with an `nvidia-smi` that says what each test wants."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from cw_cli.core.exceptions import TargetError
from cw_cli.core.plan import Plan
from cw_cli.core.resources import Resources
from cw_cli.targets.local.gpus import Gpu, parse_listing, shortage, visible

from .machines import LIMIT, Machine, plan, plan_of_roles

LISTING = "".join(f"GPU {n}: NVIDIA H100 80GB HBM3 (UUID: GPU-{n}{n}{n}{n}-aa)\n" for n in range(4))
MIG = """GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-5c89852c)
  MIG 3g.20gb     Device  0: (UUID: MIG-c7384736)
  MIG 1g.5gb      Device  1: (UUID: MIG-a28ad590)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-4404041a)
"""
SHOW = "import os, time; print(os.environ['CUDA_VISIBLE_DEVICES'], flush=True); time.sleep({})"


@pytest.fixture
def gpu_machine(machine: Machine) -> Machine:
    """A machine with four GPUs."""
    program = machine.home / "bin/nvidia-smi"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{LISTING}END\n")
    program.chmod(0o755)
    machine.environment["PATH"] = f"{program.parent}:{machine.environment['PATH']}"
    return machine


def wanting(gpus: int) -> dict[str, Any]:
    command = ["python3", "-c", SHOW.format(600)]
    return {"container": {"command": command, "resources": {"limits": {"nvidia.com/gpu": gpus}}}}


def test_listings() -> None:
    assert [gpu.token for gpu in parse_listing(LISTING)] == ["0", "1", "2", "3"]
    assert parse_listing(LISTING)[1] == Gpu("1", "GPU-1111-aa", "NVIDIA H100 80GB HBM3")
    assert [gpu.token for gpu in parse_listing(MIG)] == ["MIG-c7384736", "MIG-a28ad590", "1"]
    assert parse_listing("No devices were found\n") == []


@pytest.mark.parametrize(
    ("setting", "tokens"),
    [
        (None, "0123"),
        ("", ""),
        ("-1", ""),
        ("2,0", "20"),
        ("1, 3", "13"),
        ("0,9,1", "0"),
        ("GPU-2222,1", "21"),
        ("NoDevFiles", ""),
    ],
)
def test_what_the_user_may_see(setting: str | None, tokens: str) -> None:
    assert "".join(gpu.token for gpu in visible(parse_listing(LISTING), setting)) == tokens


def test_shortages_say_what_is_there() -> None:
    gpus = parse_listing(LISTING)
    assert shortage(4, gpus, {}) is None
    assert shortage(2, gpus, {}, "H100") is None
    assert shortage(2, gpus, {}, "NVIDIA-H100-80GB-HBM3") is None
    none, many = shortage(1, [], {}), shortage(8, gpus, {})
    other, taken = shortage(1, gpus, {}, "A100"), shortage(4, gpus, {"GPU-0000-aa": "one"})
    assert none and "has none" in none.message and "--gpu 0" in none.remedy
    assert many and "8 GPUs; this machine has 4" in many.message and "--gpu 4" in many.remedy
    assert other and "of type A100; this machine has 0 (NVIDIA H100 80GB HBM3)" in other.message
    assert taken and "3 are free" in taken.message and "taken by one" in taken.message and "cw wait one" in taken.remedy


def test_runs_get_gpus_of_their_own(gpu_machine: Machine) -> None:
    target = gpu_machine.target
    target.launch(plan("one", "", **wanting(3)), attached=False)
    gpu_machine.saw("one", "0,1,2")
    assert "1 is free" in target.check(plan("two", "", **wanting(2)))[0].message
    with pytest.raises(TargetError, match="taken by one"):
        target.launch(plan("two", "", **wanting(2)), attached=False)
    target.launch(plan("two", "", **wanting(1)), attached=False)
    gpu_machine.saw("two", "3")
    assert (target.status("one").gpus, target.status("two").gpus) == (3, 1)
    target.cancel("one")
    target.launch(plan("three", "", **wanting(2)), attached=False)
    gpu_machine.saw("three", "0,1")


def sharing(run: str, *, trainer: int, reward: int, replicas: int = 1) -> Plan:
    """A run whose trainer and whose service take GPUs."""
    changes = {"resources": {"limits": {"nvidia.com/gpu": reward}}, "command": ["python3", "-c", SHOW.format(600)]}
    return plan_of_roles(
        run,
        SHOW.format(600),
        {"reward": ""},
        health=None,
        container=changes,
        spec={"replicas": replicas},
        trainer_changes=wanting(trainer),
    )


def test_every_role_gets_gpus_of_its_own(gpu_machine: Machine) -> None:
    target = gpu_machine.target
    target.launch(sharing("one", trainer=2, reward=1, replicas=2), attached=False)
    for process, gpus in (("trainer", "0,1"), ("reward", "2"), ("reward-1", "3")):
        gpu_machine.saw("one", gpus, process)
    assert target.status("one").gpus == 4
    target.cancel("one")
    target.launch(sharing("two", trainer=0, reward=1), attached=False)
    gpu_machine.saw("two", "0", "reward")
    assert gpu_machine.lines("two", "trainer")[:1] in ([], [""])


def test_a_shortage_among_roles_says_who_asks_for_what(gpu_machine: Machine) -> None:
    (problem,) = gpu_machine.target.check(sharing("one", trainer=3, reward=1, replicas=2))
    assert problem.message.startswith("The run asks for 5 GPUs; this machine has 4")
    assert problem.remedy == (
        "They are 3 for the trainer, 2 for the reward; ask for less with --gpu or --set services.reward.gpu=0, "
        "or use the cluster."
    )
    with pytest.raises(TargetError, match="5 GPUs"):
        gpu_machine.target.launch(sharing("one", trainer=3, reward=1, replicas=2), attached=False)
    assert gpu_machine.target.names() == []


def test_a_type_of_gpu_for_one_role_only(gpu_machine: Machine) -> None:
    asked = sharing("one", trainer=1, reward=1)
    (trainer, reward) = asked.roles
    typed = asked._replace(roles=(trainer, reward._replace(resources=Resources(gpu=1, gpu_type="A100"))))
    (problem,) = gpu_machine.target.check(typed)
    assert "1 GPU of type A100; this machine has 0" in problem.message
    program = Path(gpu_machine.environment["PATH"].partition(":")[0]) / "nvidia-smi"
    program.write_text(program.read_text().replace("GPU 0: NVIDIA H100", "GPU 0: NVIDIA A100"))
    assert gpu_machine.target.check(typed) == []
    gpu_machine.target.launch(typed, attached=False)
    gpu_machine.saw("one", "0", "reward")
    gpu_machine.saw("one", "1", "trainer")


def test_a_machine_without_gpus(machine: Machine) -> None:
    (machine.home / "empty").mkdir()
    machine.environment["PATH"] = str(machine.home / "empty")
    assert "has none" in machine.target.check(plan("one", "", **wanting(1)))[0].message
    assert machine.target.check(plan("one", "pass")) == []


def test_launches_at_once_never_share_a_gpu(gpu_machine: Machine) -> None:
    failures: list[str] = []

    def launch(name: str) -> None:
        try:
            gpu_machine.target.launch(plan(name, "", **wanting(1)), attached=False)
        except TargetError as error:
            failures.append(error.message)

    names = [f"run-{number}" for number in range(6)]
    threads = [threading.Thread(target=launch, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT)
    assert len(failures) == 2
    given = []
    for name in gpu_machine.target.names():
        gpu_machine.saw(name, "")
        given += gpu_machine.lines(name)
    assert sorted(given) == ["0", "1", "2", "3"]


def test_a_driver_that_fails_is_reported(gpu_machine: Machine) -> None:
    program = Path(gpu_machine.environment["PATH"].partition(":")[0]) / "nvidia-smi"
    program.write_text("not a program")
    with pytest.raises(TargetError, match="nvidia-smi"):
        gpu_machine.target.check(plan("one", "", **wanting(1)))
