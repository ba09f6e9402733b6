"""The frameworks that there are, by name; each is imported when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cw_cli.core.exceptions import FrameworkError
from cw_cli.core.framework import BaseTrainingFramework
from cw_cli.core.shipped import shipped
from cw_cli.core.spelling import nearest

BUILT_IN = {
    "trl": (
        "cw_cli.frameworks.trl.framework",
        "TRLFramework",
        "TRL: fine-tuning, and learning from a reward model.",
        ("sft", "dpo", "kto", "reward", "rlhf"),
    ),
}
"""Module, class, one line of help, training types: what the command line shows without importing a framework."""


class FrameworkRegistry:
    """Frameworks by name."""

    def __init__(self, kubeconfig_dir: Path | None = None) -> None:
        self.kubeconfig_dir = kubeconfig_dir or shipped("kubeconfigs")
        self._makers: dict[str, Callable[[], BaseTrainingFramework]] = {}
        self._frameworks: dict[str, BaseTrainingFramework] = {}
        self._register_builtin_frameworks()

    def _register_builtin_frameworks(self) -> None:
        for name in BUILT_IN:
            self._makers[name] = lambda name=name: self._built_in(name)  # type: ignore[misc]

    def _built_in(self, name: str) -> BaseTrainingFramework:
        from importlib import import_module

        module, class_name, *_ = BUILT_IN[name]
        framework: BaseTrainingFramework = getattr(import_module(module), class_name)(self.kubeconfig_dir)
        return framework

    def register(self, name: str, framework: BaseTrainingFramework) -> None:
        """Make `framework` known as `name`; raises `FrameworkError` when the name is taken."""
        if name in self._makers:
            raise FrameworkError(f"there is a framework called {name} already", "Choose another name.")
        self._makers[name] = lambda: framework

    def names(self) -> list[str]:
        """The names of all frameworks, built-in ones first."""
        return list(self._makers)

    def get(self, name: str) -> BaseTrainingFramework:
        """The framework called `name`; raises `FrameworkError` with the nearest name."""
        if name not in self._makers:
            near = nearest(name, self._makers)
            hint = f"Did you mean {near}?" if near else f"There is {', '.join(self._makers)}."
            raise FrameworkError(f"there is no framework called {name}", hint)
        if name not in self._frameworks:
            self._frameworks[name] = self._makers[name]()
        return self._frameworks[name]
