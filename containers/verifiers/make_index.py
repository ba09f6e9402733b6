"""Lays a folder of wheels out as a package index (PEP 503) that uv reads from the disk: `make_index.py FOLDER`."""

from __future__ import annotations

import re
import sys
from pathlib import Path


def main(folder: Path) -> None:
    pages: dict[str, list[str]] = {}
    for wheel in sorted(folder.glob("*.whl")):
        name = re.sub(r"[-_.]+", "-", wheel.name.split("-")[0]).lower()
        package = folder / name
        package.mkdir(exist_ok=True)
        wheel.rename(package / wheel.name)
        pages.setdefault(name, []).append(wheel.name)
    for name, wheels in pages.items():
        links = "".join(f'<a href="{wheel}">{wheel}</a>\n' for wheel in wheels)
        (folder / name / "index.html").write_text(f"<!DOCTYPE html>\n{links}", encoding="utf-8")
    links = "".join(f'<a href="{name}/">{name}</a>\n' for name in pages)
    (folder / "index.html").write_text(f"<!DOCTYPE html>\n{links}", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
