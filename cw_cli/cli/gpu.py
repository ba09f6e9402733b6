"""`cw gpu`: free and used GPUs, and who uses them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import typer

from cw_cli.cli.errors import say
from cw_cli.cli.nodes import node_records, say_nodes_are_hidden, say_others_are_hidden
from cw_cli.cli.options import Context, Namespace, Output
from cw_cli.cli.tables import Column, Record, print_records
from cw_cli.core.exceptions import UsageError

if TYPE_CHECKING:
    from cw_cli.targets.kubernetes.capacity import Capacity, Holder

TYPES = (
    Column("GPU-TYPE", lambda item: item["name"]),
    Column("NODES", lambda item: item["nodes"]),
    Column("GPUS", lambda item: item["gpus"]),
    Column("FREE", lambda item: f"{'' if item['complete'] else '≤ '}{item['free']}"),
    Column("MOST-ON-ONE-NODE", lambda item: item["most_free"]),
)
HOLDERS = (
    Column("USED-BY", lambda item: item["name"]),
    Column("GPUS", lambda item: item["gpus"]),
    Column("USER", lambda item: item["user"]),
    Column("NAMESPACE", lambda item: item["namespace"]),
    Column("NODE", lambda item: item["node"]),
)


def command(output: Output = None, context: Context = None, namespace: Namespace = None) -> None:
    """Show free and used GPUs by type, and which runs and pods use them."""
    from cw_cli.cli.cluster import open_cluster
    from cw_cli.targets.kubernetes.capacity import own_holders, read_capacity

    if output == "name":
        raise UsageError("cw gpu prints no names", "Write -o json or -o yaml, or take cw nodes -o name.")
    connection = open_cluster(context, namespace).connection
    capacity = read_capacity(connection)
    holders = capacity.holders if capacity else own_holders(connection)
    types, users = _types(capacity) if capacity else [], _users(holders)
    if output is not None:
        from cw_cli.cli.report import print_data

        print_data({"types": [dict(item) for item in types], "used_by": [dict(item) for item in users]}, output)
    else:
        print_records(types, TYPES, None)
        if types and users:
            typer.echo("")
        print_records(users, HOLDERS, None)
    if capacity is None:
        say_nodes_are_hidden()
    elif not capacity.complete:
        say_others_are_hidden(connection.namespace)
    if not users:
        say("note", "no GPU is in use" + ("" if capacity else f" in namespace {connection.namespace}"), "cyan")


def _types(capacity: Capacity) -> list[Record]:
    """GPUs of each type; those on nodes that take no pods are not free."""
    found: dict[str, dict[str, Any]] = {}
    for node in node_records(capacity):
        if node["gpus"]:
            name = node["gpu_type"] or "(not announced)"
            empty = {"name": name, "nodes": 0, "gpus": 0, "free": 0, "most_free": 0, "complete": capacity.complete}
            item = found.setdefault(name, empty)
            free = node["gpus_free"] if node["state"] == "Ready" else 0
            item["nodes"] += 1
            item["gpus"] += node["gpus"]
            item["free"] += free
            item["most_free"] = max(item["most_free"], free)
    return [found[name] for name in sorted(found)]


def _users(holders: Iterable[Holder]) -> list[Record]:
    """Runs, and pods that are not of a run, with what they hold of each node."""
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    for holder in holders:
        if holder.gpus:
            name = holder.run or f"pod/{holder.pod}"
            item = found.setdefault(
                (holder.namespace, name, holder.node),
                {
                    "name": name,
                    "user": holder.user,
                    "namespace": holder.namespace,
                    "node": holder.node,
                    "gpus": 0,
                },
            )
            item["gpus"] += holder.gpus
    return sorted(found.values(), key=lambda item: (-item["gpus"], item["name"], item["node"]))
