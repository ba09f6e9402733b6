"""Training with one of TRL's trainers: SFT, DPO, KTO and reward models on a dataset, GRPO and RLOO from rewards.

TRL's own scripts for these differ in the trainer and in nothing else, and so do the recipes that call this file. The
config is TRL's own flat YAML, and the training is TRL's own: on the same config the losses are those of
`trl sft --config`, number for number. Around it a run gets what a cluster asks for: a restart continues where the run
was, SIGTERM leaves a checkpoint, and programs can follow the progress.
"""

from __future__ import annotations

import argparse
import difflib
import os
import re
import warnings
from pathlib import Path
from typing import Any

from cw_train import RefusedError
from cw_train.accelerate_profile import take_profile
from cw_train.checkpoints import Checkpoints, NothingLeftToTrainError, Owner, Preemption, agree, choose
from cw_train.parting import part
from cw_train.progress import Progress, TellsCompletions


def train(config: str, kind: str, *, from_rewards: bool = False) -> None:
    """Train what `config` says with TRL's `<kind>Trainer`, whose settings are a `<kind>Config`. With `from_rewards` the
    data are prompts, and `reward_funcs` says what completions are worth.

    Raises `RefusedError` with one sentence when the config cannot be used.
    """
    preemption = Preemption()  # first of all: process 1 of a container ignores SIGTERM unless it listens

    # 1. The config. What its `env:` sets must be there before the libraries are imported.
    values = read_config(config)
    os.environ.update({name: str(value) for name, value in values.pop("env", {}).items()})
    if values.setdefault("disable_tqdm", True):  # bars are for terminals; the progress lines replace them
        os.environ.update(TQDM_DISABLE="1", HF_DATASETS_DISABLE_PROGRESS_BARS="1", HF_HUB_DISABLE_PROGRESS_BARS="1")
    take_profile(config, values)
    more: dict[str, Any] = {}  # what else the trainer takes
    if values.get("use_vllm"):
        from cw_train.inference import use_inference

        use_inference(values)
    if from_rewards:
        from cw_train.reward_functions import take_rewards

        more = {"reward_funcs": take_rewards(config, values)}
        # TRL switches checkpointing off while it generates, by the old names; the user cannot help it.
        warnings.filterwarnings("ignore", "`(is_)?gradient_checkpointing", FutureWarning)
    script, training, model, mixture = parse(config, values, kind)

    import trl
    from datasets import load_dataset
    from transformers import PrinterCallback, TrainerCallback, set_seed
    from trl import get_dataset, get_peft_config, get_quantization_config

    # 2. The model's loading options: single keys first, `model_init_kwargs` over them. A teacher is loaded likewise.
    loading = {
        "trust_remote_code": training.trust_remote_code,
        "attn_implementation": model.attn_implementation,
        "dtype": model.dtype,
    }
    training.model_init_kwargs = {"revision": model.model_revision} | loading | (training.model_init_kwargs or {})
    if kind == "Distillation":
        if not training.teacher_model_name_or_path:
            raise RefusedError(f"{config}: there is no teacher; set `teacher_model_name_or_path`")
        more = {"teacher_model": training.teacher_model_name_or_path}
        revision = {"revision": training.teacher_model_revision}
        training.teacher_model_init_kwargs = revision | loading | (training.teacher_model_init_kwargs or {})

    # 3. The data: a mixture, or else one dataset. A mixture's `test_split_size` draws the split at random; every rank
    # and every restart must draw the same one. (The trainer seeds again, so nothing else depends on this.)
    set_seed(training.seed)
    if mixture.datasets:
        dataset = get_dataset(mixture)
    elif script.dataset_name:
        dataset = load_dataset(script.dataset_name, name=script.dataset_config, streaming=script.dataset_streaming)
    else:
        raise RefusedError(f"{config}: there is no data; set `dataset_name` or `datasets`")
    splits = [script.dataset_train_split] + [script.dataset_test_split] * (training.eval_strategy != "no")
    for split in splits:
        if split not in dataset:
            raise RefusedError(f"{config}: the data has no split `{split}`; it has {', '.join(dataset)}")

    # 4. Where to start: with this run's newest whole checkpoint, with what `resume_from_checkpoint` says, or afresh.
    wish = training.resume_from_checkpoint
    owner = Owner(run=os.environ.get("CW_RUN") or None, start=wish if isinstance(wish, str) else None)
    checkpoint, sentence = agree(lambda: choose(Path(training.output_dir), owner, wish))
    if training.process_index == 0:
        print(sentence, flush=True)

    # 5. The trainer, with two callbacks of ours.
    class TellsProgress(TellsCompletions if from_rewards else Progress, TrainerCallback):
        pass

    class KeepsCheckpoints(Checkpoints, TrainerCallback):
        pass

    progress = TellsProgress(checkpoint)
    checkpoints = KeepsCheckpoints(owner, preemption, keep=training.save_total_limit)
    training.save_total_limit = None  # KeepsCheckpoints deletes the old ones,
    training.enable_jit_checkpoint = False  # and leaves with a checkpoint on SIGTERM
    # TRL calls these by their old names; the user cannot help it.
    warnings.filterwarnings("ignore", r"`(is_gradient_checkpointing|gradient_checkpointing_\w+)`", FutureWarning)
    trainer = getattr(trl, f"{kind}Trainer")(
        model=model.model_name_or_path,
        args=training,
        train_dataset=dataset[script.dataset_train_split],
        eval_dataset=dataset[script.dataset_test_split] if training.eval_strategy != "no" else None,
        quantization_config=get_quantization_config(model),
        peft_config=get_peft_config(model),
        callbacks=[progress, checkpoints],
        **more,
    )
    trainer.remove_callback(PrinterCallback)  # it would print each log once more

    if kind == "DPO" and script.ignore_bias_buffers:  # as TRL's script does: DDP cannot broadcast booleans
        ignored = [name for name, buffer in trainer.model.named_buffers() if str(buffer.dtype) == "torch.bool"]
        trainer.model._ddp_params_and_buffers_to_ignore = ignored

    # 6. Training: batches of rows, the trainer's loss, and a step of the optimizer.
    try:
        trainer.train(resume_from_checkpoint=checkpoint)
    except NothingLeftToTrainError:  # the run was stopped between its last step and the end
        if training.load_best_model_at_end and trainer.state.best_model_checkpoint:
            trainer._load_best_model()
    if trainer.state.global_step == 0 and training.num_train_epochs > 0:
        raise RefusedError(f"{config}: not one step was made: the data has fewer rows than a batch takes")

    # 7. The model and its tokenizer, in the output folder itself; then the curve and the last word.
    trainer.save_model(training.output_dir)
    progress.finish(training, trainer.state)
    if training.push_to_hub:
        trainer.push_to_hub(dataset_name=script.dataset_name)
    part(trainer)


def read_config(config: str) -> dict[str, Any]:
    import yaml

    class Loader(yaml.SafeLoader):
        """YAML 1.2 numbers: 1e-5 is one, where PyYAML alone sees a string."""

    number = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")
    Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(number.pattern + r"\Z"), list("-+.0123456789"))
    try:
        values = yaml.load(Path(config).read_text(encoding="utf-8"), Loader)
    except (OSError, yaml.YAMLError) as problem:
        raise RefusedError(f"{config} cannot be read: {problem}") from problem
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise RefusedError(f"{config} is not a list of `key: value` lines")
    if not isinstance(values.setdefault("env", {}), dict):
        raise RefusedError(f"{config}: `env` must map names of environment variables to values")
    return values


def parse(config: str, values: dict[str, Any], kind: str) -> tuple[Any, Any, Any, Any]:
    """The values as TRL's own arguments: for the script, the training, the model and the mixture of datasets."""
    import trl
    from trl import DatasetMixtureConfig, ModelConfig, ScriptArguments, TrlParser

    kinds = (ScriptArguments, getattr(trl, f"{kind}Config"), ModelConfig, DatasetMixtureConfig)
    parser = TrlParser(kinds, add_help=False, exit_on_error=False)
    known = sorted(name for part in kinds for name in part.__dataclass_fields__)
    if unknown := [unknown_key(key, known) for key in values if key not in known]:
        raise RefusedError(f"{config}: {'; '.join(unknown)}")
    parser.set_defaults_with_config(**values)
    with warnings.catch_warnings():
        if "gradient_checkpointing" not in values:  # TRL's own default uses the old name; the user cannot help it
            warnings.filterwarnings("ignore", "`gradient_checkpointing`", FutureWarning)
        try:
            return parser.parse_args_into_dataclasses(args=[], look_for_args_file=False)
        except (argparse.ArgumentError, TypeError, ValueError) as problem:
            raise RefusedError(f"{config}: {problem}") from problem


def unknown_key(key: str, known: list[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1)
    return f"unknown key `{key}`" + (f"; did you mean `{near[0]}`?" if near else "")
