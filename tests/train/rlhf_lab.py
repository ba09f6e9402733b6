"""A tiny language model of words, a reward service that runs inside the process, and runs of the recipe with both."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml
from training_lab import CONTAINERS, Ended, Lab

WORDS = ["sun", "rain", "wind", "snow", "fox", "owl", "oak", "den", "red", "old", "sees", "finds", "in", "the"]
PAD, END = "<pad>", "<end>"

# Stands where `cw_train.reward_client` is looked for. The score is the share of one word in a completion: 1 at best.
SERVICE = """
import sys, types

class RewardClient:
    @classmethod
    def from_environment(cls, deadline):
        return cls()

    def score(self, pairs):
        texts = [answer if isinstance(answer, str) else answer[-1]["content"] for _, answer in pairs]
        return [text.split().count("sun") / max(len(text.split()), 1) for text in texts]

module = types.ModuleType("cw_train.reward_client")
module.RewardClient = RewardClient
sys.modules["cw_train.reward_client"] = module
"""

CONFIG: dict[str, Any] = {
    "use_cpu": True,
    "bf16": False,
    "max_new_tokens": 8,
    "max_steps": 6,
    "save_steps": 2,
    "ppo_config": {
        "learning_rate": 3e-3,
        "batch_size": 8,
        "mini_batch_size": 4,
        "ppo_epochs": 2,
        "max_grad_norm": 1.0,
        "init_kl_coef": 0.05,
        "seed": 1,
    },
}


def make_tokenizer() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {word: number for number, word in enumerate([PAD, END, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token=PAD))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=PAD, eos_token=END)


LLAMA = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 64,
}
GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64}
"""Models as small as they can be."""


def make_model(kind: str = "llama", seed: int = 0) -> Any:
    """Two layers of random weights; `gpt2` learns its positions and `llama` turns them."""
    import torch
    from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig

    torch.manual_seed(seed)
    size = {"vocab_size": len(WORDS) + 2, "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": None}
    config = GPT2Config(**GPT2, **size) if kind == "gpt2" else LlamaConfig(**LLAMA, initializer_range=0.2, **size)
    return AutoModelForCausalLM.from_config(config)


def write_model(folder: Path, kind: str = "llama", *, pads: bool = True) -> Path:
    """`pads` says whether the tokenizer has a token for padding; GPT-2's own has none."""
    make_model(kind).save_pretrained(folder)
    tokenizer = make_tokenizer()
    if not pads:
        tokenizer.pad_token = None
    tokenizer.save_pretrained(folder)
    return folder


def write_prompts(path: Path) -> Path:
    rows = [f"the {first} {second}" + " sees" * (number % 3) for number, (first, second) in enumerate(pairs())]
    path.write_text("".join(json.dumps({"prompt": row}) + "\n" for row in rows), encoding="utf-8")
    return path


def pairs() -> list[tuple[str, str]]:
    return [(colour, animal) for colour in ("red", "old") for animal in ("fox", "owl", "oak", "den", "snow")]


class Judge:
    """Scores completions in this process, and keeps what it was asked."""

    def __init__(self, score: Callable[[str], float] = lambda text: float(len(text))) -> None:
        self.asked: list[tuple[Any, Any]] = []
        self.one = score

    def score(self, pairs: Sequence[tuple[Any, Any]]) -> list[float]:
        self.asked = list(pairs)
        return [self.one(answer if isinstance(answer, str) else answer[-1]["content"]) for _, answer in pairs]


def make_ppo(folder: Path, judge: Judge | None = None, **changes: Any) -> Any:
    """PPO in this process, on a model in a folder."""
    import torch
    from accelerate import PartialState
    from cw_train.policy import load
    from cw_train.ppo import PPO
    from cw_train.rlhf_settings import Settings

    PartialState(cpu=True)
    settings = Settings(**{"model_name": str(folder), "bf16": False, "use_cpu": True, "batch_size": 4} | changes)
    tokenizer = make_tokenizer()
    policy, reference = load(settings, tokenizer, None, torch.device("cpu"))
    return PPO(policy, reference, tokenizer, judge or Judge(), steps=10)


def make_texts(responses: list[list[int]], prompts: list[list[int]]) -> Any:
    """Prompts and completions in one padded batch, without a model."""
    import torch
    from cw_train.policy import Texts

    left, right = max(map(len, prompts)), max(map(len, responses))
    tokens, attention, mask = [], [], []
    for prompt, response in zip(prompts, responses, strict=True):
        before, after = left - len(prompt), right - len(response)
        tokens.append([0] * before + prompt + response + [0] * after)
        mask.append([1] * len(response) + [0] * after)
        attention.append([0] * before + [1] * len(prompt) + mask[-1])
    lengths = [(len(prompt), len(response)) for prompt, response in zip(prompts, responses, strict=True)]
    ended = [response[-1] == 1 for response in responses]
    return Texts(torch.tensor(tokens), torch.tensor(attention), torch.tensor(mask), lengths, ended)


class RewardLab(Lab):
    """Starts runs of `trl_rlhf` on a model and prompts of its own."""

    @property
    def environment(self) -> dict[str, str]:
        return super().environment | {
            "PYTHONPATH": f"{self.folder / 'service'}:{CONTAINERS}",
            "REWARD_MODEL_URL": "http://inside.the.process",
        }

    def prepare(self) -> None:
        (self.folder / "service").mkdir()
        (self.folder / "service" / "sitecustomize.py").write_text(SERVICE, encoding="utf-8")
        write_model(self.folder / "model")
        write_prompts(self.folder / "prompts.jsonl")

    def config(self, output: Path, **changes: Any) -> Path:
        block = changes.pop("whole_block", None) or CONFIG["ppo_config"] | changes.pop("ppo_config", {})
        values = {
            "model_name": str(self.folder / "model"),
            "dataset_name": str(self.folder / "prompts.jsonl"),
            "output_dir": str(output),
        }
        path = output.parent / f"{output.name}.yaml"
        path.write_text(yaml.safe_dump(CONFIG | values | {"ppo_config": block} | changes), encoding="utf-8")
        return path

    def learn(self, output: Path, **how: Any) -> Ended:
        return self.train(output, recipe="trl_rlhf", **how)
