"""A taskset for verifiers: stories about animals that find things, and how many they have in the end."""

from __future__ import annotations

import verifiers.v1 as vf

NUMBERS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


class SumData(vf.TaskData):
    """One story; the prompt stops before the number."""

    answer: str


class SumTask(vf.Task[SumData]):
    @vf.reward(weight=1.0)
    async def right(self, trace: vf.Trace) -> float:
        """1 when the first word of the reply is the sum."""
        words = (trace.last_reply or "").split()
        return float(bool(words) and words[0] == self.data.answer)

    @vf.metric
    async def a_number(self, trace: vf.Trace) -> float:
        """1 when that word is a number at all."""
        words = (trace.last_reply or "").split()
        return float(bool(words) and words[0] in NUMBERS)


class SumConfig(vf.TasksetConfig):
    largest: int = 5
    """The largest number in a sum."""


class SumTaskset(vf.Taskset[SumTask, SumConfig]):
    def load(self) -> list[SumTask]:
        pairs = [(a, b) for a in range(2, self.config.largest + 1) for b in range(2, self.config.largest + 1)]
        return [SumTask(_story(index, *pair), self.config.task) for index, pair in enumerate(pairs)]


def _story(index: int, first: int, second: int) -> SumData:
    found, more, answer = (NUMBERS[number - 2] for number in (first, second, first + second))
    prompt = (
        "At noon the old fox leaves the den. There is sun, and the fox is warm. "
        f"It finds {found} berries and then {more} more, so it has"
    )
    return SumData(idx=index, prompt=prompt, answer=answer)


__all__ = ["SumTaskset"]
