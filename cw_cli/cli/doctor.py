"""`cw doctor [FRAMEWORK TYPE] [CONFIG]`: what would stop a run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cw_cli.cli.arguments import OverridingCommand, kind_of, schema_in
from cw_cli.cli.errors import show_problem
from cw_cli.cli.launch import typed_overrides
from cw_cli.cli.options import Context, Local, Namespace, Output, Overrides
from cw_cli.core.exceptions import ConfigError

if TYPE_CHECKING:
    from cw_cli.core.overrides import Override
    from cw_cli.core.plan import Plan
    from cw_cli.core.schema import Schema
    from cw_cli.targets.kubernetes.findings import Finding

COLORS = {"ok": "green", "warning": "yellow", "problem": "red", "skipped": "cyan"}


class COMMAND_CLASS(OverridingCommand):  # noqa: N801 - the name under which a verb's module offers its class
    """An examination; the keys are those of the framework that its words name."""

    def schema(self, ctx: Any) -> Schema | None:
        return schema_in(ctx.meta.get("words", ()), "doctor")


def command(
    ctx: typer.Context,
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[FRAMEWORK TYPE] [CONFIG]", help="A config, and what trains it.")
    ] = None,
    set_: Overrides = None,
    local: Local = False,
    output: Output = None,
    context: Context = None,
    namespace: Namespace = None,
) -> None:
    """Say what would stop a run, and what to do about it; ends with 1 if anything would.

    Without a config: the cluster, the namespace and your rights. With one: everything this run needs as well.
    Nothing is changed.
    """
    from cw_cli.cli import report

    given = words or []
    kind = kind_of(given) if given else None
    plan, invalid = (
        _plan(ctx, kind, Path(given[-1]), typed_overrides(ctx, set_), local, namespace) if kind else (None, None)
    )
    findings = []
    for finding in [*_taken_for(kind, given), *_examine(plan, local, context, namespace)]:
        findings.append(finding)
        if output is None:
            _print(finding)
    if invalid is not None:
        findings.append(_invalid(invalid))
        if output is None:
            _print(findings[-1])
            for problem in invalid.problems:
                show_problem(problem)
    elif plan is not None:
        findings += (checked := _checked(plan))
        for finding in checked if output is None else ():
            _print(finding)
    if output is not None:
        report.print_data([finding._asdict() for finding in findings], output)
    raise typer.Exit(int(any(finding.level == "problem" for finding in findings)))


def _plan(
    ctx: typer.Context,
    kind: tuple[str, str],
    config: Path,
    overrides: list[Override],
    local: bool,
    namespace: str | None,
) -> tuple[Plan | None, ConfigError | None]:
    """The plan, or everything that is wrong with the config."""
    from cw_cli import api

    target = "local" if local else None
    try:
        plan = api.plan(*kind, config, overrides, target=target, namespace=namespace, flags=ctx.meta["flags"])
        return plan, None
    except ConfigError as error:
        return None, error


def _taken_for(kind: tuple[str, str] | None, given: list[str]) -> Iterator[Finding]:
    """What a config that came alone was taken for."""
    from cw_cli.targets.kubernetes.findings import ok

    if kind is not None and len(given) == 1:
        name, training_type = kind
        yield ok("config", f"{given[0]} is taken for one of `cw {name} {training_type}`, which knows most of its keys")


def _examine(plan: Plan | None, local: bool, context: str | None, namespace: str | None) -> Iterator[Finding]:
    """Findings about the place where runs go."""
    from cw_cli.targets.choice import has_cluster
    from cw_cli.targets.kubernetes.findings import Finding, ok

    if local or (plan is not None and plan.target == "local"):
        yield ok("target", "the run starts on this machine")
        if plan is not None:
            from cw_cli.api import target_of

            problems = target_of(plan).check(plan)
            for item in problems:
                yield Finding(
                    "machine", "problem" if item.severity == "error" else "warning", item.message, item.remedy
                )
            if not problems:
                yield ok("machine", "this machine has what the run needs")
    elif not has_cluster() and context is None:
        yield ok("target", "there is no kubeconfig, so runs start on this machine")
    else:
        from cw_cli.cli.cluster import open_cluster
        from cw_cli.targets.kubernetes.doctor import examine

        yield from examine(open_cluster(context, namespace).connection, plan)


def _invalid(error: ConfigError) -> Finding:
    from cw_cli.targets.kubernetes.findings import problem

    return problem("config", error.message.partition(";")[0], "; ".join(item.message for item in error.problems))


def _checked(plan: Plan) -> list[Finding]:
    from cw_cli.targets.kubernetes.findings import ok, warning

    said = [warning("config", f"{item.origin}: {item.message}", item.remedy) for item in plan.warnings]
    return [*said, ok("config", f"{plan.record['config']} is a valid {plan.framework} {plan.training_type} config")]


def _print(finding: Finding) -> None:
    """One line, and the remedy under it; in color on a terminal."""
    import os
    import sys

    plain = not sys.stdout.isatty() or "NO_COLOR" in os.environ
    level = f"{finding.level:<8}" if plain else typer.style(f"{finding.level:<8}", fg=COLORS[finding.level])
    typer.echo(f"{level} {finding.check}: {finding.sentence}")
    if finding.remedy and finding.level != "ok":
        typer.echo(f"         → {finding.remedy}")
