"""The two example plugins, put in place as their READMEs say, train on this machine."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from .conftest import ROOT, User

EXAMPLES = ROOT / "examples"
PACKAGE = EXAMPLES / "plugin-package"

pytest.importorskip("torch", reason="torch is not installed: pip install cw-cli[train]")


def ended_well(cw: User, *words: str | Path, **environment: str) -> dict[str, Any]:
    """The newest run, which has ended well."""
    said = cw(*words, "--local", "--follow", timeout=250, **environment)
    assert said.code == 0, said.err
    run: dict[str, Any] = json.loads(cw("list", "-o", "json").out)[0]
    assert run["state"] == "Succeeded"
    return run


@pytest.mark.timeout(300)
def test_the_folder_trains(cw: User) -> None:
    folder = EXAMPLES / "plugin-folder"
    run = ended_well(
        cw, "trl-plugin", "sft", folder / "configs" / "sft.yaml", "--max_steps", "20", CW_PLUGINS=str(folder)
    )
    losses = [float(loss) for loss in re.findall(r"'loss': '?([0-9.]+)", cw("logs", run["name"]).out)]
    assert len(losses) == 2 and losses[1] < losses[0]
    assert list(Path(run["output_dir"]).glob("*.safetensors"))


@pytest.mark.timeout(600)
def test_the_package_trains_merges_and_learns_from_a_service(cw: User, lora_package: Path) -> None:
    configs, installed = PACKAGE / "configs", {"PYTHONPATH": str(lora_package)}
    adapter = ended_well(cw, "lora", "train", configs / "train.yaml", **installed)["outcome"]
    assert adapter["last_loss"] < 0.6 * adapter["first_loss"]
    merge = ("lora", "merge", configs / "merge.yaml", "--adapter", adapter["model"])
    teacher = ended_well(cw, *merge, **installed)["outcome"]["model"]
    run = ended_well(cw, "lora", "distill", configs / "distill.yaml", "--teacher", teacher, **installed)
    assert run["outcome"]["last_loss"] < 0.6 * run["outcome"]["first_loss"]
    assert {role["role"] for role in run["roles"]} == {"trainer", "teacher"}


def test_the_loss_of_a_distillation_is_a_divergence(lora_package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two tokens of equal chance against 3 : 1, worked by hand: 3/4 ln(3/4 / 1/2) + 1/4 ln(1/4 / 1/2) = 0.130812."""
    import torch

    monkeypatch.syspath_prepend(str(lora_package / "cw_lora"))
    from lora_recipe.distill import divergence

    even, skewed = torch.zeros(1, 2), torch.tensor([[3.0, 1.0]]).log()
    assert divergence(even, skewed, 1.0).item() == pytest.approx(0.130812, abs=1e-6)
    # At temperature 2 the chances of the teacher are those of the roots, and the loss is four times theirs.
    first = 3**0.5 / (3**0.5 + 1)
    expected = 4 * (first * torch.tensor(2 * first).log() + (1 - first) * torch.tensor(2 * (1 - first)).log())
    assert divergence(even, skewed, 2.0).item() == pytest.approx(expected.item(), abs=1e-6)
