"""An evaluation by verifiers itself against a small OpenAI-compatible server: judged, resumed, refused, stopped."""

from __future__ import annotations

import importlib.util
import json
import signal
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from training_lab import Ended, Lab

IMPORTED = ("verifiers.v1.configs.cli.eval", "verifiers.v1.utils.loaders")
TASKSET = Path(__file__).parent / "tasksets" / "counting"

pytestmark = pytest.mark.skipif(importlib.util.find_spec("verifiers") is None, reason="install the verifiers extra")


class Model:
    """A server that answers with the last word of what it is asked, or as a test wants."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.broken: set[str] = set()
        self.gate = threading.Event()
        self.gate.set()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self.handler())
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def handler(model) -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                prompt = request["messages"][-1]["content"]
                model.asked.append(prompt)
                model.gate.wait(60)
                if prompt in model.broken:
                    self.send_error(400, "broken")
                    return
                head = {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": request["model"]}
                delta = {"role": "assistant", "content": prompt.split()[-1]}
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.end_headers()
                for choice in ({"delta": delta, "finish_reason": None}, {"delta": {}, "finish_reason": "stop"}):
                    self.wfile.write(f"data: {json.dumps({**head, 'choices': [{'index': 0, **choice}]})}\n\n".encode())
                usage = {"prompt_tokens": 2, "completion_tokens": 1, "total_tokens": 3}
                self.wfile.write(f"data: {json.dumps({**head, 'choices': [], 'usage': usage})}\n\n".encode())
                self.wfile.write(b"data: [DONE]\n\n")

            def log_message(self, *_: Any) -> None:
                pass

        return Handler


@pytest.fixture
def model() -> Iterator[Model]:
    made = Model()
    yield made
    made.gate.set()
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with closing(Lab(tmp_path_factory.mktemp("evaluations"), IMPORTED)) as made:
        yield made


@pytest.fixture
def evaluation(tmp_path: Path, model: Model, home: Lab) -> Any:
    """Runs the recipe with a config that a test changes."""

    def evaluate(name: str = "run-1", stop: Any = None, **changes: Any) -> Ended:
        config = {
            "model": "tiny",
            "client": {"base_url": model.url},
            "env": {"taskset": {"id": str(TASKSET)}, "agent": {"retries": {"max_retries": 0}}},
            "output_dir": str(tmp_path / "results" / "run-1"),
        } | changes
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(config), encoding="utf-8")
        environment = {"CW_RUN": name, "HOME": str(tmp_path)}
        command = ["-m", "cw_train", "verifiers_eval", "--config", str(path)]
        output = tmp_path / "results" / "run-1"
        output.parent.mkdir(exist_ok=True)
        return home.run(command, output, environment=environment, stop=stop, with_signal=signal.SIGTERM)

    return evaluate


def rows(ended: Ended) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (ended.folder / "traces.jsonl").read_text().splitlines()]


def test_a_taskset_beside_the_config_is_evaluated(evaluation: Any, model: Model) -> None:
    ended = evaluation(num_rollouts=2)
    assert ended.code == 0, ended.err
    assert sorted(model.asked) == [f"say {number}" for number in range(4) for _ in range(2)]
    done = ended.event("done")
    assert (done["steps"], done["failed"], done["last_reward"]) == (8, 0, 2.0)
    last = [message for message in ended.messages if "event" not in message][-1]
    assert (last["step"], last["total"], last["reward"]) == (8, 8, 2.0)
    summary = json.loads((ended.folder / "results.json").read_text())
    assert summary["means"] == {"right": 1.0}
    assert len(rows(ended)) == 8
    assert "8 rollouts, 0 failed" in ended.out


def test_failed_rollouts_fail_the_run_and_a_restart_makes_only_those(evaluation: Any, model: Model) -> None:
    model.broken = {"say 1", "say 3"}
    ended = evaluation()
    assert ended.code == 1
    assert ended.last_line.startswith("error: 2 of 4 rollouts failed, most of them with ProviderError")
    model.broken, model.asked = set(), []
    again = evaluation()
    assert again.code == 0, again.err
    assert sorted(set(model.asked)) == ["say 1", "say 3"]
    assert again.event("start")["resumed_from"] == str(again.folder)
    assert len(rows(again)) == 4
    assert again.event("done")["steps"] == 4


def test_another_runs_results_are_left_alone(evaluation: Any, model: Model) -> None:
    where = {"run": {"name": "mine"}}
    assert evaluation(**where).code == 0
    model.asked = []
    ended = evaluation("run-2", **where)
    assert ended.code == 2
    assert "holds the results of another run" in ended.last_line
    assert model.asked == []
    assert evaluation("run-2", clean=True, **where).code == 0
    assert len(model.asked) == 4


def test_what_only_the_taskset_knows_is_refused_in_one_sentence(evaluation: Any, model: Model) -> None:
    ended = evaluation(env={"taskset": {"id": str(TASKSET), "countt": 1}})
    assert ended.code == 2
    assert "env.taskset.countt" in ended.last_line
    assert model.asked == []


def test_a_stopped_run_goes_on_where_it_was(evaluation: Any, model: Model) -> None:
    def enough(message: dict[str, Any]) -> bool:
        if message.get("step") and "event" not in message:
            model.gate.clear()
            return True
        return False

    ended = evaluation(stop=enough, max_concurrent=1, env={"taskset": {"id": str(TASKSET), "count": 40}})
    assert ended.code == 143, ended.err
    made = ended.event("preempted")["step"]
    assert 0 < made < 40
    model.gate.set()
    model.asked = []
    again = evaluation(max_concurrent=1, env={"taskset": {"id": str(TASKSET), "count": 40}})
    assert again.code == 0, again.err
    assert len(model.asked) <= 40 - made + 1
    assert again.event("done")["steps"] == 40
