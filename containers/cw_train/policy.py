"""The networks of PPO: a causal language model with a value head, its reference, and what they say of completions.

Shapes: B completions, P prompt tokens padded on the left, R response tokens padded on the right, V the vocabulary.
"""

from __future__ import annotations

import contextlib
import inspect
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cw_train import RefusedError
from cw_train.ppo_formulas import token_logprobs
from cw_train.rlhf_settings import Settings

VALUE_HEAD = "value_head.safetensors"


@dataclass(frozen=True)
class Texts:
    """Prompts and their completions as the models read them."""

    tokens: Tensor  # [B, P + R]
    attention: Tensor  # [B, P + R]; 1 for what is not padding
    mask: Tensor  # [B, R]; 1 for response tokens up to and with the one that ends the completion
    lengths: list[tuple[int, int]]  # tokens of each prompt and of its response
    ended: list[bool]  # whether each response ends by itself, and not at the limit

    @property
    def responses(self) -> Tensor:
        """[B, R]"""
        return self.tokens[:, -self.mask.shape[1] :]

    def rows(self, rows: Sequence[int]) -> Texts:
        """Some of them, with no more padding than these need."""
        lengths = [self.lengths[row] for row in rows]
        prompt, response = (max(column) for column in zip(*lengths, strict=True))
        begin = self.tokens.shape[1] - self.mask.shape[1]  # where responses do
        window = slice(begin - prompt, begin + response)
        picked = torch.tensor(list(rows), device=self.tokens.device)
        return Texts(
            tokens=self.tokens[picked, window],
            attention=self.attention[picked, window],
            mask=self.mask[picked, :response],
            lengths=lengths,
            ended=[self.ended[row] for row in rows],
        )


class Policy(nn.Module):
    """A language model and a linear value head on its last hidden states, read where the language head reads them."""

    def __init__(self, model: Any, settings: Settings) -> None:
        super().__init__()
        self.model = model
        head = model.get_output_embeddings()
        if head is None:
            raise RefusedError(f"{settings.model_name} is not a causal language model: it has no output layer")
        self.value_head = nn.Linear(head.weight.shape[-1], 1, dtype=torch.float32)
        nn.init.zeros_(self.value_head.weight)  # the first estimates are 0 and not noise
        nn.init.zeros_(self.value_head.bias)
        self.settings = settings
        self.hidden: Tensor | None = None
        head.register_forward_pre_hook(self.remember)

    def remember(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.hidden = inputs[0]

    def forward(self, texts: Texts) -> tuple[Tensor, Tensor]:
        """Log-probabilities of the response tokens and value estimates before each of them, [B, R] both."""
        logits, values = self.read(texts)
        return token_logprobs(logits, texts.responses), values

    def read(self, texts: Texts) -> tuple[Tensor, Tensor]:
        """Logits [B, R, V] and values [B, R] at the positions that the response tokens are sampled from."""
        with self.computing():
            logits = response_logits(self.model, texts, self.settings.temperature)
        assert self.hidden is not None
        hidden, self.hidden = before_responses(self.hidden, texts), None
        return logits, self.value_head(hidden.float()).squeeze(-1)

    def computing(self) -> contextlib.AbstractContextManager[Any]:
        """Autocast to bfloat16 where the config or the accelerator says so."""
        device, wanted = self.value_head.weight.device.type, self.settings.bf16
        if wanted is None:
            wanted = device == "cuda" and torch.cuda.is_bf16_supported()
        return torch.autocast(device, torch.bfloat16) if wanted else contextlib.nullcontext()

    def save(self, folder: Path) -> None:
        """A plain model, or adapter, as transformers and peft read it; the value head beside it."""
        from safetensors.torch import save_file

        self.model.save_pretrained(folder)
        if plain(self.model) is self.model:
            self.model.generation_config_of_its_own.save_pretrained(folder)
        save_file(self.value_head.state_dict(), folder / VALUE_HEAD)


def response_logits(model: Any, texts: Texts, temperature: float) -> Tensor:
    """[B, R, V], float32. Positions count from each prompt's first token, so they do not depend on padding."""
    accepted = inspect.signature(plain(model).forward).parameters
    extra: dict[str, Any] = {}
    if "position_ids" in accepted:
        extra["position_ids"] = (texts.attention.cumsum(-1) - 1).clamp(min=0)
    if "logits_to_keep" in accepted:  # the language head is the widest layer: leave the prompts out
        extra["logits_to_keep"] = texts.mask.shape[1] + 1
    output = model(input_ids=texts.tokens, attention_mask=texts.attention, use_cache=False, **extra)
    logits = before_responses(output.logits, texts).float()
    return logits if temperature == 1 else logits / temperature


def before_responses(states: Tensor, texts: Texts) -> Tensor:
    """The R positions that each predict a response token, of [B, at least R + 1, …]."""
    return states[:, -texts.mask.shape[1] - 1 : -1]


def plain(model: Any) -> Any:
    """The transformers model inside an adapter, or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


class Reference:
    """The model as it was before training: a frozen copy, or the trained one with its adapter off."""

    def __init__(self, policy: Policy, frozen: Any | None) -> None:
        self.policy, self.frozen = policy, frozen

    def logits(self, texts: Texts) -> Tensor:
        """[B, R, V]"""
        model, temperature = self.policy.model, self.policy.settings.temperature
        with self.policy.computing():
            if self.frozen is not None:
                return response_logits(self.frozen, texts, temperature)
            with model.disable_adapter():
                return response_logits(model, texts, temperature)


def load(settings: Settings, tokenizer: Any, checkpoint: str | None, device: torch.device) -> tuple[Policy, Reference]:
    """The policy, as a checkpoint has it if there is one, and the reference, which is always the config's model."""
    from trl.trainer.utils import disable_dropout_in_model

    def model(source: str) -> Any:
        from transformers import AutoModelForCausalLM

        local = {} if source == checkpoint else {"revision": settings.model_revision}
        loaded = AutoModelForCausalLM.from_pretrained(
            source,
            dtype=getattr(torch, settings.dtype),
            attn_implementation=settings.attn_implementation,
            trust_remote_code=settings.trust_remote_code,
            **local,
        )
        # The ratio of eq. 7 compares one network before and after an update; dropout would compare two thinned ones.
        disable_dropout_in_model(loaded)
        loaded.generation_config_of_its_own = loaded.generation_config
        loaded.generation_config = sampling(settings, tokenizer, loaded)
        return loaded

    if settings.use_peft:
        trained, frozen = with_adapter(model(settings.model_name), settings, checkpoint), None
    else:
        trained, frozen = model(checkpoint or settings.model_name), model(settings.model_name)
        frozen.requires_grad_(False).eval().to(device)
    if settings.gradient_checkpointing:
        model_itself = plain(trained)
        # Before Transformers 5.23 it has its old name only.
        enable = getattr(model_itself, "activation_checkpointing_enable", None)
        (enable or model_itself.gradient_checkpointing_enable)({"use_reentrant": False})
    policy = Policy(trained, settings)
    if checkpoint:
        from safetensors.torch import load_file

        policy.value_head.load_state_dict(load_file(Path(checkpoint) / VALUE_HEAD))
    return policy.to(device), Reference(policy, frozen)


def with_adapter(model: Any, settings: Settings, checkpoint: str | None) -> Any:
    from peft import PeftModel, get_peft_model

    try:
        with warnings.catch_warnings():  # of what peft itself does and sees to; the user cannot help it
            warnings.filterwarnings("ignore", "fan_in_fan_out is set to False", UserWarning)
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
            if checkpoint:
                return PeftModel.from_pretrained(model, checkpoint, is_trainable=True)
            return get_peft_model(model, adapter(settings))
    except ValueError as problem:  # no layer of these names, or no default for this kind of model
        raise RefusedError(f"lora_target_modules: {problem}") from problem


def adapter(settings: Settings) -> Any:
    from peft import LoraConfig

    targets = settings.lora_target_modules  # a single text is peft's `all-linear` or its regular expression
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=settings.lora_r,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules="all-linear" if targets == ["all-linear"] else targets,
    )


def sampling(settings: Settings, tokenizer: Any, model: Any) -> Any:
    """How completions are drawn: by the config alone, and not by what the model's makers found agreeable."""
    from transformers import GenerationConfig

    end = model.generation_config.eos_token_id
    return GenerationConfig(
        do_sample=True,
        max_new_tokens=settings.max_new_tokens,
        min_new_tokens=settings.min_new_tokens or None,
        temperature=settings.temperature,
        top_k=settings.top_k,
        top_p=settings.top_p,
        repetition_penalty=settings.repetition_penalty,
        eos_token_id=tokenizer.eos_token_id if end is None else end,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=model.generation_config.bos_token_id,
    )


@torch.no_grad()
def complete(policy: Policy, prompts: Sequence[Sequence[int]]) -> Texts:
    """Sample a completion of each prompt, given as token numbers."""
    model = policy.model
    at_once = policy.settings.local_rollout_forward_batch_size or len(prompts)
    how = plain(model).generation_config
    ends = torch.as_tensor(how.eos_token_id if how.eos_token_id is not None else [], device=model.device).reshape(-1)
    longest = max(map(len, prompts))
    padded = [[how.pad_token_id] * (longest - len(prompt)) + list(prompt) for prompt in prompts]
    tokens = torch.tensor(padded, device=model.device)
    there = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=model.device)
    with policy.computing():
        parts = [
            model.generate(input_ids=tokens[first : first + at_once], attention_mask=there[first : first + at_once])
            for first in range(0, len(prompts), at_once)
        ]
    width = max(part.shape[1] for part in parts)
    tokens = torch.cat([nn.functional.pad(part, (0, width - part.shape[1]), value=how.pad_token_id) for part in parts])
    ended = torch.isin(tokens[:, longest:], ends).long()  # [B, R]
    mask = (ended.cumsum(-1) - ended == 0).long()  # nothing has ended before this token
    # Parts that were generated apart end at different widths; what lies beyond a part's own width is no response.
    own = torch.tensor([part.shape[1] - longest for part in parts for _ in part], device=model.device)
    mask = mask * (torch.arange(mask.shape[1], device=model.device) < own.unsqueeze(-1))
    lengths = list(zip(map(len, prompts), mask.sum(-1).tolist(), strict=True))
    by_itself = (ended * mask).any(-1).tolist()
    return Texts(tokens, torch.cat([there, mask], dim=-1), mask, lengths, by_itself)
