"""Keys of DPO and KTO that their losses and their reference model take or refuse: what TRL says late, said before."""

from __future__ import annotations

from collections.abc import Iterator

from cw_cli.core.config import Config
from cw_cli.core.problems import Problem

Problems = Iterator[Problem]

WITH_DIVERGENCE = ("sigmoid", "sigmoid_norm", "hinge", "ipo", "exo_pair", "robust", "discopop", "sft")
"""Losses of DPO that may measure the distance to the reference otherwise than by the reverse KL divergence."""

SORTING = ("aot", "aot_unpaired")
"""Losses of DPO that compare sorted samples, so that weights of single pairs have no meaning."""


def dpo(config: Config) -> Problems:
    given = config.get("loss_type") or ["sigmoid"]
    losses = [given] if isinstance(given, str) else list(given)
    weights = config.get("loss_weights")
    if weights is not None and len(weights) != len(losses):
        message = f"loss_type and loss_weights are not equally long: {len(losses)} and {len(weights)}"
        yield config.problem(("loss_weights",), message, "write one weight for each loss")
    divergence = config.get("f_divergence_type") or "reverse_kl"
    without = [loss for loss in losses if loss not in WITH_DIVERGENCE]
    if divergence != "reverse_kl" and without:
        message = f"f_divergence_type: {divergence} does not work with loss_type: {without[0]}"
        yield config.problem(("f_divergence_type",), message, "delete it, or write another loss_type")
    sorting = [loss for loss in losses if loss in SORTING]
    if config.get("use_weighting") and sorting:
        message = f"use_weighting does not work with loss_type: {sorting[0]}, which sorts the pairs"
        yield config.problem(("use_weighting",), message, "delete it, or write another loss_type")
    smoothing = config.get("label_smoothing") or 0.0
    place = "label_smoothing" if config.has("label_smoothing") else "loss_type"
    if "exo_pair" in losses and smoothing == 0:
        yield config.problem((place,), "loss_type: exo_pair needs label_smoothing", "add `label_smoothing: 1e-3`")
    if "robust" in losses and not 0 <= smoothing < 0.5:
        message = f"label_smoothing is the share of wrong labels for loss_type: robust, and cannot be {smoothing:g}"
        yield config.problem((place,), message, "write a number from 0 to below 0.5", warning=True)
    yield from reference(config)


def kto(config: Config) -> Problems:
    if config.get("loss_type") != "apo_zero_unpaired":
        # The KL divergence is estimated from each answer and its neighbour in the batch.
        if config.get("per_device_train_batch_size") == 1:
            message = "KTO compares the answers of a batch, and per_device_train_batch_size is 1"
            yield config.problem(("per_device_train_batch_size",), message, "write 2 or more; 8 is what TRL takes")
        order = config.get("train_sampling_strategy") or "sequential"
        if order != "sequential":
            message = f"KTO pairs neighbours in the data, which train_sampling_strategy: {order} takes apart"
            remedy = "delete it; shuffle the data itself, or write `loss_type: apo_zero_unpaired`"
            yield config.problem(("train_sampling_strategy",), message, remedy)
    yield from reference(config)


def reference(config: Config) -> Problems:
    """The model that the trained one is compared with."""
    if config.get("sync_ref_model"):
        if config.get("use_peft"):
            message = "with LoRA the reference is the model without its adapter, and sync_ref_model has nothing to move"
            yield config.problem(("sync_ref_model",), message, "delete it, or use_peft")
        if config.get("precompute_ref_log_probs"):
            message = "precompute_ref_log_probs wants a reference that stays, and sync_ref_model moves it"
            yield config.problem(("precompute_ref_log_probs",), message, "keep one of them")
    streams = config.get("streaming") if config.get("datasets") else config.get("dataset_streaming")
    if config.get("precompute_ref_log_probs") and streams:
        message = "precompute_ref_log_probs goes over the whole dataset first, which a streamed one does not allow"
        yield config.problem(("precompute_ref_log_probs",), message, "delete it, or stop streaming")
