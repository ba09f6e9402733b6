"""A config through every check that needs no cluster: read, overridden, made canonical, typed, cross-checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from cw_cli.core import images, imports
from cw_cli.core.config import Config
from cw_cli.core.exceptions import ConfigError
from cw_cli.core.framework import BaseTrainingFramework, TrainingType
from cw_cli.core.launch_keys import OTHER_NAMES, LaunchKeys, launch_schema, renamed
from cw_cli.core.launch_reader import read_keys
from cw_cli.core.overrides import Override, apply
from cw_cli.core.problems import Origin, Problem, errors, warnings
from cw_cli.core.schema import Schema


class CheckedConfig(NamedTuple):
    """A config without errors: as it was given, in canonical form, and cw's own keys of it as typed values."""

    framework: BaseTrainingFramework
    training_type: TrainingType
    given: Config
    config: Config
    keys: LaunchKeys
    overrides: tuple[Override, ...]
    warnings: tuple[Problem, ...]
    schema: Schema | None = None

    def doubt(self) -> str:
        """A sentence about the image that the config names, where nobody but the image knows what it holds."""
        image, framework = self.keys.image, self.framework
        usual = (framework.get_default_image(), *framework.template_images(self.training_type).values())
        if self.schema is None or framework.version or image is None or image in usual:
            return ""
        return "" if images.matching_name(image, framework.name) else f"what {image} holds is not known"

    def data(self) -> dict[str, Any]:
        """The canonical config as plain data."""
        return dict(self.config.values)


def check_config(
    framework: BaseTrainingFramework,
    training_type: TrainingType,
    given: Config,
    overrides: Sequence[Override] = (),
    settings: Config | None = None,
    flags: Sequence[str] = (),
    target: str = "kubernetes",
) -> CheckedConfig:
    """Everything that is wrong with `given` under `overrides` on `target`, all at once.

    Raises `ConfigError` with the errors and the warnings; returns the checked config when there are only warnings.
    """
    image = _image(given, overrides, settings)
    schema = framework.schema_of_image(training_type, image) if image else framework.get_schema(training_type)
    taken = schema.taken if schema is not None else ()
    own = launch_schema(taken)
    config, problems = apply(given, overrides, own, schema, flags)
    if schema is not None:
        config, more = schema.canonical(config)
        problems += more
        problems += schema.check(config, own.keys)
    if settings is not None:
        defaults = renamed(settings.part(launch_schema().keys), {name: OTHER_NAMES[name] for name in taken})
        config = config.over(defaults)
    own_part = config.part(own.keys)
    own_part, more = own.canonical(own_part)
    problems += [*more, *own.check(own_part)]
    # Typed values and cross-checks make sense only of what the schemas let through.
    clean = _without_errors(own_part, problems)
    keys, more = read_keys(renamed(clean, {OTHER_NAMES[name]: name for name in taken}))
    problems += more
    problems += _framework_checks(framework, training_type, config, keys, target, problems)
    if errors(problems):
        raise ConfigError(_summary(given, errors(problems), schema), sorted(problems, key=_place))
    found = tuple(sorted(warnings(problems), key=_place))
    return CheckedConfig(framework, training_type, given, config, keys, tuple(overrides), found, schema)


def _image(given: Config, overrides: Sequence[Override], settings: Config | None) -> str | None:
    """The image that the run will have, where anybody names one; asked before the keys are known."""
    typed = [override.text for override in overrides if override.key == "image"]
    named = [*reversed(typed), given.get("image"), settings.get("image") if settings is not None else None]
    return next((name for name in named if isinstance(name, str) and name), None)


def _framework_checks(
    framework: BaseTrainingFramework,
    training_type: TrainingType,
    config: Config,
    keys: LaunchKeys,
    target: str,
    found: Sequence[Problem],
) -> list[Problem]:
    clean = _without_errors(config, found)
    problems = [
        *framework.cross_checks(clean, keys, training_type),
        *framework.target_checks(clean, training_type, target),
        *imports.checks(clean, framework.file_keys(clean, training_type), keys.image, target),
    ]
    if errors(found):
        # Keys that are wrong already were left out: what is only missing now is not a mistake of its own.
        problems = [problem for problem in problems if problem.origin != Origin(config.source)]
    if not errors([*found, *problems]) and not framework.validate_config(dict(config.values), training_type):
        message = f"{framework.title or framework.name} does not accept this config for {training_type}"
        remedy = "its validate_config says no, and not why; see what it asks for"
        problems.append(Problem(message, remedy, Origin(config.source)))
    return problems


def _without_errors(config: Config, problems: Sequence[Problem]) -> Config:
    """The config less the top-level keys that hold an error."""
    wrong = {problem.origin for problem in errors(problems)}
    for name in list(config.values):
        inside = [*config.places.items(), *config.keys.items()]
        if wrong.intersection(origin for path, origin in inside if path[:1] == (name,)):
            config = config.without((name,))
    return config


def _summary(config: Config, problems: Sequence[Problem], schema: Schema | None) -> str:
    count = "1 mistake" if len(problems) == 1 else f"{len(problems)} mistakes"
    held = f" (checked against {schema.subject})" if schema else ""
    return f"{config.source} has {count}{held}; nothing was started"


def _place(problem: Problem) -> tuple[bool, int, int]:
    """The file's mistakes in its own order, those of the command line after them."""
    origin = problem.origin or Origin("")
    return (origin.line is None, origin.line or 0, origin.column or 0)
