"""A taskset for verifiers: stories about animals that leave their homes, and in the end go back to them."""

from __future__ import annotations

import verifiers.v1 as vf

HOMES = {
    "beaver": ("lodge", "bark"),
    "fox": ("den", "berries"),
    "hedgehog": ("hedge", "worms"),
    "owl": ("barn", "beetles"),
    "rabbit": ("burrow", "clover"),
    "squirrel": ("oak", "acorns"),
}
"""Where each animal lives, and what it finds."""


class StoryData(vf.TaskData):
    """One story; the prompt stops before its last word."""

    home: str


class StoryTask(vf.Task[StoryData]):
    @vf.reward(weight=1.0)
    async def at_home(self, trace: vf.Trace) -> float:
        """1 when the reply begins with the animal's home."""
        return float(_first_word(trace) == self.data.home)

    @vf.metric
    async def some_home(self, trace: vf.Trace) -> float:
        """1 when that word is the home of any animal."""
        return float(any(_first_word(trace) == home for home, _ in HOMES.values()))


class StoryConfig(vf.TasksetConfig):
    colour: str = "old"
    """What kind of animals they are: old, young, red, white, brown or grey."""


class StoryTaskset(vf.Taskset[StoryTask, StoryConfig]):
    def load(self) -> list[StoryTask]:
        return [
            StoryTask(StoryData(idx=index, prompt=_story(self.config.colour, animal), home=home), self.config.task)
            for index, (animal, (home, _)) in enumerate(HOMES.items())
        ]


def _story(colour: str, animal: str) -> str:
    home, food = HOMES[animal]
    return (
        f"At noon the {colour} {animal} leaves the {home}. There is sun, and the {animal} is warm. "
        f"It finds two {food} and then three more, so it has five {food}. The {colour} {animal} goes back to the"
    )


def _first_word(trace: vf.Trace) -> str:
    words = (trace.last_reply or "").split()
    return words[0].rstrip(".") if words else ""


__all__ = ["StoryTaskset"]
