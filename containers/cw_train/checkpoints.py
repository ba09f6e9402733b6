"""Checkpoints of a run: which one to continue from, how a whole one is known, and leaving with one on SIGTERM.

The trainer saves; what is added here is a marker, written into a checkpoint's folder when every rank has saved its
part. It says whose the checkpoint is and which files make it up, so a half-written, half-deleted or foreign folder is
never taken for one to continue from.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cw_train import Preempted, RefusedError
from cw_train.parting import gather
from cw_train.progress import announce

MARKER = "cw-checkpoint.json"

# What a checkpoint needs for training to go on from it, as the trainer and its backends (FSDP, DeepSpeed) name it.
WEIGHTS = ("model*.safetensors", "adapter_model*.safetensors", "pytorch_model*", "adapter_model.bin", "global_step*")
OPTIMIZER = ("optimizer.pt", "optimizer.bin", "optimizer_*", "global_step*")
SCHEDULER = ("scheduler.pt", "global_step*")


@dataclass(frozen=True)
class Owner:
    """Whose a checkpoint is."""

    run: str | None  # CW_RUN; without it no checkpoint is recognised as one's own
    start: str | None  # the checkpoint that the config names as the one to start from

    def owns(self, marker: dict[str, Any]) -> bool:
        """Of a run that starts from a named checkpoint, only what came after that start continues it."""
        return self.run is not None and marker.get("run") == self.run and self.start in (None, marker.get("start"))


def in_folder(folder: Path) -> list[Path]:
    """The checkpoint folders in a folder, the one with the most steps first."""
    numbered = [(int(match[1]), path) for path in folder.glob("checkpoint-*") if (match := step_of(path))]
    return [path for _, path in sorted(numbered, reverse=True)]


def step_of(checkpoint: Path) -> re.Match[str] | None:
    return re.fullmatch(r"checkpoint-(\d+)", checkpoint.name)


def mark(checkpoint: Path, owner: Owner, step: int) -> None:
    files = {str(path.relative_to(checkpoint)): path.stat().st_size for path in checkpoint.rglob("*") if path.is_file()}
    files.pop(MARKER, None)
    marker = {"run": owner.run, "start": owner.start, "step": step, "saved_at": time.time(), "files": files}
    unfinished = checkpoint / (MARKER + ".tmp")
    unfinished.write_text(json.dumps(marker), encoding="utf-8")
    unfinished.replace(checkpoint / MARKER)


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object, or None where there is none or only a part of one."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def whole_marker(checkpoint: Path) -> dict[str, Any] | None:
    """The marker of a checkpoint that still has every file it was marked with."""
    marker = read_json(checkpoint / MARKER)
    if marker is None:
        return None
    files = ((checkpoint / name, size) for name, size in marker["files"].items())
    return marker if all(path.is_file() and path.stat().st_size == size for path, size in files) else None


def owned(folder: Path, owner: Owner) -> list[Path]:
    """The whole checkpoints that an owner wrote, the newest first."""
    marked = [
        (marker["saved_at"], path) for path in in_folder(folder) if (marker := whole_marker(path)) if owner.owns(marker)
    ]
    return [path for _, path in sorted(marked, reverse=True)]


def looks_whole(checkpoint: Path) -> bool:
    """Whoever wrote it: all that training needs is there. A marker, where there is one, knows better."""
    if (checkpoint / MARKER).is_file():
        return whole_marker(checkpoint) is not None
    needed = (WEIGHTS, OPTIMIZER, SCHEDULER)
    return read_json(checkpoint / "trainer_state.json") is not None and all(
        any(any(checkpoint.glob(pattern)) for pattern in patterns) for patterns in needed
    )


def choose(folder: Path, owner: Owner, wish: str | bool | None) -> tuple[str | None, str]:
    """The checkpoint to continue from, or None, and a sentence about it.

    `wish` is the config's `resume_from_checkpoint`. It is about a run's first start: once the run has a checkpoint of
    its own, a restart goes on from there.
    """
    if mine := owned(folder, owner):
        return str(mine[0]), f"continuing run {owner.run} from {mine[0]}"
    if isinstance(wish, str):
        if not Path(wish).is_dir():
            raise RefusedError(f"resume_from_checkpoint: there is no folder {wish}")
        return wish, f"continuing from {wish}, as resume_from_checkpoint says"
    if not wish:
        others = "; the checkpoints that are there are not whole ones of this run" if in_folder(folder) else ""
        return None, f"starting from the beginning{others}"
    if whole := [path for path in in_folder(folder) if looks_whole(path)]:
        return str(whole[0]), f"continuing from {whole[0]}, the newest whole checkpoint"
    return None, f"starting from the beginning: {folder} has no whole checkpoint for resume_from_checkpoint"


def agree(decide: Callable[[], tuple[str | None, str]]) -> tuple[str | None, str]:
    """Rank 0 decides, so that all ranks continue from the same checkpoint or refuse with the same sentence."""
    from accelerate import PartialState
    from accelerate.utils import broadcast_object_list

    decision: list[Any] = [None, None]
    if PartialState().is_main_process:
        try:
            decision = [decide(), None]
        except RefusedError as refusal:
            decision = [None, str(refusal)]
    chosen, refused = broadcast_object_list(decision)
    if refused:
        raise RefusedError(refused)
    return chosen


class Preemption:
    """SIGTERM: known to this process at once, and by all ranks at the end of the same step."""

    def __init__(self) -> None:
        self.told = False
        self.training = False
        self.question: tuple[Any, Any] | None = None  # an all-reduce under way and the tensor it fills
        signal.signal(signal.SIGTERM, self.hear)
        # Worker processes are ended with SIGTERM by those who started them, so they must not inherit the handler.
        os.register_at_fork(after_in_child=lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL))

    def hear(self, *_: Any) -> None:
        self.told = True
        if not self.training:
            raise Preempted(step=0)  # and nothing else here: a signal may come amid a print

    def start(self) -> None:
        import torch.distributed as dist

        self.training = True
        # CPU tensors on a group of their own: the accelerator's queue is neither used nor waited for.
        self.group = dist.new_group(backend="gloo") if dist.is_initialized() else None

    def agreed(self) -> bool:
        """Whether all ranks stop here. Each step's end reads the answer to the question of the step before and asks
        again, so that nobody waits for the network."""
        if self.group is None:
            return self.told
        import torch
        import torch.distributed as dist

        answer = self.answer()
        told = torch.tensor([int(self.told)])
        self.question = (dist.all_reduce(told, op=dist.ReduceOp.MAX, group=self.group, async_op=True), told)
        return answer

    def answer(self) -> bool:
        if self.question is None:
            return False
        (work, told), self.question = self.question, None
        work.wait()
        return bool(told.item())

    def finish(self) -> None:
        """From here on there is no step to stop at, and what is left is short: SIGTERM is heard and waited out."""
        self.answer()


class NothingLeftToTrainError(Exception):
    """The checkpoint that training continues from is the last one."""


class Checkpoints:
    """Hooks of the trainer: mark each checkpoint, keep as many as asked for, leave with one on SIGTERM.

    A recipe mixes it with transformers' TrainerCallback. `keep` is `save_total_limit`: old checkpoints go after the
    new one is marked, not before, so that there is a whole one at every instant.
    """

    def __init__(self, owner: Owner, preemption: Preemption, keep: int | None) -> None:
        self.owner, self.preemption, self.keep = owner, preemption, keep
        self.leaving = False

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step >= state.max_steps:
            raise NothingLeftToTrainError  # the trainer would take one step too many
        self.preemption.start()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.preemption.agreed() and state.global_step < state.max_steps:
            self.leaving = True
            args.save_only_model = False  # this one is saved in order to continue from it
            # An evaluation that is due is left out: the time until SIGKILL belongs to the checkpoint.
            control.should_save, control.should_evaluate, control.should_training_stop = True, False, True
        if control.should_save or args.save_strategy == "best":
            self.unmark(args, state)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if control.should_save or args.save_strategy == "best":
            self.unmark(args, state)

    def unmark(self, args: Any, state: Any) -> None:
        """A folder of the same name may be there from before; while it is written anew it is not whole."""
        if state.is_world_process_zero:
            (self.folder(args, state) / MARKER).unlink(missing_ok=True)

    def folder(self, args: Any, state: Any) -> Path:
        return Path(args.output_dir) / f"checkpoint-{state.global_step}"

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        from accelerate import PartialState

        PartialState().wait_for_everyone()  # every rank has saved its part
        if state.is_world_process_zero:
            checkpoint = self.folder(args, state)
            if not args.save_only_model:  # weights alone cannot be continued from
                mark(checkpoint, self.owner, state.global_step)
            announce({"event": "checkpoint", "path": str(checkpoint.resolve()), "step": state.global_step})
            self.rotate(Path(args.output_dir), state.best_model_checkpoint)
        if self.leaving:
            self.leave(state)

    def rotate(self, folder: Path, best: str | None) -> None:
        """Delete this run's oldest checkpoints; the newest and the best stay in any case."""
        if not self.keep or self.keep < 0:
            return
        mine = owned(folder, self.owner)
        stay = {path.resolve() for path in mine[:1]} | ({Path(best).resolve()} if best else set())
        too_many = len(mine) - max(self.keep, len(stay))
        for path in [path for path in reversed(mine) if path.resolve() not in stay][: max(too_many, 0)]:
            (path / MARKER).unlink()
            shutil.rmtree(path, ignore_errors=True)

    def leave(self, state: Any) -> None:
        from accelerate import PartialState

        self.preemption.finish()
        gather(PartialState())
        PartialState().destroy_process_group()
        raise Preempted(state.global_step)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.preemption.finish()
