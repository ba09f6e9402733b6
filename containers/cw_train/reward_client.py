"""Asks the reward service: in order, spread over its replicas, with patience, and never with a wrong number.

Standard library only.
"""

from __future__ import annotations

import http.client
import json
import math
import os
import random
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

from cw_train import GaveUpError, RefusedError

Said = str | list[dict[str, Any]]

PASSING = (429, 502, 503, 504)  # answers that may be others in a moment
TEXTS_A_REQUEST = 64
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0
ANSWER_SECONDS = 120.0


class RewardServiceGone(GaveUpError):  # noqa: N818 (a name, not a kind)
    """The service did not answer in time, or what it answered are no scores."""


class RewardClient:
    """The service at `url`, or at several URLs separated by commas; `deadline` is how many seconds it may be away."""

    def __init__(self, url: str, *, deadline: float, token: str | None = None) -> None:
        self.urls = [part.strip().rstrip("/") for part in url.split(",") if part.strip()]
        if not self.urls:
            raise RefusedError("REWARD_MODEL_URL names no reward service")
        self.deadline = deadline
        self.token = token
        self.pool = ThreadPoolExecutor(max_workers=4 * len(self.urls))

    @classmethod
    def from_environment(cls, deadline: float) -> RewardClient:
        """The service that `REWARD_MODEL_URL` names, with the token in `REWARD_MODEL_TOKEN` if it wants one."""
        token = os.environ.get("REWARD_MODEL_TOKEN") or None
        return cls(os.environ.get("REWARD_MODEL_URL", ""), deadline=deadline, token=token)

    def score(self, pairs: Sequence[tuple[Said, Said]]) -> list[float]:
        """One score for each prompt with its completion, in their order. Both are texts or lists of messages.

        Raises `RewardServiceGone` when the service stays away longer than the deadline, or answers no scores.
        """
        parts = [pairs[start : start + TEXTS_A_REQUEST] for start in range(0, len(pairs), TEXTS_A_REQUEST)]
        if len(parts) == 1:
            return self._ask(parts[0], 0)
        found = self.pool.map(self._ask, parts, range(len(parts)))
        return [score for scores in found for score in scores]

    def _ask(self, pairs: Sequence[tuple[Said, Said]], number: int) -> list[float]:
        """The scores of one request; each try goes to the next replica."""
        rows = [{"prompt": prompt, "completion": completion} for prompt, completion in pairs]
        body = json.dumps({"pairs": rows}).encode()
        begin, pause, tries = time.monotonic(), FIRST_PAUSE, 0
        while True:
            url = self.urls[(number + tries) % len(self.urls)]
            try:
                status, data = self._post(url, body)
                if status == 200:
                    return scores_in(data, len(pairs), url)
                trouble = f"it answers {status}: {words_in(data)}"
                if status not in PASSING:
                    sentence = f"the reward service at {url} does not score ({status}): {words_in(data)}"
                    raise RewardServiceGone(sentence) if status >= 500 else RefusedError(sentence)
            except (OSError, http.client.HTTPException) as problem:
                trouble = str(problem) or type(problem).__name__
            tries += 1
            away = time.monotonic() - begin
            if away + pause > self.deadline:
                raise RewardServiceGone(
                    f"the reward service at {url} gave no scores for {away:.0f} seconds, in {tries} tries: {trouble}"
                )
            time.sleep(pause * random.uniform(0.5, 1.0))  # so that the ranks do not all come back at once
            pause = min(2 * pause, LONGEST_PAUSE)

    def _post(self, url: str, body: bytes) -> tuple[int, bytes]:
        """Status and content of an answer. A new connection for each: a Service spreads those over its pods."""
        parts = urlsplit(url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(parts.hostname or "", parts.port, timeout=ANSWER_SECONDS)
        headers = {"Content-Type": "application/json"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        try:
            connection.request("POST", f"{parts.path}/score", body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


def scores_in(data: bytes, count: int, url: str) -> list[float]:
    """The scores of an answer; raises `RewardServiceGone` unless it is one finite number for each text."""
    try:
        scores = json.loads(data)["scores"]
    except (ValueError, KeyError, TypeError):
        raise RewardServiceGone(f"{url} answers something that is no scores: {words_in(data)}") from None
    if not isinstance(scores, list) or len(scores) != count:
        raise RewardServiceGone(f"{url} answers {len(scores)} scores for {count} texts")
    for score in scores:
        if isinstance(score, bool) or not isinstance(score, int | float) or not math.isfinite(score):
            raise RewardServiceGone(f"{url} answers {score!r} for a score")
    return [float(score) for score in scores]


def words_in(data: bytes, limit: int = 200) -> str:
    """What an answer says of itself."""
    try:
        text = str(json.loads(data)["error"])
    except (ValueError, KeyError, TypeError):
        text = data.decode("utf-8", "replace")
    return " ".join(text.split())[:limit]
