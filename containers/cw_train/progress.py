"""What a training run tells while it goes: `::cw:: {…}` lines on stdout, and `metrics.jsonl` beside the model."""

from __future__ import annotations

import json
import math
import resource
import sys
import time
from pathlib import Path
from typing import Any

PREFIX = "::cw:: "
BETWEEN_LOGS = 1.0  # seconds between two progress lines that carry no new loss


def announce(message: dict[str, Any]) -> None:
    """Print one line that programs read; text of libraries may stand between such lines, never inside one."""
    print(PREFIX + to_json(message), flush=True)


def to_json(message: dict[str, Any]) -> str:
    return json.dumps({key: finite(value) for key, value in message.items()}, separators=(",", ":"), allow_nan=False)


def finite(value: Any) -> Any:
    """JSON knows no NaN and no infinity: both become null."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def peak_memory(device: Any) -> int:
    """The most bytes held so far: on the accelerator where there is one, else in the process."""
    import torch

    if device.type != "cpu":
        accelerator = torch.get_device_module(device)
        if hasattr(accelerator, "max_memory_allocated"):
            return accelerator.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def read_rows(metrics: Path) -> list[dict[str, Any]]:
    """The rows of a metrics file; a last line that a killed process left unfinished is no row."""
    rows = []
    for line in metrics.read_text(encoding="utf-8").splitlines() if metrics.is_file() else []:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return rows


def keep_rows(metrics: Path, up_to_step: int) -> list[dict[str, Any]]:
    """Drop what was measured after the step that training continues from; return what is left."""
    rows = [row for row in read_rows(metrics) if row["step"] <= up_to_step]
    unfinished = metrics.with_suffix(".tmp")
    unfinished.write_text("".join(to_json(row) + "\n" for row in rows), encoding="utf-8")
    unfinished.replace(metrics)
    return rows


class Stopwatch:
    """Time spent on training steps: evaluations and checkpoints stop it."""

    def __init__(self) -> None:
        self.elapsed = 0.0  # seconds
        self.since = time.perf_counter()

    def lap(self) -> float:
        now = time.perf_counter()
        self.elapsed, self.since = self.elapsed + now - self.since, now
        return self.elapsed

    def skip(self) -> None:
        self.since = time.perf_counter()


class Progress:
    """Hooks of the trainer: announce progress and write `metrics.jsonl`.

    A recipe mixes it with transformers' TrainerCallback. It only reads what the trainer has on the CPU anyway, so it
    neither waits for the accelerator nor draws random numbers.
    """

    headlines: tuple[str, ...] = ("loss",)  # told in every progress line that a log makes, and in the last word
    columns: tuple[str, ...] = ()  # further numbers of a log that go into `metrics.jsonl` alone

    def __init__(self, resumed_from: str | None) -> None:
        self.resumed_from = resumed_from

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.watch = Stopwatch()
        self.started = time.perf_counter()
        self.first_step = state.global_step
        self.tokens_at_log, self.time_at_log = 0, 0.0  # TRL counts tokens from 0 in every process
        self.announced = 0.0
        self.metrics = Path(args.output_dir) / "metrics.jsonl"
        self.losses: list[float | None] = []
        if not state.is_world_process_zero:
            return
        self.metrics.parent.mkdir(parents=True, exist_ok=True)
        # A checkpoint from another folder has its history there: this folder's curve begins here.
        continued = self.resumed_from and Path(self.resumed_from).resolve().parent == self.metrics.parent.resolve()
        rows = keep_rows(self.metrics, state.global_step if continued else -1)
        self.losses = [row["loss"] for row in rows if "loss" in row]
        self.seconds_before = rows[-1]["seconds"] if rows else 0.0
        announce(
            {"event": "start", "total": state.max_steps, "resumed_from": self.resumed_from, "step": state.global_step}
        )

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        trained = self.watch.lap()
        if state.global_step == self.first_step + 1:
            self.first_step_took = trained  # it warms up caches and kernels, so it says little about the others
        now = time.perf_counter()
        if state.is_world_process_zero and not control.should_log and now - self.announced >= BETWEEN_LOGS:
            self.announced = now
            loss = self.losses[-1] if self.losses else None
            announce(
                {"step": state.global_step, "total": state.max_steps, "loss": loss, "eta_s": self.remaining(state)}
            )

    def remaining(self, state: Any) -> float:
        """Seconds of training still to come, at the pace so far."""
        steps, seconds = state.global_step - self.first_step, self.watch.elapsed
        if steps > 1:
            steps, seconds = steps - 1, seconds - self.first_step_took
        return round((state.max_steps - state.global_step) * seconds / max(steps, 1), 1)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **_: Any) -> None:
        if not state.is_world_process_zero:
            return
        if "loss" in logs:
            self.write(args, state, self.training_row(state, logs))
        elif any(key.startswith("eval_") for key in logs):
            self.write(args, state, {key: value for key, value in logs.items() if key.startswith("eval_")})

    def training_row(self, state: Any, logs: dict[str, float]) -> dict[str, Any]:
        tokens = logs.get("num_tokens")  # counted by TRL since this process began, over all ranks
        seconds = self.watch.elapsed - self.time_at_log
        speed = None if tokens is None or seconds <= 0 else round((tokens - self.tokens_at_log) / seconds, 1)
        self.tokens_at_log, self.time_at_log = tokens or 0, self.watch.elapsed
        row = {
            "loss": finite(logs["loss"]),
            "lr": logs.get("learning_rate"),
            "grad_norm": logs.get("grad_norm"),
            "tokens_per_second": speed,
        }
        self.losses.append(row["loss"])
        self.announced = time.perf_counter()
        row |= {name: logs.get(name) for name in self.headlines if name not in row}
        place = {"step": state.global_step, "total": state.max_steps, "epoch": round(state.epoch, 4)}
        announce(place | row | {"eta_s": self.remaining(state)})
        return row | {name: logs[name] for name in self.columns if name in logs}

    def write(self, args: Any, state: Any, values: dict[str, Any]) -> None:
        row = {"step": state.global_step, "epoch": round(state.epoch or 0.0, 4), **values}
        row["memory_bytes"] = peak_memory(args.device)
        row["seconds"] = round(self.seconds_before + time.perf_counter() - self.started, 3)
        row["time"] = round(time.time(), 3)  # seconds since 1970
        with self.metrics.open("a", encoding="utf-8") as file:
            file.write(to_json(row) + "\n")

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.watch.skip()

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.watch.skip()

    def finish(self, args: Any, state: Any) -> None:
        """Draw the curve and announce the end; called when the model is in its folder."""
        if not state.is_world_process_zero:
            return
        rows = read_rows(self.metrics)
        plot = self.draw(rows, Path(args.output_dir))
        curves = {name: [row[name] for row in rows if name in row] or [None] for name in self.headlines}
        announce(
            {
                "event": "done",
                "steps": state.global_step,
                "seconds": round(self.seconds_before + time.perf_counter() - self.started, 3),
                **{f"first_{name}": curve[0] for name, curve in curves.items()},
                **{f"last_{name}": curve[-1] for name, curve in curves.items()},
                "model": str(Path(args.output_dir).absolute()),
                "metrics": str(self.metrics.absolute()),
                "plot": str(plot.absolute()) if plot else None,
            }
        )

    def draw(self, rows: list[dict[str, Any]], folder: Path) -> Path | None:
        """The picture that the last word names."""
        from cw_train.plot import draw

        return draw(rows, folder / "loss.png")


class TellsRewards(Progress):
    """The same where a model learns from rewards: the picture of those is the one that counts."""

    headlines = ("loss", "reward", "kl")

    def draw(self, rows: list[dict[str, Any]], folder: Path) -> Path | None:
        from cw_train.plot import draw_rewards

        super().draw(rows, folder)
        return draw_rewards(rows, folder / "reward.png")


class TellsCompletions(TellsRewards):
    """The same for TRL's GRPO and RLOO, which tell of each reward and of the completions."""

    columns = (
        *("reward_std", "frac_reward_zero_std", "entropy"),
        *("completions/mean_length", "completions/clipped_ratio"),
        "sampling/importance_sampling_ratio/mean",  # of completions that vLLM wrote: 1 where it has the same weights
    )

    def training_row(self, state: Any, logs: dict[str, float]) -> dict[str, Any]:
        means = {name: logs[name] for name in logs if name.startswith("rewards/") and name.endswith("/mean")}
        return super().training_row(state, logs) | means
