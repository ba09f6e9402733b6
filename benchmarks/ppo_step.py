"""What a step of PPO costs on top of its forward and backward passes: the recipe's step and a bare one, in turns.

    PYTHONPATH=containers OMP_NUM_THREADS=1 python benchmarks/ppo_step.py

Both sample the same number of completions of the same length from the same model, look at them once with the policy
and once with the reference, and take the same number of updates of the same size. The bare one does nothing else: no
penalties, no clipping, no metrics, no checks. Scoring costs nothing on either side. Generation is transformers' own on
both, so the second figure leaves it out. Times are processor time, so that neighbours on the machine hardly count.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

PROMPT, RESPONSE = 24, 32  # tokens


def write_model(folder: Path, hidden: int) -> None:
    """A Llama with random weights, and a tokenizer of numbers that covers its vocabulary."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

    torch.manual_seed(0)
    words = {"<pad>": 0, "<end>": 1} | {str(number): number for number in range(2, 2048)}
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=hidden,
        intermediate_size=3 * hidden,
        num_hidden_layers=4,
        num_attention_heads=hidden // 64,
        num_key_value_heads=hidden // 64,
        max_position_embeddings=128,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=None,
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<end>").save_pretrained(folder)


class Free:
    """A reward service that costs nothing."""

    def score(self, pairs: list[Any]) -> list[float]:
        return [float(number % 3) for number in range(len(pairs))]


class Bare:
    """The passes of a step and nothing else."""

    def __init__(self, model: Any, reference: Any, settings: Any) -> None:
        import torch

        self.model, self.reference, self.settings = model, reference, settings
        self.head = torch.nn.Linear(model.config.hidden_size, 1)
        self.optimizer = torch.optim.Adam([*model.parameters(), *self.head.parameters()], lr=1e-5)

    def look(self, tokens: Any) -> tuple[Any, Any]:
        states = self.model.model(tokens, attention_mask=tokens.new_ones(tokens.shape), use_cache=False)
        hidden = states.last_hidden_state[:, PROMPT - 1 : -1]
        return self.logprobs(self.model.lm_head(hidden), tokens), self.head(hidden).squeeze(-1)

    def logprobs(self, logits: Any, tokens: Any) -> Any:
        chosen = logits.gather(-1, tokens[:, PROMPT:].unsqueeze(-1)).squeeze(-1)
        return chosen - logits.logsumexp(-1)

    def step(self, prompts: Any) -> tuple[float, float]:
        """Seconds of generation, and of all that follows it."""
        import torch

        size, began = self.settings.mini_batch, time.process_time()
        with torch.no_grad():
            tokens = self.model.generate(prompts, attention_mask=torch.ones_like(prompts))
        generated = time.process_time()
        with torch.no_grad():
            old = torch.cat([self.look(part)[0] for part in tokens.split(size)])
            keep = {"use_cache": False, "logits_to_keep": RESPONSE + 1}
            seen = [self.logprobs(self.reference(part, **keep).logits[:, :-1], part) for part in tokens.split(size)]
            weight = old - torch.cat(seen) + 1
        for _ in range(self.settings.ppo_epochs):
            for rows in torch.randperm(len(tokens)).split(size):
                logprobs, values = self.look(tokens[rows])
                loss = ((logprobs - old[rows]).exp() * weight[rows]).mean() + values.square().mean()
                loss.backward()
                self.optimizer.step()
                self.optimizer.zero_grad()
        return generated - began, time.process_time() - generated


def sides(folder: Path, batch: int, mini: int) -> dict[str, Any]:
    """Each side as a function that takes a step and returns its two times."""
    import torch
    from cw_train.policy import complete, load
    from cw_train.ppo import PPO
    from cw_train.prompts import Prompt
    from cw_train.rlhf_settings import Settings
    from transformers import AutoTokenizer

    settings = Settings(
        model_name=str(folder),
        use_cpu=True,
        bf16=False,
        batch_size=batch,
        mini_batch_size=mini,
        max_new_tokens=RESPONSE,
        min_new_tokens=RESPONSE,
    )
    tokenizer = AutoTokenizer.from_pretrained(folder)
    prompts = torch.randint(2, 2048, (batch, PROMPT))
    said = [Prompt("any", tokens) for tokens in prompts.tolist()]
    ppo = PPO(*load(settings, tokenizer, None, torch.device("cpu")), tokenizer, Free(), steps=1000)
    policy, reference = load(settings, tokenizer, None, torch.device("cpu"))
    bare = Bare(policy.model, reference.frozen, settings)
    policy.train()

    def recipe() -> tuple[float, float]:
        began = time.process_time()
        ppo.policy.eval()
        texts = complete(ppo.policy, [prompt.tokens for prompt in said])
        generated = time.process_time()
        experience, _ = ppo.gather(said, texts)
        ppo.policy.train()
        ppo.learn(experience)
        return generated - began, time.process_time() - generated

    return {"bare": lambda: bare.step(prompts), "recipe": recipe}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20, help="steps that each of the two takes")
    parser.add_argument("--batch", type=int, default=8, help="completions of a step")
    parser.add_argument("--mini", type=int, default=4, help="completions of an update")
    parser.add_argument("--hidden", type=int, default=256, help="width of the model")
    arguments = parser.parse_args()
    os.environ |= {"TQDM_DISABLE": "1", "HF_HUB_OFFLINE": "1"}
    from accelerate import PartialState

    PartialState(cpu=True)
    with tempfile.TemporaryDirectory() as name:
        write_model(Path(name), arguments.hidden)
        both = sides(Path(name), arguments.batch, arguments.mini)
        times: dict[str, list[tuple[float, float]]] = {label: [] for label in both}
        order = list(both)
        for number in range(arguments.rounds + 1):
            order.reverse()  # neither is always the one that runs on the warmer machine
            for label in order:
                taken = both[label]()
                if number:  # the first warms up
                    times[label].append(taken)
    report(times)


def report(times: dict[str, list[tuple[float, float]]]) -> None:
    """Medians in milliseconds: a small table for people, and one line of JSON for programs."""
    figures = {}
    for label, taken in times.items():
        generating, learning = (1000 * statistics.median(column) for column in zip(*taken, strict=True))
        whole = 1000 * statistics.median(map(sum, taken))
        figures[label] = {"step": whole, "generating": generating, "learning": learning}
    print(f"{'milliseconds':<12}{'step':>10}{'without generation':>22}")
    for label, figure in figures.items():
        print(f"{label:<12}{figure['step']:>10.1f}{figure['learning']:>22.1f}")
    over = {key: figures["recipe"][key] / figures["bare"][key] - 1 for key in ("step", "learning")}
    print(f"{'overhead':<12}{100 * over['step']:>9.2f}%{100 * over['learning']:>21.2f}%")
    print(json.dumps({"medians": figures, "overhead": over, "rounds": len(times["bare"])}))


if __name__ == "__main__":
    main()
