"""A plugin of Axolotl's that follows a run: its progress, its checkpoints, and leaving with one on SIGTERM."""

from __future__ import annotations

from typing import Any, ClassVar

from axolotl.integrations.base import BasePlugin
from transformers import TrainerCallback

from cw_train.checkpoints import Checkpoints, Owner, Preemption
from cw_train.progress import Progress


class TellsProgress(Progress, TrainerCallback):
    pass


class KeepsCheckpoints(Checkpoints, TrainerCallback):
    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        # Where nothing is left to train, Axolotl still has to write the model.
        self.preemption.start()


class FollowedRun(BasePlugin):
    """`axolotl_train` says what there is to follow before Axolotl makes one of these."""

    owner: ClassVar[Owner]
    preemption: ClassVar[Preemption]
    checkpoint: ClassVar[str | None]
    progress: ClassVar[TellsProgress | None] = None
    trainer: ClassVar[Any] = None

    def add_callbacks_post_trainer(self, cfg: Any, trainer: Any) -> list[TrainerCallback]:
        kind = type(self)
        kind.trainer, kind.progress = trainer, TellsProgress(self.checkpoint)
        # The trainer deletes old checkpoints itself.
        return [kind.progress, KeepsCheckpoints(self.owner, self.preemption, keep=None)]

    @classmethod
    def finish(cls) -> None:
        """The curve and the last word; called when the model is in its folder."""
        if cls.progress is not None:
            cls.progress.finish(cls.trainer.args, cls.trainer.state)
