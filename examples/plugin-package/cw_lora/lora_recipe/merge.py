"""An adapter folded into its model: W + alpha / rank * B A takes the place of W."""

from __future__ import annotations

import time

from lora_recipe.progress import announce
from lora_recipe.settings import Merge
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer


def main(config: Merge) -> None:
    began = time.perf_counter()
    model = AutoModelForCausalLM.from_pretrained(config.model, dtype="auto")
    merged = PeftModel.from_pretrained(model, config.adapter).merge_and_unload()
    merged.save_pretrained(config.output_dir)
    AutoTokenizer.from_pretrained(config.model).save_pretrained(config.output_dir)
    print(f"merged {config.adapter} into {config.model}", flush=True)
    announce(event="done", steps=0, seconds=round(time.perf_counter() - began, 1), model=config.output_dir)
