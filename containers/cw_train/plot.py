"""The pictures of a run: its loss over the steps, and for reinforcement learning its reward."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any


def empty_figure(path: Path, height: float) -> Any | None:
    """A figure to draw on; None, and a line that says so, where matplotlib is not installed."""
    if importlib.util.find_spec("matplotlib") is None:
        print(f"no {path.name}: matplotlib is not installed")
        return None
    # The object interface with its own canvas: no global state, no display.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def draw(rows: list[dict[str, Any]], path: Path) -> Path | None:
    """Draw the losses of a metrics file."""
    figure = empty_figure(path, height=4)
    if figure is None:
        return None
    axes = figure.add_subplot()
    for key, label, style in (("loss", "training", "-"), ("eval_loss", "evaluation", "o--")):
        points = [(row["step"], row[key]) for row in rows if row.get(key) is not None]
        if points:
            axes.plot(*zip(*points, strict=True), style, label=label, markersize=4)
    axes.set_title("Loss")
    axes.set_xlabel("step")
    axes.set_ylabel("loss (nats per token)")
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend()
    figure.savefig(path, dpi=120)
    return path


def draw_rewards(rows: list[dict[str, Any]], path: Path) -> Path | None:
    """Draw the rewards of a metrics file, with a standard deviation to both sides, and below them the divergence."""
    figure = empty_figure(path, height=6)
    if figure is None:
        return None
    above, below = figure.subplots(2, 1, sharex=True)
    scored = [row for row in rows if row.get("reward") is not None]
    steps, means = [row["step"] for row in scored], [row["reward"] for row in scored]
    spread = [row.get("reward_std") or 0.0 for row in scored]
    low, high = zip(*((m - s, m + s) for m, s in zip(means, spread, strict=True)), strict=True) if scored else ((), ())
    above.fill_between(steps, low, high, alpha=0.2, linewidth=0)
    above.plot(steps, means)
    above.set_title("Reward")
    above.set_ylabel("score of a completion")
    moved = [(row["step"], row["kl"]) for row in rows if row.get("kl") is not None]
    below.plot([step for step, _ in moved], [kl for _, kl in moved])
    below.set_xlabel("step")
    below.set_ylabel("KL from the reference\n(nats a completion)")
    for axes in (above, below):
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
    return path
