"""LoRA with transformers' own Trainer: a frozen model, and two small matrices beside each of its large ones.

For a weight W of shape (out, in) the layer computes W x + alpha / rank * B A x, with A of shape (rank, in) and B of
shape (out, rank). B begins as zero, so the first step starts from the model as it is. (arXiv:2106.09685)
"""

from __future__ import annotations

import json
import time

import torch
from lora_recipe.progress import Progress, announce
from lora_recipe.settings import Train
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DataCollatorForLanguageModeling,
    Trainer,
    TrainingArguments,
    set_seed,
)


def main(config: Train) -> None:
    train(config, Trainer)


def train(config: Train, trainer_class: type[Trainer]) -> None:
    """Train an adapter with a trainer that may have a loss of its own, and write it."""
    began = time.perf_counter()
    set_seed(config.seed)  # the adapter's first weights are random
    tokenizer = AutoTokenizer.from_pretrained(config.model)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    trainer = trainer_class(
        model=adapted(config),
        args=arguments(config),
        train_dataset=tokenized(config, tokenizer),
        data_collator=DataCollatorForLanguageModeling(tokenizer, mlm=False),
        callbacks=[Progress()],
    )
    trainer.train()
    trainer.model.save_pretrained(config.output_dir)
    tokenizer.save_pretrained(config.output_dir)

    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    announce(
        event="done",
        steps=trainer.state.global_step,
        seconds=round(time.perf_counter() - began, 1),
        first_loss=losses[0] if losses else None,
        last_loss=losses[-1] if losses else None,
        model=config.output_dir,
    )


def adapted(config: Train) -> PeftModel:
    """The frozen model with a fresh adapter."""
    model = AutoModelForCausalLM.from_pretrained(config.model, dtype=getattr(torch, config.precision))
    adapter = LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha if config.alpha is not None else 2 * config.rank,
        lora_dropout=config.dropout,
        target_modules=config.target_modules,
        modules_to_save=config.modules_to_save,
        task_type="CAUSAL_LM",
    )
    model = get_peft_model(model, adapter)
    trained, total = model.get_nb_trainable_parameters()
    print(f"training {trained:,} of {total:,} weights", flush=True)
    return model


def arguments(config: Train) -> TrainingArguments:
    return TrainingArguments(
        output_dir=config.output_dir,
        max_steps=config.max_steps,
        per_device_train_batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=config.max_steps // 10,
        logging_steps=config.logging_steps,
        seed=config.seed,
        save_strategy="no",
        report_to="none",
        use_cpu=not torch.cuda.is_available(),
    )


def tokenized(config: Train, tokenizer) -> list[dict[str, list[int]]]:
    """One list of tokens for each line of the data, with the token that ends a text."""
    with open(config.data, encoding="utf-8") as file:
        texts = [json.loads(line)["text"] for line in file if line.strip()]
    return [
        {"input_ids": tokenizer(text + tokenizer.eos_token, truncation=True, max_length=config.max_length)["input_ids"]}
        for text in texts
    ]
