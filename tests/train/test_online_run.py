"""GRPO and RLOO as they run: they learn from every kind of reward, go on after a stop, and end with a sentence."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from rlhf_lab import RewardLab, make_tokenizer
from training_lab import ROOT, Ended

from cw_cli.frameworks.functions import GIVEN

CONFIG: dict[str, Any] = {
    "use_cpu": True,
    "bf16": False,
    "num_generations": 4,
    "per_device_train_batch_size": 16,
    "max_completion_length": 8,
    "learning_rate": 1e-2,
    "max_steps": 6,
    "logging_steps": 1,
    "save_strategy": "no",
    "seed": 1,
}

FUNCTIONS = """
import json, pathlib

def sun(completions, answer, **columns):
    given = sorted(columns)
    pathlib.Path(__file__).with_name("given.json").write_text(json.dumps(given))
    return [said.split().count(right) / max(len(said.split()), 1) for said, right in zip(completions, answer)]

async def later(completions, **columns):
    return [None for _ in completions]

def endless(completions, **columns):
    return [float("inf") for _ in completions]

def broken(completions, **columns):
    return [1 / 0 for _ in completions]
"""


class Rewarded:
    """Runs of the recipes on the tiny model and prompts of the reinforcement tests."""

    def __init__(self, lab: RewardLab) -> None:
        self.lab, self.folder = lab, lab.folder / "online"
        (self.folder / "prompts").mkdir(parents=True)
        rows = [json.loads(line) for line in (lab.folder / "prompts.jsonl").read_text().splitlines()]
        data = "".join(json.dumps(row | {"answer": "sun"}) + "\n" for row in rows)
        (self.folder / "prompts" / "train.jsonl").write_text(data)
        (self.folder / "mine.py").write_text(FUNCTIONS)
        write_judge(self.folder / "judge")

    def train(self, kind: str, output: str, reward_funcs: Any, run: str = "", **changes: Any) -> Ended:
        stop = {key: changes.pop(key) for key in ("stop", "with_signal") if key in changes}
        path = self.folder / f"{output}.yaml"
        values = {
            "model_name_or_path": str(self.lab.folder / "model"),
            "dataset_name": str(self.folder / "prompts"),
            "output_dir": str(self.folder / output),
            "reward_funcs": reward_funcs,
        }
        path.write_text(yaml.safe_dump(CONFIG | values | changes))
        command = ["-m", "cw_train", f"trl_{kind}", "--config", str(path)]
        # Without the service that stands inside the process of other tests.
        environment = {"PYTHONPATH": str(ROOT / "containers"), "REWARD_MODEL_URL": ""} | (
            {"CW_RUN": run} if run else {}
        )
        return self.lab.run(command, self.folder / output, environment=environment, **stop)

    def given(self) -> set[str]:
        """What TRL called the function `sun` with, beside the data."""
        return {*json.loads((self.folder / "given.json").read_text()), "completions"}

    def mine(self, name: str) -> str:
        return f"{self.folder / 'mine.py'}:{name}"


def write_judge(folder: Path) -> None:
    """A sequence classifier with one score, of random weights."""
    import torch
    from transformers import AutoModelForSequenceClassification, LlamaConfig

    tokenizer = make_tokenizer()
    torch.manual_seed(0)
    size = {"vocab_size": len(tokenizer), "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
    config = LlamaConfig(**size, num_attention_heads=2, num_key_value_heads=2, pad_token_id=0, num_labels=1)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@pytest.fixture(scope="module")
def rewarded(rewards: RewardLab) -> Rewarded:
    return Rewarded(rewards)


@pytest.fixture
def service() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A reward service that likes the word sun, and what it was asked."""
    asked: list[dict[str, Any]] = []

    class Answers(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            pairs = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["pairs"]
            asked.extend(pairs)
            data = json.dumps({"scores": [pair["completion"].count("sun") for pair in pairs]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
        server.shutdown()


def test_grpo_learns_from_every_kind_of_reward(rewarded: Rewarded) -> None:
    names = [rewarded.mine("sun"), {"repetition_penalty": {"ngram": 4}}, rewarded.mine("later"), "think_format_reward"]
    names.append(str(rewarded.folder / "judge"))
    ended = rewarded.train("grpo", "all", names, max_steps=40, reward_weights=[1.0, 0.1, 1.0, 1.0, 0.0])
    assert ended.code == 0, ended.err
    done = ended.event("done")
    assert done["first_reward"] < 0.3
    assert done["last_reward"] > 0.7
    assert (ended.folder / "reward.png").is_file()
    row = ended.rows[-1]
    assert row["rewards/sun/mean"] > 0.7
    assert row["rewards/think_format_reward/mean"] == 0.0
    assert row["rewards/later/mean"] is None  # it had nothing to say
    assert {"rewards/repetition_penalty/mean", "rewards/judge/mean"} <= row.keys()
    assert "Warning" not in ended.err
    assert rewarded.given() == set(GIVEN)


def test_rloo_learns_from_a_service(rewarded: Rewarded, service: tuple[str, list[dict[str, Any]]]) -> None:
    url, asked = service
    names = [{"reward_service": {"url": url}}, rewarded.mine("sun")]
    ended = rewarded.train("rloo", "served", names, max_steps=25, reward_weights=[1, 0])
    assert ended.code == 0, ended.err
    assert ended.event("done")["last_reward"] > ended.event("done")["first_reward"] + 2
    assert len(asked) == 25 * 16 and asked[0]["prompt"].startswith("the ")
    assert rewarded.given() == set(GIVEN)


def test_a_restart_goes_on(rewarded: Rewarded) -> None:
    changes = {"run": "again", "max_steps": 40, "save_strategy": "steps", "save_steps": 20}
    name = rewarded.mine("sun")
    stopped = rewarded.train(
        "grpo", "again", name, stop=lambda line: line.get("step") == 3, with_signal=signal.SIGTERM, **changes
    )
    assert stopped.code == 143, stopped.err
    again = rewarded.train("grpo", "again", name, **changes)
    assert again.code == 0, again.err
    assert again.event("start")["step"] == stopped.event("preempted")["step"]
    assert [row["step"] for row in again.rows] == list(range(1, 41))


@pytest.mark.parametrize(
    ("name", "code", "sentence"),
    [
        ("endless", 1, "the reward endless is inf for the completion"),
        ("broken", 1, "ZeroDivisionError: division by zero ("),
        ("nothing", 2, "has no attribute 'nothing'"),
    ],
)
def test_a_function_that_fails(rewarded: Rewarded, name: str, code: int, sentence: str) -> None:
    ended = rewarded.train("grpo", name, rewarded.mine(name))
    assert ended.code == code
    assert sentence in ended.last_line
    assert ("mine.py:16)" in ended.last_line) == (name == "broken")


def test_a_column_that_is_not_there(rewarded: Rewarded) -> None:
    ended = rewarded.train("grpo", "column", {"exact_match": {"column": "solution"}})
    assert ended.code == 2
    assert ended.last_line.startswith("error: the data has no column `solution`")


@pytest.mark.parametrize("config", ["grpo.yaml", "served_grpo.yaml"])
def test_the_example_learns_words(rewarded: Rewarded, tmp_path: Path, config: str) -> None:
    """Through the command line, as its README says, for half as long; with a service beside the trainer, too."""
    for name in ("grpo", "quickstart"):
        shutil.copytree(ROOT / "examples" / name, tmp_path / name)
    homes = {"HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path / "state"), "USER": "tester"}
    environment = {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", **homes}
    command = [sys.executable, "-m", "cw_cli.cli.main", "trl", "grpo", config, "--local"]
    changes = ["--set", "output_dir=out", "--set", "max_steps=30"]
    done = subprocess.run(
        [*command, *changes], cwd=tmp_path / "grpo", env=environment, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr
    assert "reward   0.0" in done.stderr
    rows = [json.loads(line) for line in (tmp_path / "grpo" / "out" / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["reward"] > rows[0]["reward"] + 0.3
