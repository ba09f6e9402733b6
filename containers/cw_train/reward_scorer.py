"""What gives a text its score: a sequence-classification model, or a function of the user's."""

from __future__ import annotations

import importlib
import importlib.util
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cw_train import RefusedError
from cw_train.rlhf_settings import ServiceSettings

Message = dict[str, Any]
Said = str | list[Message]
"""A text, or the messages of a conversation."""
Pair = tuple[Said, Said]
"""A prompt and its completion. A text that stands alone is the completion of an empty prompt."""

POSITIVE = ("positive", "label_1")


class FunctionScorer:
    """Scores of `function(prompts=…, completions=…)`, named as `file.py:function` or `module:function`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.function = load_function(name)

    def encode(self, pairs: Sequence[Pair]) -> list[Pair]:
        return list(pairs)

    def length(self, item: Pair) -> int:
        return 0

    def scores(self, items: Sequence[Pair]) -> list[float]:
        given = self.function(prompts=[pair[0] for pair in items], completions=[pair[1] for pair in items])
        found = [float(score) for score in given]
        if len(found) != len(items):
            raise ValueError(f"{self.name} gave {len(found)} scores for {len(items)} completions")
        return found


def load_function(name: str, key: str = "reward_model") -> Callable[..., Any]:
    """The function that `name` means; raises `RefusedError` when there is none. `key` is where the config says it."""
    where, _, function = name.rpartition(":")
    try:
        if where.endswith(".py"):
            spec = importlib.util.spec_from_file_location(Path(where).stem, where)
            assert spec is not None and spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules[spec.name] = module
            spec.loader.exec_module(module)
        else:
            module = importlib.import_module(where)
        found: Callable[..., Any] = getattr(module, function)
    except (ImportError, OSError, AttributeError) as problem:
        raise RefusedError(f"{key}: {name} cannot be used: {problem}") from problem
    return found


class ModelScorer:
    """Scores of a sequence-classification model: encoders and decoders, one label or several."""

    def __init__(self, name: str, settings: ServiceSettings, *, use_cpu: bool) -> None:
        import torch
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        self.torch = torch
        self.device = torch.device("cuda" if torch.cuda.is_available() and not use_cpu else "cpu")
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(name, truncation_side="left", padding_side="right")
            model = AutoModelForSequenceClassification.from_pretrained(name, dtype=getattr(torch, settings.dtype))
        except OSError as problem:
            raise RefusedError(f"reward_model: {name} cannot be loaded: {problem}") from problem
        self.model = model.to(self.device).eval()
        self._pad()
        self.function = settings.function_to_apply
        self.label = chosen_label(self.model.config, settings.label)
        self.limit = settings.max_length or context(self.model.config, self.tokenizer)
        ends = self.tokenizer("a").input_ids[-1:] == [self.tokenizer.eos_token_id]
        own_end = ends or self.tokenizer.sep_token_id is not None
        auto = bool(self.tokenizer.eos_token) and not own_end
        self.eos = (
            (self.tokenizer.eos_token or "") if (auto if settings.append_eos is None else settings.append_eos) else ""
        )

    def _pad(self) -> None:
        """Models that were made to generate often have no padding token, and look for the last token that is none."""
        if self.tokenizer.pad_token_id is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token or self.tokenizer.unk_token
        if self.model.config.pad_token_id is None:
            self.model.config.pad_token_id = self.tokenizer.pad_token_id

    def encode(self, pairs: Sequence[Pair]) -> list[list[int]]:
        """Token ids, the beginning cut where they are too many."""
        plain = [(index, text) for index, pair in enumerate(pairs) if (text := self._plain(pair)) is not None]
        chats = [(index, self._chat(pair)) for index, pair in enumerate(pairs) if self._plain(pair) is None]
        found: dict[int, list[int]] = {}
        for texts, special in ((plain, True), (chats, False)):
            if texts:
                how = {"truncation": True, "max_length": self.limit, "add_special_tokens": special}
                ids = self.tokenizer([text for _, text in texts], **how).input_ids
                found.update(zip((index for index, _ in texts), ids, strict=True))
        return [found[index] for index in range(len(pairs))]

    def _plain(self, pair: Pair) -> str | None:
        prompt, completion = pair
        if not isinstance(prompt, str) or not isinstance(completion, str):
            return None
        text = prompt + completion
        return text if text.endswith(self.eos) else text + self.eos

    def _chat(self, pair: Pair) -> str:
        """Through the model's chat template; without one, a line `role: content` for each message."""
        messages = [*said(pair[0], "user"), *said(pair[1], "assistant")]
        if self.tokenizer.chat_template:
            return str(self.tokenizer.apply_chat_template(messages, tokenize=False))
        return "\n".join(f"{message['role']}: {message['content']}" for message in messages) + self.eos

    def length(self, item: list[int]) -> int:
        return len(item)

    def scores(self, items: Sequence[list[int]]) -> list[float]:
        """One pass of the model over padded rows."""
        torch = self.torch
        batch = self.tokenizer.pad({"input_ids": list(items)}, return_tensors="pt").to(self.device)
        with torch.inference_mode():
            logits = self.model(**batch).logits.float()  # (texts, labels)
        if self.function == "sigmoid":
            logits = logits.sigmoid()
        elif self.function == "softmax":
            logits = logits.softmax(-1)
        found: list[float] = logits[:, self.label].tolist()
        return found


def said(what: Said, role: str) -> list[Message]:
    return [{"role": role, "content": what}] if isinstance(what, str) else what


def context(config: Any, tokenizer: Any) -> int:
    """The tokens that a model can see; tokenizers that do not know say a number beyond all models."""
    limits = [getattr(config, "max_position_embeddings", None), tokenizer.model_max_length]
    known = [limit for limit in limits if limit and limit < 10**9]
    return min(known, default=4096)


def chosen_label(config: Any, wanted: str | None) -> int:
    """The index of the label whose score counts; raises `RefusedError` with the labels that there are."""
    names = {int(index): str(name) for index, name in config.id2label.items()}
    if wanted is not None:
        for index, name in names.items():
            if wanted.lower() in (name.lower(), str(index)):
                return index
        raise RefusedError(f"reward_service.label: the model has no label {wanted}; it has {', '.join(names.values())}")
    if len(names) == 1:
        return 0
    positive = [index for index, name in names.items() if name.lower() in POSITIVE]
    if len(names) == 2 and len(positive) == 1:
        return positive[0]
    raise RefusedError(f"reward_service.label is missing: the model has the labels {', '.join(names.values())}")


def checked(scores: list[float]) -> list[float]:
    """The scores; raises ValueError for one that is no number."""
    for score in scores:
        if not math.isfinite(score):
            raise ValueError(f"the model's score is {score}")
    return scores
