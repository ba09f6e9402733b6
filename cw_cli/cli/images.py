"""`cw images`: what each framework runs in; `build`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cw_cli.cli.errors import say
from cw_cli.cli.tables import Column, OutputWide, print_records
from cw_cli.core.exceptions import UsageError

app = typer.Typer(add_completion=False, rich_markup_mode=None, context_settings={"help_option_names": ["-h", "--help"]})


@app.callback(invoke_without_command=True)
def command(ctx: typer.Context, output: OutputWide = None) -> None:
    """List images: what each framework and type runs in by default, what cw can build, and which versions the config
    is checked against.
    """
    if ctx.invoked_subcommand is not None:
        return
    from cw_cli.workshop.images.listing import Listed, listed

    rows = list(listed())
    records: list[dict[str, Any]] = [
        {"name": row.image, **row._asdict(), "types": list(row.types)} for row in rows if isinstance(row, Listed)
    ]
    every: dict[str, set[str]] = {}
    for record in records:
        every.setdefault(record["framework"], set()).update(record["types"])
    columns = [
        Column("FRAMEWORK", lambda row: row["framework"]),
        Column("TYPES", lambda row: _types(row["types"], every[row["framework"]])),
        Column("IMAGE", lambda row: row["image"]),
        Column("USE", lambda row: row["use"]),
        Column("HOLDS", lambda row: ", ".join(f"{name} {version}" for name, version in row["holds"].items()), True),
        Column("CHECKED AS", lambda row: row["keys_of"]),
        Column("MATCHES", lambda row: {None: None, True: "yes", False: "no"}[row["matches"]]),
    ]
    print_records(records, columns, output)
    for row in rows:
        if not isinstance(row, Listed):
            say("warning", row.problem, "yellow")


def _types(some: list[str], every: set[str]) -> str:
    """The types in a few words: a framework may have a dozen."""
    missing = every - set(some)
    return "all" if not missing else f"all but {missing.pop()}" if len(missing) == 1 < len(some) else ", ".join(some)


@app.command()
def build(
    framework: Annotated[str, typer.Argument(metavar="FRAMEWORK", help="As in trl.")],
    cpu: Annotated[bool, typer.Option("--cpu", help="For processors only: a tenth of the size.")] = False,
    vllm: Annotated[bool, typer.Option("--vllm", help="With vLLM, for `use_vllm: true`.")] = False,
    tag: Annotated[
        str | None, typer.Option("--tag", metavar="NAME:TAG", help="The image's name, as in registry/cw-trl:1-cpu.")
    ] = None,
    base: Annotated[
        str | None, typer.Option("--base", metavar="IMAGE", help="What to build on: an image with Python 3.11 or 3.12.")
    ] = None,
    local_base: Annotated[
        bool, typer.Option("--local-base", help="Make what to build on with debootstrap (as root), without a registry.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("--output", metavar="FILE", help="Also write the image to this archive.")
    ] = None,
) -> None:
    """Build the image of a framework with buildah, podman or docker, whichever is there; prints its name, or the
    archive.

    What pip on this machine is configured with (indexes, folders of wheels, certificates) holds inside the build too;
    docker alone cannot mount folders into a build, and so leaves them out. A name that begins with cw- and the
    framework, and ends with the variant, tells cw what is in the image.
    """
    from cw_cli.workshop.images.builder import Builder, wanted

    if cpu and vllm:
        raise UsageError("--cpu and --vllm are two images", "vLLM needs a GPU: leave out --cpu.")
    if base and local_base:
        raise UsageError("--base and --local-base both say what to build on", "Leave one of them out.")
    image = wanted(framework, "cpu" if cpu else "vllm" if vllm else None)
    if output is not None and not output.absolute().parent.is_dir():
        raise UsageError(f"there is no folder {output.absolute().parent} for the archive", "Make it first.")
    name = tag or image.tag
    builder = Builder.found(lambda line: say("running", line, "cyan"))
    builder.build(image, name, builder.local_base() if local_base else base)
    if output is not None:
        builder.save(name, output)
    typer.echo(output or name)
