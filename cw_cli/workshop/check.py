"""The contract held against one plugin: every method, every training type, each template rendered twice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from cw_cli.core.checks import CheckedConfig, check_config
from cw_cli.core.config import Config, parse_config, read_config
from cw_cli.core.exceptions import ConfigError, CwError, TargetError
from cw_cli.core.framework import BaseTrainingFramework, TrainingType
from cw_cli.core.launch_keys import LaunchKeys
from cw_cli.core.plan import Plan, make_plan
from cw_cli.core.plugins.load import Loaded, load
from cw_cli.core.plugins.places import Place
from cw_cli.core.plugins.words import read_words
from cw_cli.core.problems import Problem
from cw_cli.core.record import Launch
from cw_cli.targets.choice import Where, has_cluster, open_target


class Finding(NamedTuple):
    """One thing that was looked at."""

    level: str
    """`ok`, `warning` or `problem`."""
    message: str
    hint: str = ""
    problems: tuple[Problem, ...] = ()


def check(place: Place, config: Path | None, where: Where) -> Iterator[Finding]:
    """Everything about the plugin at `place`, one finding after the other. `config` is tried in place of the plugin's
    own examples."""
    try:
        loaded = load(place)
    except CwError as error:
        yield _problem(error)
        return
    types = ", ".join(loaded.words.types or ())
    yield Finding("ok", f"{loaded.words.name} {loaded.words.version} loads, for {types}: {loaded.words.description}")
    yield from _said_plainly(place, loaded)
    for training_type in loaded.framework.get_training_types():
        try:
            yield from _type(loaded.framework, training_type, config, where)
        except CwError as error:
            yield _problem(error, f"{training_type}: ")


def _problem(error: CwError, before: str = "") -> Finding:
    problems = error.problems if isinstance(error, ConfigError) else ()
    return Finding("problem", f"{before}{error.message}", error.hint, tuple(problems))


def _said_plainly(place: Place, loaded: Loaded) -> Iterator[Finding]:
    read = read_words(place)
    unread = [
        word
        for word in ("name", "version", "description", "types")
        if getattr(read, word) != getattr(loaded.words, word)
    ]
    if unread:
        what = "Let each of the methods return a constant."
        yield Finding("warning", f"cw --help cannot tell its {' and '.join(unread)} without running its code", what)


def _type(
    framework: BaseTrainingFramework, training_type: TrainingType, config: Path | None, where: Where
) -> Iterator[Finding]:
    yield from _files(framework, training_type)
    given, source = _config(framework, training_type, config)
    if given is None:
        hint = "Let example() return one, so that `cw init` prints it, or add --config FILE."
        yield Finding("warning", f"{training_type}: there is no example config; an empty one is rendered", hint)
        framework.validate_config({}, training_type)
        empty = Config("empty.yaml")
        checked = CheckedConfig(
            framework, training_type, empty, empty, LaunchKeys(), (), (), framework.get_schema(training_type)
        )
    else:
        checked = check_config(framework, training_type, given)
        yield Finding("ok", f"{training_type}: accepts {source}")
    make_plan(checked, Launch("local", "checker"))
    first, second = (make_plan(checked, Launch("kubernetes", "checker")) for _ in range(2))
    if first.warnings:
        yield Finding("warning", f"{training_type}: its templates or its config could be better", "", first.warnings)
    if shared := _shared(first, second):
        hint = "Objects are renamed for each run; look for names inside other names."
        yield Finding("problem", f"{training_type}: two runs would share {', '.join(sorted(shared))}", hint)
    else:
        kinds = ", ".join(item["kind"] for item in first.objects)
        yield Finding("ok", f"{training_type}: renders twice without a collision ({kinds})")
    yield from _cluster(first, training_type, where)


def _files(framework: BaseTrainingFramework, training_type: TrainingType) -> Iterator[Finding]:
    """Whether what the plugin names is there, and what only `cw schema` and `cw init` would ask."""
    framework.get_default_image()
    recipes = framework.recipes() or ()
    for folder in [recipes] if isinstance(recipes, Path) else recipes:
        if not (folder / "__init__.py").is_file():
            yield Finding(
                "problem", f"the recipes {folder} are no Python package", "Put an __init__.py into the folder."
            )
    for folder in framework.template_folders():
        if not folder.is_dir():
            yield Finding("problem", f"the template folder {folder} is not there", "Mend template_folders().")
    if framework.get_schema(training_type) is None:
        hint = "Let get_schema() return a dataclass, a pydantic model or a JSON Schema."
        yield Finding("warning", f"{training_type}: without a schema no misspelt key is noticed", hint)


def _config(
    framework: BaseTrainingFramework, training_type: TrainingType, config: Path | None
) -> tuple[Config | None, str]:
    if config is not None:
        return read_config(config), str(config)
    text = framework.example(training_type)
    return (parse_config(text, f"{training_type}.yaml"), "its own example") if text else (None, "")


def _shared(first: Plan, second: Plan) -> set[str]:
    """Names of objects that both runs would create, immutable recipes excepted."""
    return _names(first) & _names(second)


def _names(plan: Plan) -> set[str]:
    def key(item: Mapping[str, Any]) -> str:
        return f"{item['kind']} {item['metadata']['name']}"

    return {key(item) for item in plan.objects if not item.get("immutable")}


def _cluster(plan: Plan, training_type: TrainingType, where: Where) -> Iterator[Finding]:
    """What the control plane says to each object, without keeping any."""
    if not has_cluster():
        return
    target: Any = open_target("kubernetes", where)
    refused = 0
    for item in plan.objects:
        try:
            target.connection.create(item, dry_run=True)
        except TargetError as error:
            refused += 1
            yield Finding(
                "problem", f"{training_type}: the cluster refuses its {item['kind']}: {error.message}", error.hint
            )
    if not refused:
        yield Finding("ok", f"{training_type}: the cluster takes all {len(plan.objects)} objects")
