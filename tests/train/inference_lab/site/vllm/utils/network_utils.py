"""The trainer's own address, which the server is told."""

import os


def get_ip() -> str:
    return os.environ["VLLM_HOST_IP"]
