"""Turns a folder's `files` into an index beside them (`simple`) that uv and pip can read without a server."""

import re
import sys
from pathlib import Path

root = Path(sys.argv[1])
pages: dict[str, list[str]] = {}
for file in sorted((root / "files").iterdir()):
    project = re.sub("[-_.]+", "-", file.name.split("-")[0]).lower()
    pages.setdefault(project, []).append(f'<a href="../../files/{file.name}">{file.name}</a>')
for project, links in pages.items():
    page = root / "simple" / project / "index.html"
    page.parent.mkdir(parents=True)
    page.write_text("<!doctype html>\n" + "\n".join(links) + "\n")
