"""Runs recipes the way a container does: as processes, with an environment of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
CONTAINERS = ROOT / "containers"
QUICKSTART = ROOT / "examples" / "quickstart"
LONGEST = 120  # seconds until a run is given up

# Small, and sensitive: dropout makes every random number count, so a run that draws one more ends elsewhere.
CONFIG: dict[str, Any] = {
    "model_name_or_path": str(QUICKSTART / "model"),
    "model_init_kwargs": {"attention_dropout": 0.1},
    "dataset_name": str(QUICKSTART / "data"),
    "use_cpu": True,
    "bf16": False,
    "learning_rate": 5e-3,
    "max_length": 64,
    "max_steps": 30,
    "per_device_train_batch_size": 8,
    "per_device_eval_batch_size": 40,
    "logging_steps": 1,
    "eval_strategy": "steps",
    "eval_steps": 10,
    "save_steps": 10,
    "gradient_checkpointing": False,
}

IMPORTED_BY_RECIPES = (
    "matplotlib",
    "datasets",
    "accelerate",
    "peft",
    "transformers.trainer",
    *(f"trl.trainer.{name}_trainer" for name in ("sft", "dpo", "kto", "reward", "grpo", "rloo")),
)

Message = dict[str, Any]
Running = tuple[int, Iterable[str], Callable[[], int]]
"""A process, the lines that it says, and the wait for its exit code."""


@dataclass
class Ended:
    """A process that ended, and the folder that it wrote to."""

    code: int
    out: str
    err: str
    folder: Path

    @property
    def messages(self) -> list[Message]:
        lines = [line for line in self.out.splitlines() if line.startswith("::cw:: ")]
        return [json.loads(line.removeprefix("::cw:: "), parse_constant=refuse_constant) for line in lines]

    def event(self, name: str) -> Message:
        (found,) = [message for message in self.messages if message.get("event") == name]
        return found

    @property
    def rows(self) -> list[Message]:
        text = (self.folder / "metrics.jsonl").read_text(encoding="utf-8")
        return [json.loads(line, parse_constant=refuse_constant) for line in text.splitlines()]

    @property
    def last_line(self) -> str:
        return self.err.splitlines()[-1]


def refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def same_end(ended: Ended, full: Ended) -> None:
    """The same weights, bit for bit, and the same curve without gaps or doubled steps."""
    assert ended.code == 0, ended.err
    assert (ended.folder / "model.safetensors").read_bytes() == (full.folder / "model.safetensors").read_bytes()
    compared = ("step", "epoch", "loss", "eval_loss", "lr", "grad_norm")
    curves = [[{key: row.get(key) for key in compared} for row in run.rows] for run in (ended, full)]
    assert curves[0] == curves[1]


@dataclass
class Lab:
    """Starts training processes with an environment of their own."""

    folder: Path
    imported: tuple[str, ...] = IMPORTED_BY_RECIPES
    """What the Python has imported from which its runs are forked."""

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
        cache = str(self.folder / "cache")
        return kept | {
            "PYTHONPATH": str(CONTAINERS),
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
            "HF_HOME": cache,
            "HF_DATASETS_CACHE": cache,
            "MPLCONFIGDIR": cache,
        }

    def config(self, output: Path, **changes: Any) -> Path:
        """A config file; what is None among the changes is left out."""
        values = CONFIG | {"output_dir": str(output)} | changes
        path = output.parent / f"{output.name}.yaml"
        path.write_text(yaml.safe_dump({key: values[key] for key in values if values[key] is not None}), "utf-8")
        return path

    def run(
        self,
        command: list[str],
        output: Path,
        *,
        environment: dict[str, str] | None = None,
        stop: Callable[[Message], bool] | None = None,
        with_signal: signal.Signals = signal.SIGKILL,
        cold: bool = False,
    ) -> Ended:
        """Run to the end, or send a signal once `stop` is true of a message on stdout.

        Recipes are forked from a Python that has imported what they need, except `cold` ones.
        """
        around = self.environment | (environment or {})
        errors = output.parent / f"{output.name}.stderr"
        errors.write_text("")
        cold = cold or command[:2] != ["-m", "cw_train"] or around["PYTHONPATH"] != self.environment["PYTHONPATH"]
        started = self._started(command, around, errors) if cold else self._forked(command[1:], around, errors)
        with started as (process, said, code):
            limit = threading.Timer(LONGEST, os.kill, (process, signal.SIGKILL))
            limit.start()
            lines = []
            for line in said:
                lines.append(line)
                if stop and line.startswith("::cw:: ") and stop(json.loads(line.removeprefix("::cw:: "))):
                    os.kill(process, with_signal)
                    stop = None
            ended = code()
            limit.cancel()
        return Ended(ended, "".join(lines), errors.read_text("utf-8"), output)

    @contextmanager
    def _started(self, command: list[str], environment: dict[str, str], errors: Path) -> Iterator[Running]:
        """A process of its own."""
        with (
            errors.open("w", encoding="utf-8") as err,
            subprocess.Popen(
                [sys.executable, *command],
                env=environment,
                cwd=self.folder,
                stdout=subprocess.PIPE,
                stderr=err,
                text=True,
            ) as process,
        ):
            assert process.stdout is not None
            yield process.pid, process.stdout, process.wait

    @contextmanager
    def _forked(self, command: list[str], environment: dict[str, str], errors: Path) -> Iterator[Running]:
        """The same, without the five seconds that the imports take."""
        pipe = errors.with_suffix(".stdout")
        pipe.unlink(missing_ok=True)
        os.mkfifo(pipe)
        asked = {"command": command, "environment": environment, "folder": str(self.folder)}
        tell, answers = self.warm.stdin, self.warm.stdout
        assert tell is not None
        assert answers is not None
        tell.write(json.dumps(asked | {"out": str(pipe), "err": str(errors)}) + "\n")
        tell.flush()
        process = int(answers.readline())
        with pipe.open(encoding="utf-8") as said:
            yield process, said, lambda: int(answers.readline())

    @cached_property
    def warm(self) -> subprocess.Popen[str]:
        command = [sys.executable, str(Path(__file__).with_name("warm.py")), *self.imported]
        # As recipes set it before they import.
        silent = dict.fromkeys(
            ("TQDM_DISABLE", "HF_DATASETS_DISABLE_PROGRESS_BARS", "HF_HUB_DISABLE_PROGRESS_BARS"), "1"
        )
        return subprocess.Popen(
            command, env=self.environment | silent, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def close(self) -> None:
        if "warm" in self.__dict__:
            self.warm.communicate()  # it ends with its stdin

    def train(
        self,
        output: Path,
        *,
        recipe: str = "trl_sft",
        name: str | None = None,
        processes: int = 1,
        environment: dict[str, str] | None = None,
        stop: Callable[[Message], bool] | None = None,
        with_signal: signal.Signals = signal.SIGKILL,
        cold: bool = False,
        **changes: Any,
    ) -> Ended:
        launcher = ["-m", "torch.distributed.run", f"--nproc-per-node={processes}"] if processes > 1 else []
        command = [*launcher, "-m", "cw_train", recipe, "--config", str(self.config(output, **changes))]
        named = (environment or {}) | ({"CW_RUN": name} if name else {})
        return self.run(command, output, environment=named, stop=stop, with_signal=with_signal, cold=cold)
