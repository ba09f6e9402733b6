"""The use cases: validate, plan, launch, find, rerun. Nothing here prints."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cw_cli.core.exceptions import ConfigError, RunNotFoundError, UsageError
from cw_cli.core.problems import Origin, errors
from cw_cli.core.registry import FrameworkRegistry
from cw_cli.targets.choice import Where, choose, open_target, places

# What reads YAML or renders templates is imported where it is needed: `cw list` does neither, `cw validate` only one.
if TYPE_CHECKING:
    from cw_cli.core.checks import CheckedConfig
    from cw_cli.core.config import Config
    from cw_cli.core.framework import BaseTrainingFramework, TrainingType
    from cw_cli.core.overrides import Override
    from cw_cli.core.plan import Plan
    from cw_cli.core.problems import Problem
    from cw_cli.core.status import RunStatus
    from cw_cli.targets.base import Target


ANYWHERE = Where()
"""This machine and the kubeconfig's own choice of cluster."""


def find_framework(name: str, training_type: str) -> tuple[BaseTrainingFramework, TrainingType]:
    """The framework and its training type; raises `FrameworkError` or `UsageError` with what there is."""
    from cw_cli.core.spelling import nearest

    framework = FrameworkRegistry().get(name)
    known = {str(item): item for item in framework.get_training_types()}
    if training_type not in known:
        near = nearest(training_type, known)
        hint = framework.elsewhere.get(training_type) or (f"Did you mean {near}?" if near else "")
        raise UsageError(f"{name} has no training type {training_type}", hint or f"There is {', '.join(known)}.")
    return framework, known[training_type]


def validate(
    framework: str,
    training_type: str,
    config: str | Path | Config,
    overrides: Sequence[Override] = (),
    *,
    target: str | None = None,
    flags: Sequence[str] = (),
    **keys: Any,
) -> CheckedConfig:
    """Check a config as a launch would, without planning one.

    `target` is `local`, or `kubernetes` where it is not said. `keys` are overrides by name, as in
    `learning_rate=1e-5`. Raises `ConfigError` with every mistake.
    """
    from cw_cli.core.checks import check_config
    from cw_cli.core.config import Config, read_config
    from cw_cli.core.settings import read_settings

    found, known_type = find_framework(framework, training_type)
    given = config if isinstance(config, Config) else read_config(config)
    settings = read_settings()
    if target == "local":
        settings = settings.over(_machine())
    typed = [*overrides, *_as_overrides(keys)]
    return check_config(found, known_type, given, typed, settings, flags, target or "kubernetes")


def plan(
    framework: str,
    training_type: str,
    config: str | Path | Config,
    overrides: Sequence[Override] = (),
    *,
    target: str | None = None,
    name: str | None = None,
    namespace: str | None = None,
    services_only: bool = False,
    services_of: str | None = None,
    flags: Sequence[str] = (),
    **keys: Any,
) -> Plan:
    """Everything that launching `config` would do, as one value; nothing is started and no cluster is asked.

    `target` is `kubernetes` or `local`; without it the settings, and then what there is, decide. `services_only`
    leaves the trainer out; `services_of` is the full name of a run whose services the trainer shall use. Raises
    `ConfigError` with every mistake of the config.
    """
    from cw_cli import __version__
    from cw_cli.core.plan import make_plan
    from cw_cli.core.record import Launch
    from cw_cli.core.settings import read_settings
    from cw_cli.git import commit_of

    settings = read_settings()
    kind, note = choose(target, settings.get("target"))
    checked = validate(framework, training_type, config, overrides, target=kind, flags=flags, **keys)
    launch = Launch(
        target=kind,
        user=settings.get("user") or user_name(),
        name=name,
        namespace=namespace or settings.get("namespace"),
        version=__version__,
        commit=commit_of(Path(checked.given.source).absolute().parent),
        note=note,
        services_only=services_only,
        services_of=services_of,
    )
    return make_plan(checked, launch)


def launch(plan: Plan, *, attached: bool = False, context: str | None = None) -> str:
    """Do what the plan says and return the run's name.

    An attached run on this machine ends with this process. Raises `ConfigError` with everything that the target has
    against the plan; a launch that fails leaves nothing behind.
    """
    target = target_of(plan, context)
    check_target(plan, target)
    target.launch(plan, attached=attached)
    return plan.run


def target_of(plan: Plan, context: str | None = None) -> Target:
    """The target that the plan is for."""
    return open_target(plan.target, Where(context or settled().context, plan.record["namespace"]))


def check_target(plan: Plan, target: Target) -> list[Problem]:
    """What the target warns of; raises `ConfigError` with everything that it has against the plan."""
    return _refused(plan, target.check(plan))


def rehearse(plan: Plan, target: Target) -> list[Problem]:
    """What the target warns of in a dry run of its own, which changes nothing; raises `ConfigError` with everything
    that it refuses."""
    return _refused(plan, target.rehearse(plan))


def _refused(plan: Plan, problems: list[Problem]) -> list[Problem]:
    if errors(problems):
        where = "on this machine" if plan.target == "local" else "on the cluster"
        raise ConfigError(f"this run cannot start {where}; nothing was started", problems)
    return problems


def targets(where: Where = ANYWHERE) -> Iterator[Target]:
    """Every target that can hold runs; the settings say which cluster and namespace, where `where` does not."""
    return places(where, settled)


def settled() -> Where:
    """The cluster and namespace that the settings choose."""
    from cw_cli.core.settings import read_settings

    settings = read_settings()
    return Where(settings.get("context"), settings.get("namespace"))


def runs(where: Where = ANYWHERE) -> list[RunStatus]:
    """All runs, newest first, those of this machine before those of the cluster."""
    return [status for target in targets(where) for status in target.list()]


def find_run(text: str, where: Where = ANYWHERE) -> tuple[Target, str]:
    """The run that `text` names: by its full name, the five characters at its end, the word before them, or the
    beginning. The cluster is asked only when no run of this machine is meant.

    Raises `RunNotFoundError` when there is none, or more than one.
    """
    for target in targets(where):
        found = target.find(text)
        if len(found) > 1:
            names = ", ".join(found[:5])
            raise RunNotFoundError(f"{text} may mean {len(found)} runs: {names}", "Write more of the name.")
        if found:
            return target, found[0]
    raise RunNotFoundError(f"no run is called {text}", "`cw list` shows the runs that there are.")


def run(text: str, where: Where = ANYWHERE) -> RunStatus:
    """The state of one run; raises `RunNotFoundError`."""
    target, name = find_run(text, where)
    return target.status(name)


def plan_again(
    text: str,
    overrides: Sequence[Override] = (),
    *,
    name: str | None = None,
    where: Where = ANYWHERE,
    flags: Sequence[str] = (),
) -> Plan:
    """A plan like that of an earlier run, from its record, with more overrides on top."""
    from cw_cli.core.config import parse_config
    from cw_cli.core.overrides import Override

    target, earlier_run = find_run(text, where)
    record = target.record(earlier_run)
    source = str(Path(record["folder"]) / Path(record["config"]).name)
    earlier = [Override(item["key"], item["text"], item["flag"]) for item in record["overrides"]]
    config = parse_config(record["given"], source)
    return plan(
        record["framework"],
        record["type"],
        config,
        [*earlier, *overrides],
        target=record["target"],
        name=name or record["name"],
        namespace=where.namespace or record["namespace"],
        services_only=record.get("services_only", False),
        services_of=record.get("services_of"),
        flags=flags,
    )


def _as_overrides(keys: Mapping[str, Any]) -> list[Override]:
    from cw_cli.core.overrides import Override

    return [
        Override(key, value if isinstance(value, str) else json.dumps(value), f"{key}={value!r}")
        for key, value in keys.items()
    ]


def _machine() -> Config:
    """What this machine says where neither config nor settings do: no GPUs, if it has none."""
    from cw_cli.core.config import Config
    from cw_cli.targets.local.gpus import machine_gpus

    empty = Config("this machine")
    if machine_gpus(os.environ):
        return empty
    return empty.with_value(("gpu",), 0, Origin("this machine, which has no GPU"))


def user_name() -> str:
    """The user's login name, as `getpass` finds it but without its imports."""
    if name := next((os.environ[key] for key in ("LOGNAME", "USER", "USERNAME") if os.environ.get(key)), None):
        return name
    try:
        import pwd

        return pwd.getpwuid(os.getuid()).pw_name
    except (ImportError, KeyError):
        return "unknown"
