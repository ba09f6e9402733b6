"""What a role takes: GPUs, processor, memory, nodes, and Kubernetes quantities counted exactly."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, NamedTuple

from cw_cli.core.spelling import nearest

GPU_RESOURCE = "nvidia.com/gpu"

_SUFFIXES: dict[str, Fraction] = {
    "n": Fraction(1, 10**9),
    "u": Fraction(1, 10**6),
    "m": Fraction(1, 10**3),
    "": Fraction(1),
    **{suffix: Fraction(10 ** (3 * power)) for power, suffix in enumerate("kMGTPE", start=1)},
    **{f"{suffix}i": Fraction(1024**power) for power, suffix in enumerate("KMGTPE", start=1)},
}
_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:([eE][-+]?[0-9]{1,3})|([A-Za-z]*))")
_MISSPELT = re.compile(r"([0-9.]+)\s*([kmgtp])i?b?", re.IGNORECASE)

# The names under which nodes announce a GPU type: NVIDIA's GPU feature discovery first, then GKE's label.
GPU_LABELS = ("nvidia.com/gpu.product", "cloud.google.com/gke-accelerator")
GPU_PRODUCTS: dict[str, tuple[str, ...]] = {
    "T4": ("Tesla-T4", "nvidia-tesla-t4"),
    "V100": ("Tesla-V100-SXM2-16GB", "Tesla-V100-SXM2-32GB", "Tesla-V100-PCIE-16GB", "nvidia-tesla-v100"),
    "L4": ("NVIDIA-L4", "nvidia-l4"),
    "L40": ("NVIDIA-L40",),
    "L40S": ("NVIDIA-L40S",),
    "A10": ("NVIDIA-A10",),
    "A10G": ("NVIDIA-A10G",),
    "A40": ("NVIDIA-A40",),
    "A100": (
        "NVIDIA-A100-SXM4-40GB",
        "NVIDIA-A100-SXM4-80GB",
        "NVIDIA-A100-PCIE-40GB",
        "NVIDIA-A100-80GB-PCIe",
        "nvidia-tesla-a100",
        "nvidia-a100-80gb",
    ),
    "A100-40GB": ("NVIDIA-A100-SXM4-40GB", "NVIDIA-A100-PCIE-40GB", "nvidia-tesla-a100"),
    "A100-80GB": ("NVIDIA-A100-SXM4-80GB", "NVIDIA-A100-80GB-PCIe", "nvidia-a100-80gb"),
    "H100": (
        "NVIDIA-H100-80GB-HBM3",
        "NVIDIA-H100-PCIe",
        "NVIDIA-H100-NVL",
        "nvidia-h100-80gb",
        "nvidia-h100-mega-80gb",
    ),
    "H200": ("NVIDIA-H200", "NVIDIA-H200-NVL", "nvidia-h200-141gb"),
    "B200": ("NVIDIA-B200", "nvidia-b200"),
    "GB200": ("NVIDIA-GB200", "nvidia-gb200"),
    "B300": ("NVIDIA-B300",),
}


class Resources(NamedTuple):
    """What each node of a role takes; None where nobody said. `cpu` and `memory` are Kubernetes quantities as text,
    `gpu` is a count per node.

    `requests` and `limits` hold what `resources:` of a config says beyond or against those, as quantities by
    resource name.
    """

    gpu: int | None = None
    gpu_type: str | None = None
    cpu: str | None = None
    memory: str | None = None
    nodes: int = 1
    requests: tuple[tuple[str, str], ...] = ()
    limits: tuple[tuple[str, str], ...] = ()

    @property
    def total_gpus(self) -> int:
        return (self.gpu or 0) * self.nodes

    def as_kubernetes(self) -> dict[str, dict[str, str]]:
        """`resources` of a container: requests equal limits unless the config says otherwise."""
        both: dict[str, str] = {}
        if self.cpu:
            both["cpu"] = self.cpu
        if self.memory:
            both["memory"] = self.memory
        if self.gpu is not None:
            both[GPU_RESOURCE] = str(self.gpu)
        return {"limits": {**both, **dict(self.limits)}, "requests": {**both, **dict(self.requests)}}


def resources_in(container: Mapping[str, Any], asked: Resources) -> Resources:
    """What a container takes in the end, the template's own words included, where `asked` was asked for."""
    limits = container["resources"]["limits"]
    gpu = str(limits.get(GPU_RESOURCE, 0))
    return asked._replace(gpu=int(gpu) if gpu.isdigit() else 0, cpu=limits.get("cpu"), memory=limits.get("memory"))


def quantity(value: str | int | float) -> Fraction:
    """A Kubernetes quantity as an exact number: cores, bytes or pieces.

    Raises ValueError with a sentence that holds the right spelling where one can be guessed.
    Format: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
    """
    text = str(value).strip() if not isinstance(value, bool) else "true"
    match = _QUANTITY.fullmatch(text)
    suffix = match[3] or "" if match else ""
    if match is None or suffix not in _SUFFIXES:
        raise ValueError(_quantity_remedy(text))
    number = Fraction(match[1] if not match[1].endswith(".") else match[1] + "0")
    if match[2]:
        number *= Fraction(10) ** int(match[2][1:])
    return number * _SUFFIXES[suffix]


def _quantity_remedy(text: str) -> str:
    near = _MISSPELT.fullmatch(text)
    if near:
        return f"write {near[1]}{near[2].upper()}i"
    return 'write a number with or without a unit, as in "8", "500m" or "64Gi"'


def cpu_quantity(value: Any) -> str:
    """The text of a processor quantity; raises ValueError with a remedy."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError('write a number of cores, as in "32" or "500m"')
    try:
        cores = quantity(value)
    except ValueError:
        raise ValueError('write a number of cores, as in "32" or "500m"') from None
    if cores <= 0:
        raise ValueError("write a number of cores above 0")
    if cores > 4096:
        raise ValueError(f"{value} are more cores than any node has; a thousandth of a core is written as 1m")
    if (cores * 1000).denominator != 1:
        raise ValueError("a core is divided into 1000 parts at most: write 500m for half a core")
    return str(value)


def memory_quantity(value: Any) -> str:
    """The text of a memory quantity; raises ValueError with a remedy."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError('write a size, as in "64Gi"')
    size = quantity(value)
    if size <= 0:
        raise ValueError('write a size above 0, as in "64Gi"')
    if size < 1024**2:
        raise ValueError(f'{value} means {float(size):g} bytes; write "{str(value).rstrip("m")}Gi" for gibibytes')
    if size.denominator != 1:
        raise ValueError("write a whole number of bytes")
    return str(value)


def gpu_request(value: Any) -> tuple[int, str | None]:
    """Count and type of `gpu:`, from `4`, `"4"`, `H100:4`, `H100` or `{type: H100, count: 4}`.

    Raises ValueError with a remedy.
    """
    if isinstance(value, dict):
        unknown = set(value) - {"type", "count"}
        if unknown:
            raise ValueError(f"gpu has no key {sorted(unknown)[0]}; write `type` and `count`")
        kind, count = value.get("type"), value.get("count", 1)
    elif isinstance(value, str):
        first, _, rest = value.strip().partition(":")
        kind, count = (None, first) if first.lstrip("-").isdigit() else (first, rest or 1)
    else:
        kind, count = None, value
    return _gpu_count(count), None if kind is None else _gpu_type(str(kind))


def _gpu_count(value: Any) -> int:
    text = str(value).strip()
    if isinstance(value, bool) or not re.fullmatch(r"-?[0-9]{1,6}", text):
        raise ValueError("write how many GPUs each node gives, as in 4 or H100:4")
    if int(text) < 0:
        raise ValueError("write 0 for a run without GPUs, or how many it takes")
    return int(text)


def _gpu_type(name: str) -> str:
    """The type as cw knows it, or a node's own product label as it is."""
    plain = name.upper().replace("_", "-").removeprefix("NVIDIA-")
    if plain in GPU_PRODUCTS:
        return plain
    if name in {product for products in GPU_PRODUCTS.values() for product in products} or name.count("-") >= 2:
        return name
    near = nearest(plain.lower(), [known.lower() for known in GPU_PRODUCTS])
    guess = f"did you mean {near.upper()}? " if near else ""
    raise ValueError(f"{name} is not a GPU type that cw knows: {guess}there are {', '.join(GPU_PRODUCTS)}")


def gpu_affinity(gpu_type: str) -> dict[str, Any]:
    """The node affinity that asks for a GPU type: any product label under which nodes announce it."""
    products = list(GPU_PRODUCTS.get(gpu_type, (gpu_type,)))
    terms = [{"matchExpressions": [{"key": label, "operator": "In", "values": products}]} for label in GPU_LABELS]
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}
