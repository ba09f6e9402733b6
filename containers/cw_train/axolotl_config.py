"""The config as Axolotl reads it here: code beside it found, prepared data in a folder of its own, the server named."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from cw_train import RefusedError
from cw_train.from_data import read_config

IN_A_FILE = re.compile(r"(.+)\.py:(\w+)")


def prepared_config(config: str) -> dict[str, Any]:
    """The values of the file at `config`, ready for Axolotl in this process, and the environment with them."""
    values = read_config(config)
    os.environ.update({name: str(value) for name, value in values.pop("env", {}).items()})
    os.environ.setdefault("AXOLOTL_DO_NOT_TRACK", "1")
    for bars in ("TQDM_DISABLE", "HF_DATASETS_DISABLE_PROGRESS_BARS", "HF_HUB_DISABLE_PROGRESS_BARS"):
        os.environ.setdefault(bars, "1")  # bars are for terminals; the progress lines replace them
    values = {key: importable(value) for key, value in values.items()}
    path, digest = values.get("dataset_prepared_path"), os.environ.get("CW_PREPARED")
    if digest and not (path and Path(path).is_absolute()):
        # Axolotl's name for prepared data says nothing of what is in the files, and all runs read theirs from the same
        # folder. An absolute path is taken at its word.
        output = Path(values.get("output_dir") or "model-out").absolute()
        folder = output.parent / "prepared" / digest
        discard_unfinished(folder)
        values["dataset_prepared_path"] = str(folder)
    if server := os.environ.get("CW_VLLM"):
        host, _, port = server.partition(":")
        values["trl"] = {**(values.get("trl") or {}), "vllm_server_host": host, "vllm_server_port": int(port)}
    return values


def discard_unfinished(folder: Path) -> None:
    """A process that is killed while it writes prepared data leaves a part, which Axolotl would take for the whole."""
    if not folder.is_dir():
        return
    from filelock import FileLock, Timeout

    try:
        # Axolotl's own lock: while somebody holds it, the data is being written.
        with FileLock(folder / "datasets_prep.lock", timeout=0):
            for part in folder.iterdir():
                if part.is_dir() and not (part / "state.json").is_file():  # written last
                    shutil.rmtree(part, ignore_errors=True)
    except Timeout:
        return


def importable(value: Any) -> Any:
    """`module.function` for every `/folder/module.py:function`, with the folder where Python looks for modules."""
    if isinstance(value, dict):
        return {key: importable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [importable(item) for item in value]
    match = IN_A_FILE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return value
    module = Path(match[1]).absolute()
    if not module.with_suffix(".py").is_file():
        raise RefusedError(f"there is no file {module}.py")
    folder = str(module.parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
        # Processes that are started afresh look there, too.
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [folder, os.environ.get("PYTHONPATH")]))
    return f"{module.name}.{match[2]}"


def written(values: dict[str, Any]) -> str:
    """The path of a file with these values, for Axolotl to read."""
    import yaml

    with tempfile.NamedTemporaryFile("w", suffix=".yaml", prefix="axolotl-", encoding="utf-8", delete=False) as file:
        yaml.safe_dump(values, file, sort_keys=False, allow_unicode=True)
    return file.name


def as_if_typed() -> None:
    """Axolotl reads the command line of this process for options of its own, and sets the environment when it is called
    by its name; neither has happened here."""
    from axolotl.utils import set_misc_env, set_pytorch_cuda_alloc_conf

    sys.argv = sys.argv[:1]
    set_pytorch_cuda_alloc_conf()
    set_misc_env()
