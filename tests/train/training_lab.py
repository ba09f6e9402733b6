"""Runs recipes the way a container does: as processes, with an environment of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
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

Message = dict[str, Any]


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
    ) -> Ended:
        """Run to the end, or send a signal once `stop` is true of a message on stdout."""
        errors = output.parent / f"{output.name}.stderr"
        with errors.open("w+", encoding="utf-8") as err:
            process = subprocess.Popen(
                [sys.executable, *command],
                env=self.environment | (environment or {}),
                cwd=self.folder,
                stdout=subprocess.PIPE,
                stderr=err,
                text=True,
            )
            limit = threading.Timer(LONGEST, process.kill)
            limit.start()
            lines = []
            assert process.stdout is not None
            for line in process.stdout:
                lines.append(line)
                if stop and line.startswith("::cw:: ") and stop(json.loads(line.removeprefix("::cw:: "))):
                    process.send_signal(with_signal)
                    stop = None
            process.stdout.close()
            process.wait()
            limit.cancel()
            err.seek(0)
            return Ended(process.returncode, "".join(lines), err.read(), output)

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
        **changes: Any,
    ) -> Ended:
        launcher = ["-m", "torch.distributed.run", f"--nproc-per-node={processes}"] if processes > 1 else []
        command = [*launcher, "-m", "cw_train", recipe, "--config", str(self.config(output, **changes))]
        named = (environment or {}) | ({"CW_RUN": name} if name else {})
        return self.run(command, output, environment=named, stop=stop, with_signal=with_signal)
