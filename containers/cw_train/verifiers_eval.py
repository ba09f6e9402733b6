"""An evaluation with verifiers' own eval, judged by what it wrote: its exit code is 0 even when every rollout failed.

Before it: what a cluster needs in place of the defaults that are for Prime's cloud, and a name that a restart finds
again. After it: one line of `traces.jsonl` is one rollout, and the run has succeeded when no more of them failed than
`max_failed` allows. A restart of the run makes only the rollouts that are missing or failed.
"""

from __future__ import annotations

import copy
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from cw_train import Preempted, RefusedError
from cw_train.from_data import read_config
from cw_train.progress import announce
from cw_train.verifiers_traces import Tally, judge, write_summary

VERSION = "0.4.0"
OWN_KEYS = ("max_failed", "vllm")
NO_KEY = "INFERENCE_API_KEY"
"""The variable with a server's key; one that is not set means that the server asks for none."""
PROGRAM = "from verifiers.v1.cli.eval.main import main; main()"
BETWEEN_LOOKS = 1.0  # seconds between two looks at the traces


def main(config: str) -> None:
    bring_verifiers()
    stopping = Stopping()  # from here on, SIGTERM lets the rollouts under way clean up

    # 1. The config: verifiers' own, what it leaves to Prime's cloud set to what is here.
    values = read_config(config)
    own = {key: values.pop(key, None) for key in OWN_KEYS}
    paths = importable(values["env"])
    with_defaults(values, os.environ)
    settings = validated(config, values)
    folder = Path(settings["output_dir"]) / settings["run"]["dir"]

    # 2. Where to start: with what this run has done, as the config says, or afresh.
    marker, written = folder / ".cw-run", folder / ".cw-eval.json"
    resumed = resumes(folder, marker, os.environ.get("CW_RUN"), values)
    if values.get("clean") and not resumed and folder.is_dir():
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    marker.write_text(os.environ.get("CW_RUN", ""), encoding="utf-8")
    written.write_text(json.dumps(values | {"clean": False, "resume": resumed}), encoding="utf-8")

    # 3. The rollouts. What verifiers logs goes on to stderr, and every trace that it writes is counted.
    tally = Tally(folder / "traces.jsonl")
    announce({"event": "start", "total": None, "resumed_from": str(folder) if resumed else None, "step": 0})
    code = run(["@", str(written)], paths, tally, stopping)
    if stopping.told:
        raise Preempted(step=tally.look().done)

    # 4. The verdict is in the traces.
    tally.look()
    write_summary(tally, folder / "results.json")
    judge(tally, code, own["max_failed"] or 0)
    announce(
        {
            "event": "done",
            "steps": tally.done,
            "seconds": round(tally.seconds, 3),
            "last_reward": tally.reward,
            "failed": tally.failed,
            "metrics": str((folder / "results.json").absolute()),
        }
    )


def bring_verifiers() -> None:
    """Start again with verifiers at hand, where the image has uv and not verifiers itself."""
    if importlib.util.find_spec("verifiers") is not None:
        return
    uv = shutil.which("uv")
    if uv is None or os.environ.get("CW_BROUGHT_VERIFIERS"):
        raise RefusedError(
            f"verifiers is not installed here, and there is no uv to bring it: pip install verifiers=={VERSION} uv"
        )
    print(f"bringing verifiers {VERSION}", flush=True)
    os.environ["CW_BROUGHT_VERIFIERS"] = "1"
    needs = ["--with", f"verifiers=={VERSION}", "--with", "pyyaml"]
    os.execv(uv, [uv, "run", "--no-project", "--quiet", *needs, "python3", "-m", "cw_train", *sys.argv[1:]])


class Stopping:
    """SIGTERM: told to verifiers, which ends its rollouts and leaves."""

    def __init__(self) -> None:
        self.told = self.running = False
        self.child: subprocess.Popen[str] | None = None
        signal.signal(signal.SIGTERM, self.hear)

    def hear(self, *_: Any) -> None:
        self.told = True
        if not self.running:
            raise Preempted(step=0)
        if self.child is not None:
            self.child.send_signal(signal.SIGTERM)


def importable(env: dict[str, Any]) -> list[str]:
    """The folders of tasksets, harnesses and environments that are named by a path, which becomes their name."""
    blocks = [
        env.get("taskset"),
        env.get("harness"),
        env,
        *(role.get("harness") for role in env.values() if isinstance(role, dict)),
    ]
    found = []
    for block in blocks:
        name = block.get("id") if isinstance(block, dict) else None
        if isinstance(name, str) and os.path.isabs(name):
            path = Path(name)
            block["id"] = path.stem if path.is_file() else path.name
            module = block["id"].replace("-", "_").lower()
            # As `vf-init` lays it out, the package is one level further down.
            nested = not path.is_file() and not (path / "__init__.py").is_file() and (path / module).is_dir()
            found.append(str(path if nested else path.parent))
    sys.path[:0] = found
    return found


def with_defaults(values: dict[str, Any], environment: Any) -> None:
    """Verifiers' defaults are Prime's model server, sandboxes and platform, a dashboard, and a new name each time."""
    values.setdefault("push", False)
    values["rich"] = None
    run = values.setdefault("run", {})
    run["name"] = run.get("name") or environment.get("CW_RUN") or "eval"
    output = Path(values.get("output_dir") or "outputs")
    if output.name == run["name"] and not run.get("dir"):
        values["output_dir"] = str(output.parent)  # the folder that cw has made for this run: one level is enough
    client = values.setdefault("client", {})
    if not client.get("base_url") and "INFERENCE_URL" in environment:
        client["base_url"] = environment["INFERENCE_URL"]
        client.setdefault("api_key_var", NO_KEY)  # somebody's key for another server is none of this one's business
    client.setdefault("api_key_var", "OPENAI_API_KEY")


def validated(config: str, values: dict[str, Any]) -> dict[str, Any]:
    """The config as verifiers understands it, after every role that would run in Prime's sandboxes runs here.

    Only now can what the taskset's own code declares be checked. Raises `RefusedError` with the first mistake.
    """
    from pydantic import ValidationError
    from verifiers.v1.configs.agent import AgentConfig
    from verifiers.v1.configs.cli.eval import EvalConfig
    from verifiers.v1.utils.loaders import env_config_type

    env = values["env"]
    try:
        kind = env_config_type((env.get("taskset") or {}).get("id") or "", env.get("id") or "")
        for name, field in kind.model_fields.items():
            if isinstance(field.default, AgentConfig) and field.default.runtime.type == "prime":
                role = env.setdefault(name, {})
                role.setdefault("runtime", {"type": "subprocess"})
        settings: dict[str, Any] = EvalConfig.model_validate(copy.deepcopy(values)).model_dump(mode="json")
    except ValidationError as problem:
        first = problem.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RefusedError(f"{config}: {where}: {first['msg']}") from None
    except (ImportError, AttributeError, TypeError, ValueError) as problem:
        raise RefusedError(f"{config}: {problem}") from None
    output, folder = (
        Path(settings["output_dir"]).resolve(),
        Path(settings["output_dir"], settings["run"]["dir"]).resolve(),
    )
    if output not in folder.parents:
        raise RefusedError(f"{config}: run.dir must be a folder below output_dir")
    return settings


def resumes(folder: Path, marker: Path, run: str | None, values: dict[str, Any]) -> bool:
    """Whether there is something to go on from; raises `RefusedError` when it is another run's."""
    saved, traces = folder / "configs" / "resolved" / "eval.json", folder / "traces.jsonl"
    if not saved.is_file() or not traces.is_file():
        return False
    mine = bool(run) and marker.is_file() and marker.read_text(encoding="utf-8") == run
    if not mine and (values.get("clean") or not traces.stat().st_size):
        return False
    if not mine and not values.get("resume"):
        raise RefusedError(
            f"{folder} holds the results of another run; choose another `run.name`, or write `resume: true` to go on "
            "from them or `clean: true` to delete them"
        )
    if "INFERENCE_URL" in os.environ:
        # The run's own service may have another address after a restart, and verifiers goes on with the same config
        # only.
        before = json.loads(saved.read_text(encoding="utf-8"))
        before["client"]["base_url"] = values["client"]["base_url"]
        saved.write_text(json.dumps(before, indent=2), encoding="utf-8")
    return True


def run(arguments: list[str], paths: list[str], tally: Tally, stopping: Stopping) -> int:
    """Verifiers' exit code; its log is passed on and its traces are counted while it runs."""
    python_path = os.pathsep.join([*paths, *filter(None, [os.environ.get("PYTHONPATH")])])
    # The programs of harnesses are prepared by uv, which may lie beside this Python alone.
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), os.path.dirname(sys.executable)])
    stopping.running = True
    child = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments],
        env={**os.environ, "PYTHONPATH": python_path, "PATH": path, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.DEVNULL,  # every trace once more, which may be gigabytes
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    stopping.child = child
    if stopping.told:
        child.send_signal(signal.SIGTERM)
    reader = threading.Thread(target=pass_on, args=(child, tally), daemon=True)
    reader.start()
    while child.poll() is None:
        time.sleep(BETWEEN_LOOKS)
        if tally.look().news():
            announce(tally.progress())
    reader.join(5)
    if tally.look().news():
        announce(tally.progress())
    return child.returncode


def pass_on(child: subprocess.Popen[str], tally: Tally) -> None:
    """The log goes on to stderr; it alone tells how many rollouts there will be."""
    for line in child.stderr or ():
        tally.read_log(line)
        sys.stderr.write(line)
        sys.stderr.flush()
