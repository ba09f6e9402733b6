"""Quantities are exact, and nonsense is refused with the right spelling."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kubernetes.utils import parse_quantity

from cw_cli.core.resources import (
    GPU_LABELS,
    GPU_PRODUCTS,
    Resources,
    cpu_quantity,
    gpu_affinity,
    gpu_request,
    memory_quantity,
    quantity,
)

from .lab import patient

SUFFIXES = ["", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"]
# At most eight digits: the client's own reader rounds to 28.
NUMBERS = st.from_regex(r"[0-9]{1,6}(\.[0-9]{0,2})?|\.[0-9]{1,4}", fullmatch=True)
QUANTITIES = st.builds("{}{}".format, NUMBERS, st.sampled_from([*SUFFIXES, "e3", "E2", "e-2", "e+1"]))


@patient
@given(QUANTITIES)
def test_quantities_are_those_of_the_kubernetes_client(text: str) -> None:
    assert quantity(text) == Fraction(parse_quantity(text))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.1", Fraction(1, 10)),
        ("100m", Fraction(1, 10)),
        ("64Gi", Fraction(64 * 1024**3)),
        ("1e3", Fraction(1000)),
        ("1E", Fraction(10**18)),
        ("123456789123456789123Ei", Fraction(123456789123456789123 * 1024**6)),
        (2, Fraction(2)),
        (0.5, Fraction(1, 2)),
    ],
)
def test_quantities_are_exact(text: Any, value: Fraction) -> None:
    assert quantity(text) == value


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("500GB", "write 500Gi"),
        ("500gb", "write 500Gi"),
        ("64 Gi", "write 64Gi"),
        ("64gi", "write 64Gi"),
        ("8K", "write 8Ki"),
        ("lots", "write a number"),
        ("", "write a number"),
        ("-1", "write a number"),
        ("+1", "write a number"),
        ("1Gi5", "write a number"),
        ("1,5", "write a number"),
        ("½", "write a number"),
        ("١", "write a number"),
        ("nan", "write a number"),
        ("inf", "write a number"),
        (True, "write a number"),
    ],
)
def test_nonsense_is_refused_with_the_right_spelling(text: Any, remedy: str) -> None:
    with pytest.raises(ValueError, match=remedy):
        quantity(text)


@patient
@given(st.text(max_size=12) | st.floats() | st.integers() | st.booleans() | st.none() | st.lists(st.integers()))
def test_whatever_is_written_is_a_quantity_or_gets_a_sentence(value: Any) -> None:
    for read in (cpu_quantity, memory_quantity):
        try:
            text = read(value)
        except ValueError as error:
            assert len(str(error)) > 10
        else:
            assert text == str(value)
            assert quantity(text) > 0


@patient
@given(QUANTITIES)
def test_a_good_quantity_comes_through_as_it_was_written(text: str) -> None:
    for read, smallest, part, largest in (
        (cpu_quantity, Fraction(1, 1000), Fraction(1, 1000), Fraction(4096)),
        (memory_quantity, Fraction(1024**2), Fraction(1), None),
    ):
        size = quantity(text)
        good = size >= smallest and (size / part).denominator == 1 and (largest is None or size <= largest)
        if good:
            assert read(text) == text
        else:
            with pytest.raises(ValueError, match=r"write|core"):
                read(text)


@pytest.mark.parametrize(
    ("value", "remedy"),
    [
        (0, "above 0"),
        ("0m", "above 0"),
        ("lots", 'as in "32" or "500m"'),
        ("0.0001", "1000 parts"),
        ("32000", "1m"),
        (None, "number of cores"),
        ({}, "number of cores"),
    ],
)
def test_cores_that_make_no_sense(value: Any, remedy: str) -> None:
    with pytest.raises(ValueError, match=remedy):
        cpu_quantity(value)


@pytest.mark.parametrize(
    ("value", "remedy"),
    [(0, "above 0"), ("500GB", "500Gi"), (500, 'write "500Gi"'), ("64m", 'write "64Gi"'), (True, "64Gi"), ([], "64Gi")],
)
def test_sizes_that_make_no_sense(value: Any, remedy: str) -> None:
    with pytest.raises(ValueError, match=remedy):
        memory_quantity(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (4, (4, None)),
        (0, (0, None)),
        ("4", (4, None)),
        ("H100:4", (4, "H100")),
        ("h100:4", (4, "H100")),
        ("H100", (1, "H100")),
        ("NVIDIA-H100:2", (2, "H100")),
        ("a100_80gb:2", (2, "A100-80GB")),
        ("NVIDIA-H100-80GB-HBM3:8", (8, "NVIDIA-H100-80GB-HBM3")),
        ({"type": "L40S", "count": 2}, (2, "L40S")),
        ({"type": "L40S"}, (1, "L40S")),
    ],
)
def test_gpus_with_and_without_a_type(value: Any, expected: tuple[int, str | None]) -> None:
    assert gpu_request(value) == expected


@pytest.mark.parametrize(
    ("value", "remedy"),
    [
        (-1, "0 for a run without GPUs"),
        ("-1", "0 for a run without GPUs"),
        (1.5, "how many GPUs"),
        (True, "how many GPUs"),
        ("H100:many", "how many GPUs"),
        ("H10:4", "did you mean H100"),
        ("fast:4", "there are T4"),
        ({"type": "H100", "amount": 4}, "no key amount"),
    ],
)
def test_gpus_that_make_no_sense(value: Any, remedy: str) -> None:
    with pytest.raises(ValueError, match=remedy):
        gpu_request(value)


@patient
@given(st.text(max_size=20) | st.integers() | st.floats() | st.none() | st.dictionaries(st.text(max_size=5), st.text()))
def test_any_request_for_gpus_is_a_count_or_gets_a_sentence(value: Any) -> None:
    try:
        count, _ = gpu_request(value)
    except ValueError as error:
        assert len(str(error)) > 10
    else:
        assert count >= 0


def test_requests_equal_limits_unless_something_else_is_said() -> None:
    both = {"cpu": "8", "memory": "64Gi", "nvidia.com/gpu": "2"}
    assert Resources(gpu=2, cpu="8", memory="64Gi").as_kubernetes() == {"limits": both, "requests": both}
    different = Resources(cpu="8", requests=(("cpu", "4"),), limits=(("rdma/hca", "1"),)).as_kubernetes()
    assert different == {"limits": {"cpu": "8", "rdma/hca": "1"}, "requests": {"cpu": "4"}}


def test_gpus_are_counted_over_all_nodes() -> None:
    assert Resources(gpu=8, nodes=4).total_gpus == 32
    assert Resources(nodes=4).total_gpus == 0


@pytest.mark.parametrize("kind", ["H100", "NVIDIA-H100-80GB-HBM3"])
def test_a_gpu_type_is_found_under_any_label(kind: str) -> None:
    required = gpu_affinity(kind)["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    terms = [term["matchExpressions"][0] for term in required["nodeSelectorTerms"]]
    assert [term["key"] for term in terms] == list(GPU_LABELS)
    assert all("NVIDIA-H100-80GB-HBM3" in term["values"] for term in terms)


def test_product_names_are_label_values() -> None:
    from cw_cli.core.names import label_value

    assert all(label_value(product) == product for products in GPU_PRODUCTS.values() for product in products)
