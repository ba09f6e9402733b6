"""`cw plugins`: which plugins there are; `new`, `check`, `install` and `remove`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from cw_cli.cli.errors import say, show_problem
from cw_cli.cli.options import Context, Namespace, Output
from cw_cli.cli.tables import Column, print_records
from cw_cli.core.exceptions import UsageError

COLORS = {"ok": "green", "warning": "yellow", "problem": "red"}

app = typer.Typer(add_completion=False, rich_markup_mode=None, context_settings={"help_option_names": ["-h", "--help"]})


@app.callback(invoke_without_command=True)
def command(ctx: typer.Context, output: Output = None) -> None:
    """List frameworks, built in and plugins: version, where from, types, state. Each is loaded once, in a process of
    its own.

    A plugin is a folder in ~/.cw-cli/plugins (or one that CW_PLUGINS or the settings name), or an installed package.
    """
    if ctx.invoked_subcommand is not None:
        return
    from cw_cli.cli.main import VERBS
    from cw_cli.core.plugins.places import disabled
    from cw_cli.workshop.listing import listed

    rows = list(listed(VERBS))
    records: list[dict[str, Any]] = [{**row._asdict(), "types": list(row.types)} for row in rows]
    columns = [
        Column("NAME", lambda row: row["name"]),
        Column("VERSION", lambda row: row["version"]),
        Column("STATE", lambda row: row["state"]),
        Column("TYPES", lambda row: ", ".join(row["types"])),
        Column("FRAMEWORK", lambda row: row["framework"]),
        Column("FROM", lambda row: row["source"]),
    ]
    print_records(records, columns, output)
    for row in rows:
        if row.problem:
            say(row.state, row.problem, "yellow" if row.state in ("slow", "prints") else "red")
    if disabled():
        say("note", "CW_DISABLE_PLUGINS is set, so plugins are left out", "cyan")


@app.command()
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The command of the new framework, as in my-trainer.")],
    folder: Annotated[Path, typer.Option("--in", metavar="FOLDER", help="Where its folder goes.")] = Path(),
) -> None:
    """Write a plugin that works: a framework with a template, a schema, a recipe and a test."""
    from cw_cli.workshop.scaffold import new_plugin

    written = new_plugin(name, folder)
    say("written", f"{written}", "green")
    say("hint", f"Next: cw plugins check {written} and cw plugins install {written}", "cyan")
    typer.echo(written)


@app.command()
def check(
    path: Annotated[str, typer.Argument(metavar="PATH|NAME", help="A plugin's folder, or the name of one.")],
    config: Annotated[Path | None, typer.Option("--config", metavar="FILE", help="A config to try.")] = None,
    context: Context = None,
    namespace: Namespace = None,
) -> None:
    """Hold a plugin to its contract: every method, every type, each template rendered twice.

    Where there is a cluster it is asked whether it would take the objects; nothing is kept there.
    """
    from cw_cli.api import settled
    from cw_cli.core.plugins.places import Place
    from cw_cli.targets.choice import Where
    from cw_cli.workshop.check import check as findings
    from cw_cli.workshop.listing import place_of

    folder = Path(path).expanduser()
    place = Place(folder.resolve().name, str(folder.absolute())) if folder.is_dir() else place_of(path)
    if place is None:
        raise UsageError(f"{path} is no folder and no plugin", "Name a plugin's folder, or one of `cw plugins`.")
    default, wrong = settled(), False
    for finding in findings(place, config, Where(context or default.context, namespace or default.namespace)):
        say(finding.level, finding.message, COLORS[finding.level])
        for problem in finding.problems:
            show_problem(problem)
        if finding.hint:
            say("hint", finding.hint, "cyan")
        wrong = wrong or finding.level == "problem"
    raise typer.Exit(int(wrong))


@app.command()
def install(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE|PATH", help="A folder, a .zip or .tar.gz file, or a git repository.")
    ],
    replace: Annotated[bool, typer.Option("--replace", help="Take the place of an older copy.")] = False,
) -> None:
    """Copy a plugin to where cw finds it. Its code runs on this machine from now on: look at it first."""
    from cw_cli.cli.main import VERBS
    from cw_cli.workshop.install import install as installed

    name, folder = installed(source, VERBS, replace=replace)
    say("installed", f"{name} in {folder}; see cw {name} --help", "green")


@app.command()
def remove(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A plugin that cw plugins install put there.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete a plugin's folder from ~/.cw-cli/plugins; runs of it stay."""
    from cw_cli.workshop.install import remove as removed

    if not yes and sys.stdin.isatty():
        typer.confirm(f"Delete the plugin {name}?", abort=True, err=True)
    say("removed", f"{removed(name)}", "yellow")
