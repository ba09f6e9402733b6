"""What keys of TRL ask for beyond TRL itself: packages that an image may not have."""

from __future__ import annotations

from collections.abc import Iterator

from cw_cli.core.config import Config
from cw_cli.core.images import Need
from cw_cli.frameworks.hugging_face import FLASH, package_of_optimizer
from cw_cli.frameworks.trl import accelerate

OF_KEYS = {
    "use_peft": "peft",
    "load_in_4bit": "bitsandbytes",
    "load_in_8bit": "bitsandbytes",
    "deepspeed": "deepspeed",
    "use_liger_kernel": "liger-kernel",
    "use_vllm": "vllm",
}
"""The package that a key needs unless it is false or empty."""

OF_TRACKERS = {
    **{name: name for name in ("clearml", "codecarbon", "dvclive", "mlflow", "neptune", "swanlab", "trackio", "wandb")},
    "comet_ml": "comet-ml",
    "tensorboard": "tensorboard",
}


def needs(config: Config) -> Iterator[Need]:
    for key, package in OF_KEYS.items():
        if config.get(key):
            yield (key,), (package,)
    if accelerate.NAMES.get(str(config.get(accelerate.KEY))) == "DEEPSPEED":
        yield (accelerate.KEY,), ("deepspeed",)
    if found := package_of_optimizer(str(config.get("optim") or "")):
        yield ("optim",), (found,)
    if str(config.get("attn_implementation") or "").startswith(("flash_attention", "kernels-community/")):
        yield ("attn_implementation",), FLASH
    trackers = config.get("report_to") or []
    for name in [trackers] if isinstance(trackers, str) else trackers:
        if name in OF_TRACKERS:
            yield ("report_to",), (OF_TRACKERS[name],)
