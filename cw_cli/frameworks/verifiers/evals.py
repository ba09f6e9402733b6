"""`cw verifiers eval`: the keys of an eval config, those that are gone, and which of them name files."""

from __future__ import annotations

import json
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from cw_cli.core.config import Config
from cw_cli.core.key import Key
from cw_cli.core.problems import KeyPath
from cw_cli.core.schema import Schema, read_schema
from cw_cli.core.shipped import shipped

SUBJECT = "Verifiers 0.4.0"
TAKEN = ("env",)
SERVER_IMAGE = "vllm/vllm-openai:v0.33.0"

FILES: tuple[KeyPath, ...] = (
    *(("model",), ("env", "id"), ("env", "taskset", "id"), ("env", "taskset", "system_prompt")),
    *(("env", "*", "harness", "id"), ("env", "*", "harness", "skills", "*"), ("env", "*", "model")),
    ("env", "taskset", "task", "judges", "*", "prompt"),
)

OVERLAY: dict[str, dict[str, Any]] = {
    "push": {"default": False},
    "model": {"default": None},
    "output_dir": {"default": None},
}
"""Where cw's defaults are not verifiers', which are for Prime's cloud."""

CW_KEYS: dict[str, dict[str, Any]] = {
    "vllm": {
        "type": ["object", "null"],
        "description": "Flags of `vllm serve` for the run's own model server: `max_model_len: 8192`.",
    },
    "max_failed": {
        "type": ["number", "null"],
        "minimum": 0,
        "default": 0,
        "description": "How many rollouts may fail in a run that succeeds: a count, or below 1 a share of them.",
    },
}

_NESTED = "it stands in a block now: write `{new}`"
_TRAINING = "verifiers trains no more since 0.2; prime-rl does: cw verifiers grpo"

_AGENT = ("env", "agent")

MOVED: dict[KeyPath, KeyPath] = {
    ("num_tasks",): ("select", "limit"),
    ("shuffle",): ("select", "shuffle"),
    ("taskset",): ("env", "taskset"),
    ("harness", "runtime"): (*_AGENT, "runtime"),
    ("harness",): (*_AGENT, "harness"),
    **{(name,): (*_AGENT, name) for name in ("max_turns", "max_input_tokens", "max_output_tokens", "max_total_tokens")},
}
"""Keys of verifiers 0.2 and 0.3, whose meaning is the same."""

REMOVED = {
    "env_id": _NESTED.format(new="env.taskset.id"),
    "env_args": "write its keys in the block `env.taskset`",
    "env_dir_path": "a taskset in a folder beside the config is named by its path: `env.taskset.id`",
    "topology": _NESTED.format(new="env"),
    "legacy": "environments of before 0.2 are tasksets now: `env.taskset`",
    "source": "that is prime-rl's own eval, of several environments; a config is one here: write its `env`",
    "concurrency": "that is prime-rl's own eval; write `max_concurrent`",
    "dashboard": "the log of a run has no dashboard; delete it",
    "server": "verifiers' eval is one process; delete it",
    "num_examples": _NESTED.format(new="select.limit"),
    "max_tokens": _NESTED.format(new="sampling.max_tokens"),
    "temperature": _NESTED.format(new="sampling.temperature"),
    "sampling_args": "write its keys in the block `sampling`",
    "api_base_url": _NESTED.format(new="client.base_url"),
    "api_key_var": _NESTED.format(new="client.api_key_var"),
    "endpoints_path": "name the endpoint in the block `client`",
    "max_retries": _NESTED.format(new="env.agent.retries.max_retries"),
    "rollouts": "write `num_rollouts`",
    "eval": "a config is one evaluation; launch one run for each",
    **dict.fromkeys(("save_results", "save_every", "save_to_hf_hub", "hf_hub_dataset_name"), "traces are always saved"),
    **dict.fromkeys(("max_concurrent_generation", "max_concurrent_scoring"), "write `max_concurrent`"),
    **dict.fromkeys(("trainer", "inference", "max_prompt_length", "vllm_server_host"), _TRAINING),
    **dict.fromkeys(("async_generation_timeout", "vllm_server_port", "orchestrator"), _TRAINING),
    "dry_run": "cw validate and --dry-run show what would run",
}


IGNORED = {"rich": "the log of a run has no dashboard"}


@cache
def data() -> dict[str, Any]:
    """The generated data, what ships with verifiers included."""
    data: dict[str, Any] = json.loads((shipped("schemas") / "verifiers.json").read_text("utf-8"))
    return data


@cache
def schema() -> Schema:
    found = read_schema((shipped("schemas") / "verifiers.json").read_text("utf-8"), "eval", SUBJECT, OVERLAY)
    keys = {name: key._replace(required=name in ("model", "env")) for name, key in found.keys.items()}
    keys |= {name: Key.read(name, spec, "cw") for name, spec in CW_KEYS.items()}
    return found._replace(
        keys=keys,
        groups={**found.groups, "cw": "The run around it"},
        aliases=data()["aliases"],
        moved=MOVED,
        removed=REMOVED,
        ignored=IGNORED,
        taken=TAKEN,
    )


def endpoint(config: Config) -> str | None:
    """Where a model server of the user's is; None when the run starts one."""
    url = config.get("client", "base_url")
    return str(url) if url else None


def is_loopback(url: str) -> bool:
    """Whether an address means the machine, or in a cluster the pod, that asks."""
    return urlsplit(url).hostname in ("localhost", "127.0.0.1", "0.0.0.0", "::1")
