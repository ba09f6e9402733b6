"""What the Python files that travel with a run import: of it, what will not be there."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from cw_cli.core import files, images
from cw_cli.core.config import Config
from cw_cli.core.problems import KeyPath, Origin, Problem
from cw_cli.core.python_source import imports, read

Problems = Iterator[Problem]

PACKAGES = {
    "antlr4": ("antlr4-python3-runtime",),
    "attr": ("attrs",),
    "bs4": ("beautifulsoup4",),
    "cv2": ("opencv-python", "opencv-python-headless"),
    "dateutil": ("python-dateutil",),
    "dotenv": ("python-dotenv",),
    "functorch": ("torch",),
    "git": ("gitpython",),
    "google": ("protobuf",),
    "isympy": ("sympy",),
    "jwt": ("pyjwt",),
    "markdown_it": ("markdown-it-py",),
    "mpl_toolkits": ("matplotlib",),
    "multipart": ("python-multipart",),
    "opentelemetry": ("opentelemetry-api",),
    "PIL": ("pillow",),
    "pkg_resources": ("setuptools",),
    "protobuf": ("protobuf-py",),
    "protobuf_ext": ("protobuf-py-ext",),
    "pydantic_config": ("prime-pydantic-config",),
    "pylab": ("matplotlib",),
    "rpds": ("rpds-py",),
    "sklearn": ("scikit-learn",),
    "tiktoken_ext": ("tiktoken",),
    "torchgen": ("torch",),
    "yaml": ("pyyaml",),
    "zmq": ("pyzmq",),
}
"""Packages whose modules are not called as they are."""

OURS = ("cw_train",)
"""The recipes, which are there in every run."""


class Needed(NamedTuple):
    """A module that a travelling file imports, and where."""

    module: str
    file: Path
    origin: Origin
    """Of the first line that imports it."""


def checks(config: Config, keys: Sequence[KeyPath], image: str | None, target: str) -> Problems:
    """Modules that are missing where the files which the config names at `keys` will be read."""
    paths = files.named(config, keys)
    if target == "local":
        for item in needed(paths):
            if not _is_here(item):
                message = f"{item.file.name} imports {item.module}, which this Python ({sys.executable}) lacks"
                yield Problem(message, "install it there", item.origin, "warning")
        return
    yield from _left_behind(paths)
    held = images.meant(image)
    for item in needed(paths) if held else ():
        packages = PACKAGES.get(item.module, (_package(item.module),))
        if not any(package in other.packages for other in held for package in packages):
            message = f"{item.file.name} imports {item.module}, and {image} has no package {' or '.join(packages)}"
            remedy = f"name an image that has it as `image:`; one of your own can begin with `FROM {image}`"
            yield Problem(message, remedy, item.origin, "warning")


def _left_behind(travelling: Sequence[Path]) -> Problems:
    """Imports of files that lie beside one that travels alone."""
    for path in (path for path in travelling if path.suffix == ".py" and path.is_file()):
        source = read(path)
        for module, node in imports(source):
            beside = (path.parent / f"{module}.py", path.parent / module / "__init__.py")
            if module and (module in sys.stdlib_module_names or not any(item.is_file() for item in beside)):
                continue
            if not {item.absolute() for item in beside}.intersection(item.absolute() for item in travelling):
                message = f"{path.name} imports {module or 'a file'} from beside it, and only {path.name} is there"
                origin = source.origin(node.lineno, node.col_offset)
                yield Problem(message, "put all of it into one file, or into the image", origin)


def needed(paths: Sequence[Path]) -> list[Needed]:
    """What these files import. What they do of Python's own library, of the recipes and of each other is there."""
    found: dict[str, Needed] = {}
    for path in paths:
        if path.suffix != ".py" and not _is_package(path):
            continue
        near = {path.name, *(item.stem for item in (path if path.is_dir() else path.parent).glob("*"))}
        for source in map(read, sorted(path.rglob("*.py")) if path.is_dir() else [path]):
            for item in imports(source):
                if item.module and item.module not in {*near, *OURS, *sys.stdlib_module_names}:
                    origin = source.origin(item.node.lineno, item.node.col_offset)
                    found.setdefault(item.module, Needed(item.module, source.path, origin))
    return list(found.values())


def _is_package(path: Path) -> bool:
    """Unlike a model's or a data set's folder, in which Python files mean nothing or something else."""
    return (path / "__init__.py").is_file() or (path / "pyproject.toml").is_file()


def _is_here(item: Needed) -> bool:
    if (Path.cwd() / f"{item.module}.py").is_file() or (Path.cwd() / item.module).is_dir():
        return True
    try:
        return importlib.util.find_spec(item.module) is not None
    except ValueError:  # something that is imported already without having been found
        return True


def _package(module: str) -> str:
    return re.sub(r"[-_.]+", "-", module).lower()
