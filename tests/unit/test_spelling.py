"""The name that was probably meant."""

from __future__ import annotations

import pytest

from cw_cli.core.spelling import meant, nearest


@pytest.mark.parametrize(
    ("name", "names", "near"),
    [
        ("alpcaca", ["alpaca", "chatml"], "alpaca"),
        ("Learning-Rate", ["learning_rate"], "learning_rate"),
        ("best_of_m", ["user-sim", "best-of-n"], "best-of-n"),
        ("mini-swe-agnt", ["mini_swe_agent", "terminus_2"], "mini_swe_agent"),
        ("ligerplugin", ["LigerPlugin"], "LigerPlugin"),
        ("same_name", ["same-name", "same_name"], "same-name"),
        ("zzz", ["alpaca"], None),
        ("zzz", [], None),
    ],
)
def test_the_nearest_name_is_given_as_it_is_written(name: str, names: list[str], near: str | None) -> None:
    assert nearest(name, names) == near
    assert meant(name, names, "look it up") == (f"did you mean {near}?" if near else "look it up")
