"""What keys of Axolotl ask for beyond Axolotl itself: packages that an image may not have."""

from __future__ import annotations

from collections.abc import Iterator

from cw_cli.core.config import Config
from cw_cli.core.images import Need
from cw_cli.frameworks.axolotl.keys import listed, package_of
from cw_cli.frameworks.hugging_face import FLASH, package_of_optimizer

OF_KEYS = {
    "load_in_4bit": "bitsandbytes",
    "load_in_8bit": "bitsandbytes",
    "deepspeed": "deepspeed",
    "use_comet": "comet-ml",
    "use_mlflow": "mlflow",
    "use_onebitllms": "onebitllms",
    "use_otel_metrics": "prometheus-client",
    "use_tensorboard": "tensorboard",
    "use_trackio": "trackio",
    "use_wandb": "wandb",
    "wandb_project": "wandb",
}
"""The package that a key needs unless it is false or empty."""

OF_PLUGINS = {
    "cut_cross_entropy": "cut-cross-entropy",
    "densemixer": "densemixer",
    "liger": "liger-kernel",
    "llm_compressor": "llmcompressor",
    "lm_eval": "lm-eval",
    "swanlab": "swanlab",
}
OF_ATTENTION = {"xformers": ("xformers",), "sage": ("sageattention",), "flash_attention_2": FLASH}
OF_OPTIMIZERS = {
    "came_pytorch": "came-pytorch",
    "q_galore_adamw8bit": "q-galore-torch",
    "optimi_adamw": "torch-optimi",
}


def needs(config: Config) -> Iterator[Need]:
    for key, package in OF_KEYS.items():
        if config.get(key):
            yield (key,), (package,)
    if config.get("trl", "use_vllm"):
        yield ("trl", "use_vllm"), ("vllm",)
    for index, plugin in enumerate(listed(config)):
        if brought := OF_PLUGINS.get(package_of(plugin) or ""):
            yield ("plugins", index), (brought,)
    if packages := OF_ATTENTION.get(str(config.get("attn_implementation"))):
        yield ("attn_implementation",), packages
    name = str(config.get("optimizer") or "")
    if found := OF_OPTIMIZERS.get(name) or package_of_optimizer(name):
        yield ("optimizer",), (found,)
