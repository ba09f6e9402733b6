"""What a config means by a path, and where the files lie that ship with cw."""

from pathlib import Path

import pytest

from cw_cli.core import shipped as shipped_module
from cw_cli.core.paths import local_path, looks_local
from cw_cli.core.shipped import shipped


@pytest.mark.parametrize(
    "value", ["./x", "../x", "/x", "~/x", ".", "..", "~", "data.jsonl", "a/b.csv", "x.jsonl.gz", "ds.JSON", "cw://x"]
)
def test_these_are_paths(value):
    assert looks_local(value)


@pytest.mark.parametrize(
    "value", ["imdb", "owner/name", "Qwen/Qwen3-0.6B", "v1.5", "hf://datasets/a/b.csv", "", "json"]
)
def test_these_may_be_names(value):
    assert not looks_local(value)


def test_a_path_is_looked_for_beside_the_config_first(tmp_path, monkeypatch):
    beside, here = tmp_path / "configs", tmp_path / "here"
    for folder in (beside, here):
        folder.mkdir()
        (folder / "data").write_text("x")
    (here / "only-here").write_text("x")
    monkeypatch.chdir(here)
    assert local_path("data", beside) == beside / "data"
    assert local_path("only-here", beside) == Path("only-here")
    assert local_path("nowhere", beside) is None
    assert local_path(str(here / "data"), beside) == here / "data"


@pytest.mark.parametrize("value", ["", "a\0b", "x" * 5000, "cw://../secret", "cw:///etc/passwd", "https://host/x"])
def test_what_is_no_path_is_nowhere(value, tmp_path):
    assert local_path(value, tmp_path) is None


def test_home_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "data").mkdir()
    assert local_path("~/data", Path("/nowhere")) == tmp_path / "data"


def test_shipped_examples_have_an_address(tmp_path, monkeypatch):
    (tmp_path / "examples" / "quickstart").mkdir(parents=True)
    monkeypatch.setattr(shipped_module, "PACKAGE", tmp_path)
    assert local_path("cw://quickstart", Path()) == tmp_path / "examples" / "quickstart"
    assert local_path("cw://nothing", Path()) is None


def test_shipped_prefers_the_package_to_the_checkout(tmp_path, monkeypatch):
    package = tmp_path / "cw_cli"
    (tmp_path / "templates").mkdir()
    package.mkdir()
    monkeypatch.setattr(shipped_module, "PACKAGE", package)
    assert shipped("templates") == tmp_path / "templates"
    (package / "templates").mkdir()
    assert shipped("templates") == package / "templates"
    with pytest.raises(FileNotFoundError, match="install it again"):
        shipped("nothing")
