"""What plays the roles of an environment, and where the commands run that a model writes there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from cw_cli.core.config import Config
from cw_cli.core.launch_keys import LaunchKeys
from cw_cli.core.problems import KeyPath, Problem
from cw_cli.core.spelling import meant
from cw_cli.frameworks.verifiers import evals

Problems = Iterator[Problem]

SUBPROCESS = "subprocess"
CONTAINERS = ("docker", "podman", "apptainer")
"""Runtimes that start containers on the machine itself, and ask for no account."""

ACCOUNTS = {"prime": "PRIME_API_KEY", "modal": "MODAL_TOKEN_SECRET", "e2b": "E2B_API_KEY"}
"""Runtimes in somebody's cloud, and what they ask for."""

JUDGED = ("agentic-judge", "shared-agentic-judge")
"""Environments whose judge works in the solver's container or in one like it, whatever their harnesses."""

OF_A_ROLE = {"harness", "runtime", "model"}

MOVED = {"runtime": "write it beside the harness, as `{role}.runtime`"}


class Role(NamedTuple):
    """Who plays: where it stands in the config, and what it says of its program, as far as the config tells."""

    path: KeyPath
    harness: str | None
    """None where the taskset says it, or `bash`."""
    runtime: str
    """Empty where prime-rl decides."""
    runtime_path: KeyPath

    @property
    def shown(self) -> str:
        return ".".join(map(str, self.path))

    def program(self) -> Mapping[str, Any]:
        """What is known of the harness, if it is one of verifiers' own."""
        known: Mapping[str, Any] = evals.data()["harnesses"].get((self.harness or "bash").replace("-", "_"), {})
        return known


def roles(config: Config, block: KeyPath = ("env",), unsaid: str = SUBPROCESS) -> list[Role]:
    """The roles of the environment at `block`: of one that verifiers has, or those that the config speaks of.

    `unsaid` is the runtime of a role for which the config names none.
    """
    env = config.get(*block)
    if not isinstance(env, Mapping):
        return []
    known = evals.data()["environments"].get(_kind(env))
    spoken = {name: None for name, role in env.items() if isinstance(role, Mapping) and OF_A_ROLE & role.keys()}
    # Without an id it is the taskset's own environment, or the one of a single agent.
    names = known["roles"] if known else spoken or ({} if env.get("id") else {"agent": None})
    return [role(config, (*block, name), default, unsaid) for name, default in names.items()]


def role(config: Config, path: KeyPath, default: str | None = None, unsaid: str = SUBPROCESS) -> Role:
    """The role whose block stands at `path`; until verifiers 0.3 the runtime stood inside the harness."""
    harness = config.get(*path, "harness", "id") or default
    places = [(*path, "runtime", "type"), (*path, "harness", "runtime", "type")]
    place = next((place for place in places if config.get(*place)), places[0])
    return Role(path, str(harness) if harness else None, str(config.get(*place) or unsaid), place)


def _kind(env: Mapping[str, Any]) -> str:
    return str(env.get("id") or "").replace("_", "-")


def checks(config: Config) -> Problems:
    """What verifiers refuses before the first rollout, when the model's server holds its GPUs already."""
    judged = _kind(config.get("env") or {}) in JUDGED
    for role in roles(config):
        yield from _harness_keys(config, role)
        if role.runtime != SUBPROCESS or (judged and role.path[-1] == "judge"):
            continue
        remedy = f"write `{role.shown}.runtime.type`: docker, podman or apptainer, or prime, modal or e2b in a cloud"
        if judged:
            message = f"the judge looks at what the solver did in its container, and {role.shown} works in none"
            yield config.problem(role.runtime_path, message, remedy)
        elif role.program().get("needs_container"):
            message = f"the harness {role.harness} works in a container alone, and {role.shown} has none"
            place = (*role.path, "harness", "id")
            yield config.problem(place, message, f"take bash or null, or {remedy}")


def _harness_keys(config: Config, role: Role) -> Problems:
    block = config.get(*role.path, "harness")
    known = role.program().get("keys")
    if not isinstance(block, Mapping) or known is None:
        return
    for name in block:
        if name not in known:
            remedy = meant(name, known, f"it may hold {', '.join(known)}")
            remedy = MOVED.get(name, remedy).format(role=role.shown)
            message = f"{role.shown}.harness has no key {name} when its id is {role.harness or 'bash'}"
            yield Problem(message, remedy, config.key_origin(*role.path, "harness", name))


def accounts(config: Config, keys: LaunchKeys, playing: Sequence[Role]) -> Problems:
    for role in playing:
        variable = ACCOUNTS.get(role.runtime)
        if variable and not given(keys, variable):
            message = f"the runtime {role.runtime} is a cloud service, which asks for {variable}"
            remedy = f"write `subprocess`, or {secret(config, variable)}"
            yield config.problem(role.runtime_path, message, remedy, warning=True)


def given(keys: LaunchKeys, variable: str) -> bool:
    """Whether the run's programs see a variable."""
    return variable in keys.env or any(secret.variable == variable for secret in keys.secrets)


def secret(config: Config, variable: str) -> str:
    """How to give a run a variable that nobody may read."""
    if config.source.endswith(".toml"):
        return f'add `secrets = {{{variable} = "secret-name/key"}}` before the first block'
    return f"add `secrets: {{{variable}: secret-name/key}}`"


def in_a_cluster(config: Config, playing: Sequence[Role]) -> Problems:
    for role in playing:
        if role.runtime in CONTAINERS:
            message = f"the runtime {role.runtime} starts containers, which pods of most clusters may not"
            yield config.problem(
                role.runtime_path, message, "write `subprocess`: programs run in the pod itself", warning=True
            )


def here(config: Config, playing: Sequence[Role]) -> Problems:
    """Commands that a model writes are somebody else's program, and here they can do what the user can."""
    for role in playing:
        if role.runtime == SUBPROCESS and role.program().get("runs_commands", True):
            what = f"the harness {role.harness}" if role.harness else "its harness (bash, if the taskset has no other)"
            message = f"{role.shown}: {what} runs commands that the model writes, here as you, with all that you may do"
            remedy = (
                f"run it on the cluster, or in containers of this machine: `{role.shown}.runtime.type` docker, podman"
            )
            remedy += " or apptainer; the harness null runs no commands"
            yield config.problem((*role.path, "harness", "id"), message, remedy, warning=True)
