"""From the place of a plugin to a framework that is ready for use; everything that can go wrong is a `PluginError`."""

from __future__ import annotations

import atexit
import hashlib
import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from cw_cli.core.exceptions import PluginError
from cw_cli.core.framework import BaseTrainingFramework, TrainingType
from cw_cli.core.offered_schema import offer_schema
from cw_cli.core.plugins.contract import FrameworkPlugin, PluginContext
from cw_cli.core.plugins.places import Place
from cw_cli.core.plugins.reporting import broken, report_hooks, reported
from cw_cli.core.plugins.trust import require_trust
from cw_cli.core.plugins.words import NAME, Words
from cw_cli.core.shipped import shipped


class Loaded(NamedTuple):
    """A plugin that was asked everything but its framework's hooks."""

    plugin: FrameworkPlugin
    words: Words
    framework: BaseTrainingFramework


_loaded: dict[Place, Loaded] = {}


def load(place: Place, kubeconfig_dir: Path | None = None) -> Loaded:
    """The plugin at `place`, imported once for the whole process.

    `kubeconfig_dir` is where templates lie that the plugin does not bring. Raises `PluginError`.
    """
    if place not in _loaded:
        _loaded[place] = _Loading(place).load(kubeconfig_dir or shipped("kubeconfigs"))
    return _loaded[place]


class _Loading:
    """One plugin on its way; `name` and `folder` are what an error names."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.name = place.name
        source = place.source if place.reference else None
        self.folder = source.parent if source else Path(place.path)

    def load(self, kubeconfig_dir: Path) -> Loaded:
        if not self.place.reference:
            require_trust(self.name, self.folder)
        plugin = self.plugin()
        words = self.words(plugin)
        top = Path(self.place.path, self.place.reference.partition(":")[0].partition(".")[0])
        own = (path / "kubeconfigs" for path in (self.folder, top))
        folder = next((path for path in own if path.is_dir()), kubeconfig_dir)
        from cw_cli import __version__

        self.call("initialize", lambda: plugin.initialize(PluginContext(__version__, self.folder, folder)))
        atexit.register(self.clean_up, plugin)
        framework = self.framework(plugin, folder)
        self.call("the attributes of its framework", lambda: self.introduce(framework, words))
        if not self.place.built_in:
            report_hooks(framework, self.name, self.folder)
        return Loaded(plugin, words, framework)

    def introduce(self, framework: BaseTrainingFramework, words: Words) -> None:
        """What the plugin says goes before what its framework says of itself."""
        framework.name = self.name
        if not self.place.built_in:
            framework.version = words.version or ""
            framework.title = f"the plugin {self.name} {words.version}"
        types = [TrainingType(item) for item in words.types or ()]
        framework.get_training_types = lambda: types  # type: ignore[method-assign]
        offer_schema(framework, f"{self.name} {words.version}")

    def call(self, what: str, code: Callable[[], Any]) -> Any:
        with reported(self.name, what, self.folder):
            return code()

    def plugin(self) -> FrameworkPlugin:
        module = self.call("its import", self.package if self.place.reference else self.module)
        function = self.place.reference.partition(":")[2] or "get_plugin"
        maker = getattr(module, function, None)
        if not callable(maker):
            raise broken(self.name, self.folder, f"has no function {function}() in {module.__file__}")
        plugin = self.call(f"{function}()", maker)
        if not isinstance(plugin, FrameworkPlugin):
            what = type(plugin).__name__
            raise broken(self.name, self.folder, f"gives a {what} from {function}(), not a FrameworkPlugin")
        return plugin

    def package(self) -> ModuleType:
        return importlib.import_module(self.place.reference.partition(":")[0])

    def module(self) -> ModuleType:
        """The folder as a package under a name of its own, so that it may import its own modules relatively."""
        source = self.folder / "__init__.py"
        if not source.is_file():
            raise broken(self.name, self.folder, "has no __init__.py")
        mark = hashlib.sha256(os.fsencode(self.place.path)).hexdigest()[:8]
        name = f"cw_plugin_{re.sub(r'[^A-Za-z0-9_]', '_', self.place.name)}_{mark}"
        spec = importlib.util.spec_from_file_location(name, source, submodule_search_locations=[str(self.folder)])
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            for half in [key for key in sys.modules if key == name or key.startswith(f"{name}.")]:
                del sys.modules[half]
            raise
        return module

    def words(self, plugin: FrameworkPlugin) -> Words:
        """What the plugin says of itself, held to the contract; from here on errors name it by its own name."""
        name = self.call("name", lambda: plugin.name)
        if not isinstance(name, str) or not NAME.fullmatch(name):
            rule = "a command has small letters, digits and dashes"
            raise broken(self.name, self.folder, f"calls itself {name!r}; {rule}")
        self.name = name
        said = {what: self.call(what, partial(getattr, plugin, what)) for what in ("version", "description")}
        for what, text in said.items():
            if not isinstance(text, str):
                raise broken(name, self.folder, f"has the {what} {text!r}, which is not text")
        given = self.call("get_supported_training_types", lambda: list(plugin.get_supported_training_types()))
        wrong = [item for item in given if not isinstance(item, str) or not NAME.fullmatch(item)]
        if wrong or not given:
            what = f"{wrong[0]!r}, which is no name of a training type" if wrong else "no training type"
            raise broken(name, self.folder, f"supports {what}")
        return Words(name, said["version"], said["description"], tuple(str(item) for item in given))

    def framework(self, plugin: FrameworkPlugin, kubeconfig_dir: Path) -> BaseTrainingFramework:
        kind = self.call("get_framework_class", plugin.get_framework_class)
        if not isinstance(kind, type) or not issubclass(kind, BaseTrainingFramework):
            what = getattr(kind, "__name__", type(kind).__name__)
            sentence = f"gives {what} from get_framework_class, which is no class of a BaseTrainingFramework"
            raise broken(self.name, self.folder, sentence)
        if missing := sorted(getattr(kind, "__abstractmethods__", ())):
            raise broken(self.name, self.folder, f"lacks {', '.join(missing)} in its class {kind.__name__}")
        make: Callable[[Path], BaseTrainingFramework] = kind
        framework: BaseTrainingFramework = self.call(f"{kind.__name__}.__init__", lambda: make(kubeconfig_dir))
        if not hasattr(framework, "kubeconfig_dir"):
            sentence = f"does not call super().__init__(name, kubeconfig_dir) in its class {kind.__name__}"
            raise broken(self.name, self.folder, sentence)
        return framework

    def clean_up(self, plugin: FrameworkPlugin) -> None:
        """The command has ended by then: a failure is said, and changes nothing."""
        try:
            self.call("cleanup", plugin.cleanup)
        except PluginError as error:
            print(f"warning: {error.message}", file=sys.stderr)  # noqa: T201 - nobody is left who could say it
