"""`python3 -m cw_train`, on a machine without a GPU: TRL refuses to open the group on a processor, so it is told that
it has a device."""

from __future__ import annotations

import runpy

import torch
from trl.generation.vllm_client import VLLMClient

torch.cuda.set_device = lambda device: None
opened = VLLMClient.init_communicator
VLLMClient.init_communicator = lambda self, device=0: opened(self, 0)
runpy.run_module("cw_train", run_name="__main__")
