"""The GPUs of this machine: which there are, which are taken by live runs, and giving some of them to a run."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cw_cli.core.exceptions import TargetError
from cw_cli.core.problems import Problem

VISIBLE = "CUDA_VISIBLE_DEVICES"
_GPU = re.compile(r"GPU (\d+): (.*?) \(UUID: (GPU-[\w-]+)\)")
_MIG = re.compile(r"\s+MIG .*\(UUID: (MIG-[\w/-]+)\)")


@dataclass(frozen=True, slots=True)
class Gpu:
    """One device; `token` is what CUDA_VISIBLE_DEVICES calls it, `uuid` what nobody else is called."""

    token: str
    uuid: str
    name: str


def machine_gpus(environment: Mapping[str, str]) -> list[Gpu]:
    """The devices that the driver lists and that CUDA_VISIBLE_DEVICES, where it is set, leaves to the user."""
    program = shutil.which("nvidia-smi", path=environment.get("PATH"))
    if program is None:
        return []
    try:
        listing = subprocess.run(
            [program, "-L"], capture_output=True, text=True, errors="replace", timeout=30, env=dict(environment)
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TargetError(
            f"`nvidia-smi -L` gave no answer: {error}", "Check the NVIDIA driver, or take `--gpu 0`."
        ) from None
    return visible(parse_listing(listing.stdout), environment.get(VISIBLE)) if listing.returncode == 0 else []


def parse_listing(text: str) -> list[Gpu]:
    """The devices in the output of `nvidia-smi -L`; a GPU cut into MIG devices is those, not itself."""
    gpus: list[Gpu] = []
    parent: Gpu | None = None
    for line in text.splitlines():
        if found := _GPU.match(line):
            parent = Gpu(token=found[1], uuid=found[3], name=found[2])
            gpus.append(parent)
        elif parent and (found := _MIG.match(line)):
            if gpus[-1] is parent:
                gpus.pop()
            gpus.append(Gpu(token=found[1], uuid=found[1], name=parent.name))
    return gpus


def visible(gpus: Sequence[Gpu], setting: str | None) -> list[Gpu]:
    """What CUDA_VISIBLE_DEVICES leaves: its order counts, and nothing after the first unknown device."""
    if setting is None:
        return list(gpus)
    chosen: list[Gpu] = []
    for token in (part.strip() for part in setting.split(",")):
        found = [gpu for gpu in gpus if gpu.token == token or (not token.isdigit() and gpu.uuid.startswith(token))]
        if not token or len(found) != 1:
            break
        chosen.append(found[0])
    return chosen


def free(gpus: Iterable[Gpu], taken: Mapping[str, str]) -> list[Gpu]:
    """The devices that no live run holds; `taken` maps a device's uuid to the run that has it."""
    return [gpu for gpu in gpus if gpu.uuid not in taken]


def shortage(wanted: int, gpus: Sequence[Gpu], taken: Mapping[str, str], kind: str | None = None) -> Problem | None:
    """Why `wanted` devices (of one kind) cannot be given out now, or None."""
    fitting = [gpu for gpu in gpus if kind is None or _plain(kind) in _plain(gpu.name)]
    available = free(fitting, taken)
    if len(available) >= wanted:
        return None
    what = f"{wanted} GPU{'s' if wanted > 1 else ''}{f' of type {kind}' if kind else ''}"
    holders = sorted({taken[gpu.uuid] for gpu in fitting if gpu.uuid in taken})
    if not gpus:
        return Problem(f"The run asks for {what}; this machine has none.", "`--gpu 0` runs it on the processor.")
    if len(fitting) < wanted:
        names = ", ".join(sorted({gpu.name for gpu in gpus}))
        return Problem(
            f"The run asks for {what}; this machine has {len(fitting)} ({names}).",
            f"Ask for at most `--gpu {len(fitting)}`." if fitting else "Leave out the type, or take `--gpu 0`.",
        )
    return Problem(
        f"The run asks for {what}; of this machine's {len(fitting)}, {len(available)} "
        f"{'is' if len(available) == 1 else 'are'} free, the others are taken by {', '.join(holders)}.",
        f"`cw wait {holders[0]}` returns when it is done; `--gpu 0` runs on the processor.",
    )


def environment_for(gpus: Sequence[Gpu]) -> dict[str, str]:
    """What makes a process see exactly `gpus`."""
    if not gpus:
        return {VISIBLE: ""}
    # CUDA counts the fastest first unless told to count as nvidia-smi does.
    return {VISIBLE: ",".join(gpu.token for gpu in gpus), "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


def choose(wanted: int, gpus: Sequence[Gpu], taken: Mapping[str, str], kind: str | None = None) -> list[Gpu]:
    """The first free devices; raises when there are too few."""
    problem = shortage(wanted, gpus, taken, kind)
    if problem:
        raise TargetError(problem.message, problem.remedy)
    return [gpu for gpu in free(gpus, taken) if kind is None or _plain(kind) in _plain(gpu.name)][:wanted]


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
