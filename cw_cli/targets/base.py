"""The one interface that every place for runs offers; the verbs know nothing else of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from cw_cli.core.plan import Plan
    from cw_cli.core.problems import Problem
    from cw_cli.core.status import RunStatus
    from cw_cli.core.verdict import Verdict


class Target(Protocol):
    """A place where runs go. Names are full run names; every method raises `RunNotFoundError` for unknown ones,
    and `TargetError` when the place itself refuses."""

    @property
    def kind(self) -> str:
        """`local` or `kubernetes`."""

    def check(self, plan: Plan) -> list[Problem]:
        """What this place would say to the plan, without changing anything."""

    def rehearse(self, plan: Plan) -> list[Problem]:
        """What this place would say to the very objects of the plan; raises `UsageError` where nobody can be asked."""

    def launch(self, plan: Plan, *, attached: bool) -> None:
        """Start the run. An attached run ends with the process that launched it; a failed launch leaves nothing."""

    def find(self, text: str) -> list[str]:
        """Names of the runs that `text` may mean: see `names.matching_runs`."""

    def list(self) -> list[RunStatus]:
        """Every run, newest first."""

    def status(self, run: str) -> RunStatus:
        """One run, observed now."""

    def record(self, run: str) -> Mapping[str, Any]:
        """The record that the plan left."""

    def why(self, run: str) -> Verdict:
        """Why the run is in its state and what to do about it."""

    def logs(self, run: str, *, role: str | None, follow: bool, tail: int | None) -> Iterator[str]:
        """Lines of the run's log without their line ends; with `follow` until the run has ended."""

    def cancel(self, run: str) -> bool:
        """Stop the run, keep its record and logs; False when it had ended already."""

    def restart(self, run: str, role: str) -> None:
        """Replace the processes of a service while the run goes on."""

    def scale(self, run: str, role: str, replicas: int) -> None:
        """Change how many processes a service has while the run goes on."""

    def delete(self, runs: Sequence[str]) -> Sequence[str]:
        """Stop the runs and forget them; returns a line for each thing that was deleted."""
