"""TOML text to plain data in which every key and value knows its line and column."""

from __future__ import annotations

import bisect
import re
import tomllib
from typing import Any

from cw_cli.core.problems import KeyPath, Origin, Problem
from cw_cli.core.yaml_reader import Document

_SPACE = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_KEY = re.compile(r"[A-Za-z0-9_-]+|\"(?:[^\"\\\n]|\\.)*\"|'[^'\n]*'")
_TEXT = re.compile(r"\"\"\"(?:[^\\]|\\.)*?\"\"\"\"{0,2}|'''.*?''''{0,2}|\"(?:[^\"\\\n]|\\.)*\"|'[^'\n]*'", re.DOTALL)
_WORD = re.compile(r"\d{4}-\d\d-\d\d \d[^,\]}#\s]*|[^,\]}#\s]+")
_AT = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


def read_toml(text: str, source: str) -> Document:
    """What `text` says; a mistake is in `Document.problems`, never raised. Dates become text."""
    document = Document()
    try:
        document.value = _plain(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        document.problems.append(_problem(str(error), text, source))
    except RecursionError:
        document.problems.append(Problem("this is nested too deeply", "a config is flatter than that", Origin(source)))
    else:
        _Places(text.replace("\r\n", "\n"), source, document).scan()
    return document


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool) else str(value)


def _problem(sentence: str, text: str, source: str) -> Problem:
    lines = text.splitlines() or [""]
    found = _AT.search(sentence)
    line = int(found[1]) if found and found[1] else len(lines)
    column = int(found[2]) if found and found[2] else len(lines[-1]) + 1
    shown = lines[line - 1] if line <= len(lines) else None
    message = _AT.sub("", sentence)
    remedy = "keep one of them" if "overwrite" in message or "twice" in message else "text stands in quotes in TOML"
    return Problem(f"{message[0].lower()}{message[1:]}", remedy, Origin(source, line, column, shown))


class _Places:
    """Finds where keys and values stand in a text that is known to be TOML: no mistake is looked for."""

    def __init__(self, text: str, source: str, document: Document) -> None:
        self.text = text
        self.source = source
        self.document = document
        self.lines = text.split("\n")
        self.starts = [0]
        for line in self.lines:
            self.starts.append(self.starts[-1] + len(line) + 1)
        self.at = 0
        self.last: dict[KeyPath, int] = {}
        """The index of the last table of each array of tables."""

    def scan(self) -> None:
        table: KeyPath = ()
        self.document.values[()] = self.origin(0)
        while self.skip():
            if self.text[self.at] == "[":
                table = self.header()
            else:
                self.pair(table)

    def skip(self) -> bool:
        """Pass over what says nothing; whether anything is left."""
        match = _SPACE.match(self.text, self.at)
        self.at = match.end() if match else self.at
        return self.at < len(self.text)

    def header(self) -> KeyPath:
        many = self.text.startswith("[[", self.at)
        self.at += 2 if many else 1
        parts = self.key()
        self.at += 2 if many else 1
        path: KeyPath = ()
        for number, (name, start) in enumerate(parts, 1):
            path = (*path, name)
            self.note(path, start)
            if many and number == len(parts):
                self.last[path] = self.last.get(path, -1) + 1
            if path in self.last:
                path = (*path, self.last[path])
                self.document.values.setdefault(path, self.origin(start))
        return path

    def key(self) -> list[tuple[str, int]]:
        """The parts of a dotted key with their positions, up to what follows it."""
        parts = []
        while True:
            self.skip()
            start, word = self.at, self.token(_KEY)
            parts.append((tomllib.loads(f"key = {word}")["key"] if word[0] in "\"'" else word, start))
            self.skip()
            if not self.text.startswith(".", self.at):
                return parts
            self.at += 1

    def pair(self, path: KeyPath) -> None:
        for name, start in self.key():
            path = (*path, name)
            self.note(path, start)
        self.at += 1
        self.skip()
        self.value(path)

    def value(self, path: KeyPath) -> None:
        start, opening = self.at, self.text[self.at]
        if opening in "[{":
            self.at += 1
            index = 0
            while self.skip() and self.text[self.at] not in "]}":
                if self.text[self.at] == ",":
                    self.at += 1
                elif opening == "{":
                    self.pair(path)
                else:
                    self.value((*path, index))
                    index += 1
            self.at += 1
            written = None
        else:
            written = self.token(_TEXT if opening in "\"'" else _WORD)
        self.document.values[path] = self.origin(start)._replace(written=written)

    def token(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self.text, self.at)
        assert match is not None, "the text was read as TOML before"
        self.at = match.end()
        return match[0]

    def note(self, path: KeyPath, start: int) -> None:
        """A table may be opened again further down: the first place counts."""
        self.document.keys.setdefault(path, self.origin(start))
        self.document.values.setdefault(path, self.origin(start))

    def origin(self, at: int) -> Origin:
        line = bisect.bisect_right(self.starts, at) - 1
        return Origin(self.source, line + 1, at - self.starts[line] + 1, self.lines[line])
