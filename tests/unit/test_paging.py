"""Lists that come page by page."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from cw_cli.targets.kubernetes.paging import pages


def page(items: list[Any], token: str = "") -> bytes:
    head = {"resourceVersion": "7", **({"continue": token, "remainingItemCount": 1} if token else {})}
    text = json.dumps({"kind": "JobList", "metadata": head, "items": items}, separators=(",", ":"))
    return text.encode()


def server(answers: dict[str, bytes]) -> tuple[list[str], Callable[[str], bytes]]:
    asked: list[str] = []

    def ask(token: str) -> bytes:
        asked.append(token)
        return answers[token]

    return asked, ask


def test_all_pages_come_in_their_order() -> None:
    asked, ask = server({"": page([1], "a="), "a=": page([2], "b"), "b": page([3])})
    assert [item for answer in pages(ask, json.loads) for item in answer["items"]] == [1, 2, 3]
    assert asked == ["", "a=", "b"]


def test_the_next_page_is_asked_for_before_this_one_was_read() -> None:
    asked, ask = server({"": page([1], "a"), "a": page([2])})
    reading = pages(ask, json.loads)
    next(reading)
    assert [answer["items"] for answer in reading] == [[2]]
    assert asked == ["", "a"]


def test_a_token_in_an_item_is_none() -> None:
    asked, ask = server({"": page([{"metadata": {"labels": {"continue": "x"}}}])})
    assert len(list(pages(ask, json.loads))) == 1
    assert asked == [""]


def test_metadata_that_comes_last_is_read_too() -> None:
    first = b'{"items":[{}],"metadata":{"continue":"a"}}'
    asked, ask = server({"": first, "a": page([2])})
    assert len(list(pages(ask, json.loads))) == 2
    assert asked == ["", "a"]


def test_an_error_comes_where_its_page_would() -> None:
    _, ask = server({"": page([1], "a")})
    reading = pages(ask, json.loads)
    assert next(reading)["items"] == [1]
    with pytest.raises(KeyError):
        next(reading)


@pytest.mark.parametrize("path", ["/plain", "/with]bracket", '/with"quote'])
def test_what_is_not_read_is_left_out_and_nothing_else(path: str) -> None:
    managed = [{"fieldsV1": {f'k:{{"mountPath":"{path}"}}': {}}}]
    item = {"metadata": {"name": "a", "managedFields": managed}, "spec": {"list": [1, 2]}}
    _, ask = server({"": page([item])})
    (answer,) = pages(ask, json.loads)
    assert answer["items"][0]["spec"] == {"list": [1, 2]}
    assert answer["items"][0]["metadata"]["name"] == "a"
