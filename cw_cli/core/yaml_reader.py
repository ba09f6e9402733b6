"""YAML text to plain data in which every key and value knows its line and column."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from cw_cli.core.problems import KeyPath, Origin, Problem

MAX_NODES = 50_000
"""More values than this is no config: aliases that multiply would otherwise fill the memory."""
MAX_DEPTH = 64
"""Deeper than this is no config: the parser, which calls itself for each level, would run out of stack."""

_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITY = re.compile(r"[-+]?\.(inf|Inf|INF)")
_WORDS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
}
_SAFE_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_SAFE_LOADER):  # type: ignore[misc]
    """A loader that refuses what is nested too deeply; these two methods are called around each node."""

    depth = 0

    def descend_resolver(self, current_node: Any, current_index: Any) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise yaml.MarkedYAMLError(problem=_TOO_DEEP, problem_mark=current_node.start_mark)

    def ascend_resolver(self) -> None:
        self.depth -= 1


_TOO_DEEP = f"more than {MAX_DEPTH} levels of nesting"


@dataclass(slots=True)
class Document:
    """What a YAML text says: its value, where each key and each value stands, and all that is wrong with it."""

    value: Any = None
    keys: dict[KeyPath, Origin] = field(default_factory=dict)
    values: dict[KeyPath, Origin] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def scalar(text: str) -> Any:
    """A plain scalar by the core schema of YAML 1.2 (section 10.3.2): `1e-5` is a float, `yes` and `1:30` are text."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        # Python refuses numbers of thousands of digits; such a thing is text, and its key will say so.
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text) if len(text) < 400 else text
    if _FLOAT.fullmatch(text):
        return float(text)
    if _INFINITY.fullmatch(text):
        return -math.inf if text.startswith("-") else math.inf
    return text


def read_yaml(text: str, source: str) -> Document:
    """The one document in `text`; mistakes are collected in `Document.problems`, never raised."""
    return _Reader(text, source).read()


class _Reader:
    def __init__(self, text: str, source: str) -> None:
        self.text = text
        self.source = source
        self.lines = text.splitlines()
        self.document = Document()
        self.nodes = 0

    def read(self) -> Document:
        try:
            nodes = list(yaml.compose_all(self.text, Loader=_Loader))
        except yaml.MarkedYAMLError as error:
            self.problem(_yaml_sentence(error), _yaml_remedy(error), error.problem_mark or error.context_mark)
            return self.document
        except yaml.YAMLError as error:
            # A character that YAML does not allow: the exception carries an offset instead of a mark.
            self.problem(f"this is not YAML text: {error}".splitlines()[0], "save the file as plain UTF-8 text", None)
            return self.document
        if len(nodes) > 1:
            self.problem("a second YAML document begins here", "keep one config in a file", nodes[1].start_mark)
        elif nodes:
            self.document.value = self.build(nodes[0], (), ())
        return self.document

    def build(self, node: yaml.Node, path: KeyPath, parents: tuple[int, ...]) -> Any:
        """The value of `node`; `parents` are the nodes around it, to notice one that holds itself."""
        if self.is_too_much(node, parents):
            return None
        if id(node) in parents:
            self.problem("this alias refers to what it is part of", "write the value out", node.start_mark)
            return None
        written = node.value if isinstance(node, yaml.ScalarNode) else None
        self.document.values[path] = self.origin(node.start_mark)._replace(written=written)
        if isinstance(node, yaml.MappingNode):
            return self.build_mapping(node, path, (*parents, id(node)))
        if isinstance(node, yaml.SequenceNode):
            inside = (*parents, id(node))
            return [self.build(child, (*path, index), inside) for index, child in enumerate(node.value)]
        return self.build_scalar(node) if isinstance(node, yaml.ScalarNode) else None

    def is_too_much(self, node: yaml.Node, parents: tuple[int, ...]) -> bool:
        """Count one more value; said once, as all that follows is too much as well."""
        self.nodes += 1
        if self.nodes > MAX_NODES + 1:
            return True
        if self.nodes == MAX_NODES + 1:
            self.problem(f"more than {MAX_NODES:,} values", "a config is smaller than that", node.start_mark)
        elif len(parents) >= MAX_DEPTH:
            self.problem(_TOO_DEEP, "a config is flatter than that", node.start_mark)
            self.nodes = MAX_NODES + 1
        return self.nodes > MAX_NODES

    def build_scalar(self, node: yaml.ScalarNode) -> Any:
        if node.tag.startswith("!") or "python" in node.tag:
            self.problem(f"the tag {node.tag} has no meaning here", "write a plain value", node.start_mark)
        return node.value if node.style else scalar(node.value)

    def build_mapping(self, node: yaml.MappingNode, path: KeyPath, parents: tuple[int, ...]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node, merged in self.pairs(node, parents):
            key = self.key(key_node)
            if key is None or (merged and key in result):
                continue
            if key in result:
                first = self.document.keys[(*path, key)]
                self.problem(
                    f"{key!r} is written twice, first in line {first.line}", "keep one of them", key_node.start_mark
                )
                continue
            result[key] = self.build(value_node, (*path, key), parents)
            self.document.keys[(*path, key)] = self.origin(key_node.start_mark)
        return result

    def pairs(self, node: yaml.MappingNode, parents: tuple[int, ...]) -> Iterator[tuple[yaml.Node, yaml.Node, bool]]:
        """Own pairs first, then those that `<<` merges in, which never replace an own one."""
        merges: list[yaml.Node] = []
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value == "<<" and not key.style:
                merges.extend(value.value if isinstance(value, yaml.SequenceNode) else [value])
            else:
                yield key, value, False
        for merge in merges:
            if self.is_too_much(merge, parents):
                return
            if not isinstance(merge, yaml.MappingNode) or id(merge) in parents:
                self.problem("`<<` takes a mapping", "give it an alias of a mapping", merge.start_mark)
                continue
            for key, value, _ in self.pairs(merge, (*parents, id(merge))):
                yield key, value, True

    def key(self, node: yaml.Node) -> str | None:
        if not isinstance(node, yaml.ScalarNode):
            self.problem("a key is a word, not a list or a mapping", "write `key: value`", node.start_mark)
            return None
        return str(node.value)

    def origin(self, mark: Any) -> Origin:
        text = self.lines[mark.line] if mark.line < len(self.lines) else None
        return Origin(self.source, mark.line + 1, mark.column + 1, text)

    def problem(self, message: str, remedy: str, mark: Any) -> None:
        origin = self.origin(mark) if mark is not None else Origin(self.source)
        self.document.problems.append(Problem(message, remedy, origin))


def _yaml_sentence(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or "not YAML"
    if "cannot start any token" in problem and "\\t" in problem:
        return "a tab cannot begin a value"
    if problem.startswith("mapping values are not allowed"):
        return "a second `: ` on one line, or a line that is indented too far"
    if problem.startswith("could not find expected ':'"):
        return "a key without its colon"
    if problem.startswith("did not find expected key"):
        return "this line's indentation fits no line above it"
    if problem.startswith("found undefined alias"):
        return problem.replace("found undefined alias", "no anchor stands before this alias").strip()
    return problem


def _yaml_remedy(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or ""
    if problem == _TOO_DEEP:
        return "a config is flatter than that"
    if "\\t" in problem:
        return "indent with spaces"
    if problem.startswith("mapping values are not allowed"):
        return "put quotes around a value that holds `: `, and indent by the same number of spaces"
    if "expected ':'" in problem:
        return "write `key: value`"
    return "see the line above as well"
