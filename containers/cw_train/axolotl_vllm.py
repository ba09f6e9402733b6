"""Axolotl's vLLM server, which generates for a trainer of the same version and takes its weights."""

from __future__ import annotations

import os

from cw_train.axolotl_config import as_if_typed, prepared_config, written


def main(config: str) -> None:
    values = prepared_config(config)
    as_if_typed()
    from axolotl.cli.vllm_serve import do_vllm_serve

    do_vllm_serve(written(values), {"host": os.environ.get("HOST", "0.0.0.0"), "port": int(os.environ["PORT"])})
