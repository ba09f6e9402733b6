"""Rewards that a config may name: functions of completions, checked by hand and against TRL's own where it has one.

What a function takes by name after `*` are its settings. Those that compare read what is right from the data's column
`column`: a text, a number, or a list of all that is right; where a row has none they give None, which counts for
nothing. Completions are texts or lists of chat messages, of any content. Standard library only.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

from cw_train import RefusedError

Said = str | list[dict[str, Any]]
Scores = list[float | None]

NUMBER = re.compile(
    r"(?:(?<![\w)])[-+])?"  # 5-3 is no -3
    r"(?:(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)"
    r"(?:[eE][-+]?\d{1,3}(?!\d))?(?:/\d+)?"
)
FENCED = re.compile(r"```(?:json)?\s*\n(.*?)\n\s*```", re.DOTALL | re.IGNORECASE)
FRACTION = re.compile(r"\\[dt]?frac(?:\{([^{}]+)\}|(\d))(?:\{([^{}]+)\}|(\d))")


def exact_match(completions: Sequence[Said], *, column: str = "answer", ignore_case: bool = True, **row: Any) -> Scores:
    """1 for a completion that is the answer and nothing else, whatever its spaces; else 0."""

    def plain(text: str) -> str:
        text = " ".join(text.split())
        return text.casefold() if ignore_case else text

    return _compared(completions, row, column, lambda said, right: plain(said) == plain(right))


def numeric_answer(
    completions: Sequence[Said], *, column: str = "answer", tolerance: float = 0.0, **row: Any
) -> Scores:
    """1 where the last number of the completion is that of the answer, `tolerance` apart at most; else 0.

    1,234.50, -3, 2e5 and 3/4 are numbers. Of a text such as GSM8K's (Cobbe et al. 2021), which ends with `#### 72`, the
    answer is what follows the last ####, in completions as well.
    """

    def close(said: str, right: str) -> bool:
        mine, wanted = last_number(said), last_number(right)
        return mine is not None and wanted is not None and abs(mine - wanted) <= tolerance

    return _compared(completions, row, column, close)


def boxed_answer(completions: Sequence[Said], *, column: str = "answer", **row: Any) -> Scores:
    r"""1 where the last `\boxed{…}` holds the answer, as the same number or the same formula; else 0.

    Formulas are compared as text after what does not change them is taken out: spaces, `\left`, `\text{…}`, `$`, a full
    stop; in the spirit of the MATH dataset (Hendrycks et al. 2021). The answer may stand in a box itself.
    """

    def same(said: str, right: str) -> bool:
        mine, wanted = last_box(said), last_box(right)
        wanted = right if wanted is None else wanted
        return mine is not None and same_formula(mine, wanted)

    return _compared(completions, row, column, same)


def think_format(completions: Sequence[Said], *, answer_tags: bool = False, **row: Any) -> Scores:
    """1 for `<think>…</think>` at the beginning, one opening tag in all, then anything; else 0. As TRL's
    `think_format_reward`.

    With `answer_tags`, what follows must be `<answer>…</answer>` and nothing else, as in DeepSeek-R1 (2025, table 1).
    """
    pattern = r"<think>(?!.*<think>).*?</think>"
    if answer_tags:
        pattern += r"\s*<answer>(?!.*<answer>)(?:(?!</answer>).)*</answer>\s*\Z"
    return [float(bool(re.match(pattern, text_of(said), re.DOTALL))) for said in completions]


def json_format(completions: Sequence[Said], *, keys: Sequence[str] = (), **row: Any) -> Scores:
    """1 for a completion that is JSON (RFC 8259), bare or as its one fenced block; with `keys`, an object that has all
    of them; else 0."""

    wanted = set(_listed(keys))

    def valid(text: str) -> bool:
        blocks = FENCED.findall(text)
        try:
            value = json.loads(blocks[0] if len(blocks) == 1 else text, parse_constant=_no_json)
        except (ValueError, RecursionError):
            return False
        return not wanted or (isinstance(value, dict) and wanted <= set(value))

    return [float(valid(text_of(said))) for said in completions]


def keywords(completions: Sequence[Said], *, words: Sequence[str] = (), column: str = "keywords", **row: Any) -> Scores:
    """The share, 0 to 1, of the `words` that the completion has as whole words, in whatever case; without `words`, of
    the row's."""
    rows = [_listed(words)] * len(completions) if words else [_listed(item) for item in _column(row, column)]
    return [_share_of(text_of(said), wanted) for said, wanted in zip(completions, rows, strict=True)]


def target_length(completion_ids: Sequence[Sequence[int]], *, tokens: int = 256, **row: Any) -> Scores:
    """1 for a completion of exactly `tokens` tokens, falling by 1/tokens with each that is missing or too many, not
    below 0; the linear form of L1 (Aggarwal and Welleck 2025, eq. 1)."""
    _at_least_1("target_length: tokens", tokens)
    return [max(0.0, 1 - abs(len(ids) - tokens) / tokens) for ids in completion_ids]


def soft_overlong(
    completion_ids: Sequence[Sequence[int]], *, max_tokens: int = 1280, buffer: int = 256, **row: Any
) -> Scores:
    """0 up to `max_tokens - buffer` tokens, from there down to -1 at `max_tokens` and beyond.

    DAPO (Yu et al. 2025, eq. 13); TRL's `get_soft_overlong_punishment`.
    """
    if not 0 <= buffer <= max_tokens:
        raise RefusedError("soft_overlong: buffer must be between 0 and max_tokens")

    def score(length: int) -> float:
        over = length - (max_tokens - buffer)
        return 0.0 if over <= 0 else -1.0 if over > buffer else -over / buffer

    return [score(len(ids)) for ids in completion_ids]


def cosine_length(
    completions: Sequence[Said],
    completion_ids: Sequence[Sequence[int]],
    *,
    right_by: str = "boxed_answer",
    column: str = "answer",
    max_tokens: int = 1024,
    right_short: float = 1.0,
    right_long: float = 0.5,
    wrong_short: float = -1.0,
    wrong_long: float = -0.5,
    **row: Any,
) -> Scores:
    """A right completion (as `right_by` judges: boxed_answer, numeric_answer or exact_match) earns `right_short`, less
    the longer it is, down to `right_long` at `max_tokens`; a wrong one goes from `wrong_short` to `wrong_long`.

    Along half a cosine: Yeo et al. 2025 ("Demystifying Long Chain-of-Thought Reasoning", appendix C.1); TRL's
    `get_cosine_scaled_reward`.
    """
    judges: dict[str, Callable[..., Scores]] = {
        judge.__name__: judge for judge in (boxed_answer, numeric_answer, exact_match)
    }
    if right_by not in judges:
        raise RefusedError(f"cosine_length: right_by is one of {', '.join(judges)}, not {right_by}")

    def score(right: float | None, length: int) -> float | None:
        if right is None:
            return None
        short, long = (right_short, right_long) if right else (wrong_short, wrong_long)
        return long + (short - long) * (1 + math.cos(math.pi * min(length / max_tokens, 1.0))) / 2

    _at_least_1("cosine_length: max_tokens", max_tokens)
    judged = judges[right_by](completions, column=column, **{column: _column(row, column)})
    return [score(right, len(ids)) for right, ids in zip(judged, completion_ids, strict=True)]


def repetition_penalty(
    completion_ids: Sequence[Sequence[int]], *, ngram: int = 3, penalty: float = -1.0, **row: Any
) -> Scores:
    """`penalty` times the share of runs of `ngram` tokens that stood before; 0 where none did.

    Yeo et al. 2025, appendix C.2; TRL's `get_repetition_penalty_reward`.
    """
    _at_least_1("repetition_penalty: ngram", ngram)

    def repeated(ids: Sequence[int]) -> float:
        runs = [tuple(ids[start : start + ngram]) for start in range(len(ids) - ngram + 1)]
        return 1 - len(set(runs)) / len(runs) if runs else 0.0

    return [penalty * share if (share := repeated(ids)) else 0.0 for ids in completion_ids]


def text_of(said: Any) -> str:
    """A completion as text: of messages, what the last one of the assistant says."""
    if isinstance(said, str):
        return said
    messages = [item for item in said or [] if isinstance(item, dict)]
    spoken = [item for item in messages if item.get("role", "assistant") == "assistant"]
    content = (spoken or [{}])[-1].get("content")
    if isinstance(content, list):
        return "".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def last_number(text: str) -> Fraction | None:
    """The last number in a text, or behind its last ####."""
    found = NUMBER.findall(text.rpartition("####")[2].replace("−", "-"))
    return number(found[-1]) if found else None


def number(text: str) -> Fraction | None:
    """A text that is a number and nothing else."""
    if not NUMBER.fullmatch(text):
        return None
    above, _, below = text.replace(",", "").partition("/")
    try:
        return Fraction(above) / Fraction(below) if below else Fraction(above)
    except (ValueError, ZeroDivisionError):  # more digits than Python reads, or x/0
        return None


def last_box(text: str) -> str | None:
    r"""What the last `\boxed{…}` of a text holds, braces inside it and all; None where it is never closed."""
    _, found, rest = text.rpartition("\\boxed{")
    depth = 1
    for index, character in enumerate(rest if found else ""):
        depth += {"{": 1, "}": -1}.get(character, 0)
        if depth == 0:
            return rest[:index]
    return None


def same_formula(one: str, other: str) -> bool:
    first, second = formula(one), formula(other)
    if first == second:
        return bool(first)
    mine, wanted = number(first), number(second)
    return mine is not None and mine == wanted


def formula(text: str) -> str:
    """A formula without what does not change it, fractions of plain numbers as a/b."""
    text = re.sub(r"\\(?:left|right|displaystyle|,|!|;|:|\s)|\$|\\?%|\^\{?\\circ\}?", "", text)
    text = text.replace("{,}", ",")
    text = re.sub(r"\\(?:text|mathrm|textbf|mbox)\{([^{}]*)\}", r"\1", text)
    text = FRACTION.sub(lambda match: f"{match[1] or match[2]}/{match[3] or match[4]}", text)
    return "".join(text.split()).rstrip(".").removeprefix("+")


def _compared(
    completions: Sequence[Said], row: dict[str, Any], column: str, same: Callable[[str, str], bool]
) -> Scores:
    """1 or 0 for each completion: whether it is the `same` as one of the row's answers; None where the row has none."""
    scores: Scores = []
    for said, right in zip(completions, _column(row, column), strict=True):
        answers = _listed(right)
        scores.append(float(any(same(text_of(said), answer) for answer in answers)) if answers else None)
    return scores


def _column(row: dict[str, Any], name: str) -> Sequence[Any]:
    if name not in row:
        raise RefusedError(f"the data has no column `{name}`, which a reward compares with; name another as `column:`")
    found: Sequence[Any] = row[name]
    return found


def _listed(value: Any) -> list[str]:
    """All that is right, as texts."""
    values = value if isinstance(value, list | tuple) else [value]
    return [str(item) for item in values if item is not None]


def _share_of(text: str, words: list[str]) -> float | None:
    found = [bool(re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.IGNORECASE)) for word in words]
    return sum(found) / len(found) if found else None


def _at_least_1(what: str, value: int) -> None:
    if value < 1:
        raise RefusedError(f"{what} must be 1 or more, not {value}")


def _no_json(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
