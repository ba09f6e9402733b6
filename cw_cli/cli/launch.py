"""`cw FRAMEWORK TYPE CONFIG`: check, plan, and then print it, start it, or start and follow it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from typer.core import TyperCommand, TyperGroup

from cw_cli.cli.arguments import OverridingCommand, schema_of
from cw_cli.cli.errors import say, show_warnings
from cw_cli.cli.options import (
    Context,
    Cpu,
    Detach,
    DryRun,
    Follow,
    Gpu,
    Image,
    Local,
    Memory,
    Name,
    Namespace,
    Nodes,
    Output,
    Overrides,
    Pull,
    Queue,
)
from cw_cli.core.exceptions import UsageError
from cw_cli.core.registry import Entry

if TYPE_CHECKING:
    from cw_cli.core.overrides import Override
    from cw_cli.core.plan import Plan
    from cw_cli.core.schema import Schema


class LaunchCommand(OverridingCommand):
    """A launch, whose framework and training type are the words before CONFIG."""

    def schema(self, ctx: Any) -> Schema | None:
        return schema_of(ctx.parent.info_name, ctx.info_name)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        words = f"{ctx.parent.info_name} {ctx.info_name}"
        with formatter.section("Any key of the config"):
            formatter.write_dl([("--KEY VALUE", f"Override it, as in --learning_rate 1e-5. Keys: cw schema {words}")])


class FrameworkGroup(TyperGroup):
    """The training types of a framework. The command of one is made when it is asked for: it takes long to make all."""

    entry: Entry

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.entry.types or ())

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in self.commands and cmd_name in self.list_commands(ctx):
            self.commands[cmd_name] = launch_command(self.entry.name, cmd_name)
        return self.commands.get(cmd_name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and not args[0].startswith("-") and args[0] not in self.list_commands(ctx):
            from cw_cli.api import find_framework

            find_framework(ctx.info_name, args[0])  # raises what the framework says of it
        return super().resolve_command(ctx, args)


def framework_group(entry: Entry) -> TyperGroup:
    """The command group of a framework, with one command for each training type."""
    from cw_cli.cli.main import SETTINGS

    group = typer.Typer(
        cls=FrameworkGroup,
        rich_markup_mode=None,
        no_args_is_help=True,
        context_settings=SETTINGS,
        add_completion=False,
    )
    group.callback(help=entry.help)(lambda: None)
    made = cast(FrameworkGroup, typer.main.get_command(group))
    made.entry = entry
    return made


def launch_command(framework: str, training_type: str) -> TyperCommand:
    from cw_cli.cli.main import single_command

    text = f"Check CONFIG for {framework} {training_type}, start the run and follow it."
    brief = f"Check a config for {training_type} and start the run."
    return single_command(training_type, command, cls=LaunchCommand, help=text, short_help=brief)


def command(
    ctx: typer.Context,
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="The training config, a YAML or TOML file.")],
    gpu: Gpu = None,
    cpu: Cpu = None,
    memory: Memory = None,
    nodes: Nodes = None,
    image: Image = None,
    pull: Pull = False,
    queue: Queue = None,
    name: Name = None,
    namespace: Namespace = None,
    context: Context = None,
    set_: Overrides = None,
    services: Annotated[bool, typer.Option("--services", help="Start the services alone; they stay.")] = False,
    use_services: Annotated[
        str | None, typer.Option("--use-services", metavar="RUN", help="Train against the services of that run.")
    ] = None,
    local: Local = False,
    detach: Detach = False,
    follow: Follow = False,
    remove: Annotated[bool, typer.Option("--rm", help="With --follow: Ctrl-C cancels a run on a cluster.")] = False,
    dry_run: DryRun = None,
    output: Output = None,
) -> None:
    from cw_cli import api

    assert ctx.parent is not None
    check_dry_run(dry_run)
    from cw_cli.targets.choice import Where

    if services and use_services:
        raise UsageError("--services and --use-services say opposite things", "Keep one of them.")
    plan = api.plan(
        str(ctx.parent.info_name),
        str(ctx.info_name),
        config,
        typed_overrides(ctx, set_),
        target="local" if local else "kubernetes" if dry_run else None,
        name=name,
        namespace=namespace,
        services_only=services,
        services_of=api.find_run(use_services, Where(context, namespace))[1] if use_services else None,
        flags=ctx.meta["flags"],
    )
    start(plan, dry_run=dry_run, stay=staying(plan, detach, follow), output=output, context=context, remove=remove)


def check_dry_run(dry_run: str | None) -> None:
    """Refuse what is neither of the two ways."""
    if dry_run not in (None, "client", "server"):
        hint = "Write --dry-run, which asks nobody, or --dry-run=server, which asks the cluster."
        raise UsageError(f"--dry-run={dry_run} is not possible", hint)


def staying(plan: Plan, detach: bool, follow: bool) -> bool:
    """Whether to follow the run: a training on this machine unless told not to, anything else only when told to."""
    if detach and follow:
        raise UsageError("--detach and --follow say opposite things", "Keep one of them.")
    return follow or (plan.target == "local" and not detach and not plan.record["services_only"])


def typed_overrides(ctx: typer.Context, set_: list[str] | None) -> list[Override]:
    """What was overridden: `--set` first, so that a flag has the last word."""
    from cw_cli.core.overrides import Override

    overrides = []
    for text in set_ or []:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise UsageError(f"--set {text} is not KEY=VALUE", "Write --set learning_rate=1e-5.")
        overrides.append(Override(key, value, f"--set {text}"))
    return [*overrides, *ctx.meta["overrides"]]


def start(
    plan: Plan, *, dry_run: str | None, stay: bool, output: str | None, context: str | None = None, remove: bool = False
) -> None:
    """Print the plan, or carry it out; ends with the trainer's exit code when the run is followed."""
    from cw_cli import api
    from cw_cli.cli import report

    report.show_plan(plan, dry_run=bool(dry_run))
    if dry_run == "server":
        show_warnings(api.rehearse(plan, api.target_of(plan, context)))
        say("ok", f"the cluster takes all {len(plan.objects)} objects", "green")
    if dry_run:
        report.print_objects(plan.objects, output)
        return
    target = api.target_of(plan, context)
    show_warnings(api.check_target(plan, target))
    target.launch(plan, attached=stay)
    if not stay:
        report.show_started(plan, target.status(plan.run) if plan.target == "local" else None)
        report.print_named(plan.run, output, target)
        return
    from cw_cli.cli.follow import follow

    raise typer.Exit(follow(target, plan.run, cancel=remove or plan.target == "local"))
