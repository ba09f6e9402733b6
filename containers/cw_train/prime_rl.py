"""One part of a prime-rl run: `PRIME_RL_ROLE` says whether it is the inference, the orchestrator or the trainer.

prime-rl splits a config for its parts itself (`rl --dry-run`); here it is asked to, and then one part is started with
prime-rl's own program. They find each other by the service's address and by the run's output folder, which all of them
see. When one part fails, it leaves a note there, and the trainer ends the run.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from cw_train import GaveUpError, Preempted, RefusedError
from cw_train.from_data import read_config
from cw_train.progress import announce
from cw_train.verifiers_eval import importable

BETWEEN_LOOKS = 2.0  # seconds between two looks at the other parts
RENDEZVOUS = 29500


def main(config: str) -> None:
    role = os.environ.get("PRIME_RL_ROLE", "")
    part = Part()

    # 1. The config: prime-rl's own, with the addresses of this run.
    values = read_config(config)
    values.pop("env")
    paths = [path for env in environments(values) for path in importable(env)]
    output = Path(values["output_dir"])
    complete(values, os.environ)
    goes_on = resume(values, output)
    # The server is asked for before anything is written: whoever starts it may still delete what an older run left.
    if role == ("inference" if values.get("inference") is not None else "orchestrator"):
        delete_stale(output, goes_on)

    # 2. prime-rl's own split into its parts. It refuses what it does not know.
    folder = split(config, values, output)

    # 3. The part itself, until it ends or is told to.
    notes = output / ".cw"
    notes.mkdir(parents=True, exist_ok=True)
    note = notes / f"{role}.failed"
    note.unlink(missing_ok=True)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*paths, os.environ.get("PYTHONPATH", "")])}
    if values.get("wandb") is not None:
        shared = {"WANDB_SHARED_MODE": "1", "WANDB_SHARED_RUN_ID": os.environ.get("CW_RUN", output.name)}
        environment |= {**shared, "WANDB_SHARED_LABEL": role}
    began = time.monotonic()
    for command in commands(role, folder, os.environ):
        part.start(command, environment)
    announce({"event": "start", "total": values.get("max_steps"), "step": 0})
    code = part.wait(notes if role == "trainer" else None)
    if part.told:
        raise Preempted(step=0)
    if code:
        note.write_text(f"{os.environ.get('CW_RUN', '')} {code}", encoding="utf-8")
        raise GaveUpError(f"prime-rl's {role} ended with exit code {code}; its log above says why")
    announce({"event": "done", "seconds": round(time.monotonic() - began, 3), "model": str(output)})
    if role != "trainer":
        part.rest()  # as a service it would be started again


def environments(values: dict[str, Any]) -> list[dict[str, Any]]:
    """The blocks of the orchestrator that name tasksets."""
    orchestrator = values.get("orchestrator") or {}
    found = list(orchestrator.get("env") or [])
    for kind in ("train", "eval"):
        found += (orchestrator.get(kind) or {}).get("env") or []
    return found


def complete(values: dict[str, Any], environment: Any) -> None:
    """The addresses and the folders that the parts have in common."""
    if values.get("inference") is not None:
        server = values["inference"].setdefault("server", {})
        server["host"], server["port"] = environment.get("HOST") or "0.0.0.0", int(environment.get("PORT") or 8000)
        client = values["orchestrator"].setdefault("model", {}).setdefault("client", {})
        client["base_url"] = [environment["INFERENCE_URL"]]
    values.setdefault("weight_broadcast", {}).setdefault("type", "filesystem")
    # For prime-rl all parts are on one node; here each has its own, and the trainer perhaps several.
    deployment = values.setdefault("deployment", {})
    train = int(deployment.get("num_train_gpus") or 1) * int(environment.get("NODES") or 1)
    infer = int(deployment.get("num_infer_gpus") or 1)
    deployment.update(num_train_gpus=train, num_infer_gpus=infer, gpus_per_node=max(train + infer, 8))


def resume(values: dict[str, Any], output: Path) -> int | None:
    """The step to go on from: the config's, or that of the newest checkpoint in the output folder if the config saves
    any; None to begin afresh."""
    checkpoints = values.get("ckpt")
    if not isinstance(checkpoints, dict):
        return None
    if checkpoints.get("resume_step") in (None, -1):
        if any((output / "checkpoints").glob("step_*")):
            from prime_rl.utils.pathing import get_ckpt_dir, resolve_latest_ckpt_step

            checkpoints["resume_step"] = resolve_latest_ckpt_step(get_ckpt_dir(output))
        else:
            checkpoints.pop("resume_step", None)
    step: int | None = checkpoints.get("resume_step")
    return step


def delete_stale(output: Path, step: int | None) -> None:
    """Delete rollouts and weights after `step` that an older run has left in the folder, as prime-rl's launcher does:
    they would be taken for this run's."""
    if output.is_dir() and any(path.name != ".cw" for path in output.iterdir()):
        from prime_rl.utils.pathing import clean_future_steps

        clean_future_steps(output, -1 if step is None else step)


def split(config: str, values: dict[str, Any], output: Path) -> Path:
    """The folder with a TOML file for each part.

    Every part does this for itself and elsewhere, so that none reads what another is writing.
    """
    import tomli_w  # a part of prime-rl's image

    scratch = Path(tempfile.mkdtemp(prefix="prime-rl-"))
    whole = scratch / "rl.toml"
    values = without_none({**values, "output_dir": str(scratch / "output"), "dry_run": True})
    whole.write_text(tomli_w.dumps(values), encoding="utf-8")
    program = shutil.which("rl")
    if program is None:
        raise RefusedError("prime-rl is not installed here: use an image of it, as in primeintellect/prime-rl:main")
    if subprocess.run([program, "@", str(whole)]).returncode:
        raise RefusedError(f"{config}: prime-rl refuses it; its sentence is above")
    folder = scratch / "output" / "configs"
    for file in folder.rglob("*.toml"):
        file.write_text(file.read_text(encoding="utf-8").replace(str(scratch / "output"), str(output)), "utf-8")
    return folder


def without_none(value: Any) -> Any:
    """TOML has no null."""
    if isinstance(value, dict):
        return {key: without_none(item) for key, item in value.items() if item is not None}
    return [without_none(item) for item in value] if isinstance(value, list) else value


def commands(role: str, folder: Path, environment: Any) -> list[list[str]]:
    """What is started; the last one is the part itself, the others serve it."""
    if role == "inference":
        return [["inference", "@", str(folder / "inference.toml")]]
    if role == "orchestrator":
        servers = [["env-server", "@", str(file)] for file in sorted(folder.rglob("env_server_*.toml"))]
        return [*servers, ["orchestrator", "@", str(folder / "orchestrator.toml")]]
    if role != "trainer":
        raise RefusedError(f"prime-rl has no part called {role!r}")
    nodes = int(environment.get("NODES", "1"))
    meeting = ["--standalone"]
    if nodes > 1:
        meeting = [
            *(f"--nnodes={nodes}", f"--node-rank={environment['JOB_COMPLETION_INDEX']}", "--rdzv-backend=static"),
            *(f"--rdzv-id={environment['CW_RUN']}", f"--rdzv-endpoint={environment['FIRST_NODE']}:{RENDEZVOUS}"),
            "--rdzv-conf=timeout=1800",
        ]
    torchrun = ["torchrun", *meeting, f"--nproc-per-node={environment.get('PROCESSES', '1')}", "--role=trainer"]
    return [[*torchrun, "-m", "prime_rl.trainer.rl.train", "@", str(folder / "trainer.toml")]]


class Part:
    """The processes of one part, and SIGTERM to all of them."""

    def __init__(self) -> None:
        self.told = False
        self.processes: list[subprocess.Popen[bytes]] = []
        signal.signal(signal.SIGTERM, self.hear)

    def hear(self, *_: Any) -> None:
        self.told = True
        if not self.processes:
            raise Preempted(step=0)
        self.end()

    def start(self, command: list[str], environment: dict[str, str]) -> None:
        print(" ".join(command), flush=True)
        try:
            self.processes.append(subprocess.Popen(command, env=environment))
        except FileNotFoundError:
            self.end()
            raise RefusedError(f"{command[0]} is not installed here: use an image of prime-rl") from None

    def end(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.terminate()

    def wait(self, notes: Path | None) -> int:
        """The exit code of the last process, or of one that serves it and failed. With `notes`, raises `GaveUpError`
        when another part has failed."""
        *servers, main = self.processes
        while (code := main.poll()) is None:
            failed = next((server.returncode for server in servers if server.poll()), None)
            if failed:
                self.end()
                return failed
            for note in sorted(notes.glob("*.failed")) if notes else []:
                if note.read_text(encoding="utf-8").split(" ")[0] == os.environ.get("CW_RUN", ""):
                    self.end()
                    main.wait()
                    raise GaveUpError(f"prime-rl's {note.stem} failed, and the trainer was ended; see its log")
            time.sleep(BETWEEN_LOOKS)
        self.end()
        return code

    def rest(self) -> None:
        """Wait to be freed with the run."""
        while not self.told:
            time.sleep(BETWEEN_LOOKS)
