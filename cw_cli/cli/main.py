"""The root command: which verbs and frameworks there are, each imported only when it is called."""

from __future__ import annotations

from functools import cached_property
from importlib import import_module
from typing import Annotated, Any, cast

import typer
from typer.core import TyperCommand, TyperGroup

from cw_cli.cli.errors import boundary, say
from cw_cli.core.exceptions import PluginError, UsageError
from cw_cli.core.registry import Entry, FrameworkRegistry

RUNS = {
    "list": ("runs_list", "List runs: state, age, progress, loss."),
    "describe": ("describe", "Show all that is known of a run."),
    "logs": ("logs", "Print a run's log; -f follows it."),
    "why": ("why", "Say why a run is in its state and what to do."),
    "wait": ("wait", "Wait for a run to end and take over its exit code."),
    "cancel": ("cancel", "Stop a run; its log and record stay."),
    "delete": ("delete", "Stop runs and forget them."),
    "restart": ("restart", "Start a service of a run anew."),
    "scale": ("scale", "Change how many replicas a service of a run has."),
    "rerun": ("rerun", "Launch a run again, with changes if you like."),
    "diff": ("diff", "Show what a config would change of a run."),
    "shell": ("shell", "Open a shell, or run a command, in a run's container."),
    "cp": ("cp", "Copy files out of a run's container, or into it."),
    "port-forward": ("port_forward", "Reach a port of a run's container on this machine."),
}
CLUSTER = {
    "doctor": ("doctor", "Say what would stop a run, and what to do about it."),
    "gpu": ("gpu", "Show free and used GPUs, and who uses them."),
    "nodes": ("nodes", "List nodes and what is free on them."),
    "jobs": ("jobs", "List the Jobs of the namespace."),
    "pods": ("pods", "List the pods of runs."),
    "rbac": ("rbac", "Print the exact rights that cw needs."),
}
CONFIGS = {
    "init": ("init", "Print a commented config to begin with."),
    "validate": ("validate", "Check a config without starting anything."),
    "schema": ("schema", "Show every key of a config."),
    "config": ("settings", "Show your defaults and where they come from."),
    "images": ("images", "List the images of frameworks; build one of cw's own."),
    "plugins": ("plugins", "List plugins; make, check, install and remove them."),
    "version": ("version", "Print versions."),
}
VERBS = {**RUNS, **CLUSTER, **CONFIGS}
"""Verb, its module in this folder, its line of help."""

SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


class RootGroup(TyperGroup):
    """All commands of cw."""

    @cached_property
    def registry(self) -> FrameworkRegistry:
        return FrameworkRegistry()

    def frameworks(self) -> list[Entry]:
        """Those that a command can name; a plugin cannot be called as a verb is."""
        return [entry for entry in self.registry.entries() if entry.name not in VERBS]

    def list_commands(self, ctx: Any) -> list[str]:
        return [*(entry.name for entry in self.frameworks()), *VERBS]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        # It is asked for twice, and takes long to make.
        if cmd_name not in self.commands and (made := self.make_command(ctx, cmd_name)) is not None:
            self.commands[cmd_name] = made
        return self.commands.get(cmd_name)

    def make_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name in VERBS:
            return verb_command(cmd_name)
        try:
            entry = self.registry.entry(cmd_name)
        except PluginError:
            if ctx.resilient_parsing:  # completing a command line is no time for errors
                return None
            raise
        return import_module("cw_cli.cli.launch").framework_group(entry) if entry else None

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Train"):
            formatter.write_dl([(f"{entry.name} TYPE CONFIG", entry.help) for entry in self.frameworks()])
        for title, verbs in (("Runs", RUNS), ("The cluster", CLUSTER), ("Configs", CONFIGS)):
            with formatter.section(title):
                formatter.write_dl([(name, text) for name, (_, text) in verbs.items()])

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and not args[0].startswith("-") and args[0] not in VERBS and self.get_command(ctx, args[0]) is None:
            raise _unknown_command(args[0], self.list_commands(ctx), self.registry.unread())
        for place in (place for word in args for place in self.registry.refused(word)):
            say("warning", f"the plugin in {place} is called like a built-in framework, which is used", "yellow")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        with boundary():
            return super().invoke(ctx)


def verb_command(name: str) -> TyperCommand:
    """The command of a verb: its module's function, or its `app` where there are several."""
    module = import_module(f"cw_cli.cli.{VERBS[name][0]}")
    if hasattr(module, "app"):
        return cast(TyperCommand, typer.main.get_command(module.app))
    options = {"cls": module.COMMAND_CLASS} if hasattr(module, "COMMAND_CLASS") else {}
    return single_command(name, module.command, help=module.command.__doc__, **options)


def single_command(name: str, function: Any, **how: Any) -> TyperCommand:
    """The command that calls `function`, by itself."""
    single = typer.Typer(add_completion=False, rich_markup_mode=None, context_settings=SETTINGS)
    single.command(name, context_settings=SETTINGS, **how)(function)
    return cast(TyperCommand, typer.main.get_command(single))


def _unknown_command(name: str, names: list[str], unread: list[str]) -> Exception:
    from cw_cli.core.plugins.places import disabled
    from cw_cli.core.spelling import nearest

    near = nearest(name, names)
    hint = f"Did you mean cw {near}?" if near else "See cw --help."
    if disabled() and not near:
        hint += " Plugins are left out, because CW_DISABLE_PLUGINS is set."
    if unread and not near:
        hint += f" Plugins that cannot be read may hold it: {', '.join(unread)}; see cw plugins."
    return UsageError(f"there is no command {name}", hint)


def _version(value: bool) -> None:
    if value:
        import cw_cli

        typer.echo(f"cw {cw_cli.__version__}")
        raise typer.Exit


app = typer.Typer(
    cls=RootGroup,
    name="cw",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings=SETTINGS,
)


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """From a training YAML to a healthy run, on your cluster or on this machine.

    Every mistake in the config is reported before anything starts.
    """


def main() -> None:
    """The entry point `cw`."""
    app(prog_name="cw")


if __name__ == "__main__":
    main()
