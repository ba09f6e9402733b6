"""GRPO and RLOO: what is said of rewards, groups, prompts and vLLM, and that TRL refuses the same groups."""

from __future__ import annotations

import importlib
import importlib.util
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from cw_cli.core import imports
from cw_cli.core.config import parse_config
from cw_cli.core.files import in_place, travelling
from cw_cli.core.framework import TrainingType
from cw_cli.core.launch_keys import launch_schema
from cw_cli.core.launch_reader import read_keys
from cw_cli.core.problems import Problem, errors
from cw_cli.core.schema import Schema
from cw_cli.core.shipped import shipped
from cw_cli.frameworks import functions
from cw_cli.frameworks.trl import rewards
from cw_cli.frameworks.trl.checks import online
from cw_cli.frameworks.trl.framework import TRLFramework

FRAMEWORK = TRLFramework(shipped("kubeconfigs"))
BASE = {"model_name_or_path": "owner/model", "dataset_name": "owner/data", "reward_funcs": "exact_match"}

MINE = """\
import json

def good(completions, answer, **columns):
    return []

async def later(prompts, completions, *, level=1, **columns):
    return []

def closed(completions):
    return []

def placed(completions, /, **columns):
    return []

def all_of_it(prompts, completions, completion_ids, trainer_state, log_extra, log_metric, answer):
    return []

made = good

def plain(completions, **columns):
    return []

def two(prompts, completions):
    return []

def counted(completion_ids, **columns):
    return []
"""

needs_trl = pytest.mark.skipif(importlib.util.find_spec("trl") is None, reason="the train extra is not installed")


def problems(
    folder: Path, settings: dict[str, Any], kind: str = "grpo", gpus: int = 1, nodes: int = 1
) -> list[Problem]:
    values = {
        key: value for key, value in {**BASE, "gpu": gpus, "nodes": nodes, **settings}.items() if value is not ...
    }
    config = parse_config(yaml.safe_dump(values, sort_keys=False), str(folder / "config.yaml"))
    keys, _ = read_keys(config.part(launch_schema().keys))
    named = FRAMEWORK.file_keys(config, TrainingType(kind))
    travelling = imports.checks(config, named, keys.image, "kubernetes")
    return [*FRAMEWORK.cross_checks(config, keys, TrainingType(kind)), *travelling]


def write(folder: Path, *rows: dict[str, Any]) -> str:
    (folder / "data").mkdir(exist_ok=True)
    (folder / "data" / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return "data"


def model(folder: Path, name: str, **settings: Any) -> str:
    (folder / name).mkdir()
    (folder / name / "config.json").write_text(json.dumps(settings))
    return f"./{name}"


def said(found: list[Problem]) -> str:
    return " | ".join(f"{problem.message}: {problem.remedy}" for problem in found)


# Rewards


@pytest.mark.parametrize(
    "entry",
    [
        "exact_match",
        ["exact_match", {"numeric_answer": {"tolerance": 1, "column": "solution"}}],
        {"soft_overlong": {"max_tokens": 99, "buffer": 9}, "think_format": None},
        {"keywords": {"words": ["a", "b"]}},
        {"keywords": {"words": "a"}},
        ["mine.py:good", "mine.py:later", "mine.py:made", "mine.py:all_of_it"],
        "think_format_reward",
        "package.module.function",
        "owner/model",
        {"reward_service": {"url": "http://a:8000,https://b", "timeout": 60}},
        "./judge",
    ],
)
def test_nothing_is_said_about_rewards_that_are_there(tmp_path: Path, entry: Any) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    model(tmp_path, "judge", architectures=["LlamaForSequenceClassification"], id2label={"0": "score"})
    assert problems(tmp_path, {"reward_funcs": entry}) == []


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (..., "reward_funcs is missing"),
        ([], "reward_funcs is missing"),
        ("exact_mach", "there is no reward exact_mach: did you mean exact_match?"),
        ("think_format_rewards", "did you mean think_format_reward?"),
        ("zzz", "there is no reward zzz: there is exact_match, numeric_answer"),
        ({"exact_match": {"colum": "a"}}, "exact_match has no setting colum: did you mean column?"),
        ({"exact_match": {"ignore_case": 1}}, "ignore_case cannot be 1: write true or false"),
        ({"soft_overlong": {"buffer": 2.5}}, "buffer cannot be 2.5: write a whole number"),
        ({"soft_overlong": {"buffer": True}}, "buffer cannot be True: write a whole number"),
        ({"keywords": {"words": [1]}}, "words cannot be [1]: write a list of texts"),
        ({"exact_match": ["answer"]}, "the settings of exact_match are no mapping"),
        ({"mine.py:good": {"a": 1}}, "takes no settings"),
        ({"mine.py:good": None}, "takes no settings"),
        ("mine.py", "names a file, and no function in it: write `mine.py:good`"),
        ("mine.py:god", "mine.py has no function god: did you mean good?"),
        ("mine.py:nothing_like_it", "it has good, later, closed, placed, all_of_it, plain, two, counted"),
        ("mnie.py:good", "there is no mnie.py: did you mean mine.py?"),
        ("/no/where.py:good", "is not on this machine"),
        ("mine.py:closed", "write `def closed(completions, **columns)`"),
        ("mine.py:placed", "takes completions by its place"),
        ("mine.good", "write `mine.py:good`, and the file travels"),
        ("./nothing", "there is no ./nothing"),
        ("./writer", "is a LlamaForCausalLM, whose scores would be random"),
        ("./moods", "has 2 labels, and TRL takes models with one score: write `reward_model: ./moods`"),
        ("./empty", "config.json is missing"),
        ("reward_service", "needs the address"),
        ({"reward_service": {"url": "judge:8000"}}, "judge:8000 is no address"),
        ({"reward_service": {"url": "http://a", "timeout": "long"}}, "timeout cannot be 'long': write a number"),
        ("accuracy_reward", "needs the package math-verify"),
        ("broken.py:good", "this is not Python"),
        ("beside.py:good", "imports mine from beside it"),
        ("relative.py:good", "imports a file from beside it"),
    ],
)
def test_what_is_said_about_rewards(tmp_path: Path, entry: Any, words: str) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "broken.py").write_text("def good(:\n")
    (tmp_path / "beside.py").write_text("def good(**all):\n    from mine import good\n")
    (tmp_path / "relative.py").write_text("from . import mine\ndef good(**all): ...\n")
    (tmp_path / "empty").mkdir()
    model(tmp_path, "writer", architectures=["LlamaForCausalLM"])
    model(tmp_path, "moods", architectures=["BertForSequenceClassification"], id2label={"0": "sad", "1": "glad"})
    found = problems(tmp_path, {"reward_funcs": entry})
    assert words in said(found)
    assert len(found) == 1


def test_a_mistake_in_a_file_is_shown_at_its_line(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    (found,) = problems(tmp_path, {"reward_funcs": "mine.py:closed"})
    assert found.origin is not None
    assert (found.origin.source, found.origin.line) == (str(tmp_path / "mine.py"), 9)
    assert found.origin.text == "def closed(completions):"


def test_what_functions_of_one_file_have_in_common_is_said_once(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("import other\ndef a(**all): ...\ndef b(**all): ...\n")
    (tmp_path / "other.py").write_text("")
    assert len(problems(tmp_path, {"reward_funcs": ["mine.py:a", "mine.py:b"]})) == 1


@pytest.mark.parametrize("text", ["\x00", "x = " + "(" * 5000, "\ufeffdef good(**all): ...", "def é(**all): ..."])
def test_any_file_can_be_looked_at(tmp_path: Path, text: str) -> None:
    (tmp_path / "odd.py").write_text(text, "utf-8")
    problems(tmp_path, {"reward_funcs": "odd.py:good"})


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mine.py:good", "good reads answer, and a served function gets prompts and completions alone"),
        ("mine.py:closed", "closed takes no further arguments, and is given prompts, completions: write"),
        ("mine.py:counted", "counted reads completion_ids, and a served function gets prompts and completions alone"),
        ("mine.py:later", "later waits with async, which a service does not"),
        ("mine.py:god", "mine.py has no function god"),
        ("./writer", "is a LlamaForCausalLM"),
        ("./nothing", "there is no ./nothing"),
        ("exact_match", "there is no exact_match here to serve"),
    ],
)
def test_what_is_said_about_a_served_reward(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    model(tmp_path, "writer", architectures=["LlamaForCausalLM"])
    (found,) = problems(tmp_path, {"reward_funcs": ..., "reward_model": name})
    assert words in said([found])


@pytest.mark.parametrize("name", ["mine.py:plain", "mine.py:two", "./moods", "owner/judge"])
def test_rewards_that_can_be_served(tmp_path: Path, name: str) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    model(tmp_path, "moods", architectures=["BertForSequenceClassification"], id2label={"0": "sad", "1": "glad"})
    assert problems(tmp_path, {"reward_model": name, "reward_weights": [1, 1]}) == []


def test_a_function_is_served_without_a_gpu(tmp_path: Path) -> None:
    gpus = [
        FRAMEWORK.service_resources("reward", parse_config(f"reward_model: {name}\n", "x"), 4).gpu
        for name in ("owner/judge", "mine.py:good")
    ]
    assert gpus == [1, 0]


def test_a_revision_is_taken_for_reward_models_too(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, {"model_revision": "v2", "reward_funcs": ["owner/judge", "exact_match"]})
    assert found.severity == "warning" and "(v2) for the reward model owner/judge" in found.message


@pytest.mark.parametrize(
    "text",
    [
        "from rewards_of_mine import *\n",
        "import functools\n@functools.cache\ndef good(completions): ...\n",
        "if True:\n    def good(**all): ...\n",
        "import re\ndef good(**all): re.compile('\\d')\n",
    ],
)
def test_functions_that_cannot_be_judged_are_left_alone(tmp_path: Path, text: str) -> None:
    (tmp_path / "odd.py").write_text(text)
    assert problems(tmp_path, {"reward_funcs": "odd.py:good"}) == []


def test_how_a_reward_is_served(tmp_path: Path) -> None:
    block = {"reward_service": {"label": "good", "max_length": 99}}
    assert problems(tmp_path, {"reward_model": "owner/judge", **block}) == []
    (found,) = problems(tmp_path, block)
    assert "there is no reward_model to serve" in found.message
    for kind in ("grpo", "rlhf"):
        config = parse_config("reward_service: {lable: good, max_queue: many}\n", "x")
        assert said([*schema(kind).check(config)]) == (
            "reward_service has no key lable: did you mean label? | "
            "reward_service.max_queue is the text 'many': write a whole number"
        )


def test_weights_are_one_for_each_reward(tmp_path: Path) -> None:
    two = {"reward_funcs": ["exact_match"], "reward_model_name_or_path": "owner/judge"}
    assert problems(tmp_path, {**two, "reward_weights": [1, 0.5]}) == []
    (found,) = problems(tmp_path, {**two, "reward_weights": [1]})
    assert "there are 1 reward_weights for 2 rewards: write one number for each of owner/judge, exact_match" in said(
        [found]
    )


def test_files_travel_and_names_do_not(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "exact_match").mkdir()  # of the same name as a reward that ships with cw
    text = "reward_funcs: [mine.py:good, exact_match, {keywords: {words: [a]}}, owner/model]\n"
    config = parse_config(text, str(tmp_path / "config.yaml"))
    keys = FRAMEWORK.file_keys(config, TrainingType.GRPO)
    here = in_place(config, keys).get("reward_funcs")
    assert here == [f"{tmp_path}/mine.py:good", "exact_match", {"keywords": {"words": ["a"]}}, "owner/model"]
    there, travellers, _ = travelling(config, keys, [])
    assert there.get("reward_funcs", 0) == "/cw/files/mine.py:good"
    assert list(travellers.files) == ["mine.py"]


# Data


def test_prompts_and_what_rewards_read(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    data = write(tmp_path, *[{"prompt": f"{number}", "answer": "1"} for number in range(9)])
    assert problems(tmp_path, {"dataset_name": data, "reward_funcs": ["mine.py:good", "exact_match"]}) == []
    data = write(tmp_path, *[{"question": f"{number}", "solution": "1"} for number in range(9)])
    found = problems(tmp_path, {"dataset_name": data, "reward_funcs": ["mine.py:good", "exact_match"]})
    assert "lacks prompt: rename question to prompt" in said(found)
    assert "lacks answer, which the reward good reads: rename solution to answer" in said(found)
    assert len(found) == 2


@pytest.mark.parametrize(
    ("entry", "column"),
    [
        ({"numeric_answer": {"column": "result"}}, "result"),
        ("keywords", "keywords"),
        ("accuracy_reward", "solution"),
        ("mine.py:all_of_it", "answer"),
    ],
)
def test_a_column_that_a_reward_reads_is_missed(tmp_path: Path, entry: Any, column: str) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    data = write(tmp_path, *[{"prompt": f"{number}"} for number in range(9)])
    found = errors(problems(tmp_path, {"dataset_name": data, "reward_funcs": entry}))
    assert len(found) == 1 and f"lacks {column}, which the reward" in found[0].message


def test_columns_that_are_taken_away(tmp_path: Path) -> None:
    found = problems(tmp_path, {"remove_unused_columns": True})
    assert "takes away answer, which rewards read" in said(found)


TURN = [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([{"prompt": "a"}, {"prompt": TURN}], "neither text alone nor messages alone"),
        ([{"prompt": 5}], "neither text alone nor messages alone"),
        ([{"prompt": TURN}], "no chat template"),
        ([{"prompt": "a"}] * 7, "the data has 7 prompts, and a batch takes 8 different ones"),
    ],
)
def test_prompts_that_cannot_be_used(tmp_path: Path, rows: list[dict[str, Any]], words: str) -> None:
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "tokenizer_config.json").write_text("{}")
    (tmp_path / "tiny" / "config.json").write_text("{}")
    settings = {"model_name_or_path": "./tiny", "dataset_name": write(tmp_path, *rows), "reward_funcs": "json_format"}
    sizes = {"per_device_train_batch_size": 64} if len(rows) == 7 else {"num_generations": 8}
    assert words in said(problems(tmp_path, {**settings, **sizes}))


def test_room_for_completions(tmp_path: Path) -> None:
    path = model(tmp_path, "tiny", max_position_embeddings=128)
    (tmp_path / "tiny" / "tokenizer.json").write_text("{}")
    (found,) = problems(tmp_path, {"model_name_or_path": path})
    assert found.severity == "warning" and "512 tokens, which is TRL's default, leave no room" in found.message
    assert problems(tmp_path, {"model_name_or_path": path, "max_completion_length": 100}) == []


# Groups


@pytest.mark.parametrize(
    ("settings", "gpus", "nodes", "words"),
    [
        ({"num_generations": 7}, 1, 1, "a batch of 8 completions does not hold whole groups of 7"),
        ({"num_generations": 7}, 1, 1, "write `per_device_train_batch_size: 14`, or `num_generations: 8`"),
        ({"num_generations": 6}, 4, 2, "a batch of 64 completions (8 on each of 8 processes)"),
        ({"num_generations": 6}, 4, 2, "write `per_device_train_batch_size: 9`, or `num_generations: 4`"),
        ({"per_device_train_batch_size": 1}, 4, 1, "groups of 8: write `per_device_train_batch_size: 2`"),
        ({"num_generations": 3, "gradient_accumulation_steps": 2}, 1, 1, "completions (8, 2 times)"),
        ({"generation_batch_size": 20}, 1, 1, "processes (8 x 1): write `generation_batch_size: 16`"),
        ({"generation_batch_size": 24, "num_generations": 16}, 1, 1, "write `generation_batch_size: 32`"),
        ({"generation_batch_size": 16, "steps_per_generation": 2}, 1, 1, "say the same thing"),
        ({"eval_strategy": "steps", "num_generations_eval": 5}, 3, 1, "write `per_device_eval_batch_size: 10`"),
        ({"auto_find_batch_size": True}, 1, 1, "auto_find_batch_size"),
    ],
)  # fmt: skip
def test_broken_groups(tmp_path: Path, settings: dict[str, Any], gpus: int, nodes: int, words: str) -> None:
    assert words in said(errors(problems(tmp_path, settings, gpus=gpus, nodes=nodes)))


@needs_trl
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["grpo", "rloo"])
def test_trl_refuses_the_same_groups(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every combination of small sizes, for one process and for several; the advice is tried as well."""
    trl, transformers = importlib.import_module("trl"), importlib.import_module("transformers")
    config = {"grpo": trl.GRPOConfig, "rloo": trl.RLOOConfig}[kind]
    sizes = [(None, 1, 2, 3, 8), (None, 2, 3), (None, 3), (None, 6, 16), (None, 2, 3, 4, 8), (1, 3), (False, True)]
    refused = accepted = 0
    for each, steps, accumulation, whole, generations, processes, evaluates in itertools.product(*sizes):
        named = {
            "per_device_train_batch_size": each,
            "steps_per_generation": steps,
            "gradient_accumulation_steps": accumulation,
            "generation_batch_size": whole,
            "num_generations": generations,
            "eval_strategy": "steps" if evaluates else None,
        }
        settings = {key: value for key, value in named.items() if value is not None}
        monkeypatch.setattr(transformers.TrainingArguments, "world_size", property(lambda _, count=processes: count))

        def trl_refuses(settings: dict[str, Any]) -> bool:
            try:
                config(output_dir=str(tmp_path), use_cpu=True, bf16=False, **settings)
            except ValueError:
                return True
            return False

        mine = [*online.groups(parse_config(yaml.safe_dump(settings) if settings else "", "x"), kind, processes)]
        assert bool(mine) == trl_refuses(settings), settings
        refused, accepted = refused + bool(mine), accepted + (not mine)
        for problem in mine if len(mine) == 1 else []:
            for advice in problem.remedy.partition("write ")[2].split(", or "):
                if not evaluates and ":" in advice:
                    assert not trl_refuses({**settings, **yaml.safe_load(advice.strip("`"))}), (settings, advice)
    assert refused > 100 and accepted > 100


@needs_trl
def test_trl_leaves_out_what_fills_no_batch() -> None:
    sampler = importlib.import_module("trl.trainer.utils").RepeatSampler
    assert len([*sampler(range(7), mini_repeat_count=8, batch_size=8)]) == 0
    assert len([*sampler(range(8), mini_repeat_count=8, batch_size=8)]) == 64


@needs_trl
def test_the_defaults_are_trls() -> None:
    trl = importlib.import_module("trl")
    for kind, config in (("grpo", trl.GRPOConfig), ("rloo", trl.RLOOConfig)):
        fields = config.__dataclass_fields__
        assert online.GENERATIONS[kind] == fields["num_generations"].default
        assert online.BETA[kind] == fields["beta"].default
        assert fields["max_completion_length"].default == online.COMPLETION
        assert fields["per_device_train_batch_size"].default == online.BATCH


# The reference, and vLLM


@pytest.mark.parametrize(
    ("settings", "kind", "gpus", "words"),
    [
        ({"sync_ref_model": True}, "grpo", 1, "beta is 0"),
        ({"sync_ref_model": True, "use_peft": True}, "rloo", 1, "does not work with LoRA"),
        ({"log_completions_hub_repo": "a/b"}, "grpo", 1, "add `log_completions: true`"),
        ({"vllm_importance_sampling_clip_min": 3}, "grpo", 1, "is not below"),
        (
            {"vllm_importance_sampling_mode": "token_truncate", "vllm_importance_sampling_clip_max": None},
            *("grpo", 1, "no limit"),
        ),
        (
            {"loss_type": "vespo", "use_vllm": True, "image": "x", "vllm_mode": "server"},
            *("grpo", 1, "vespo does not work"),
        ),
        ({"use_vllm": True, "vllm_mode": "server"}, "grpo", 0, "vLLM needs a GPU"),
        ({"use_vllm": True, "vllm_mode": "server"}, "grpo", 1, "cw takes by default has no vLLM"),
        ({"use_vllm": True, "image": "x"}, "grpo", 1, "in a service of its own, on a GPU beside the trainer's"),
        ({"vllm_mode": "colocate"}, "rloo", 1, "not used without use_vllm"),
        (
            {"use_vllm": True, "image": "x", "vllm_mode": "colocate", "vllm_server_port": 9000},
            *("grpo", 1, "vLLM runs inside the trainer"),
        ),
        (
            {"use_vllm": True, "image": "x", "vllm_mode": "colocate", "vllm_tensor_parallel_size": 3},
            *("grpo", 4, "not divide the 4 processes"),
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_together(tmp_path: Path, settings: dict[str, Any], kind: str, gpus: int, words: str) -> None:
    found = problems(tmp_path, settings, kind, gpus)
    assert words in said(found)
    assert len(found) == 1


@pytest.mark.parametrize(
    "settings",
    [
        {"use_vllm": True, "image": "x", "vllm_mode": "colocate"},
        {"use_vllm": True, "image": "x", "vllm_mode": "server"},
        {"use_vllm": True, "image": "x", "vllm_mode": "server", "vllm_server_base_url": "http://a:8000"},
        {"use_vllm": True, "image": "x", "vllm_mode": "server", "vllm_server_host": "a"},
        {"sync_ref_model": True, "beta": 0.1},
    ],
)
def test_what_is_right_together(tmp_path: Path, settings: dict[str, Any]) -> None:
    assert problems(tmp_path, settings) == []


# Keys


def schema(kind: str) -> Schema:
    return FRAMEWORK.get_schema(TrainingType(kind))


def test_old_names_of_each() -> None:
    config = parse_config("rloo_k: 4\nmax_new_tokens: 9\nmax_seq_length: 3\n", "x")
    canonical, _ = schema("rloo").canonical(config)
    assert canonical.values == {"num_generations": 4, "max_completion_length": 9, "max_seq_length": 3}
    (problem,) = schema("rloo").check(canonical)
    assert "max_seq_length no longer exists" in problem.message


@pytest.mark.parametrize("kind", ["grpo", "rloo"])
def test_no_key_is_gone_and_there(kind: str) -> None:
    found = schema(kind)
    assert not found.removed.keys() & found.keys.keys()
    assert not found.renamed.keys() & {*found.keys, *found.removed}


def test_the_shipped_rewards_are_found_in_their_source() -> None:
    assert {"exact_match", "boxed_answer", "cosine_length"} <= rewards.ours().keys()
    assert functions.settings(rewards.ours()["numeric_answer"]) == {"column": "answer", "tolerance": 0.0}
    page = Path(__file__).parents[2] / "docs" / "config.md"
    assert all(f"| `{name}` |" in page.read_text("utf-8") for name in rewards.ours())
