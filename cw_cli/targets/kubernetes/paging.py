"""Lists that come page by page, the next page on its way while this one is read."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

# Who set which field: half of an object's text, and nobody here asks.
_MANAGED_FIELDS = re.compile(rb',"managedFields":\[[^\]]*\]')
_CONTINUE = re.compile(rb'"continue":("[^"]+")')


def pages(ask: Callable[[str], bytes], parse: Callable[[bytes], Any]) -> Iterator[Any]:
    """Every page of a list, parsed. `ask` gets a page from the server by the token of the page before, "" at first."""
    data = ask("")
    while True:
        # Known before the page is parsed, so that the server works meanwhile.
        coming = _Coming(ask, token) if (token := _continuation(data)) else None
        page = _parsed(data, parse)
        del data
        token = token or page["metadata"].get("continue") or ""
        yield page
        del page
        if not token:
            return
        data = coming.answer() if coming else ask(token)


def _parsed(data: bytes, parse: Callable[[bytes], Any]) -> Any:
    try:
        return json.loads(_MANAGED_FIELDS.sub(b"", data))
    except ValueError:  # a bracket in one of those fields
        return parse(data)


def _continuation(data: bytes) -> str:
    """The token in the head of a page; "" where there is none, or where it does not stand in front of the items."""
    found = _CONTINUE.search(data, 0, data.find(b"}"))
    return str(json.loads(found[1])) if found else ""


class _Coming:
    """A page that a thread waits for."""

    def __init__(self, ask: Callable[[str], bytes], token: str) -> None:
        self.data = b""
        self.error: Exception | None = None
        self.thread = threading.Thread(target=self._ask, args=(ask, token), daemon=True)
        self.thread.start()

    def answer(self) -> bytes:
        self.thread.join()
        if self.error is not None:
            raise self.error
        return self.data

    def _ask(self, ask: Callable[[str], bytes], token: str) -> None:
        try:
            self.data = ask(token)
        except Exception as error:  # it is raised where the page is asked for
            self.error = error
