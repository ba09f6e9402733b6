"""`cw nodes`: what the cluster has, and what of it is free."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

from cw_cli.cli.errors import say
from cw_cli.cli.options import Context, Namespace
from cw_cli.cli.tables import Column, OutputWide, Record, print_records
from cw_cli.core.resources import GPU_RESOURCE

if TYPE_CHECKING:
    from cw_cli.targets.kubernetes.capacity import Capacity, Node

COLUMNS = (
    Column("NAME", lambda node: node["name"]),
    Column("STATE", lambda node: node["state"]),
    Column("GPU-TYPE", lambda node: node["gpu_type"]),
    Column("GPUS", lambda node: node["gpus"]),
    Column("FREE", lambda node: f"{'' if node['complete'] else '≤ '}{node['gpus_free']}"),
    Column("CPU", lambda node: f"{node['cpu']:g}"),
    Column("CPU-FREE", lambda node: f"{node['cpu_free']:g}"),
    Column("MEMORY", lambda node: gibibytes(node["memory"])),
    Column("MEMORY-FREE", lambda node: gibibytes(node["memory_free"])),
    Column("TAINTS", lambda node: ",".join(node["taints"]), wide=True),
)


def command(output: OutputWide = None, context: Context = None, namespace: Namespace = None) -> None:
    """List the cluster's nodes: GPUs, processors and memory, and what of them is free."""
    from cw_cli.cli.cluster import open_cluster
    from cw_cli.targets.kubernetes.capacity import read_capacity

    connection = open_cluster(context, namespace).connection
    capacity = read_capacity(connection)
    if capacity is None:
        say_nodes_are_hidden()
        print_records([], COLUMNS, output)
        return
    print_records(node_records(capacity), COLUMNS, output)
    if not capacity.complete:
        say_others_are_hidden(connection.namespace)


def node_records(capacity: Capacity) -> list[Record]:
    """Each node with what is free on it; processors in cores, memory in bytes."""
    used = capacity.used()
    return [_record(node, used[node.name], capacity.complete) for node in capacity.nodes]


def _record(node: Node, used: dict[str, Fraction], complete: bool) -> dict[str, Any]:
    def free(name: str) -> Fraction:
        return max(node.allocatable.get(name, Fraction(0)) - used.get(name, Fraction(0)), Fraction(0))

    return {
        "name": node.name,
        "state": node.state,
        "gpu_type": node.gpu_type,
        "gpus": node.gpus,
        "gpus_free": int(free(GPU_RESOURCE)),
        "cpu": float(node.allocatable.get("cpu", 0)),
        "cpu_free": float(free("cpu")),
        "memory": int(node.allocatable.get("memory", 0)),
        "memory_free": int(free("memory")),
        "taints": [f"{taint['key']}:{taint.get('effect', '')}" for taint in node.taints],
        "complete": complete,
    }


def gibibytes(size: int) -> str:
    """As in `188Gi`."""
    return f"{size / 2**30:.0f}Gi"


def say_nodes_are_hidden() -> None:
    """The sentence for users without rights in the whole cluster."""
    say("note", "you may not see the cluster's nodes; runs do not need it", "cyan")
    say("hint", "An administrator can allow it: cw rbac --with-nodes prints the ClusterRole.", "cyan")


def say_others_are_hidden(namespace: str) -> None:
    """The sentence for users who see nodes but not everybody's pods."""
    say("note", f"only pods of namespace {namespace} may be seen: others may use what is shown as free", "cyan")
