"""The verdict on an evaluation, from the lines that verifiers writes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from cw_train import GaveUpError, RefusedError
from cw_train.verifiers_eval import importable, resumes, with_defaults
from cw_train.verifiers_traces import Tally, judge, write_summary


def row(score: float | None = 1.0, *, error: str = "", tokens: int = 3) -> str:
    rewards = {"right": None if score is None else {"score": score, "weight": 0.5}}
    errors = [{"type": error, "message": "no  route\nto host"}] if error else []
    trace = {"rewards": rewards, "metrics": {"turns": 2.0, "missing": None}, "errors": errors}
    return json.dumps({"ok": not error, "errors": [], "traces": [trace], "num_total_tokens": tokens}) + "\n"


@pytest.fixture
def traces(tmp_path: Path) -> Path:
    return tmp_path / "traces.jsonl"


def tallied(traces: Path, *rows: str) -> Tally:
    traces.write_text("".join(rows))
    return Tally(traces).look()


def test_rewards_are_weighted_and_failures_do_not_count(traces: Path) -> None:
    tally = tallied(traces, row(1.0), row(0.0), row(1.0, error="ProviderError"), row(None))
    assert (tally.done, tally.failed, tally.reward) == (4, 1, 0.25)
    assert tally.scores == {"right": [1.0, 0.0], "turns": [2.0, 2.0, 2.0]}
    assert tally.tokens == 12


def test_a_growing_file_is_read_once(traces: Path) -> None:
    tally = tallied(traces, row(), row()[:20])
    assert tally.done == 1
    with traces.open("a") as file:
        file.write(row()[20:] + "torn\n")
    assert tally.look().done == 2
    assert tally.look().done == 2


def test_a_file_written_anew_is_counted_anew(traces: Path) -> None:
    tally = tallied(traces, row(), row(error="HarnessError"))
    tally.read_log("12:00:00 INFO resuming /x/run-1: 1 task(s), 1 rollout(s) owed\n")
    kept = traces.with_suffix(".tmp")
    kept.write_text(row())
    kept.replace(traces)
    assert (tally.look().done, tally.failed) == (1, 0)


def test_the_log_tells_how_many_there_will_be(traces: Path) -> None:
    tally = tallied(traces)
    tally.read_log("12:00:00 INFO running 16x2 rollouts on owner/model\n")
    assert tally.total == 32
    tally.read_log("something else\n")
    assert tally.total == 32


def verdict(tally: Tally, code: int = 0, allowed: float = 0) -> str:
    with pytest.raises(GaveUpError) as caught:
        judge(tally, code, allowed)
    return str(caught.value)


def test_an_exit_code_of_0_proves_nothing(traces: Path) -> None:
    failed = tallied(traces, row(error="ProviderError"), row(error="ProviderError"), row(error="HarnessError"))
    sentence = verdict(failed)
    assert sentence == "3 of 3 rollouts failed, most of them with ProviderError: no route to host"
    assert verdict(Tally(traces.with_name("none"))).startswith("verifiers ended with exit code 0 and made no rollout")
    short = tallied(traces, row())
    short.total = 2
    assert verdict(short) == f"1 of 2 rollouts are in {traces}"
    assert (
        verdict(tallied(traces, row()), code=1)
        == "verifiers ended with exit code 1 after 1 of 1 rollouts; its log says why"
    )


@pytest.mark.parametrize(("allowed", "succeeds"), [(0, False), (1, True), (0.25, True), (0.2, False), (2, True)])
def test_some_failures_may_be_allowed(traces: Path, allowed: float, succeeds: bool) -> None:
    tally = tallied(traces, row(), row(), row(), row(error="ProviderError"))
    if succeeds:
        judge(tally, 0, allowed)
    else:
        assert "1 of 4 rollouts failed" in verdict(tally, allowed=allowed)


def test_the_summary_is_for_programs_and_for_people(traces: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_summary(tallied(traces, row(), row(error="X")), traces.with_name("results.json"))
    summary = json.loads(traces.with_name("results.json").read_text())
    assert summary["rollouts"] == 2
    assert summary["means"]["right"] == 1.0
    assert summary["errors"] == {"X": 1}
    assert "2 rollouts, 1 failed\n  reward                   0.5000\n" in capsys.readouterr().out


def test_defaults_are_for_here_and_not_for_a_cloud() -> None:
    values: dict[str, Any] = {"output_dir": "/claim/run-1"}
    with_defaults(values, {"CW_RUN": "run-1", "INFERENCE_URL": "http://inference:8000/v1"})
    assert values == {
        "output_dir": "/claim",
        "push": False,
        "rich": None,
        "run": {"name": "run-1"},
        "client": {"base_url": "http://inference:8000/v1", "api_key_var": "INFERENCE_API_KEY"},
    }
    own: dict[str, Any] = {
        "output_dir": "/x",
        "push": True,
        "run": {"name": "n"},
        "client": {"base_url": "http://a/v1"},
    }
    with_defaults(own, {"CW_RUN": "run-1"})
    assert (own["output_dir"], own["push"], own["run"]["name"]) == ("/x", True, "n")
    assert own["client"] == {"base_url": "http://a/v1", "api_key_var": "OPENAI_API_KEY"}


def test_what_is_named_by_a_path_becomes_a_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.path", [])
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "__init__.py").touch()
    (tmp_path / "my-env" / "my_env").mkdir(parents=True)  # as vf-init lays it out
    (tmp_path / "one.py").touch()
    env = {
        "taskset": {"id": str(tmp_path / "my-env")},
        "id": str(tmp_path / "one.py"),
        "agent": {"harness": {"id": str(tmp_path / "plain")}},
        "judge": {"harness": {"id": "null"}},
    }
    assert importable(env) == [str(tmp_path / "my-env"), str(tmp_path), str(tmp_path)]
    assert (env["taskset"]["id"], env["id"], env["agent"]["harness"]["id"]) == ("my-env", "one", "plain")


def test_a_restart_goes_on_at_whatever_address_the_service_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved = tmp_path / "configs" / "resolved" / "eval.json"
    marker = tmp_path / ".cw-run"
    values = {"client": {"base_url": "http://127.0.0.1:2/v1"}}
    assert resumes(tmp_path, marker, "run-1", values) is False
    saved.parent.mkdir(parents=True)
    saved.write_text(json.dumps({"client": {"base_url": "http://127.0.0.1:1/v1"}}))
    (tmp_path / "traces.jsonl").write_text(row())
    with pytest.raises(RefusedError, match="results of another run"):
        resumes(tmp_path, marker, "run-1", values)
    marker.write_text("run-1")
    monkeypatch.setitem(os.environ, "INFERENCE_URL", "http://127.0.0.1:2/v1")
    assert resumes(tmp_path, marker, "run-1", values) is True
    assert json.loads(saved.read_text())["client"]["base_url"] == "http://127.0.0.1:2/v1"
    assert resumes(tmp_path, marker, "run-2", {**values, "clean": True}) is False
    assert resumes(tmp_path, marker, "run-2", {**values, "resume": True}) is True
