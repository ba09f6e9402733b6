"""The keys of a config. cw reads them as the schema, the programs as their settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass
class Train:
    """Keys of `cw lora train`."""

    model: str
    """The model to adapt: a folder, or a name on the Hugging Face Hub."""
    data: str
    """A JSON Lines file with `{"text": …}` in each line."""
    output_dir: str = "lora"
    """Where the adapter is written."""
    max_steps: int = 1000
    """Updates of the adapter's weights."""
    batch_size: int = 8
    """Texts in each step."""
    max_length: int = 512
    """Tokens of a text; the rest is cut off."""
    learning_rate: float = 2e-4
    """Highest learning rate; it rises for a tenth of the steps and falls to zero."""
    rank: int = 16
    """Width of the adapter: what is learned for each matrix is a product of two with this many columns and rows."""
    alpha: int | None = None
    """Strength of the adapter, divided by its rank; twice the rank unless set."""
    dropout: float = 0.0
    """Share of the adapter's inputs that is left out at random."""
    target_modules: str | list[str] = "all-linear"
    """Layers that get an adapter: their names, or all-linear."""
    modules_to_save: list[str] | None = None
    """Layers that are trained whole beside the adapter, such as the embeddings of a model that has learned nothing."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Numbers in which the model computes."""
    logging_steps: int = 5
    """Steps between two losses in the log."""
    seed: int = 0
    """Start of all random numbers."""


@dataclass(kw_only=True)
class Distill(Train):
    """Keys of `cw lora distill`: those of training, and the model to learn from."""

    teacher: str
    """The model whose probabilities are learned; it has the same tokens."""
    temperature: float = 1.0
    """Flattens the probabilities of both models: more than 1 tells more about unlikely tokens."""
    top_k: int = 32
    """How many of the teacher's likeliest tokens are learned at each place."""


@dataclass
class Merge:
    """Keys of `cw lora merge`."""

    model: str
    """The model that the adapter was trained for."""
    adapter: str
    """The folder that `cw lora train` has written."""
    output_dir: str = "merged"
    """Where the whole model is written."""
