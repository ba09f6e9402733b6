"""Training with Axolotl, from its own YAML: every kind that it has.

Axolotl does the training. Around it a run gets what a cluster asks for: a restart continues from the run's newest whole
checkpoint, SIGTERM leaves a checkpoint, and programs can follow the progress.
"""

from __future__ import annotations

import os
from pathlib import Path

from cw_train.axolotl_config import as_if_typed, prepared_config, written
from cw_train.checkpoints import Owner, Preemption, choose

PLUGIN = "cw_train.axolotl_plugin.FollowedRun"


def main(config: str) -> None:
    preemption = Preemption()  # first of all: process 1 of a container ignores SIGTERM unless it listens
    values = prepared_config(config)

    # Every rank decides for itself: no rank writes a checkpoint before all of them train.
    wish = values.get("resume_from_checkpoint") or values.get("auto_resume_from_checkpoints")
    owner = Owner(run=os.environ.get("CW_RUN") or None, start=wish if isinstance(wish, str) else None)
    checkpoint, sentence = choose(Path(values.get("output_dir") or "model-out"), owner, wish)
    if os.environ.get("RANK", "0") == "0":
        print(sentence, flush=True)
    values["resume_from_checkpoint"] = checkpoint
    values["auto_resume_from_checkpoints"] = False  # it would take a half-written one, or another run's
    values["plugins"] = [*(values.get("plugins") or []), PLUGIN]

    as_if_typed()
    from axolotl.cli.train import do_cli

    from cw_train.axolotl_plugin import FollowedRun

    FollowedRun.owner, FollowedRun.preemption, FollowedRun.checkpoint = owner, preemption, checkpoint
    do_cli(written(values))
    FollowedRun.finish()
