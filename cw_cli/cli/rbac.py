"""`cw rbac`: the rights that cw needs, ready to apply."""

from __future__ import annotations

from typing import Annotated

import typer

from cw_cli.cli import report
from cw_cli.cli.errors import say
from cw_cli.cli.options import Context, Namespace
from cw_cli.core.exceptions import UsageError

PLACEHOLDER = "REPLACE-WITH-A-USER"

Names = list[str] | None


def command(
    users: Annotated[Names, typer.Option("--user", metavar="NAME", help="Who gets them; may be repeated.")] = None,
    groups: Annotated[Names, typer.Option("--group", metavar="NAME", help="A group that gets them.")] = None,
    accounts: Annotated[
        Names, typer.Option("--serviceaccount", metavar="[NAMESPACE:]NAME", help="A service account that gets them.")
    ] = None,
    with_nodes: Annotated[
        bool, typer.Option("--with-nodes", help="Also a ClusterRole that lets cw nodes and cw gpu see nodes.")
    ] = False,
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="FORMAT", help="yaml, json, name; wide tells the reasons.")
    ] = None,
    context: Context = None,
    namespace: Namespace = None,
) -> None:
    """Print the Role that cw needs in one namespace, and its binding: cw rbac --user ada | kubectl apply -f -

    Nothing is sent to a cluster.
    """
    from cw_cli.targets.kubernetes import rights

    space = _namespace(context, namespace)
    if output == "wide":
        _print_reasons(with_nodes)
        return
    named = [
        *(rights.subject("User", name) for name in users or []),
        *(rights.subject("Group", name) for name in groups or []),
        *(_account(text, space) for text in accounts or []),
    ]
    subjects = named or [rights.subject("User", PLACEHOLDER)]
    roles = [rights.role(space), *([rights.cluster_role()] if with_nodes else [])]
    report.print_objects([item for role in roles for item in (role, rights.binding(role, subjects))], output)
    if not named:
        say("hint", f"Put a name in place of {PLACEHOLDER}, or say --user, --group or --serviceaccount.", "cyan")


def _namespace(context: str | None, namespace: str | None) -> str:
    from cw_cli.cli.cluster import open_cluster
    from cw_cli.targets.choice import has_cluster

    if namespace is not None and context is None:
        return namespace
    if not has_cluster():
        raise UsageError("there is no kubeconfig that says which namespace is meant", "Write -n NAMESPACE.")
    return open_cluster(context, namespace).connection.namespace


def _account(text: str, namespace: str) -> dict[str, str]:
    from cw_cli.targets.kubernetes.rights import service_account

    space, colon, name = text.rpartition(":")
    return service_account(name, space if colon else namespace)


def _print_reasons(with_nodes: bool) -> None:
    from cw_cli.cli.tables import print_table
    from cw_cli.targets.kubernetes.rights import CLUSTER_RIGHTS, RIGHTS, Right

    def row(right: Right, where: str) -> tuple[str, ...]:
        name = f"{right.resource}.{right.group}" if right.group else right.resource
        return (name, ",".join(right.verbs), where, "no" if right.optional else "yes", right.purpose)

    rows = [row(right, "namespace") for right in RIGHTS]
    rows += [row(right, "cluster") for right in CLUSTER_RIGHTS] if with_nodes else []
    print_table(("RESOURCE", "VERBS", "IN", "NEEDED", "FOR"), rows)
