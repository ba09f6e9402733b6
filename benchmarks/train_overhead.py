"""What the SFT recipe costs on top of bare TRL: the time of a training step, with and without it, taken in turns.

    PYTHONPATH=containers OMP_NUM_THREADS=1 python benchmarks/train_overhead.py

Both train the same model on the same data in this process. A machine's noise is often larger than the difference, so
the time spent inside the recipe's own hooks is measured too, and given as a share of a bare step.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

QUICKSTART = Path(__file__).resolve().parent.parent / "examples" / "quickstart"
WARM_UP = 5  # steps at the beginning of each round that are not counted


def larger_model(folder: Path) -> Path:
    """The quickstart's model with more and wider layers, so that a step takes about 100 ms; its tokenizer as it is."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    config = AutoConfig.from_pretrained(QUICKSTART / "model")
    config.update({"hidden_size": 192, "intermediate_size": 512, "num_hidden_layers": 4, "head_dim": 48})
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(QUICKSTART / "model").save_pretrained(folder)
    return folder


def with_recipe(config: Path) -> None:
    from cw_train.trl_sft import main

    main(str(config))


def bare(config: Path) -> None:
    from trl.scripts import sft

    sft.main(*sft.make_parser().parse_args_and_config(["--config", str(config)]))


def step_starts(train: Callable[[Path], None], config: Path) -> list[float]:
    """Seconds at which each step began; the optimizer, the hooks and the logs lie between two of them."""
    from transformers import Trainer

    starts: list[float] = []
    original = Trainer.training_step

    def timed(self: Any, *arguments: Any, **named: Any) -> Any:
        starts.append(time.perf_counter())
        return original(self, *arguments, **named)

    Trainer.training_step = timed
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            train(config)
    finally:
        Trainer.training_step = original
    return starts


def count_hooks(spent: list[float]) -> None:
    """Add the time of every call of the recipe's hooks to a list."""
    from cw_train.checkpoints import Checkpoints
    from cw_train.progress import Progress

    def counted(hook: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            before = time.perf_counter()
            try:
                return hook(*arguments, **named)
            finally:
                spent.append(time.perf_counter() - before)

        return call

    for owner in (Progress, Checkpoints):
        for name in ("on_step_end", "on_log"):
            if name in vars(owner):
                setattr(owner, name, counted(vars(owner)[name]))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=8, help="how often each of the two trains")
    parser.add_argument("--steps", type=int, default=25, help="steps of a round")
    arguments = parser.parse_args()
    os.environ |= {"TQDM_DISABLE": "1", "HF_HUB_OFFLINE": "1"}
    steps: dict[str, list[float]] = {"bare TRL": [], "recipe": []}
    hooks: list[float] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        values = yaml.safe_load((QUICKSTART / "sft.yaml").read_text(encoding="utf-8")) | {
            "model_name_or_path": str(larger_model(folder / "model")),
            "dataset_name": str(QUICKSTART / "data"),
            "max_steps": arguments.steps,
            "eval_strategy": "no",
            "save_strategy": "no",
            "disable_tqdm": True,
        }
        config = folder / "sft.yaml"
        config.write_text(yaml.safe_dump(values | {"output_dir": str(folder / "out")}), encoding="utf-8")
        count_hooks(hooks)
        sides = [("bare TRL", bare), ("recipe", with_recipe)]
        for _ in range(arguments.rounds):
            sides.reverse()  # neither is always the one that runs on the warmer machine
            for label, train in sides:
                starts = step_starts(train, config)[WARM_UP:]
                steps[label] += [later - earlier for earlier, later in pairwise(starts)]
    report(steps, 1000 * sum(hooks) / (arguments.rounds * arguments.steps))


def report(steps: dict[str, list[float]], hooks: float) -> None:
    """A small table for people, and one line of JSON for programs; times in milliseconds."""
    medians = {label: 1000 * statistics.median(times) for label, times in steps.items()}
    print(f"{'milliseconds a step':<24}{'median':>10}{'against bare':>14}")
    for label, median in medians.items():
        print(f"{label:<24}{median:>10.2f}{100 * (median / medians['bare TRL'] - 1):>+13.2f}%")
    print(f"{'in the hooks, mean':<24}{hooks:>10.3f}{100 * hooks / medians['bare TRL']:>+13.2f}%")
    print(json.dumps({"medians": medians, "hooks": hooks, "steps": len(steps["recipe"])}))


if __name__ == "__main__":
    main()
