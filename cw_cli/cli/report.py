"""What a launch says before, and what a verb prints of a run: summaries on stderr, data on stdout."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import typer

from cw_cli.cli.errors import echo, say, show_warnings, styled
from cw_cli.core.exceptions import UsageError

if TYPE_CHECKING:
    from cw_cli.core.plan import Manifest, Plan
    from cw_cli.core.resources import Resources
    from cw_cli.core.status import RunStatus

FORMATS = ("table", "name", "json", "yaml")


def show_plan(plan: Plan, *, dry_run: bool) -> None:
    """What will run, on stderr."""
    show_warnings(plan.warnings)
    for note in plan.notes:
        say("note", note, "cyan")
    head = "would run" if dry_run else "run"
    echo(f"{styled(head, bold=True)}      {plan.run}")
    echo(f"  what     {plan.framework} {plan.training_type}, {plan.record['config']}")
    if plan.record["schema"]:
        echo(f"  fits     {plan.record['schema']}")
    echo(f"  where    {_where(plan)}")
    for role in plan.roles:
        several = f"{role.replicas} replicas, each " if role.replicas > 1 else ""
        echo(f"  {role.name:<8} {several}{resources_in_words(role.resources)}")
    if len(plan.roles) > 1 and plan.total_gpus:
        echo(f"  in all   {plan.total_gpus} GPUs")
    if plan.target != "local":
        echo(f"  image    {plan.image}")
        echo(f"  output   {plan.output_dir}")
    if dry_run:
        kinds: dict[str, int] = {}
        for item in plan.objects:
            kinds[item["kind"]] = kinds.get(item["kind"], 0) + 1
        echo(f"  objects  {', '.join(f'{count} {kind}' for kind, count in kinds.items())}")


def _where(plan: Plan) -> str:
    if plan.target == "local":
        return "this machine"
    namespace = plan.record.get("namespace")
    return f"Kubernetes, namespace {namespace}" if namespace else "Kubernetes, the current namespace"


def resources_in_words(resources: Resources) -> str:
    """As in `2 nodes, each 4 H100 GPUs, 32 cores, 256Gi`."""
    gpu = resources.gpu or 0
    kind = f"{resources.gpu_type} " if resources.gpu_type else ""
    parts = [f"{gpu} {kind}GPU{'s' if gpu != 1 else ''}" if gpu else "no GPU"]
    parts += [f"{resources.cpu} core{'' if resources.cpu == '1' else 's'}"] if resources.cpu else []
    parts += [resources.memory] if resources.memory else []
    nodes = f"{resources.nodes} nodes, each " if resources.nodes > 1 else ""
    return nodes + ", ".join(parts)


def print_objects(objects: Sequence[Manifest], output: str | None) -> None:
    """Kubernetes objects on stdout, as `kubectl apply -f -` takes them."""
    if output == "json":
        typer.echo(json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}, indent=2))
    elif output == "name":
        for item in objects:
            typer.echo(f"{item['kind'].lower()}/{item['metadata']['name']}")
    elif output in (None, "yaml"):
        from cw_cli.core.yaml_writer import to_yaml_stream

        typer.echo(to_yaml_stream(objects), nl=False)
    else:
        raise _unknown_format(output)


def show_started(plan: Plan, status: RunStatus | None) -> None:
    """What to do next, after a launch that is not followed; a status tells where services are reached from here."""
    say("started", plan.run, "green")
    if plan.record["services_only"]:
        known = {role.role: ", ".join(role.addresses) for role in status.roles} if status else {}
        for role in plan.roles:
            inside = (role.health or role.workload).rpartition("/")[0] or role.health
            echo(f"  {role.name:<8} {known.get(role.name) or inside}")
        here = " --local" if plan.target == "local" else ""
        other = f"cw {plan.framework} {plan.training_type} CONFIG{here} --use-services {plan.run}"
        say("hint", f"Train against them: {other}. They hold their GPUs until cw delete {plan.run}.", "cyan")
        return
    say("hint", f"Follow it with cw logs {plan.run} -f; stop it with cw cancel {plan.run}.", "cyan")


def print_named(run: str, output: str | None, target: Any) -> None:
    """The run's name on stdout, or all of it as JSON or YAML."""
    if output in (None, "name"):
        typer.echo(run)
    else:
        print_data(as_data(target.status(run)), output)


def print_data(data: Any, output: str) -> None:
    """Plain data on stdout."""
    if output == "json":
        typer.echo(json.dumps(data, indent=2))
    elif output == "yaml":
        from cw_cli.core.yaml_writer import to_yaml

        typer.echo(to_yaml(data), nl=False)
    else:
        raise _unknown_format(output)


def _unknown_format(output: str) -> UsageError:
    return UsageError(f"{output} is not a format", "Write -o name, -o json or -o yaml.")


def as_data(status: RunStatus) -> dict[str, Any]:
    """A run's state as plain data: times in ISO 8601, durations in seconds, sizes in bytes."""

    def plain(value: Any) -> Any:
        if isinstance(value, datetime):
            return value.isoformat()
        if hasattr(value, "_asdict"):
            return plain(value._asdict())
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        return [plain(item) for item in value] if isinstance(value, list | tuple) else value

    data = plain(status)
    return {
        **data,
        "state": str(status.state),
        "roles": [{**role, "state": str(role["state"])} for role in data["roles"]],
    }


def age(since: datetime | None, until: datetime | None = None) -> str:
    """As in `3m` or `2d`."""
    if since is None:
        return "-"
    return duration(((until or datetime.now(UTC)) - since).total_seconds())


def duration(seconds: float) -> str:
    """As in `41s`, `3m 20s`, `5h 10m`, `2d 3h`."""
    whole = max(int(seconds), 0)
    for size, unit, small_size, small in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= size:
            rest = whole % size // small_size
            return f"{whole // size}{unit}" + (f" {rest}{small}" if rest else "")
    return f"{whole}s"


def number(value: float | None, digits: int = 4) -> str:
    """A loss or rate with so many significant digits."""
    return "-" if value is None else f"{value:.{digits}g}"


def change(first: float | None, last: float | None) -> str:
    """As in `5.9 → 0.4`; one number where there is no first."""
    return number(last) if first is None else f"{number(first)} → {number(last)}"
