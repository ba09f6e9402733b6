"""Every framework with where it comes from and whether it can be used."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import NamedTuple

from cw_cli.core.plugins.discovery import Discovered, remember
from cw_cli.core.plugins.places import Place
from cw_cli.core.plugins.words import Words
from cw_cli.core.registry import BUILT_IN, FrameworkRegistry
from cw_cli.workshop.probe import SLOW, Answer, ask


class Listed(NamedTuple):
    """One plugin, as `cw plugins` shows it."""

    name: str
    version: str
    source: str
    """The folder, the package, or `cw`."""
    framework: str
    """Name of its class."""
    types: tuple[str, ...]
    state: str
    """`ready`, or what is wrong in a word, the details in `problem`."""
    description: str = ""
    problem: str = ""


def listed(verbs: Collection[str]) -> Iterator[Listed]:
    """Built-in frameworks, then plugins. `verbs` are names that no plugin can have."""
    registry = FrameworkRegistry()
    plugins = registry.plugins
    built_in = [Discovered(registry.built_in_place(name), Words(name)) for name in BUILT_IN]
    answers = ask([item.place for item in (*built_in, *plugins)])
    rows = [_row(item, answer) for item, answer in zip((*built_in, *plugins), answers, strict=True)]
    for number, (row, item, answer) in enumerate(zip(rows, (*built_in, *plugins), answers, strict=True)):
        if number < len(built_in):
            yield row._replace(source="cw")
            continue
        if answer.words is not None:
            remember(item.place, answer.words)
        same = [other.source for other in rows[len(built_in) :] if other.name == row.name and other is not row]
        yield _placed(row, same, registry, verbs)


def _row(item: Discovered, answer: Answer) -> Listed:
    words = answer.words or item.words
    state, problem = "ready", ""
    if answer.error:
        state, problem = "broken", f"{answer.error}. {answer.hint}"
    elif answer.seconds > SLOW:
        state, problem = "slow", f"loading the plugin {words.name} takes {answer.seconds:.1f} s at each of its commands"
    elif answer.prints:
        state, problem = "prints", f"the plugin {words.name} prints when it is loaded"
    return Listed(
        name=words.name or item.command,
        version=words.version or "",
        source=str(item.place),
        framework=answer.framework,
        types=words.types or (),
        state=state,
        description=words.description or "",
        problem=problem,
    )


def _placed(row: Listed, same: list[str], registry: FrameworkRegistry, verbs: Collection[str]) -> Listed:
    """The row, refused where its name is somebody else's."""
    if row.name in verbs:
        return row._replace(state="refused", problem=f"{row.source}: cw {row.name} is a command of cw itself")
    if same:
        return row._replace(state="refused", problem=f"{row.name} is also the name of the plugin in {', '.join(same)}")
    if row.name in BUILT_IN and not registry.replaces(row.name):
        remedy = f"to let it take that place, write `plugins: {{replace: [{row.name}]}}` into the settings (cw config)"
        return row._replace(state="refused", problem=f"{row.source}: {row.name} is built in; {remedy}")
    return row


def place_of(name: str) -> Place | None:
    """Where the plugin called `name` lies, or the one in a folder of that name."""
    plugins = FrameworkRegistry().plugins
    named = [item.place for item in plugins if item.command == name]
    return next(iter([*named, *(item.place for item in plugins if item.place.name == name)]), None)
