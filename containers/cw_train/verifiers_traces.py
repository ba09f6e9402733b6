"""What verifiers' `traces.jsonl` says of an evaluation: how many rollouts there are, how many failed, and the rewards.

One line is one rollout: `ok`, `errors`, and `traces`, one for each agent, each with its own errors, named and weighted
`rewards` and `metrics`, and the count of its tokens.
"""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from pathlib import Path
from typing import Any

from cw_train import GaveUpError

_RUNNING = re.compile(r"\brunning (\d+)x(\d+) rollouts on ")
_RESUMING = re.compile(r"\bresuming .*: \d+ task\(s\), (\d+) rollout\(s\) owed")


class Tally:
    """Counts the rollouts of a file that grows."""

    def __init__(self, traces: Path) -> None:
        self.traces = traces
        self.began = time.monotonic()
        self.total: int | None = None
        self.told = -1
        self.forget()

    def forget(self) -> None:
        self.offset = 0
        self.inode = 0
        self.done = self.failed = self.tokens = 0
        self.errors: Counter[str] = Counter()
        self.examples: dict[str, str] = {}
        self.rewards: list[float] = []
        """Of each agent's trace in the rollouts that ended well."""
        self.scores: dict[str, list[float]] = {}
        """By the name of a reward or of a metric."""

    def read_log(self, line: str) -> None:
        if found := _RUNNING.search(line):
            self.total = int(found[1]) * int(found[2])
        elif found := _RESUMING.search(line):
            self.look()
            self.total = self.done + int(found[1])

    def look(self) -> Tally:
        """Read what is new; a resume writes the file anew, without the rollouts that failed."""
        if not self.traces.is_file():
            return self
        with self.traces.open("rb") as file:
            file.seek(0, 2)
            inode = self.traces.stat().st_ino
            if file.tell() < self.offset or self.inode not in (0, inode):
                self.forget()
            self.inode = inode
            file.seek(self.offset)
            for line in file:
                if not line.endswith(b"\n"):
                    break  # is being written
                self.offset += len(line)
                if line.strip():
                    self.count(line)
        return self

    def count(self, line: bytes) -> None:
        try:
            row = json.loads(line)
        except ValueError:
            return  # torn by a kill: verifiers makes this rollout again
        self.done += 1
        self.tokens += row.get("num_total_tokens") or 0
        if not row.get("ok"):
            self.failed += 1
            errors = row.get("errors") or [
                error for trace in row.get("traces", ()) for error in trace.get("errors", ())
            ]
            last = errors[-1] if errors else {"type": "no error was recorded", "message": ""}
            self.errors[last["type"]] += 1
            self.examples.setdefault(last["type"], last.get("message") or "")
            return
        for trace in row.get("traces", ()):
            named = {name: reward for name, reward in (trace.get("rewards") or {}).items() if reward is not None}
            if named:
                self.rewards.append(sum(reward["score"] * reward.get("weight", 1.0) for reward in named.values()))
            metrics = {name: value for name, value in (trace.get("metrics") or {}).items() if value is not None}
            for name, value in {**metrics, **{name: reward["score"] for name, reward in named.items()}}.items():
                self.scores.setdefault(name, []).append(float(value))

    @property
    def reward(self) -> float | None:
        """The mean, of the rollouts that ended well."""
        return sum(self.rewards) / len(self.rewards) if self.rewards else None

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    def news(self) -> bool:
        new, self.told = self.done != self.told and self.done > 0, self.done
        return new

    def progress(self) -> dict[str, Any]:
        left = None if self.total is None else round((self.total - self.done) * self.seconds / max(self.done, 1), 1)
        return {
            "step": self.done,
            "total": self.total,
            "reward": self.reward,
            "failed": self.failed,
            "tokens_per_second": round(self.tokens / max(self.seconds, 1e-6), 1),
            "eta_s": left,
        }

    def worst(self) -> str:
        """The commonest error, as in `ProviderError: connection refused`."""
        name, _ = self.errors.most_common(1)[0]
        text = " ".join(self.examples[name].split())
        return f"{name}: {text[:300]}" if text else name


def judge(tally: Tally, code: int, allowed: float) -> None:
    """Whether the evaluation succeeded: `allowed` is a count of rollouts, or below 1 a share of them.

    Raises `GaveUpError` with one sentence when verifiers failed itself, when there is no rollout, or when too many
    failed.
    """
    expected = tally.total or tally.done
    if tally.done == 0:
        raise GaveUpError(f"verifiers ended with exit code {code} and made no rollout; its log above says why")
    if code:
        raise GaveUpError(
            f"verifiers ended with exit code {code} after {tally.done} of {expected} rollouts; its log says why"
        )
    if tally.done < expected:
        raise GaveUpError(f"{tally.done} of {expected} rollouts are in {tally.traces}")
    if tally.failed > (allowed if allowed >= 1 else allowed * tally.done):
        raise GaveUpError(f"{tally.failed} of {tally.done} rollouts failed, most of them with {tally.worst()}")


def write_summary(tally: Tally, file: Path) -> None:
    """`results.json`, and the same for people on stdout."""
    means = {name: sum(values) / len(values) for name, values in sorted(tally.scores.items())}
    summary = {
        "rollouts": tally.done,
        "failed": tally.failed,
        "reward": tally.reward,
        "means": means,
        "errors": dict(tally.errors),
        "tokens": tally.tokens,
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    print(f"{tally.done} rollouts, {tally.failed} failed", flush=True)
    for name, mean in [("reward", tally.reward), *means.items()]:
        if mean is not None:
            print(f"  {name:<24} {mean:.4f}", flush=True)
