"""Arguments and options that several verbs share, so that they read and mean the same everywhere."""

from __future__ import annotations

from typing import Annotated

import typer

Run = Annotated[
    str, typer.Argument(metavar="RUN", help="A run: its name, its --name, how it begins, or its last five characters.")
]
Framework = Annotated[str, typer.Argument(metavar="FRAMEWORK", help="As in trl.")]
TypeName = Annotated[str, typer.Argument(metavar="TYPE", help="Training type, as in sft.")]

Context = Annotated[str | None, typer.Option("--context", metavar="CONTEXT", help="Context of the kubeconfig.")]
Namespace = Annotated[str | None, typer.Option("--namespace", "-n", metavar="NAMESPACE", help="Kubernetes namespace.")]
Output = Annotated[str | None, typer.Option("--output", "-o", metavar="FORMAT", help="name, json or yaml on stdout.")]

Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override any key, as in --set env.SEED=7; may be repeated."),
]
Name = Annotated[str | None, typer.Option("--name", metavar="NAME", help="A word for the run's name.")]
Local = Annotated[bool, typer.Option("--local", help="Run on this machine.")]
DryRun = Annotated[
    str | None,
    typer.Option(
        "--dry-run", metavar="[=server]", help="Print the objects and start nothing; =server lets a cluster try them."
    ),
]
Detach = Annotated[bool, typer.Option("--detach", "-d", help="Return as soon as the run has started.")]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Show log and progress until the run has ended.")]
Gpu = Annotated[str | None, typer.Option("--gpu", metavar="N|TYPE:N", help="GPUs on each node.")]
Cpu = Annotated[str | None, typer.Option("--cpu", metavar="CORES", help="Processor cores on each node.")]
Memory = Annotated[str | None, typer.Option("--memory", metavar="SIZE", help="Memory on each node, as in 64Gi.")]
Nodes = Annotated[str | None, typer.Option("--nodes", metavar="N", help="Nodes that train together.")]
Image = Annotated[str | None, typer.Option("--image", metavar="IMAGE", help="Container image.")]
Pull = Annotated[bool, typer.Option("--pull", help="Pull the image even where a node has it.")]
Queue = Annotated[str | None, typer.Option("--queue", metavar="QUEUE", help="Kueue queue.")]
