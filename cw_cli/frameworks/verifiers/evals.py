"""`cw verifiers eval`: the keys of an eval config, those that are gone, and what is wrong with several together."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from cw_cli.core.config import Config
from cw_cli.core.key import Key
from cw_cli.core.launch_keys import LaunchKeys
from cw_cli.core.paths import local_path
from cw_cli.core.problems import KeyPath, Problem
from cw_cli.core.schema import Schema, read_schema
from cw_cli.core.shipped import shipped
from cw_cli.core.spelling import nearest

Problems = Iterator[Problem]

SUBJECT = "Verifiers 0.4.0"
TAKEN = ("env",)

FILES: tuple[KeyPath, ...] = (
    *(("model",), ("env", "id"), ("env", "taskset", "id"), ("env", "taskset", "system_prompt")),
    *(("env", "*", "harness", "id"), ("env", "*", "harness", "skills", "*"), ("env", "*", "model")),
    ("env", "taskset", "task", "judges", "*", "prompt"),
)

OVERLAY: dict[str, dict[str, Any]] = {
    "push": {"default": False},
    "rich": {"default": None},
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

REMOVED = {
    "env_id": _NESTED.format(new="env.taskset.id"),
    "env_args": "write its keys in the block `env.taskset`",
    "env_dir_path": "a taskset in a folder beside the config is named by its path: `env.taskset.id`",
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

OLD_ENV = {"args": "write its keys in the block `env.taskset`", "harness": "write it in `env.agent.harness`"}

ACCOUNTS = {"prime": "PRIME_API_KEY", "modal": "MODAL_TOKEN_SECRET", "e2b": "E2B_API_KEY"}
"""Runtimes in somebody's cloud, and what they ask for."""


@cache
def _data() -> dict[str, Any]:
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
        aliases=_data()["aliases"],
        removed=REMOVED,
        taken=TAKEN,
    )


def endpoint(config: Config) -> str | None:
    """Where a model server of the user's is; None when the run starts one."""
    url = config.get("client", "base_url")
    return str(url) if url else None


def cross_checks(config: Config, keys: LaunchKeys) -> Problems:
    """Mistakes of a canonical config that only show when several keys are seen together."""
    yield from _environment(config)
    for path, block in _blocks(config):
        yield from _kind(config, path, block)
    yield from _runtimes(config, keys)
    yield from _judges(config, keys)
    yield from _server(config, keys)
    yield from _resources(config, keys)
    if config.get("push") and not _given(keys, "PRIME_API_KEY"):
        message = "push uploads the results to Prime's platform, which asks for PRIME_API_KEY"
        yield config.problem(("push",), message, _secret("PRIME_API_KEY"), warning=True)


def _environment(config: Config) -> Problems:
    env = config.get("env")
    if not isinstance(env, Mapping):
        return
    data = _data()
    taskset = config.get("env", "taskset", "id")
    if not taskset:
        message = "env.taskset.id is missing: the tasks to evaluate"
        remedy = "name a folder beside the config that is a taskset, or one that the image has"
        yield config.problem(("env", "taskset"), message, remedy)
    elif isinstance(taskset, str):
        yield from _plugin(config, ("env", "taskset", "id"), "tasksets", "taskset")
    yield from _plugin(config, ("env", "id"), "environments", "environment")
    shared = set(data["environments"]["single-agent"]) - {"agent"}
    kind = str(env.get("id") or "single-agent").replace("_", "-")
    known = data["environments"].get(kind)
    for name in env:
        place = config.key_origin("env", name)
        if name in OLD_ENV and name not in (known or ()):
            yield Problem(f"env has no key {name} in {SUBJECT}", OLD_ENV[name], place)
        elif known is not None and name not in known:
            near = nearest(name, known)
            # A taskset may bring an environment of its own, with roles that only its code tells.
            if near or env.get("id"):
                remedy = f"did you mean {near}?" if near else f"it may hold {', '.join(known)}"
                yield Problem(f"env has no key {name}", remedy, place)
        if isinstance(env[name], Mapping) and name not in shared:
            yield from _plugin(config, ("env", name, "harness", "id"), "harnesses", "harness")


def _plugin(config: Config, path: KeyPath, table: str, what: str) -> Problems:
    """A plugin is in the image, ships with verifiers, or lies beside the config."""
    name = config.get(*path)
    if not isinstance(name, str) or not name or local_path(name, config.folder) is not None:
        return
    own = name.rsplit("/", 1)[-1].split("@", 1)[0].replace("-", "_").lower()
    if own in (item.replace("-", "_") for item in _data()[table]):
        return
    shown = ".".join(map(str, path))
    if local_path(own, config.folder) is not None:
        yield config.problem(path, f"{shown}: there is no {name}", f"the folder is called {own}: write that")
    elif name.startswith((".", "/", "~")) or name.count("/") > 1:
        yield config.problem(path, f"{shown}: there is no {name}", "write the path from the folder of the config file")
    else:
        message = f"{shown}: no folder beside the config is called {name}, so the image must have the {what} installed"
        yield config.problem(path, message, "or name a folder with it, which travels with the run", warning=True)


def _blocks(config: Config) -> Iterator[tuple[KeyPath, Key]]:
    """The blocks that are of one of several kinds, with what their keys may be."""
    keys = schema().keys
    yield ("client",), keys["client"]
    agent = (keys["env"].keys or {})["agent"].keys or {}
    for name in config.get("env") or {}:
        for block in ("runtime", "client"):
            if isinstance(config.get("env", name, block), Mapping):
                yield ("env", name, block), agent[block]
    yield ("env", "interception"), (keys["env"].keys or {})["interception"]


def _kind(config: Config, path: KeyPath, block: Key) -> Problems:
    """Keys that only another kind of the block has."""
    value = config.get(*path)
    if not isinstance(value, Mapping):
        return
    kinds = (block.keys or {})["type"].choices
    kind = value.get("type") or ("subprocess" if "subprocess" in kinds else kinds[0])
    for name in value:
        having = block.keys[name].spec.get("for") if block.keys and name in block.keys else None
        if having and kind not in having:
            shown = ".".join(map(str, path))
            message = f"{shown} has no key {name} when its type is {kind}"
            yield Problem(message, f"it is for {', '.join(having)}", config.key_origin(*path, name))


def _runtimes(config: Config, keys: LaunchKeys) -> Problems:
    for name in config.get("env") or {}:
        path = ("env", name, "runtime", "type")
        kind = config.get(*path)
        if kind in ACCOUNTS and not _given(keys, ACCOUNTS[kind]):
            message = f"the runtime {kind} is a cloud service, which asks for {ACCOUNTS[kind]}"
            yield config.problem(path, message, f"write `subprocess`, or {_secret(ACCOUNTS[kind])}", warning=True)
        elif kind in ("docker", "podman", "apptainer"):
            message = f"the runtime {kind} starts containers, which pods of most clusters may not"
            yield config.problem(path, message, "write `subprocess`: programs run in the pod itself", warning=True)


def _judges(config: Config, keys: LaunchKeys) -> Problems:
    for index, judge in enumerate(config.get("env", "taskset", "task", "judges") or []):
        if isinstance(judge, Mapping) and not judge.get("base_url") and not _given(keys, "PRIME_API_KEY"):
            message = "a judge without base_url is one at Prime's cloud, which asks for PRIME_API_KEY"
            remedy = f"add base_url, model and api_key_var, or {_secret('PRIME_API_KEY')}"
            yield config.problem(("env", "taskset", "task", "judges", index), message, remedy, warning=True)


def _server(config: Config, keys: LaunchKeys) -> Problems:
    url, variable = endpoint(config), config.get("client", "api_key_var")
    place = ("client", "base_url")
    if url is None:
        if "services" in config.values or "vllm" in config.values or not variable:
            return
        message = "client.api_key_var is not used: the run's own model server asks for no key"
        yield config.problem(
            ("client", "api_key_var"), message, "add client.base_url for a server of yours", warning=True
        )
        return
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        yield config.problem(place, f"client.base_url cannot be {url}", "write it as in http://host:8000/v1")
    elif parts.hostname in ("localhost", "127.0.0.1", "0.0.0.0", "::1"):
        message = f"{parts.hostname} is the machine that the evaluation runs on: in a cluster, its own pod"
        yield config.problem(place, message, "leave base_url out, and the run starts a server", warning=True)
    if parts.path in ("", "/"):
        message = f"client.base_url {url} has no path, and OpenAI-compatible servers answer below /v1"
        yield config.problem(place, message, f"write {url.rstrip('/')}/v1", warning=True)
    if config.get("vllm"):
        message = "vllm is for the run's own model server, and client.base_url names another"
        yield config.problem(("vllm",), message, "keep one of them")
    if isinstance(variable, str) and not _given(keys, variable):
        message = f"the evaluation is not given {variable}"
        yield config.problem(("client", "api_key_var"), message, _secret(variable), warning=True)


def _resources(config: Config, keys: LaunchKeys) -> Problems:
    if keys.resources.gpu:
        message = "gpu is for the process that makes the rollouts, which computes nothing"
        remedy = (
            "write `services: {inference: {gpu: …}}` for the model's server"
            if endpoint(config) is None
            else "delete it"
        )
        yield config.problem(("gpu",), message, remedy)
    if keys.resources.nodes > 1:
        message = "an evaluation is one process, and cannot use several nodes"
        yield config.problem(("nodes",), message, "raise `max_concurrent`, or `services.inference.replicas`")


def _given(keys: LaunchKeys, variable: str) -> bool:
    return variable in keys.env or any(secret.variable == variable for secret in keys.secrets)


def _secret(variable: str) -> str:
    return f"add `secrets: {{{variable}: secret-name/key}}`"
