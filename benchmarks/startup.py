"""How long a command takes to start and how much memory it needs, beside other launchers, measured in one go.

    python benchmarks/startup.py [--runs 11] [--plugins 10] [--torchx PATH] [--kubectl PATH]

Each figure is the median of several runs. The commands take turns, so that a machine that slows down slows them all.
torchx and kubectl are measured where they are installed; what is missing is said. With --plugins, the user has so many
plugins, copies of the example that is a folder.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

from stopwatch import Measured

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
CONFIG = EXAMPLES / "quickstart" / "sft.yaml"
AXOLOTL = EXAMPLES / "axolotl" / "sft.yaml"
PLUGIN = EXAMPLES / "plugin-folder" / "my_trl_plugin"

MEGABYTE = 1024 * 1024


def commands(torchx: str | None, kubectl: str | None) -> dict[str, list[str]]:
    python = sys.executable
    cw = str(Path(python).with_name("cw"))
    config = str(CONFIG)
    found = {
        "python (does nothing)": [python, "-c", "pass"],
        "cw --help": [cw, "--help"],
        "cw trl sft --help": [cw, "trl", "sft", "--help"],
        "cw list": [cw, "list"],
        "cw validate trl sft CONFIG": [cw, "validate", "trl", "sft", config],
        "cw validate axolotl sft CONFIG": [cw, "validate", "axolotl", "sft", str(AXOLOTL)],
        "cw trl sft CONFIG --dry-run": [cw, "trl", "sft", config, "--dry-run"],
    }
    if torchx:
        job = [*("-j", "1x4", "--gpu", "4", "--cpu", "8", "--memMB", "65536"), "--script", "train.py"]
        dry = ["run", "--dryrun", "-s", "kubernetes", "-cfg", "queue=default", "--workspace", "", "dist.ddp", *job]
        found |= {
            "torchx --help": [torchx, "--help"],
            "torchx run --dryrun -s kubernetes": [torchx, *dry],
        }
    if kubectl:
        dry = ["create", "job", "x", "--image=busybox", "--dry-run=client", "-o", "yaml"]
        found["kubectl create job --dry-run=client"] = [kubectl, *dry]
    return found


def install(folder: Path, name: str) -> None:
    shutil.copytree(PLUGIN, folder, ignore=shutil.ignore_patterns("__pycache__"))
    code = (folder / "__init__.py").read_text("utf-8")
    (folder / "__init__.py").write_text(code.replace("trl-plugin", name), "utf-8")


def table(measured: list[Measured]) -> str:
    bare = measured[0]
    rows = [("", "median", "fastest", "memory", "time", "memory"), ("", "", "", "", "/ python", "/ python")]
    for each in measured:
        seconds, peak = statistics.median(each.seconds), statistics.median(each.peaks)
        rows.append(
            (
                each.name,
                f"{seconds:.3f} s",
                f"{min(each.seconds):.3f} s",
                f"{peak / MEGABYTE:.0f} MiB",
                f"{seconds / statistics.median(bare.seconds):.1f}",
                f"{peak / statistics.median(bare.peaks):.1f}",
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if index == 0 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=11, help="runs of each command")
    parser.add_argument("--torchx", default=shutil.which("torchx"), help="path of torchx")
    parser.add_argument("--kubectl", default=shutil.which("kubectl"), help="path of kubectl")
    parser.add_argument("--plugins", type=int, default=0, help="plugins that the user has")
    chosen = parser.parse_args()
    measured = [(Measured(name), command) for name, command in commands(chosen.torchx, chosen.kubectl).items()]
    with tempfile.TemporaryDirectory() as home:
        (Path(home) / "train.py").touch()
        for number in range(chosen.plugins):
            install(Path(home) / ".cw-cli" / "plugins" / f"plugin_{number}", f"plugin-{number}")
        # Compiled modules are kept, as they are wherever somebody has installed cw.
        dropped = ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "CW_SETTINGS")
        environment = {
            **{name: value for name, value in os.environ.items() if name not in dropped},
            "HOME": home,
            "XDG_STATE_HOME": home,
            "XDG_CONFIG_HOME": home,
            "KUBECONFIG": f"{home}/none",
        }
        for run in range(chosen.runs + 1):
            for each, command in measured:
                each.run(command, environment, home)
            if run == 0:  # It filled the caches: compiled modules, pages of the disk.
                for each, _ in measured:
                    each.seconds.clear()
                    each.peaks.clear()
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    print(f"{chosen.runs} runs each, taking turns; {os.cpu_count()} processors{load}, {chosen.plugins} plugins\n")
    print(table([each for each, _ in measured]))
    for name, path in (("torchx", chosen.torchx), ("kubectl", chosen.kubectl)):
        if not path:
            print(f"\n{name} is not installed here; --{name} PATH names one.")


if __name__ == "__main__":
    main()
