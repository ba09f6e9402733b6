"""The border around somebody else's code: whatever goes wrong behind it is reported by the plugin's name and line."""

from __future__ import annotations

import contextlib
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

from cw_cli.core.exceptions import ConfigError, CwError, PluginError
from cw_cli.core.framework import BaseTrainingFramework, LocalCommand
from cw_cli.core.resources import Resources


@contextlib.contextmanager
def reported(name: str, what: str, folder: Path) -> Iterator[None]:
    """Run the plugin's code: its errors, `sys.exit` included, become `PluginError`s, and what it prints goes to stderr,
    because stdout is data."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except PluginError:
        raise
    except ConfigError as error:
        raise ConfigError(f"the plugin {name}: {error.message}", error.problems, error.hint) from error
    except CwError as error:
        raise PluginError(f"the plugin {name}: {error.message}", error.hint or _hint(folder)) from error
    except (Exception, SystemExit) as error:  # somebody else's code may raise anything
        failed = "does not accept this config" if _is_refusal(error, what) else f"failed in {what}"
        raise PluginError(f"the plugin {name} {failed}: {_said(error, folder)}", _hint(folder)) from error


def _is_refusal(error: BaseException, what: str) -> bool:
    """Whether this is how Python says no to a value."""
    return what == "validate_config" and type(error) in (ValueError, AssertionError)


def _said(error: BaseException, folder: Path) -> str:
    """What was raised, and where in the plugin's own code."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.msg} ({error.filename}:{error.lineno})"
    text = " ".join(str(error).split())
    shown = f"{type(error).__name__}: {text}" if text else type(error).__name__
    if isinstance(error, SystemExit):
        shown = f"it calls sys.exit({error.code!r})"
    place = _line(error, folder)
    return f"{shown} ({place})" if place else shown


def _line(error: BaseException, folder: Path) -> str:
    """`file:line` of the innermost frame that is the plugin's own."""
    roots = tuple(f"{path}/" for path in {str(folder), str(folder.resolve())})
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(roots)]
    return f"{own[-1].filename}:{own[-1].lineno}" if own else ""


def _hint(folder: Path) -> str:
    return f"It lies in {folder}. CW_DISABLE_PLUGINS=1 starts without plugins; `cw plugins` shows what works."


def broken(name: str, folder: Path, sentence: str) -> PluginError:
    """The error of a plugin that does not do what the contract says."""
    return PluginError(f"the plugin {name} {sentence}", _hint(folder))


def report_hooks(framework: BaseTrainingFramework, name: str, folder: Path) -> None:
    """Put the border around every hook of the framework, whoever calls it, and hold each to what it promises."""
    for hook, default in vars(BaseTrainingFramework).items():
        if callable(default) and not hook.startswith("_"):
            setattr(framework, hook, _reporting(getattr(framework, hook), hook, name, folder))


def _reporting(method: Callable[..., Any], hook: str, name: str, folder: Path) -> Callable[..., Any]:
    promise = PROMISES.get(hook)

    @wraps(method)
    def call(*arguments: Any, **keywords: Any) -> Any:
        with reported(name, hook, folder):
            result = method(*arguments, **keywords)
            # What is given bit by bit fails while it is taken.
            result = list(result) if isinstance(result, Iterator) else result
        if promise is not None and not promise[0](result):
            raise broken(name, folder, f"returned {_shown(result)} from {hook}, which gives {promise[1]}")
        return result

    return call


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"a {type(value).__name__}"


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _all(kinds: type | tuple[type, ...]) -> Callable[[Any], bool]:
    return lambda value: (
        isinstance(value, Sequence)
        and not isinstance(value, str | bytes)
        and all(isinstance(item, kinds) for item in value)
    )


def _is_map(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(key, str) for key in value)


def _is_recipes(value: Any) -> bool:
    return value is None or isinstance(value, Path) or _all(Path)(value)


PROMISES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "validate_config": (lambda value: isinstance(value, bool), "True or False"),
    "prepare_config": (_is_map, "a dict with text keys"),
    "get_configmap_name": (_is_name, "a name"),
    "get_job_name": (_is_name, "a name"),
    "get_yaml_templates": (_all((Path, str)), "a list of paths"),
    "get_default_image": (_is_name, "an image"),
    "get_training_types": (_all(str), "a list of training types"),
    "template_images": (_is_map, "a dict of roles and images"),
    "cross_checks": (_all(tuple), "a list of Problems"),
    "target_checks": (_all(tuple), "a list of Problems"),
    "default_resources": (lambda value: isinstance(value, Resources), "Resources"),
    "defaults_without_gpu": (_is_map, "a dict with text keys"),
    "recipes": (_is_recipes, "the path of a Python package, a list of them, or None"),
    "file_keys": (_all(tuple), "a list of key paths"),
    "example": (_is_text, "text"),
    "template_variables": (_is_map, "a dict with text keys"),
    "template_folders": (_all(Path), "a list of paths"),
    "local_command": (lambda value: isinstance(value, LocalCommand), "a LocalCommand"),
}
"""Hook → whether it kept to its contract, and the contract in words."""
