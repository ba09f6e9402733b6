"""How the processes of a run part: together, and not before the threads between them are done."""

from __future__ import annotations

import time
from typing import Any

PAUSE = 0.5  # seconds


def part(trainer: Any) -> None:
    """End the trackers and the group of processes, once all of them are here."""
    gather(trainer.accelerator)
    trainer.end()


def gather(processes: Any) -> None:
    """Wait until all processes are here and nothing is exchanged between them any more; `processes` is Accelerate's
    state of them.

    On the processor gloo's threads may still be dropping the tensors of the last exchange, for which they need Python's
    lock. A group that is taken down in that moment waits for those threads with the lock in its hand, for ever (seen
    with torch 2.13); so they get a moment without it.
    """
    import torch.distributed

    processes.wait_for_everyone()
    if torch.distributed.is_initialized() and torch.distributed.get_backend() == "gloo":
        time.sleep(PAUSE)
