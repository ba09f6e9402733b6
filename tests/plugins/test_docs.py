"""The pages about plugins: every step of the tutorial is taken, and the reference has the code's own signatures."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

from cw_cli.core.framework import BaseTrainingFramework
from cw_cli.core.plugins import FrameworkPlugin

from .conftest import User

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_every_step_of_the_tutorial_is_taken(cw: User) -> None:
    steps = re.findall(r"```bash\n(.*?)```", (DOCS / "plugins.md").read_text("utf-8"), re.DOTALL)
    assert len(steps) == 3
    (cw.home / "bin").mkdir()
    program = cw.home / "bin" / "cw"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m cw_cli.cli.main "$@"\n')
    program.chmod(0o755)
    environment = {**cw.environment, "PATH": f"{cw.home / 'bin'}:{cw.environment['PATH']}"}
    script = "set -e\n" + "".join(steps)
    done = subprocess.run(
        ["sh", "-c", script], cwd=cw.home, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "my-net" in done.stdout
    assert "kind: Job" in (cw.home / "objects.yaml").read_text()


def signatures(kind: type) -> list[str]:
    found = []
    for name, member in vars(kind).items():
        if name.startswith("_"):
            continue
        if isinstance(member, property):
            found.append(name)
        elif callable(member):
            text = str(inspect.signature(member)).replace("'", "")
            found.append(name + re.sub(r"\(self(, )?", "(", text))
    return found


def test_the_reference_has_the_codes_own_signatures() -> None:
    headings = re.findall(r"^### `(.*)`$", (DOCS / "plugin-reference.md").read_text("utf-8"), re.MULTILINE)
    assert headings == [*signatures(FrameworkPlugin), *signatures(BaseTrainingFramework)]
