"""The error tree: every error that cw raises on purpose says what failed and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence

from cw_cli.core.problems import Problem


class CwError(Exception):
    """An error with a sentence for the user.

    `message` says what failed on which object, `hint` what to do. `exit_code` is what the command line ends with:
    1 for something that failed, 2 for misuse.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(CwError):
    """The command or its flags cannot be understood."""

    exit_code = 2


class ConfigError(CwError):
    """A config that cannot be launched; `problems` holds every mistake that was found, in the file's order."""

    exit_code = 2

    def __init__(self, message: str, problems: Sequence[Problem], hint: str = "") -> None:
        super().__init__(message, hint)
        self.problems = tuple(problems)


class TemplateError(CwError):
    """A template that does not render to Kubernetes objects."""


class FrameworkError(CwError):
    """A framework, built in or a plugin's, that is unknown or broke its contract."""


class PluginError(FrameworkError):
    """A plugin that cannot be used: it failed, broke its contract, or is not to be trusted; the message names it."""


class RunNotFoundError(CwError):
    """No run answers to the name that was given."""


class TargetError(CwError):
    """The place where runs go (the cluster, this machine) refused or failed."""


def format_error_for_user(error: BaseException) -> str:
    """The sentences to show for `error`, problems with their places included; never a traceback."""
    if isinstance(error, ConfigError):
        return "\n".join([error.message, *(_format_problem(problem) for problem in error.problems)])
    if isinstance(error, CwError):
        return error.message
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def get_error_suggestions(error: BaseException) -> str | None:
    """What to do about `error`, or None when nothing useful is known."""
    if isinstance(error, CwError):
        return error.hint or None
    if isinstance(error, FileNotFoundError):
        return "Check the path; it is taken from the folder you are in."
    if isinstance(error, PermissionError):
        return "Check who owns the file and whether you may read and write it."
    return None


def _format_problem(problem: Problem) -> str:
    place = f"{problem.origin}: " if problem.origin else ""
    remedy = f"; {problem.remedy}" if problem.remedy else ""
    return f"{place}{problem.message}{remedy}"
