"""Two processes learn from a batch what one process learns from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rlhf_lab import RewardLab

# Each process takes every other one of eight completions; afterwards rank 0 writes weights and numbers.
PROGRAM = """
import json, sys
from pathlib import Path
here, model, output, options = sys.argv[1:]
sys.path.insert(0, here)
from accelerate import PartialState
place = PartialState(cpu=True)
import torch
from cw_train.prompts import Prompt
from rlhf_lab import Judge, make_ppo, make_texts

torch.manual_seed(7)
lengths = [(3, 5), (1, 2), (6, 7), (2, 3), (4, 1), (2, 6), (5, 4), (3, 3)]
said = [[torch.randint(2, 16, (size,)).tolist() for size in pair] for pair in lengths]
mine = said[place.process_index :: place.num_processes]
size = 8 // place.num_processes
ppo = make_ppo(Path(model), Judge(), batch_size=size, **json.loads(options))
texts = make_texts([response for _, response in mine], [prompt for prompt, _ in mine])
experience, seen = ppo.gather([Prompt("any", [2])] * size, texts)
ppo.policy.train()
learned = ppo.learn(experience)
if place.is_main_process:
    torch.save(ppo.policy.state_dict(), output)
    print(json.dumps(seen | learned))
place.destroy_process_group()
"""


def learned(rewards: RewardLab, name: str, processes: int, **options: Any) -> tuple[Any, dict[str, float]]:
    import torch

    output = rewards.folder / f"{name}.pt"
    program = rewards.folder / "program.py"
    program.write_text(PROGRAM, encoding="utf-8")
    launcher = ["-m", "torch.distributed.run", f"--nproc-per-node={processes}"] if processes > 1 else []
    arguments = [str(Path(__file__).parent), str(rewards.folder / "model"), str(output), json.dumps(options)]
    ended = rewards.run([*launcher, str(program), *arguments], output)
    assert ended.code == 0, ended.err
    return torch.load(output, weights_only=True), json.loads(ended.out.splitlines()[-1])


def test_one_batch_whatever_the_processes(rewards: RewardLab) -> None:
    """The processes' texts differ in length, so means of their means would be another loss."""
    import torch

    options = {
        "ppo_epochs": 3,
        "gradient_accumulation_steps": 2,
        "learning_rate": 1e-3,
        "max_grad_norm": 0.5,
        "whiten_rewards": True,
    }
    one, alone = learned(rewards, "one", 1, **options)
    two, together = learned(rewards, "two", 2, **options)
    assert alone["updates"] == 3
    assert together == pytest.approx(alone, rel=1e-3, abs=1e-5)
    for name, weight in one.items():
        torch.testing.assert_close(two[name], weight, rtol=1e-3, atol=1e-4, msg=lambda text, n=name: f"{n}: {text}")
