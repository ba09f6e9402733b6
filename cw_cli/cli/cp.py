"""`cw cp RUN:PATH LOCAL` and back: files of a run."""

from __future__ import annotations

import os
import posixpath
import re
from pathlib import Path
from typing import Annotated

import typer

from cw_cli.cli.errors import say
from cw_cli.cli.options import Context, Namespace
from cw_cli.core.exceptions import CwError, UsageError

_REMOTE = re.compile(r"([A-Za-z0-9][A-Za-z0-9.-]*):(.*)")
"""A run and a path. A path of this machine that looks like this is written with `./` before it."""


def command(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="RUN:PATH, or a path here.")],
    destination: Annotated[str, typer.Argument(metavar="DESTINATION", help="The other of the two.")],
    context: Context = None,
    namespace: Namespace = None,
) -> None:
    """Copy files out of a run, or into it: cw cp RUN:loss.png . (relative to the run's output folder)

    A run on a cluster must be running, and its image must have tar.
    """
    there, here = _REMOTE.fullmatch(source), _REMOTE.fullmatch(destination)
    if (there is None) == (here is None):
        raise UsageError("one of the two paths must be of a run", "Write cw cp RUN:PATH LOCAL or cw cp LOCAL RUN:PATH.")
    if there is not None:
        count = _fetch(there[1], there[2], destination, context, namespace)
    else:
        assert here is not None
        if not os.path.exists(source):
            raise UsageError(f"there is no {source}", "The path is taken from the folder you are in.")
        count = _bring(source, here[1], here[2], context, namespace)
    say("copied", f"{count} file{'' if count == 1 else 's'} from {source} to {destination}", "green")


def _fetch(run: str, path: str, destination: str, context: str | None, namespace: str | None) -> int:
    from cw_cli.api import find_run
    from cw_cli.targets.choice import Where
    from cw_cli.targets.kubernetes.target import KubernetesTarget

    target, name = find_run(run, Where(context, namespace))
    path = _absolute(path, target.status(name).output_dir, name)
    goal = Path(destination)
    if goal.is_dir():
        goal = goal.resolve() / (posixpath.basename(path.rstrip("/")) or name)
    if not goal.absolute().parent.is_dir():
        raise UsageError(f"there is no folder {goal.parent}", "Make it first.")
    if not isinstance(target, KubernetesTarget):
        return _copy_here(path, str(goal))
    from cw_cli.targets.kubernetes.copy import download
    from cw_cli.targets.kubernetes.exec import running_container

    container = running_container(target.connection, name, target.pods(name))
    return download(target.connection, container, path, goal.absolute())


def _bring(source: str, run: str, path: str, context: str | None, namespace: str | None) -> int:
    from cw_cli.api import find_run
    from cw_cli.targets.choice import Where
    from cw_cli.targets.kubernetes.target import KubernetesTarget

    target, name = find_run(run, Where(context, namespace))
    path = _absolute(path, target.status(name).output_dir, name)
    if not isinstance(target, KubernetesTarget):
        return _copy_here(source, os.path.join(path, os.path.basename(source)) if os.path.isdir(path) else path)
    from cw_cli.targets.kubernetes.copy import upload
    from cw_cli.targets.kubernetes.exec import running_container

    container = running_container(target.connection, name, target.pods(name))
    return upload(target.connection, container, Path(source), path)


def _absolute(path: str, output: str | None, run: str) -> str:
    """A path of the run; relative ones begin at its output folder."""
    if posixpath.isabs(path):
        return path
    if output is None:
        raise CwError(f"the output folder of {run} is not known", "Write an absolute path after the colon.")
    return posixpath.normpath(posixpath.join(output, path))


def _copy_here(source: str, destination: str) -> int:
    """On this machine; returns how many files were copied."""
    import shutil

    if not os.path.isdir(source):
        shutil.copy2(source, destination)
        return 1
    shutil.copytree(source, destination, dirs_exist_ok=True, symlinks=True)
    return sum(len(files) for _, _, files in os.walk(source))
