"""The data of an Axolotl config, tokenized and written to where its training looks for it; it needs no GPU."""

from __future__ import annotations

from pathlib import Path

from cw_train import GaveUpError
from cw_train.axolotl_config import as_if_typed, prepared_config, written
from cw_train.progress import announce


def main(config: str) -> None:
    values = prepared_config(config)
    as_if_typed()
    from axolotl.cli.preprocess import do_cli

    do_cli(written(values))
    folder = Path(values["dataset_prepared_path"])
    # Axolotl ends well with nothing written, too.
    if not any(folder.glob("*/*")):
        raise GaveUpError(f"Axolotl prepared nothing in {folder}; its last lines say why")
    announce({"event": "done", "prepared": str(folder.absolute())})
