"""The first rows of data files on this machine, read with the standard library; Parquet where pyarrow is installed."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from cw_cli.core.problems import Origin, Problem

if TYPE_CHECKING:
    import gzip

MAX_ROWS = 20
MAX_BYTES = 1024 * 1024
"""No more than this is looked at, so that a file of any size takes the same time."""

FORMATS = {
    ".jsonl": "json",
    ".ndjson": "json",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".txt": "text",
}


class Sample(NamedTuple):
    """The first rows of a file, and what is wrong with them. Every row has every column; None where it said nothing."""

    path: Path
    columns: tuple[str, ...] = ()
    rows: tuple[Mapping[str, Any], ...] = ()
    problems: tuple[Problem, ...] = ()

    def kinds(self, column: str) -> set[str]:
        """What kinds of value the column has, nulls left out."""
        return {kind(row[column]) for row in self.rows if row[column] is not None}


def kind(value: Any) -> str:
    """A word for a value: `messages` (role and content), `turns` (from and value), `tokens`, `text`, `number`, …"""
    if isinstance(value, list):
        return _kind_of_list(value)
    if isinstance(value, str):
        return "text"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    return "mapping" if isinstance(value, Mapping) else "other"


def _kind_of_list(items: list[Any]) -> str:
    if not items:
        return "list"
    first = items[0]
    if isinstance(first, Mapping):
        if "role" in first:
            return "messages"
        return "turns" if {"from", "value"} <= first.keys() else "mappings"
    return "tokens" if all(type(item) is int for item in items) else "list"


def sample(path: Path, format_: str | None = None) -> Sample | None:
    """The first rows of the file at `path`; None where its format is not one that can be looked at here.

    The format is that of the file's name unless `format_` says otherwise: json, csv, parquet or text.
    """
    compressed = path.suffix.lower() == ".gz"
    if format_ is None:
        format_ = FORMATS.get((path.with_suffix("") if compressed else path).suffix.lower())
    try:
        if format_ == "parquet":
            return None if compressed else _parquet(path)
        if format_ not in FORMATS.values():
            return None
        text, whole = _beginning(path, compressed)
    except (OSError, EOFError) as error:
        return _broken(path, f"{path} cannot be read: {getattr(error, 'strerror', None) or error}", "check the file")
    except UnicodeDecodeError as error:
        return _broken(path, f"{path} is not UTF-8 text: {error.reason}", "save it as UTF-8")
    if format_ == "json":
        return _json(path, text, whole)
    if format_ == "csv":
        return _csv(path, text, "\t" if ".tsv" in path.suffixes else ",")
    return _table(path, [{"text": line} for line in text.split("\n", MAX_ROWS)[:MAX_ROWS] if line])


def _beginning(path: Path, compressed: bool) -> tuple[str, bool]:
    """The first text of the file, and whether that is all of it; a line that was cut off is left out."""
    with _opened(path, compressed) as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) <= MAX_BYTES:
        return data.decode("utf-8-sig"), True
    end = data.rfind(b"\n", 0, MAX_BYTES)
    # Without a line's end the text may be cut inside a character.
    return (data[: end + 1].decode("utf-8-sig") if end >= 0 else data.decode("utf-8-sig", "ignore")), False


def _opened(path: Path, compressed: bool) -> IO[bytes] | gzip.GzipFile:
    if not compressed:
        return path.open("rb")
    import gzip

    return gzip.open(path, "rb")


def _json(path: Path, text: str, whole: bool) -> Sample | None:
    """Rows from one JSON value a line, or from one list of them; None for one object over several lines."""
    rows: list[dict[str, Any]] = []
    as_list = text.lstrip()[:1] == "["
    spread = not as_list and ".json" in path.suffixes and not _parses(text.lstrip().partition("\n")[0])
    if spread and (not whole or _parses(text)):
        return None
    try:
        for row, position in _list_items(text, whole) if as_list else _line_items(text, whole):
            if not isinstance(row, dict):
                place = _place(path, text, position)
                problem = Problem("this row is not a JSON object", 'write rows as {"column": value}', place)
                return _table(path, rows, problem)
            rows.append(row)
            if len(rows) == MAX_ROWS:
                break
    except json.JSONDecodeError as error:
        place = _place(path, text, error.pos)
        return _table(path, rows, Problem(f"this is not JSON: {error.msg}", "correct the row", place))
    except (RecursionError, ValueError):
        return _broken(path, f"{path} holds a value that is nested too deeply or is too long", "write simpler rows")
    return _table(path, rows)


def _line_items(text: str, whole: bool) -> Iterator[tuple[Any, int]]:
    position = 0
    # Not splitlines(): a row may hold other characters that end a line.
    for line in io.StringIO(text, newline="\n"):
        if row := line.strip():
            start = position + line.index(row)
            try:
                yield json.loads(row), start
            except json.JSONDecodeError as error:
                if not whole and "\n" not in text:
                    return  # one line longer than what is looked at
                raise json.JSONDecodeError(error.msg, text, start + error.pos) from None
        position += len(line)


def _parses(text: str) -> bool:
    try:
        json.loads(text)
    except (RecursionError, ValueError):
        return False
    return True


def _list_items(text: str, whole: bool) -> Iterator[tuple[Any, int]]:
    decoder, position = json.JSONDecoder(), text.index("[") + 1
    while True:
        position = _after_space(text, position)
        if text[position : position + 1] == "]" or (position >= len(text) and not whole):
            return
        start = position
        try:
            row, position = decoder.raw_decode(text, start)
        except json.JSONDecodeError:
            if not whole:
                return  # the row goes on after what is looked at
            raise
        yield row, start
        position = _after_space(text, position)
        if text[position : position + 1] == ",":
            position += 1
        elif text[position : position + 1] != "]" and (whole or position < len(text)):
            raise json.JSONDecodeError("a comma or ] is missing", text, position)


def _after_space(text: str, position: int) -> int:
    while position < len(text) and text[position] in " \t\r\n":
        position += 1
    return position


def _csv(path: Path, text: str, separator: str) -> Sample:
    import csv

    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    rows: list[list[str]] = []
    try:
        header = next(reader, [])
        for row in reader:
            if len(row) > len(header) and rows:
                message = f"this row has {len(row)} cells and the first line {len(header)}"
                place = Origin(str(path), reader.line_num)
                return Sample(path, problems=(Problem(message, "put quotes around text with separators", place),))
            if row:
                rows.append(row + [""] * (len(header) - len(row)))
            if len(rows) == MAX_ROWS:
                break
    except csv.Error as error:
        place = Origin(str(path), reader.line_num)
        return Sample(path, problems=(Problem(f"this is not CSV: {error}", "correct the row", place),))
    columns = [_column([row[index] for row in rows]) for index in range(len(header))]
    return _table(
        path, [dict(zip(header, row, strict=True)) for row in zip(*columns, strict=True)], names=tuple(header)
    )


def _column(cells: list[str]) -> list[str | float | None]:
    """Cells as the loader takes them: a column of numbers, or of text."""
    try:
        return [float(cell) if cell else None for cell in cells]
    except ValueError:
        return [cell or None for cell in cells]


def _parquet(path: Path) -> Sample | None:
    try:
        import pyarrow as arrow  # type: ignore[import-not-found,import-untyped,unused-ignore]
        import pyarrow.parquet as parquet  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except ImportError:
        return None
    try:
        with parquet.ParquetFile(path) as file:
            batch = next(file.iter_batches(batch_size=MAX_ROWS), None)
            return _table(path, batch.to_pylist() if batch else [], names=tuple(file.schema_arrow.names))
    except arrow.ArrowInvalid as error:
        return _broken(path, f"{path} is not a Parquet file: {str(error).splitlines()[0]}", "check the file")


def _table(path: Path, rows: list[dict[str, Any]], *problems: Problem, names: tuple[str, ...] = ()) -> Sample:
    columns = dict.fromkeys(names) | {name: None for row in rows for name in row}
    if not rows and not problems:
        problems = (Problem(f"{path} holds no rows", "write at least one", Origin(str(path))),)
    return Sample(path, tuple(columns), tuple({name: row.get(name) for name in columns} for row in rows), problems)


def _broken(path: Path, message: str, remedy: str) -> Sample:
    return Sample(path, problems=(Problem(message, remedy, Origin(str(path))),))


def _place(path: Path, text: str, position: int) -> Origin:
    line = text.count("\n", 0, position) + 1
    start = text.rfind("\n", 0, position) + 1
    end = text.find("\n", start)
    return Origin(str(path), line, position - start + 1, text[start : end if end >= 0 else None][:200])
