"""The settings of reinforcement learning from a reward service: every key, what it means and what it may be.

The keys of the PPO block are those of TRL's PPO trainer up to 0.11, with its defaults; they stand in `ppo_config` or
beside the others, and those of the service in `reward_service`. `block` in the metadata of a field names its block.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import Field, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from cw_train import RefusedError
from cw_train.settings_fields import key, misfits, read

BLOCK = "ppo_config"
SERVICE = "reward_service"
ALIASES = {
    "model_name_or_path": "model_name",
    "response_length": "max_new_tokens",
    "num_ppo_epochs": "ppo_epochs",
    "kl_coef": "init_kl_coef",
    "steps": "total_episodes",
    "dataset_train_split": "dataset_split",
    "torch_dtype": "dtype",
}
# Keys that PPO once had and that say nothing here, each with what to do about it.
GONE = {
    "forward_batch_size": "use `mini_batch_size`",
    "log_with": "the numbers are in metrics.jsonl",
    "use_score_scaling": "scale in the reward model, or use `whiten_rewards`",
    "use_score_norm": "scale in the reward model, or use `whiten_rewards`",
    "optimize_cuda_cache": "leave it out",
    "optimize_device_cache": "leave it out",
    "is_peft_model": "use `use_peft`",
    "world_size": "the launcher knows it",
}


def ppo(default: Any, help: str, **limits: Any) -> Any:
    return key(default, help, block=BLOCK, **limits)


@dataclass(frozen=True)
class ServiceSettings:
    """How the reward service works."""

    max_batch_size: int = key(64, "Texts in one pass through the model.", minimum=1)
    max_wait_ms: float = key(3.0, "How long a text may wait for others to share its pass, in milliseconds.", minimum=0)
    max_queue: int = key(
        8192, "Texts that may wait; more are refused for the moment, and the trainer asks again.", minimum=1
    )
    max_request_bytes: int = key(16 * 2**20, "The longest request that is read.", minimum=1)
    max_length: int | None = key(
        None, "Tokens of a text that the model sees, the last ones; by default what it can.", minimum=1
    )
    label: str | None = key(
        None, "Of a model with several labels, the one whose score is the reward; by default the positive one of two."
    )
    function_to_apply: Literal["none", "sigmoid", "softmax"] = key(
        "none", "`none` for the model's own number, `sigmoid` or `softmax` for a share between 0 and 1."
    )
    append_eos: bool | None = key(
        None,
        "End plain texts with the end token, as TRL trains reward models; by default where the tokenizer does not.",
    )
    dtype: Literal["float32", "bfloat16", "float16"] = key("float32", "What the weights are kept in.")
    token: bool = key(
        False,
        "On a cluster, answer only those that know a secret, which cw makes for the run as a Kubernetes Secret.",
    )


@dataclass(frozen=True)
class Settings:
    """One config, read and checked. Counts of samples are per process unless they say otherwise."""

    # What is trained, by what, and where it goes
    model_name: str = key("", "The causal language model to train: a folder or a name on the hub.")
    model_revision: str = key("main", "The model's branch, tag or commit on the hub.")
    reward_model: str | None = key(None, "The model that the reward service serves; the trainer only asks the service.")
    reward_timeout: float = key(
        600.0, "Seconds that the reward service may be out of reach before the run ends.", exclusiveMinimum=0
    )
    output_dir: str = key("trainer_output", "Where the checkpoints, the numbers and the trained model go.")
    algorithm: Literal["ppo", "rloo", "grpo"] = key(
        "ppo", "`ppo` is the recipe's own; `rloo` and `grpo` are TRL's trainers with the same reward service."
    )
    trust_remote_code: bool = key(False, "Let the model's own code from the hub run.")
    dtype: Literal["float32", "bfloat16"] = key("float32", "What the weights are kept in.")
    attn_implementation: str | None = key(None, "How attention is computed: eager, sdpa, flash_attention_2 …")

    # Prompts
    dataset_name: str | None = key(
        None, "The prompts: a file (jsonl, json, csv, parquet, txt), a folder or a hub name. Without it: a shipped set."
    )
    dataset_config: str | None = key(None, "Which configuration of a hub dataset.")
    dataset_split: str = key("train", "Which split of the dataset.")
    dataset_prompt_field: str = key("prompt", "The column with the prompt: a text or a list of chat messages.")
    max_prompt_length: int | None = key(
        None, "Tokens; longer prompts are left out. By default what the model's context leaves.", minimum=1
    )
    system_prompt: str | None = key(None, "A system message before prompts that are chat messages.")
    chat_template_path: str | None = key(None, "A Jinja file with the chat template to use instead of the model's own.")

    # Generation
    max_new_tokens: int = key(64, "The most tokens of a completion; `response_length` is the same.", minimum=1)
    min_new_tokens: int = key(0, "The fewest tokens of a completion.", minimum=0)
    temperature: float = key(
        1.0, "Of sampling, and of the probabilities that are trained and compared.", exclusiveMinimum=0
    )
    top_k: int = key(0, "Sample only from this many tokens; 0 for all, which PPO assumes.", minimum=0)
    top_p: float = key(
        1.0, "Sample only from the tokens that make up this probability; PPO assumes 1.", exclusiveMinimum=0, maximum=1
    )
    repetition_penalty: float = key(1.0, "Above 1 makes repeated tokens rarer; PPO assumes 1.", exclusiveMinimum=0)
    local_rollout_forward_batch_size: int | None = key(
        None, "Completions generated at once by a process; by default all of `batch_size`.", minimum=1
    )
    missing_eos_penalty: float | None = key(
        None, "Taken off the score of a completion that does not end within `max_new_tokens`.", minimum=0
    )
    num_generations: int | None = key(None, "Completions of each prompt that are compared (rloo, grpo).", minimum=2)

    # PPO
    learning_rate: float = ppo(1.41e-5, "Of Adam.", exclusiveMinimum=0)
    batch_size: int = ppo(128, "Completions that a process samples and learns from in a step.", minimum=1)
    mini_batch_size: int | None = ppo(
        None, "Completions in a forward and backward pass; by default what fits `batch_size`, at most 128.", minimum=1
    )
    gradient_accumulation_steps: int = ppo(1, "Mini-batches in an update of the weights.", minimum=1)
    ppo_epochs: int = ppo(4, "How often a step goes over its completions.", minimum=1)
    max_grad_norm: float | None = ppo(None, "Gradients are scaled down to this norm.", exclusiveMinimum=0)
    adap_kl_ctrl: bool = ppo(True, "Adapt the weight of the KL penalty to reach `target`; else it stays.")
    init_kl_coef: float = ppo(0.2, "The weight of the KL penalty at the beginning.", minimum=0)
    target: float = ppo(
        6.0, "The KL divergence from the reference model to reach, nats a completion.", exclusiveMinimum=0
    )
    horizon: float = ppo(10000.0, "Samples over which the weight of the KL penalty adapts.", exclusiveMinimum=0)
    kl_penalty: Literal["kl", "abs", "mse", "full"] = ppo(
        "kl",
        "A token's penalty, from d = log p - log p_reference: d, |d|, d²/2, or the divergence over all tokens.",
    )
    gamma: float = ppo(1.0, "Discount of later rewards, per token.", minimum=0, maximum=1)
    lam: float = ppo(0.95, "Lambda of generalized advantage estimation.", minimum=0, maximum=1)
    cliprange: float = ppo(0.2, "How far a token's probability ratio may move in a step.", exclusiveMinimum=0)
    cliprange_value: float = ppo(0.2, "How far a value estimate may move in a step.", exclusiveMinimum=0)
    vf_coef: float = ppo(0.1, "The weight of the value loss.", minimum=0)
    whiten_rewards: bool = ppo(False, "Scale the tokens' rewards to variance 1 in each step.")
    score_clip: float | None = ppo(None, "Scores are cut to ± this.", exclusiveMinimum=0)
    early_stopping: bool = ppo(False, "End a step's updates when the policy has moved by 1.5 times `target_kl`.")
    target_kl: float = ppo(1.0, "How far the policy may move in a step, nats a token.", exclusiveMinimum=0)
    ratio_threshold: float = ppo(10.0, "Updates with a higher mean probability ratio are skipped.", exclusiveMinimum=1)
    seed: int = ppo(0, "Of everything random.", minimum=0)

    # How long, and what is kept
    max_steps: int | None = key(None, "Steps: a batch of completions and the updates from it each.", minimum=1)
    total_episodes: int | None = key(
        None, "Completions over all processes, when `max_steps` is not set; 20000 if nothing is.", minimum=1
    )
    num_train_epochs: float | None = key(
        None, "Passes over the prompts, when neither of the two above is set.", exclusiveMinimum=0
    )
    lr_scheduler_type: Literal["constant", "linear", "cosine"] = key("constant", "How the learning rate falls.")
    warmup_steps: int = key(0, "Steps over which the learning rate rises at first.", minimum=0)
    logging_steps: int = key(1, "Steps between two rows of numbers.", minimum=1)
    save_steps: int = key(50, "Steps between two checkpoints; 0 for none but on SIGTERM.", minimum=0)
    save_total_limit: int | None = key(None, "Checkpoints that are kept.", minimum=1)
    resume_from_checkpoint: bool | str | None = key(
        None, "Where to start: a checkpoint, or true for the newest whole one."
    )

    # The machine
    use_peft: bool = key(False, "Train a LoRA adapter; the reference is the model without it.")
    lora_r: int = key(16, "Rank of the adapter's matrices.", minimum=1)
    lora_alpha: int = key(32, "Scale of the adapter, divided by its rank.", minimum=1)
    lora_dropout: float = key(0.05, "Dropout before the adapter while it learns.", minimum=0, exclusiveMaximum=1)
    lora_target_modules: list[str] | str | None = key(  # noqa: RUF009 (a call to `field`, as above)
        None, "Which layers get an adapter, by the end of their names; `all-linear` for all."
    )
    bf16: bool | None = key(None, "Compute in bfloat16 (weights stay as `dtype` says); by default where a GPU can.")
    gradient_checkpointing: bool = key(False, "Save memory by computing activations twice.")
    use_cpu: bool = key(False, "Stay on the CPU.")
    disable_tqdm: bool = key(True, "No progress bars.")

    @property
    def mini_batch(self) -> int:
        """Completions in a forward and backward pass."""
        return self.mini_batch_size or max(1, min(128, self.batch_size // self.gradient_accumulation_steps))

    @property
    def update_batch(self) -> int:
        """Completions of one process in an update of the weights."""
        return self.mini_batch * self.gradient_accumulation_steps

    def steps(self, prompts: int, processes: int) -> int:
        """How many steps the run has."""
        if self.max_steps:
            return self.max_steps
        episodes = self.total_episodes or math.ceil((self.num_train_epochs or 0) * prompts) or 20000
        return math.ceil(episodes / (self.batch_size * processes))


def read_settings(config: str, values: dict[str, Any]) -> tuple[Settings, set[str]]:
    """The settings, and the names of those that the config sets.

    Raises:
        RefusedError: what is wrong with the config, all of it in one sentence.
    """
    others = {name: value for name, value in values.items() if name != SERVICE}
    given, problems = one_level(others, {item.name: item for item in fields(Settings)})
    problems += [*misfits(given, Settings, ALIASES), *service_misfits(values)]
    if not problems:
        settings = read(given, Settings)
        problems = contradictions(settings)
    if problems:
        raise RefusedError(f"{config}: {'; '.join(problems)}")
    return settings, set(given)


def read_service(config: str, values: Mapping[str, Any]) -> ServiceSettings:
    """The settings of the service; raises `RefusedError` as above."""
    if problems := service_misfits(values):
        raise RefusedError(f"{config}: {'; '.join(problems)}")
    settings: ServiceSettings = read(values.get(SERVICE) or {}, ServiceSettings)
    return settings


def service_misfits(values: Mapping[str, Any]) -> list[str]:
    block = values.get(SERVICE) or {}
    if not isinstance(block, dict):
        return [f"`{SERVICE}` must be a list of `key: value` lines"]
    return list(misfits(block, ServiceSettings, block=f"{SERVICE}."))


def one_level(values: dict[str, Any], known: dict[str, Field[Any]]) -> tuple[dict[str, Any], list[str]]:
    """The keys beside the block and in it, under the names that they have now."""
    block = values.get(BLOCK) or {}
    if not isinstance(block, dict):
        return {}, [f"`{BLOCK}` must be a list of `key: value` lines"]
    given: dict[str, Any] = {}
    problems = []
    for place, item in ((None, values), (BLOCK, block)):
        for said, value in item.items():
            name = ALIASES.get(said, said)
            if place is None and said == BLOCK:
                continue
            if name in given:
                problems.append(f"`{said}` is set twice, beside `{BLOCK}` and in it or under two names")
            elif said in GONE:
                problems.append(f"`{said}` has gone: {GONE[said]}")
            elif place and name in known and "block" not in known[name].metadata and name != "total_episodes":
                problems.append(f"`{said}` belongs beside `{BLOCK}`, not in it")
            else:
                given[name] = value
    return given, problems


def contradictions(settings: Settings) -> list[str]:
    problems = []
    if not settings.model_name:
        problems.append("`model_name` is missing: the model to train")
    elif (Path(settings.model_name) / "adapter_config.json").is_file():
        problems.append(f"{settings.model_name} is an adapter: merge it into its model first")
    if settings.batch_size % settings.update_batch:
        problems.append(
            f"`batch_size` ({settings.batch_size}) must be a multiple of `mini_batch_size` times "
            f"`gradient_accumulation_steps` ({settings.mini_batch} x {settings.gradient_accumulation_steps})"
        )
    if settings.min_new_tokens > settings.max_new_tokens:
        problems.append("`min_new_tokens` must not be more than `max_new_tokens`")
    if settings.algorithm == "ppo" and settings.num_generations is not None:
        problems.append("`num_generations` is for `algorithm: rloo` and `grpo`; PPO samples one completion a prompt")
    return problems
