"""The first rows of data files, and the splits of a folder."""

import gzip
import importlib
import importlib.util
import json
import time

import pytest

from cw_cli.core.datasets import MAX_BYTES, MAX_ROWS, kind, sample
from cw_cli.core.splits import saved_to_disk, splits


def lines(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def written(folder, name, text):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("value", "word"),
    [
        ("hi", "text"),
        (5, "number"),
        (True, "boolean"),
        ({"a": 1}, "mapping"),
        ([], "list"),
        ([1, 2], "tokens"),
        ([1, "a"], "list"),
        ([{"role": "user", "content": "hi"}], "messages"),
        ([{"from": "human", "value": "hi"}], "turns"),
        ([{"a": 1}], "mappings"),
    ],
)
def test_kinds(value, word):
    assert kind(value) == word


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.jsonl", lines({"text": "x"}, {"text": "y", "n": 1})),
        ("a.json", json.dumps([{"text": "x"}, {"text": "y", "n": 1}], indent=2)),
        ("a.json", lines({"text": "x"}, {"text": "y", "n": 1})),
        ("a.jsonl", "\n" + lines({"text": "x"}) + "\n\n" + lines({"text": "y", "n": 1}).strip()),
        ("a.jsonl", "\ufeff" + lines({"text": "x"}, {"text": "y", "n": 1})),
        ("a.csv", "text,n\nx,\ny,1\n"),
        ("a.tsv", "text\tn\nx\t\ny\t1\n"),
    ],
)
def test_rows_of_each_format(tmp_path, name, text):
    found = sample(written(tmp_path, name, text))
    assert found.problems == ()
    assert found.columns == ("text", "n")
    assert [dict(row) for row in found.rows] == [{"text": "x", "n": None}, {"text": "y", "n": 1}]
    assert found.kinds("text") == {"text"}
    assert found.kinds("n") == {"number"}


def test_compressed_files(tmp_path):
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(lines({"text": "x"}).encode()))
    assert sample(path).columns == ("text",)
    path.write_bytes(b"not gzip")
    assert "cannot be read" in sample(path).problems[0].message


def test_lines_of_text(tmp_path):
    assert sample(written(tmp_path, "a.txt", "one\ntwo\n")).rows == ({"text": "one"}, {"text": "two"})


def test_the_format_can_be_said(tmp_path):
    path = written(tmp_path, "rows.data", lines({"text": "x"}))
    assert sample(path) is None
    assert sample(path, "json").columns == ("text",)


@pytest.mark.parametrize(
    ("name", "text", "line", "words"),
    [
        ("a.jsonl", '{"text": "a"}\n{"text": \n{"text": "c"}\n', 2, "not JSON"),
        ("a.jsonl", '{"text": "a"}\n{"text": "b"} {"text": "c"}\n', 2, "Extra data"),
        ("a.jsonl", '{"text": "a"}\n["b"]\n', 2, "not a JSON object"),
        ("a.json", '[{"text": "a"},\n {"text": "b"}\n {"text": "c"}]', 3, "comma"),
        ("a.json", '[{"text": "a"},\n {"text": }]', 2, "not JSON"),
        ("a.json", '[{"text": "a"}', 1, "comma"),
        ("a.csv", "a,b\n1,2\n1,2,3\n", 3, "3 cells"),
    ],
)
def test_a_broken_row_is_told_with_its_line(tmp_path, name, text, line, words):
    (problem,) = sample(written(tmp_path, name, text)).problems
    assert words in problem.message
    assert problem.origin.source == str(tmp_path / name)
    assert problem.origin.line == line


@pytest.mark.parametrize(("name", "text"), [("a.jsonl", ""), ("a.json", "[]"), ("a.csv", "a,b\n"), ("a.csv", "")])
def test_no_rows_is_a_problem(tmp_path, name, text):
    assert "holds no rows" in sample(written(tmp_path, name, text)).problems[0].message


def test_one_object_over_several_lines_is_left_to_the_loader(tmp_path):
    assert sample(written(tmp_path, "a.json", json.dumps({"data": [{"text": "x"}]}, indent=1))) is None


def test_deep_nesting_and_binary_data_are_problems(tmp_path):
    assert sample(written(tmp_path, "a.jsonl", '{"a": ' + "[" * 100_000)).problems
    path = tmp_path / "b.jsonl"
    path.write_bytes(b"\xff\xfe\x00")
    assert "not UTF-8" in sample(path).problems[0].message
    assert "cannot be read" in sample(tmp_path / "nothing.jsonl").problems[0].message


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv"])
def test_a_big_file_is_quick(tmp_path, name):
    row = {"text": "ä" * 500}
    count = 12_000
    if name == "a.json":
        text = json.dumps([row] * count, ensure_ascii=False)
    else:
        text = "text\n" + (row["text"] + "\n") * count if name == "a.csv" else lines(row) * count
    path = written(tmp_path, name, text)
    assert path.stat().st_size > 10 * MAX_BYTES
    start = time.perf_counter()
    found = sample(path)
    assert time.perf_counter() - start < 1
    assert found.problems == ()
    assert len(found.rows) == MAX_ROWS


def test_one_enormous_row_is_no_problem_of_its_text(tmp_path):
    found = sample(written(tmp_path, "a.jsonl", lines({"text": "x" * 2 * MAX_BYTES})))
    assert [problem.message for problem in found.problems if "not JSON" in problem.message] == []


@pytest.mark.skipif(importlib.util.find_spec("pyarrow") is None, reason="pyarrow is not installed")
def test_parquet(tmp_path):
    arrow, parquet = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    path = tmp_path / "a.parquet"
    parquet.write_table(arrow.Table.from_pylist([{"messages": [{"role": "user", "content": "hi"}]}] * 50), path)
    found = sample(path)
    assert found.kinds("messages") == {"messages"}
    assert len(found.rows) == MAX_ROWS
    path.write_bytes(b"nothing")
    assert "not a Parquet file" in sample(path).problems[0].message


def test_parquet_is_not_checked_without_pyarrow(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    assert sample(written(tmp_path, "a.parquet", "")) is None


FOLDERS = [
    (["a.jsonl", "b.jsonl"], {"train": 2}),
    (["train.jsonl", "test.jsonl"], {"train": 1, "test": 1}),
    (["train.jsonl", "eval.jsonl", "extra.jsonl"], {"train": 1, "test": 1}),
    (["train/a.jsonl", "test/a.jsonl"], {"train": 1, "test": 1}),
    (["data/train-00000-of-00001.jsonl", "data/foo-00000-of-00001.jsonl"], {"train": 1, "foo": 1}),
    (["my_train_v2.jsonl", "dev-set.jsonl"], {"train": 1, "validation": 1}),
    (["test.jsonl"], {"test": 1}),
    (["sub/x.jsonl"], {"train": 1}),
    (["training.jsonl", "latest.jsonl", "test2.jsonl"], {"train": 1, "test": 1}),
    (["train.jsonl", "test/a.jsonl"], {"test": 1}),
    (["x.jsonl", "README.md", "notes.md"], {"train": 1}),
    (["x.csv", "y.jsonl"], {"train": 1}),
    (["x.csv", "y.csv", "z.jsonl"], {"train": 2}),
    (["Train.jsonl"], {"train": 1}),
    ([".hidden.jsonl", "__cache__/a.jsonl"], {}),
    (["notes"], {}),
]


def filled(folder, files):
    for name in files:
        text = "text\nx\n" if name.endswith("csv") else lines({"text": "x"}) if name.endswith("jsonl") else "x"
        written(folder, name, text)
    return folder


@pytest.mark.parametrize(("files", "expected"), FOLDERS)
def test_splits_of_a_folder(tmp_path, files, expected):
    found = splits(filled(tmp_path, files))
    assert {split: len(items) for split, items in found.items()} == expected


@pytest.mark.skipif(importlib.util.find_spec("datasets") is None, reason="the train extra is not installed")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("files", "expected"), FOLDERS)
def test_the_loader_sees_the_same_splits(tmp_path, files, expected):
    datasets = importlib.import_module("datasets")
    folder = filled(tmp_path / "data", files)
    if not expected:
        with pytest.raises(FileNotFoundError):
            datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))
        return
    found = datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))
    assert {split: rows.num_rows for split, rows in found.items()} == expected


@pytest.mark.parametrize("files", [["a.png", "b.png"], ["a.png", "metadata.jsonl"], [".huggingface.yaml", "a.jsonl"]])
def test_what_only_the_loader_can_tell(tmp_path, files):
    assert splits(filled(tmp_path, files)) is None


def test_a_folder_that_says_its_splits_is_left_to_the_loader(tmp_path):
    filled(tmp_path, ["a.jsonl"])
    written(tmp_path, "README.md", "---\nconfigs:\n- config_name: default\n  data_files: a.jsonl\n---\n")
    assert splits(tmp_path) is None


def test_a_folder_of_save_to_disk_is_known(tmp_path):
    assert not saved_to_disk(tmp_path)
    written(tmp_path, "state.json", "{}")
    assert saved_to_disk(tmp_path)
