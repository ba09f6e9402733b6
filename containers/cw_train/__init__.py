"""The training programs that run inside the container: one recipe a file, and what recipes share.

Nothing here imports cw_cli, and nothing heavy is imported before a recipe's `main` runs.
"""


class RefusedError(Exception):
    """What the user asked for cannot be done; the message is one sentence that says why (exit code 2)."""


class GaveUpError(Exception):
    """What the run needs is not there any more; the message is one sentence that says what (exit code 1)."""


class Preempted(SystemExit):
    """Told to stop by SIGTERM; what was trained up to a step is in a checkpoint."""

    def __init__(self, step: int) -> None:
        super().__init__(143)  # the exit code of a program that SIGTERM ended
        self.step = step
