"""`python -m cw_cli.schemas [--check]`: every schema again, from the published packages and from cw's own models."""

from __future__ import annotations

import subprocess
import sys

GENERATED = ("cw", "trl", "rlhf", "axolotl", "verifiers")

if __name__ == "__main__":
    # Each in a process of its own: some put packages on their path that the others have in other versions.
    programs = [[sys.executable, "-m", f"cw_cli.schemas.generate_{name}", *sys.argv[1:]] for name in GENERATED]
    sys.exit(max(subprocess.run(program, check=False).returncode for program in programs))
