"""Keys of an eval config that are right one by one and wrong together, or that ask for an account somewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from cw_cli.core.config import Config
from cw_cli.core.images import Need
from cw_cli.core.key import Key
from cw_cli.core.launch_keys import LaunchKeys
from cw_cli.core.paths import local_path
from cw_cli.core.problems import KeyPath, Problem
from cw_cli.core.spelling import meant, nearest
from cw_cli.frameworks.verifiers import evals, programs
from cw_cli.frameworks.verifiers.programs import given, secret

Problems = Iterator[Problem]

OLD_ENV = {"args": "write its keys in the block `env.taskset`", "harness": "write it in `env.agent.harness`"}


EXTRAS = {
    ("env", "taskset", "id"): {"harbor": "harbor", "openenv": "openenv", "textarena": "textarena"},
    ("env", "*", "runtime", "type"): {"e2b": "e2b", "modal": "modal"},
}
"""What ships with verifiers and needs a package of one of its extras."""


def needs(config: Config) -> Iterator[Need]:
    """Packages that an image of cw's own may not have."""
    for key, packages in EXTRAS.items():
        for role in config.get("env") or {} if "*" in key else ("",):
            path = tuple(role if part == "*" else part for part in key)
            name = config.get(*path)
            if isinstance(name, str) and name in packages:
                yield path, (packages[name],)


def cross_checks(config: Config, keys: LaunchKeys) -> Problems:
    """Mistakes of a canonical config that only show when several keys are seen together."""
    yield from _environment(config)
    for path, block in _blocks(config):
        yield from _kind(config, path, block)
    yield from programs.checks(config)
    yield from programs.accounts(config, keys, programs.roles(config))
    yield from _judges(config, keys)
    yield from _server(config, keys)
    yield from _resources(config, keys)
    if config.get("push") and not given(keys, "PRIME_API_KEY"):
        message = "push uploads the results to Prime's platform, which asks for PRIME_API_KEY"
        yield config.problem(("push",), message, secret(config, "PRIME_API_KEY"), warning=True)


def _environment(config: Config) -> Problems:
    env = config.get("env")
    if not isinstance(env, Mapping):
        return
    data = evals.data()
    taskset = config.get("env", "taskset", "id")
    if not taskset:
        message = "env.taskset.id is missing: the tasks to evaluate"
        remedy = "name a folder beside the config that is a taskset, or one that the image has"
        yield config.problem(("env", "taskset"), message, remedy)
    elif isinstance(taskset, str):
        yield from _plugin(config, ("env", "taskset", "id"), "tasksets", "taskset")
    yield from _plugin(config, ("env", "id"), "environments", "environment")
    shared = set(data["environments"]["single-agent"]["keys"]) - {"agent"}
    kind = str(env.get("id") or "single-agent").replace("_", "-")
    known = data["environments"].get(kind, {}).get("keys")
    for name in env:
        place = config.key_origin("env", name)
        if name in OLD_ENV and name not in (known or ()):
            yield Problem(f"env has no key {name} in {evals.SUBJECT}", OLD_ENV[name], place)
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
    if own in (item.replace("-", "_") for item in evals.data()[table]):
        return
    shown = ".".join(map(str, path))
    if local_path(own, config.folder) is not None:
        yield config.problem(path, f"{shown}: there is no {name}", f"the folder is called {own}: write that")
    elif name.startswith((".", "/", "~")) or name.count("/") > 1:
        yield config.problem(path, f"{shown}: there is no {name}", "write the path from the folder of the config file")
    else:
        message = f"{shown}: no folder beside the config is called {name}, so the image must have the {what} installed"
        folders = [folder.name for folder in config.folder.glob("*") if folder.is_dir()]
        remedy = meant(name, [*evals.data()[table], *folders], "or name a folder with it, which travels with the run")
        yield config.problem(path, message, remedy, warning=True)


def _blocks(config: Config) -> Iterator[tuple[KeyPath, Key]]:
    """The blocks that are of one of several kinds, with what their keys may be."""
    keys = evals.schema().keys
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


def _judges(config: Config, keys: LaunchKeys) -> Problems:
    for index, judge in enumerate(config.get("env", "taskset", "task", "judges") or []):
        if isinstance(judge, Mapping) and not judge.get("base_url") and not given(keys, "PRIME_API_KEY"):
            message = "a judge without base_url is one at Prime's cloud, which asks for PRIME_API_KEY"
            remedy = f"add base_url, model and api_key_var, or {secret(config, 'PRIME_API_KEY')}"
            yield config.problem(("env", "taskset", "task", "judges", index), message, remedy, warning=True)


def _server(config: Config, keys: LaunchKeys) -> Problems:
    url, variable = evals.endpoint(config), config.get("client", "api_key_var")
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
    elif evals.is_loopback(url):
        message = f"{parts.hostname} is the machine that the evaluation runs on: in a cluster, its own pod"
        yield config.problem(place, message, "leave base_url out, and the run starts a server", warning=True)
    if parts.path in ("", "/"):
        message = f"client.base_url {url} has no path, and OpenAI-compatible servers answer below /v1"
        yield config.problem(place, message, f"write {url.rstrip('/')}/v1", warning=True)
    if config.get("vllm"):
        message = "vllm is for the run's own model server, and client.base_url names another"
        yield config.problem(("vllm",), message, "keep one of them")
    if isinstance(variable, str) and not given(keys, variable):
        message = f"the evaluation is not given {variable}"
        yield config.problem(("client", "api_key_var"), message, secret(config, variable), warning=True)


def _resources(config: Config, keys: LaunchKeys) -> Problems:
    if keys.resources.gpu:
        message = "gpu is for the process that makes the rollouts, which computes nothing"
        remedy = (
            "write `services: {inference: {gpu: …}}` for the model's server"
            if evals.endpoint(config) is None
            else "delete it"
        )
        yield config.problem(("gpu",), message, remedy)
    if keys.resources.nodes > 1:
        message = "an evaluation is one process, and cannot use several nodes"
        yield config.problem(("nodes",), message, "raise `max_concurrent`, or `services.inference.replicas`")
