"""What keys of TRL ask for beyond TRL itself: packages that an image may not have."""

from __future__ import annotations

from collections.abc import Iterator

from cw_cli.core.config import Config
from cw_cli.core.images import Need
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

OF_OPTIMIZERS = {
    "adamw_torch_4bit": "torchao",
    "adamw_torch_8bit": "torchao",
    "adamw_anyprecision": "torchdistx",
    "lomo": "lomo-optim",
    "adalomo": "lomo-optim",
    "grokadamw": "grokadamw",
    "stable_adamw": "torch-optimi",
}
OF_OPTIMIZERS_BEGINNING = {
    "ao_": "torchao",
    "galore_": "galore-torch",
    "apollo_": "apollo-torch",
    "schedule_free_": "schedulefree",
}
OF_TRACKERS = {
    **{name: name for name in ("clearml", "codecarbon", "dvclive", "mlflow", "neptune", "swanlab", "trackio", "wandb")},
    "comet_ml": "comet-ml",
    "tensorboard": "tensorboard",
}
FLASH = ("flash-attn", "kernels")
"""Transformers takes flash attention from either."""


def needs(config: Config) -> Iterator[Need]:
    for key, package in OF_KEYS.items():
        if config.get(key):
            yield (key,), (package,)
    if accelerate.NAMES.get(str(config.get(accelerate.KEY))) == "DEEPSPEED":
        yield (accelerate.KEY,), ("deepspeed",)
    if found := of_optimizer(str(config.get("optim") or "")):
        yield ("optim",), (found,)
    if str(config.get("attn_implementation") or "").startswith(("flash_attention", "kernels-community/")):
        yield ("attn_implementation",), FLASH
    trackers = config.get("report_to") or []
    for name in [trackers] if isinstance(trackers, str) else trackers:
        if name in OF_TRACKERS:
            yield ("report_to",), (OF_TRACKERS[name],)


def of_optimizer(name: str) -> str | None:
    """The package of an optimizer of Transformers; None for one of torch's."""
    if name in OF_OPTIMIZERS:
        return OF_OPTIMIZERS[name]
    for beginning, package in OF_OPTIMIZERS_BEGINNING.items():
        if name.startswith(beginning):
            return package
    of_bitsandbytes = "8bit" in name or "bnb" in name or name.startswith(("paged_", "lion_", "ademamix"))
    return "bitsandbytes" if of_bitsandbytes else None
