"""`cw plugins` and its verbs, and the ways in which plugins are found."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from .conftest import ROOT, User, plugin

TRIED = ("small", "distill", "config.yaml", "--dry-run", "-o", "name")


def package(parent: Path, name: str, entry: str, code: str) -> None:
    """An installed package with an entry point, as pip leaves it."""
    (parent / name / "kubeconfigs").mkdir(parents=True)
    (parent / name / "__init__.py").write_text(code)
    from .conftest import JOB

    (parent / name / "kubeconfigs" / "job.yaml").write_text(JOB)
    metadata = parent / f"{name}-2.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 2.0\n")
    (metadata / "entry_points.txt").write_text(f"[console_scripts]\nx = y:z\n\n[cw.frameworks]\n{entry}\n")


def test_the_list_shows_where_each_comes_from(cw: User) -> None:
    path = cw.has(plugin())
    said = cw("plugins")
    lines = said.out.splitlines()
    assert lines[0].split() == ["NAME", "VERSION", "STATE", "TYPES", "FRAMEWORK", "FROM"]
    assert ["small", "1.2.3", "ready", "distill", "Framework", str(path)] in [line.split() for line in lines]
    assert "trl" in cw("plugins", "-o", "name").out.split()
    row = json.loads(cw("plugins", "-o", "json").out)[-1]
    assert row["types"] == ["distill"] and row["description"] == "A small plugin."
    assert f"small 1.2.3 (plugin in {path})" in cw("version").out


@pytest.mark.parametrize("named", ["the plugin", "the folder around it"])
@pytest.mark.parametrize("way", ["CW_PLUGINS", "settings"])
def test_other_folders_are_named(way: str, named: str, cw: User) -> None:
    path = cw.has(plugin())
    elsewhere = cw.home / "elsewhere"
    elsewhere.mkdir()
    shutil.move(path, elsewhere / "small")
    folder = elsewhere / "small" if named == "the plugin" else elsewhere
    assert cw(*TRIED).code == 2
    if way == "CW_PLUGINS":
        said = {"CW_PLUGINS": os.pathsep.join([str(folder), ""])}
    else:
        (cw.home / "settings.yaml").write_text(f"plugins:\n  folders: [{folder.relative_to(cw.home)}]\n")
        said = {"CW_SETTINGS": str(cw.home / "settings.yaml")}
    assert "small TYPE CONFIG" in cw("--help", **said).out
    assert "job/small-" in cw(*TRIED, **said).out


def test_a_named_folder_without_a_plugin_is_reported(cw: User) -> None:
    said = cw("plugins", CW_PLUGINS=str(cw.home / "nothing"))
    assert f"{cw.home / 'nothing'}" in said.err and "has no __init__.py" in said.err


def test_mistakes_in_the_settings_do_not_break_help(cw: User) -> None:
    (cw.home / "settings.yaml").write_text("plugins: {folder: [x]}\n")
    assert cw("--help", CW_SETTINGS="settings.yaml").code == 0
    said = cw("config", CW_SETTINGS="settings.yaml")
    assert said.code == 2 and "plugins has no key folder" in said.err and "did you mean folders?" in said.err


def test_installed_packages_are_found_by_their_entry_points(cw: User) -> None:
    site = cw.home / "site"
    package(site, "small_package", "small = small_package:get_plugin", plugin())
    package(site, "other_package", "entry-name = other_package", plugin("other"))
    package(site, "lost_package", "lost = no_such_module:get_plugin", "")
    said = {"PYTHONPATH": str(site)}
    assert {"small", "other", "lost"} <= set(cw("--help", **said).out.split())
    assert "entry-name" not in cw("--help", **said).out
    assert "job/small-" in cw(*TRIED, **said).out
    assert cw("other", "distill", "config.yaml", "--dry-run", "-o", "name", **said).code == 0
    rows = {row["name"]: row for row in json.loads(cw("plugins", "-o", "json", **said).out)}
    assert rows["small"]["source"] == f"{site} (small_package 2.0)" and rows["small"]["state"] == "ready"
    assert rows["lost"]["state"] == "broken" and "ModuleNotFoundError" in rows["lost"]["problem"]
    removed = cw("plugins", "remove", "small", **said)
    assert removed.code == 1 and "Run pip uninstall small_package." in removed.err
    shutil.rmtree(site / "small_package-2.0.dist-info")
    assert not [line for line in cw("--help", **said).out.splitlines() if line.split()[:1] == ["small"]]


def test_new_writes_a_plugin_whose_own_tests_pass(cw: User) -> None:
    said = cw("plugins", "new", "line-fit")
    assert said.code == 0 and said.out == "line_fit\n"
    written = cw.home / "line_fit"
    texts = [path.read_text().lower().replace("name: trainer", "") for path in written.rglob("*") if path.is_file()]
    assert not [text for text in texts if "trainer" in text], "a word of the model plugin is left"
    tests = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, str(written / "tests")]
    done = subprocess.run(tests, cwd=cw.home, env=cw.environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "3 passed" in done.stdout, done.stdout
    assert cw("plugins", "new", "line-fit").code == 2
    assert "cannot be the name of a plugin" in cw("plugins", "new", "Line Fit").err


def test_check_finds_what_only_a_run_would_show(cw: User) -> None:
    path = cw.has(plugin())
    good = cw("plugins", "check", path)
    assert good.code == 0 and "ok: distill: renders twice without a collision (ConfigMap, Job)" in good.err
    assert "distill: there is no example config" in good.err
    again = cw("plugins", "check", "small").err
    assert re.sub(r"-empty-[a-z0-9]{5}", "", again) == re.sub(r"-empty-[a-z0-9]{5}", "", good.err)
    assert "ok: distill: accepts config.yaml" in cw("plugins", "check", path, "--config", "config.yaml").err
    (path / "kubeconfigs" / "job.yaml").write_text("apiVersion: batch/v1\nkind: Job\nmetadata: {name: another}\n")
    bad = cw("plugins", "check", path)
    assert bad.code == 1 and "problem: distill: the templates hold no Job called small" in bad.err
    (path / "__init__.py").write_text("x = 1\n")
    assert "problem: the plugin small has no function get_plugin()" in cw("plugins", "check", path).err
    assert cw("plugins", "check", "nobody").code == 2


def test_check_calls_every_method(cw: User) -> None:
    own = "    def recipes(self):\n        return Path('nowhere')\n\n    def validate_config("
    path = cw.has(plugin("small", ("    def validate_config(", own)))
    assert "problem: the recipes nowhere are no Python package" in cw("plugins", "check", path).err


def sources(folder: Path, kind: str) -> str:
    """The plugin in `folder` as something else."""
    if kind == "folder":
        return str(folder)
    if kind == "repository":
        git = ["git", "-C", str(folder.parent), "-c", "user.name=ada", "-c", "user.email=ada@example.org"]
        for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "A plugin"]):
            subprocess.run([*git, *words], check=True)
        return f"file://{folder.parent}"
    format_ = {"zip": "zip", "tar": "gztar"}[kind]
    return shutil.make_archive(str(folder.parent.parent / "archive"), format_, folder.parent)


@pytest.mark.parametrize("kind", ["folder", "zip", "tar", "repository"])
def test_install_and_remove(kind: str, cw: User) -> None:
    path = cw.has(plugin())
    elsewhere = cw.home / "work" / "elsewhere"
    elsewhere.mkdir(parents=True)
    shutil.move(path, elsewhere / "small")
    (elsewhere / "small" / "__init__.py").chmod(0o666)
    source = sources(elsewhere / "small", kind)
    said = cw("plugins", "install", source)
    assert said.code == 0 and f"installed: small in {path}" in said.err, said.err
    assert cw(*TRIED).code == 0
    assert sorted(item.name for item in cw.plugins.iterdir()) == ["small"]
    again = cw("plugins", "install", source)
    assert again.code == 1 and "--replace" in again.err
    assert cw("plugins", "install", source, "--replace").code == 0
    assert f"removed: {path}" in cw("plugins", "remove", "small").err
    assert cw(*TRIED).code == 2 and not path.exists()
    assert "there is no plugin called small" in cw("plugins", "remove", "small").err


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (plugin("small", ('version = "1.2.3"', "version = 1 / 0")), "ZeroDivisionError"),
        (plugin("list"), "cw list is a command of cw itself"),
        (plugin("trl"), "trl is built in"),
    ],
    ids=["broken", "a verb", "built in"],
)
def test_install_refuses(code: str, said: str, cw: User) -> None:
    path = cw.has(code)
    shutil.move(path, cw.home / "small")
    done = cw("plugins", "install", "small")
    assert done.code == 1 and said in done.err and not list(cw.plugins.iterdir())


def test_install_refuses_what_is_no_plugin(cw: User) -> None:
    assert "there is no nowhere" in cw("plugins", "install", "nowhere").err
    (cw.home / "empty").mkdir()
    assert "empty holds no package" in cw("plugins", "install", "empty").err
    with zipfile.ZipFile(cw.home / "x.zip", "w") as archive:
        archive.writestr("../../out.py", "x")
    assert cw("plugins", "install", "x.zip").code == 1 and not (cw.home / "out.py").exists()
    (cw.home / "y.tar.gz").write_text("no archive")
    assert "cannot be unpacked" in cw("plugins", "install", "y.tar.gz").err
    assert "cannot be cloned" in cw("plugins", "install", f"file://{cw.home}/none.git").err


def test_remove_leaves_folders_that_cw_did_not_make(cw: User) -> None:
    path = cw.has(plugin())
    shutil.move(path, cw.home / "small")
    done = cw("plugins", "remove", "small", CW_PLUGINS=str(cw.home / "small"))
    assert done.code == 1 and "where cw does not delete" in done.err and (cw.home / "small").exists()
    (cw.plugins / "link").symlink_to(cw.home / "small")
    assert cw("plugins", "remove", "small").code == 0
    assert (cw.home / "small").exists() and not (cw.plugins / "link").is_symlink()


def test_the_built_in_frameworks_come_through_the_group() -> None:
    import tomllib
    from importlib import import_module

    from cw_cli.core.registry import BUILT_IN, FrameworkRegistry

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    group = project["entry-points"]["cw.frameworks"]
    assert group == {name: entry.reference for name, entry in BUILT_IN.items()}
    for name, reference in group.items():
        module, _, function = reference.partition(":")
        made = getattr(import_module(module), function)()
        assert made.name == name
        framework = made.get_framework_class()(ROOT / "kubeconfigs")
        assert list(framework.get_training_types()) == made.get_supported_training_types()
        assert type(FrameworkRegistry().get(name)) is type(framework)
