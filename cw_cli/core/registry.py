"""The frameworks that there are, by name: built-in ones and plugins; each is imported when it is first asked for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from cw_cli.core.exceptions import FrameworkError, PluginError
from cw_cli.core.plugins.discovery import Discovered, discover, remember
from cw_cli.core.plugins.places import Asked, Place

if TYPE_CHECKING:
    from cw_cli.core.framework import BaseTrainingFramework


class Entry(NamedTuple):
    """A framework as the command line shows it, without importing it."""

    name: str
    help: str
    types: tuple[str, ...] | None
    """None where only its code tells."""


class BuiltIn(NamedTuple):
    """A framework that ships with cw: where its plugin is, and what that says of itself."""

    reference: str
    help: str
    types: tuple[str, ...]


BUILT_IN = {
    "trl": BuiltIn(
        "cw_cli.frameworks.trl:get_plugin",
        "TRL: fine-tuning, and learning from rewards.",
        ("sft", "dpo", "kto", "reward", "distillation", "grpo", "rloo", "rlhf"),
    ),
    "axolotl": BuiltIn(
        "cw_cli.frameworks.axolotl:get_plugin",
        "Axolotl: every kind of training that its YAML knows.",
        (
            *("sft", "pretrain", "dpo", "ipo", "simpo", "orpo", "kto", "grpo", "gdpo", "ebft"),
            *("reward", "process_reward", "preprocess"),
        ),
    ),
    "verifiers": BuiltIn(
        "cw_cli.frameworks.verifiers:get_plugin",
        "Verifiers: evaluate a model in an environment, or train it there with prime-rl.",
        ("eval", "grpo"),
    ),
}
"""What the entry points of cw's own package say, at hand for a start without looking at installed packages."""

_registered: dict[str, BaseTrainingFramework] = {}


def register(name: str, framework: BaseTrainingFramework) -> None:
    """Make `framework` known as `name` in this process, as a notebook or a test wants it; raises `FrameworkError` when
    the name is taken."""
    FrameworkRegistry().register(name, framework)
    _registered[name] = framework


class FrameworkRegistry:
    """Frameworks by name. `kubeconfig_dir` is where templates lie, those that ship with cw unless said otherwise."""

    def __init__(self, kubeconfig_dir: Path | None = None) -> None:
        self.kubeconfig_dir = kubeconfig_dir
        self._own = dict(_registered)
        self._found: tuple[list[Discovered], Asked] | None = None

    @property
    def plugins(self) -> list[Discovered]:
        """Every plugin that there is, usable or not."""
        return self._discovered()[0]

    def _discovered(self) -> tuple[list[Discovered], Asked]:
        if self._found is None:
            self._found = discover()
        return self._found

    def register(self, name: str, framework: BaseTrainingFramework) -> None:
        """Make `framework` known as `name` here; raises `FrameworkError` when the name is taken."""
        if name in self.names():
            raise FrameworkError(f"there is a framework called {name} already", "Choose another name.")
        self._own[name] = framework

    def entries(self) -> list[Entry]:
        """All frameworks, built-in ones first."""
        plugins: dict[str, list[Discovered]] = {}
        for item in self.plugins:
            plugins.setdefault(item.command, []).append(item)
        found = []
        for name, built_in in BUILT_IN.items():
            own = plugins.pop(name, []) if self.replaces(name) else []
            found.append(_entry(name, own) if own else Entry(name, built_in.help, built_in.types))
        found += [_entry(name, items) for name, items in sorted(plugins.items()) if name not in BUILT_IN]
        return [*found, *(Entry(name, "", tuple(item.get_training_types())) for name, item in self._own.items())]

    def entry(self, name: str) -> Entry | None:
        """The framework called `name`, with its types; its code is run when nothing else tells them.

        Raises `PluginError` for a plugin that cannot be used.
        """
        found = next((entry for entry in self.entries() if entry.name == name), None)
        if found is None and not self.unread():
            return None
        if found is None or not found.types:
            try:
                framework = self.get(name)
            except PluginError:
                raise
            except FrameworkError:
                return None
            return Entry(name, found.help if found else "", tuple(map(str, framework.get_training_types())))
        return found

    def unread(self) -> list[str]:
        """Where plugins lie whose name is not known, because their code does not say it plainly or has mistakes."""
        return [item.place.path for item in self.plugins if item.words.name is None]

    def names(self) -> list[str]:
        """The names of all frameworks, built-in ones first."""
        return [entry.name for entry in self.entries()]

    def replaces(self, name: str) -> bool:
        """Whether the settings let a plugin take the place of this built-in framework."""
        return name in self._discovered()[1].replace

    def refused(self, name: str) -> list[Place]:
        """Plugins that call themselves as a built-in framework does, and may not replace it."""
        if name not in BUILT_IN or self.replaces(name):
            return []
        return [item.place for item in self.plugins if item.command == name]

    def get(self, name: str) -> BaseTrainingFramework:
        """The framework called `name`; raises `FrameworkError` with the nearest name, `PluginError` for a plugin that
        cannot be used."""
        if name in self._own:
            return self._own[name]
        plugins = [item.place for item in self.plugins if item.command == name]
        if name in BUILT_IN and not (plugins and self.replaces(name)):
            return self._loaded(self.built_in_place(name))
        if not plugins:
            plugins = self._asked(name)
        if len(plugins) > 1:
            raise PluginError(
                f"two plugins are called {name}: {' and '.join(map(str, plugins))}",
                "Remove one of them, or give it another name: cw plugins remove, or pip uninstall.",
            )
        if not plugins:
            raise self._unknown(name)
        return self._loaded(plugins[0])

    def built_in_place(self, name: str) -> Place:
        """Where the plugin of a built-in framework lies."""
        from cw_cli.core.shipped import PACKAGE

        return Place(name, str(PACKAGE), BUILT_IN[name].reference)

    def _loaded(self, place: Place) -> BaseTrainingFramework:
        from cw_cli.core.plugins.load import load

        loaded = load(place, self.kubeconfig_dir)
        if not place.built_in:
            remember(place, loaded.words)
        return loaded.framework

    def _asked(self, name: str) -> list[Place]:
        """Plugins whose code must be run to know their name, and that say this one."""
        from cw_cli.core.plugins.load import load

        found = []
        for item in self.plugins:
            if item.words.name is None and item.words.error is None:
                try:
                    words = load(item.place, self.kubeconfig_dir).words
                except PluginError:
                    continue  # `cw plugins` tells; this command is about another name
                remember(item.place, words)
                if words.name == name:
                    found.append(item.place)
        return found

    def _unknown(self, name: str) -> FrameworkError:
        from cw_cli.core.spelling import nearest

        near = nearest(name, self.names())
        hint = f"Did you mean {near}?" if near else f"There is {', '.join(self.names())}."
        if not near and (unread := self.unread()):
            hint += f" Plugins that cannot be read may hold it: {', '.join(unread)}; see cw plugins."
        return FrameworkError(f"there is no framework called {name}", hint)


def _entry(name: str, plugins: list[Discovered]) -> Entry:
    if len(plugins) > 1:
        return Entry(name, f"({len(plugins)} plugins of this name: see cw plugins)", ())
    words = plugins[0].words
    if words.error is not None:
        return Entry(name, "(broken: see cw plugins)", None)
    return Entry(name, words.description or "(a plugin)", words.types)
