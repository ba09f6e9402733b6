"""Lines that cw reads while a run goes on: they begin with `::cw:: ` and hold JSON."""

from __future__ import annotations

import json
import time
from typing import Any

from transformers import TrainerCallback


def announce(**message: Any) -> None:
    print("::cw:: " + json.dumps(message), flush=True)


class Progress(TrainerCallback):
    """Step, loss and time that is left, whenever the trainer logs."""

    def on_train_begin(self, args, state, control, **_):
        self.began = time.perf_counter()
        announce(event="start", total=state.max_steps, step=state.global_step, resumed_from=None)

    def on_log(self, args, state, control, logs, **_):
        if "loss" not in logs:
            return
        step, total = state.global_step, state.max_steps
        left = (time.perf_counter() - self.began) / step * (total - step)
        announce(step=step, total=total, loss=logs["loss"], lr=logs.get("learning_rate"), eta_s=round(left, 1))
