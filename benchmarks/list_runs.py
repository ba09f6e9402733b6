"""How long `cw list` takes with many runs, beside `kubectl get jobs`, measured in one go.

    CW_TEST_KUBECONFIG=FILE python benchmarks/list_runs.py [--runs 5] [--count 10000] [--namespace scale]

The namespace is made with so many runs, a Job and a record each, where it does not exist, and then stays for the next
time: meant for a cluster that is thrown away, and for one without nodes. Their objects are applied just as a launch
applies them, four at a time.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from stopwatch import Measured, show
from submit import CONFIG, CW

from cw_cli.targets.kubernetes.connection import Connection


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--namespace", default="scale")
    parser.add_argument("--kubectl", default="kubectl")
    asked = parser.parse_args()
    os.environ["KUBECONFIG"] = os.environ.get("CW_TEST_KUBECONFIG") or sys.exit("set CW_TEST_KUBECONFIG")
    kubectl = [asked.kubectl, "--namespace", asked.namespace]
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "HOME": folder, "CW_SETTINGS": f"{folder}/none"}
        if subprocess.run([*kubectl, "get", "namespace", asked.namespace], capture_output=True).returncode:
            subprocess.run([asked.kubectl, "create", "namespace", asked.namespace], check=True)
            fill(asked.count, asked.namespace, environment, folder)
        # The names of both are shown in full, so that both print the same number of lines.
        measured = [Measured(f"cw list -n {asked.namespace}"), Measured(f"kubectl get jobs -n {asked.namespace}")]
        for _ in range(asked.runs):
            measured[0].run([*CW, "list", "-n", asked.namespace], environment, folder)
            measured[1].run([*kubectl, "get", "jobs"], environment, folder)
        show(measured)


def fill(count: int, space: str, environment: dict[str, str], folder: str) -> None:
    """So many runs."""
    (Path(folder) / "config.yaml").write_text(CONFIG)
    command = [*CW, "trl", "sft", "config.yaml", "-n", space, "--dry-run", "-o", "json"]
    done = subprocess.run(command, env=environment, cwd=folder, check=True, capture_output=True, text=True)
    items = json.loads(done.stdout)["items"]
    run = next(item["metadata"]["name"] for item in items if item["kind"] == "Job")
    own, shared = [item for item in items if run in json.dumps(item)], [item for item in items if run not in str(item)]
    connection = Connection.open(None, space)
    for item in shared:
        connection.apply(item)

    def create(number: int) -> None:
        for item in own:
            connection.apply(json.loads(json.dumps(item).replace(run, f"{run[:-5]}{number:05d}")))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(create, range(count)))


if __name__ == "__main__":
    main()
