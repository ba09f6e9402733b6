"""cw's own keys are those of its model."""

from __future__ import annotations

from cw_cli.schemas import generate_cw


def test_the_file_is_what_the_model_says() -> None:
    assert generate_cw.main(["--check"]) == 0
