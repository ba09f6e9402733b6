"""What a plugin says of itself (name, version, description, types), read from its code without running it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from cw_cli.core.plugins.notebook import Notebook, stamp_of
from cw_cli.core.plugins.places import Place

if TYPE_CHECKING:
    import ast

NAME = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")
"""A command, and a training type."""

_DEPTH = 3
"""How far imports of a plugin's own modules are followed."""


class Words(NamedTuple):
    """A plugin in its own words; None is what only running it would tell."""

    name: str | None = None
    version: str | None = None
    description: str | None = None
    types: tuple[str, ...] | None = None
    error: str | None = None
    """Why the code cannot be read."""


def words_of(place: Place, notebook: Notebook) -> Words:
    """What the plugin says, or said when it was last loaded, if its files are still the same."""
    row = notebook.recall(_key(place), _stamp(place), lambda: list(read_words(place)))
    return _words(row)


def note_words(place: Place, words: Words, notebook: Notebook) -> None:
    """Keep what the loaded plugin said."""
    notebook.note(_key(place), _stamp(place), list(words))


def _words(row: Any) -> Words:
    name, version, description, types, error = row
    return Words(name, version, description, None if types is None else tuple(types), error)


def _key(place: Place) -> str:
    return f"{place.name} {place.reference} in {place.path}"


def _stamp(place: Place) -> str:
    """Of all the modules beside the one that holds the plugin."""
    source = place.source
    if source is None:
        return "unknown"
    try:
        with os.scandir(source.parent) as entries:
            names = sorted(entry.name for entry in entries if entry.name.endswith(".py"))
    except OSError:
        names = []
    return stamp_of(*(source.parent / name for name in names))


def read_words(place: Place) -> Words:
    """What the code says in plain constants."""
    source = place.source
    if source is None:
        return Words()
    try:
        if not source.is_file():
            return Words(error=f"{place.path} has no __init__.py")
        found = _Reader().read(source)
    except SyntaxError as error:
        return Words(error=f"{error.filename or source}:{error.lineno}: {error.msg}")
    except (OSError, ValueError, RecursionError) as error:
        return Words(error=f"{source} cannot be read: {error}")
    return found


class _Reader:
    """Reads modules with `ast`, which never runs them."""

    def __init__(self) -> None:
        self.constants: dict[str, Any] = {}

    def read(self, source: Path) -> Words:
        for module in _modules(source, _DEPTH, set()):
            import ast

            for node in module.body:
                if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                    self.constants[node.targets[0].id] = node.value
            for node in module.body:
                if isinstance(node, ast.ClassDef) and _is_plugin(node):
                    return self.of_class(node)
        return Words()

    def of_class(self, node: ast.ClassDef) -> Words:
        said = dict(_members(node))
        name, version, description = (self.text(said.get(key)) for key in ("name", "version", "description"))
        types = self.types(said.get("get_supported_training_types"))
        return Words(_named(name), version, description, types)

    def text(self, node: ast.expr | None) -> str | None:
        import ast

        if isinstance(node, ast.Name):
            node = self.constants.get(node.id)
        return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None

    def types(self, node: ast.expr | None) -> tuple[str, ...] | None:
        import ast

        if isinstance(node, ast.Name):
            node = self.constants.get(node.id)
        if not isinstance(node, ast.List | ast.Tuple):
            return None
        found = [self.type(item) for item in node.elts]
        return tuple(filter(None, found)) if found and all(map(_named, found)) else None

    def type(self, node: ast.expr) -> str | None:
        """`TrainingType.SFT`, `TrainingType("distill")` or `"distill"`."""
        import ast

        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "TrainingType":
            return node.attr.lower()
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and len(node.args) == 1:
            return self.text(node.args[0]) if node.func.id == "TrainingType" else None
        return self.text(node)


def _named(text: str | None) -> str | None:
    """The text where it may be a name; otherwise the contract is broken, which loading the plugin tells."""
    return text if text and NAME.fullmatch(text) else None


def _modules(source: Path, depth: int, seen: set[Path]) -> Iterator[ast.Module]:
    """The module, and those of its own folder that it imports from relatively."""
    import ast

    if source in seen or not source.is_file():
        return
    seen.add(source)
    module = ast.parse(source.read_bytes(), str(source))
    yield module
    for node in module.body:
        if depth and isinstance(node, ast.ImportFrom) and node.level == 1 and node.module:
            path = source.parent.joinpath(*node.module.split("."))
            yield from _modules(path.with_suffix(".py"), depth - 1, seen)
            yield from _modules(path / "__init__.py", depth - 1, seen)


def _is_plugin(node: ast.ClassDef) -> bool:
    return any(getattr(item, "name", None) == "get_framework_class" for item in node.body)


def _members(node: ast.ClassDef) -> Iterator[tuple[str, ast.expr]]:
    """Attributes of a class, and methods that do nothing but return something, as the expressions that they are."""
    import ast

    for item in node.body:
        if isinstance(item, ast.Assign) and isinstance(item.targets[0], ast.Name):
            yield item.targets[0].id, item.value
        elif isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name) and item.value:
            yield item.target.id, item.value
        elif isinstance(item, ast.FunctionDef):
            steps = [step for step in item.body if not _is_text(step)]
            if len(steps) == 1 and isinstance(steps[0], ast.Return) and steps[0].value:
                yield item.name, steps[0].value


def _is_text(node: ast.stmt) -> bool:
    import ast

    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
