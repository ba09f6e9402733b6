"""`python3 -m my_trainer_recipe CONFIG`: fits a line to points by gradient descent."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

import yaml
from my_trainer_recipe.settings import Settings


def announce(**message: object) -> None:
    """One line that cw reads: progress in `cw list`, and the result in `cw describe`."""
    print("::cw:: " + json.dumps(message), flush=True)


def main(settings: Settings) -> None:
    numbers = random.Random(0)
    xs = [numbers.uniform(-1, 1) for _ in range(settings.points)]
    slope, offset, losses = 0.0, 0.0, []
    announce(event="start", total=settings.steps, step=0, resumed_from=None)
    for step in range(1, settings.steps + 1):
        errors = [slope * x + offset - (settings.slope * x + settings.offset) for x in xs]
        losses.append(sum(error * error for error in errors) / len(xs))
        slope -= settings.learning_rate * 2 * sum(error * x for error, x in zip(errors, xs, strict=True)) / len(xs)
        offset -= settings.learning_rate * 2 * sum(errors) / len(xs)
        if step % 20 == 0 or step == settings.steps:
            announce(step=step, total=settings.steps, loss=losses[-1], lr=settings.learning_rate)
    folder = Path(settings.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "line.json").write_text(json.dumps({"slope": slope, "offset": offset}))
    announce(event="done", steps=settings.steps, first_loss=losses[0], last_loss=losses[-1], model=str(folder))


main(Settings(**yaml.safe_load(Path(sys.argv[1]).read_text("utf-8"))))
