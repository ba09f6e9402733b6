"""What TRL imports of vLLM 0.31 on the trainer's side, for machines without a GPU. Weights go through a file where NCCL
would carry them."""

from __future__ import annotations


class LLM: ...


class RequestOutput: ...


class SamplingParams: ...
