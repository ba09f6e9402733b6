"""How long it takes to submit a run, beside `kubectl apply -f` of the same objects, measured in one go.

    CW_TEST_KUBECONFIG=FILE python benchmarks/submit.py [--runs 11] [--kubectl PATH]

Works in a namespace of its own that is deleted afterwards. The commands take turns, so that a machine that slows down
slows them all. kubectl is given the finished objects; cw reads the config, checks it, and makes them.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import subprocess
import sys
import tempfile
from pathlib import Path

from stopwatch import Measured, show

# No node has that many GPUs: the runs take nothing from anybody.
CONFIG = """\
model_name: owner/model
dataset_name: owner/data
volumes: {model-checkpoints: null}
image: busybox:1.36
gpu: 512
"""
CW = [sys.executable, "-m", "cw_cli.cli.main"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=11)
    parser.add_argument("--kubectl", default="kubectl")
    asked = parser.parse_args()
    kubeconfig = os.environ.get("CW_TEST_KUBECONFIG") or sys.exit("set CW_TEST_KUBECONFIG")
    space = f"bench-{secrets.token_hex(4)}"
    kubectl = [asked.kubectl, "--kubeconfig", str(kubeconfig)]
    subprocess.run([*kubectl, "create", "namespace", space], check=True, stdout=subprocess.DEVNULL)
    try:
        with tempfile.TemporaryDirectory() as folder:
            environment = {**os.environ, "KUBECONFIG": str(kubeconfig), "HOME": folder, "CW_SETTINGS": f"{folder}/none"}
            show(submit(asked.runs, [*kubectl, "--namespace", space], space, environment, folder))
    finally:
        subprocess.run([*kubectl, "delete", "namespace", space, "--wait=false"], check=True, stdout=subprocess.DEVNULL)


def submit(runs: int, kubectl: list[str], space: str, environment: dict[str, str], folder: str) -> list[Measured]:
    (Path(folder) / "config.yaml").write_text(CONFIG)
    launch = [*CW, "trl", "sft", "config.yaml", "-n", space]
    printed = subprocess.run(
        [*launch, "--dry-run", "-o", "json"], env=environment, cwd=folder, check=True, capture_output=True, text=True
    ).stdout
    items = json.loads(printed)["items"]
    run = next(item["metadata"]["name"] for item in items if item["kind"] == "Job")
    measured = [
        Measured("cw trl sft config.yaml"),
        Measured(f"kubectl apply -f ({len(items)} objects)"),
        Measured("kubectl apply --server-side -f"),
    ]
    for number in range(runs):
        measured[0].run(launch, environment, folder)
        for how, flags in ((measured[1], []), (measured[2], ["--server-side"])):
            # Objects under new names each time, like those of a launch.
            mark = f"{'s' if flags else 'c'}{number:04d}"
            objects = Path(folder) / f"{mark}.json"
            objects.write_text(printed.replace(run[-5:], mark).replace("cw-train-", f"cw-train-{mark}-"))
            how.run([*kubectl, "apply", *flags, "-f", str(objects)], environment, folder)
    return measured


if __name__ == "__main__":
    main()
