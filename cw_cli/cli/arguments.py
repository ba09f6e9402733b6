"""What the command line leaves over: `--key value` for any key of the framework, told apart from misspelt flags."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from typer.core import TyperCommand

from cw_cli.core.exceptions import UsageError

# Help needs no YAML.
if TYPE_CHECKING:
    from cw_cli.core.overrides import Override
    from cw_cli.core.schema import Schema

LAUNCH_KEYS = ("gpu", "cpu", "memory", "nodes", "image", "pull", "queue")
"""cw's keys that have a flag of their own in `--help`; on the way in they are overrides like any other."""

_BOOLEANS = ("true", "false", "yes", "no", "on", "off")


class OverridingCommand(TyperCommand):
    """A command that also takes `--key value`, `--key=value` and `--set a.b=c` for every key of a schema.

    The overrides are found in `ctx.meta["overrides"]`, in the order in which they were typed; all that was typed in
    `ctx.meta["words"]`.
    """

    def schema(self, ctx: Any) -> Schema | None:
        """The keys that may be overridden; asked for only when some flag is not the command's own."""
        return None

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        ctx.meta["words"] = tuple(args)
        splitter = _Splitter(self._flags(ctx), lambda: self.schema(ctx))
        own = list(splitter.split(args))
        ctx.meta["overrides"] = splitter.overrides
        ctx.meta["flags"] = [flag.lstrip("-") for flag in splitter.flags if flag.startswith("--")]
        return super().parse_args(ctx, own)

    def _flags(self, ctx: Any) -> dict[str, bool]:
        """Every flag of the command, and whether it takes a value."""
        return {
            name: not getattr(parameter, "is_flag", False) and not getattr(parameter, "count", False)
            for parameter in self.get_params(ctx)
            for name in [*parameter.opts, *parameter.secondary_opts]
            if name.startswith("-")
        }

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        found = super().shell_complete(ctx, incomplete)
        schema = self.schema(ctx) if incomplete.startswith("--") and len(incomplete) > 2 else None
        if schema is not None:
            from typer._click.shell_completion import CompletionItem

            names = [name for name in schema.names() if f"--{name}".startswith(incomplete)]
            found += [CompletionItem(f"--{name}") for name in names]
        return found


def schema_of(framework: str, training_type: str) -> Schema | None:
    """The keys of a framework, as they were asked for by name."""
    from cw_cli.api import find_framework

    found, kind = find_framework(framework, training_type)
    schema: Schema | None = found.get_schema(kind)
    return schema


def kind_of(words: Sequence[str]) -> tuple[str, str]:
    """Framework and training type that stand before a config, or those that it looks like when it comes alone.

    Raises `UsageError` for other words, and `ConfigError` for a file that cannot be read.
    """
    from pathlib import Path

    if len(words) == 3:
        return words[0], words[1]
    if len(words) != 1:
        raise UsageError(f"{' '.join(words)} is not a config", "Write trl sft config.yaml, or config.yaml alone.")
    # The list of verbs and `--help` need no YAML.
    from cw_cli.core.guess import likely_kind

    return likely_kind(Path(words[0]))


def schema_in(words: Sequence[str], verb: str) -> Schema | None:
    """The keys of the framework that is named among all that was typed, or that a config among it looks like."""
    import itertools
    from pathlib import Path

    from cw_cli.core.registry import FrameworkRegistry

    known = FrameworkRegistry().names()
    named = [pair for pair in itertools.pairwise(words) if pair[0] in known]
    files = [word for word in words if Path(word).is_file()]
    if not named and not files:
        raise UsageError(
            "a key of a config is set, and no config is named", f"Write cw {verb} config.yaml --key value."
        )
    return schema_of(*(named[0] if named else kind_of(files[:1])))


class _Splitter:
    """Takes the overrides out of the arguments."""

    def __init__(self, flags: dict[str, bool], schema: Callable[[], Schema | None]) -> None:
        self.flags = flags
        self.schema = schema
        self.overrides: list[Override] = []

    def split(self, args: list[str]) -> Iterator[str]:
        """The arguments that are the command's own."""
        rest = list(args)
        while rest:
            argument = rest.pop(0)
            if argument == "--":
                yield from [argument, *rest]
                return
            flag, equals, value = argument.partition("=")
            if not argument.startswith("--"):
                yield argument
                if self.flags.get(argument) and rest:
                    yield rest.pop(0)
            elif flag == "--dry-run":
                yield f"--dry-run={value or 'client'}"
            elif flag.removeprefix("--") in LAUNCH_KEYS and flag in self.flags:
                self.take(flag, value if equals else None, rest)
            elif flag in self.flags:
                yield argument
                if self.flags[flag] and not equals and rest:
                    yield rest.pop(0)
            else:
                self.take(flag, value if equals else None, rest)

    def take(self, flag: str, value: str | None, rest: list[str]) -> None:
        """Read the override that begins with `flag`."""
        from cw_cli.core.overrides import Override

        key = flag.removeprefix("--")
        shown = flag if value is None else f"{flag}={value}"
        head, _, tail = key.partition(".")
        head = head.replace("-", "_")
        key = f"{head}.{tail}" if tail else head
        if value is None:
            key, value = self.value_of(key, rest)
            shown = f"{flag} {value}" if value else flag
        self.overrides.append(Override(key, value, shown))

    def value_of(self, key: str, rest: list[str]) -> tuple[str, str]:
        """The key and its value, from the following argument unless the key is a switch: `--bf16`, `--no_packing`."""
        following = rest[0] if rest and not rest[0].startswith("--") else None
        if self.is_switch(key) and (following is None or following.lower() not in _BOOLEANS):
            return key, "true"
        if key.startswith("no_") and self.is_switch(key.removeprefix("no_")) and not self.is_switch(key):
            return key.removeprefix("no_"), "false"
        if following is None:
            return key, ""
        return key, rest.pop(0)

    def is_switch(self, key: str) -> bool:
        if key == "pull":
            return True
        schema = self.schema()
        found = schema.key(key) if schema is not None else None
        return found is not None and found.types[:1] == ("boolean",)
