"""FLOPs by operator against closed forms, and that what can't be seen is named and never a number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from dlm_baselines.dit import DitConfig, build_dit
from elf_model.linear import linear
from elfbench.core.seeds import row_seeds
from elfbench.registry import catalog
from elfbench.running.timing.flops import Flops, counted_flops, matmul_rate
from elfbench.spec.sampling import SampleRequest

HIDDEN, VOCABULARY = 16, 256  # of the toys


def _flops(task: Callable[[], Any]) -> Flops:
    with torch.no_grad(), counted_flops() as tally:
        task()
    return tally.flops


def _attention(rows: int, queries: int, keys: int) -> int:
    """Scores and their products with the values, all heads together."""
    return 2 * 2 * rows * queries * keys * HIDDEN


def test_cached_sampling_costs_two_per_weight_and_position_and_attention() -> None:
    rows, length = 3, 12
    model = catalog.models().get("ar-sotu").toy(0)
    request = SampleRequest(tuple(range(rows)), row_seeds(0, 0, rows), length)
    layer = 3 * HIDDEN**2 + HIDDEN**2 + 2 * 4 * HIDDEN**2
    weights = layer + HIDDEN * VOCABULARY
    attention = sum(_attention(rows, 1, keys) for keys in range(1, length + 1))
    assert _flops(lambda: model.sample(request)) == (2 * weights * rows * length + attention, ())


def test_a_conditioned_network_costs_two_per_weight_and_position_too() -> None:
    rows, length, width = 3, 12, 8
    net = build_dit(DitConfig(vocab_size=VOCABULARY, hidden=HIDDEN, depth=1, heads=2, cond_dim=width), seed=0).eval()
    matrices = {name: weight.numel() for name, weight in net.named_parameters() if weight.ndim == 2}
    by_position = sum(matrices[name] for name in matrices if name.split(".")[-2] in ("attn_qkv", "attn_out", "0", "2"))
    by_position += matrices["output_layer.linear.weight"]
    # The time of a row is embedded once for the row, and so is what it modulates.
    by_row = sum(n for name, n in matrices.items() if "sigma_map" in name or "modulation" in name)
    by_position -= sum(n for name, n in matrices.items() if "sigma_map" in name)
    ids, time = torch.zeros(rows, length, dtype=torch.int64), torch.full((rows,), 0.5)
    expected = 2 * by_position * rows * length + 2 * by_row * rows + _attention(rows, length, length)
    assert _flops(lambda: net(ids, time)) == (expected, ())


def test_operators_that_the_library_passes_over_have_their_formula() -> None:
    x, weight = torch.ones(5, 7, 512), torch.ones(1024, 512)
    assert _flops(lambda: linear(x, weight, None)) == _flops(lambda: F.linear(x, weight)) == (2 * 35 * 512 * 1024, ())
    query, key = torch.ones(2, 4, 6, 8), torch.ones(2, 4, 9, 8)
    products = _flops(lambda: (query @ key.transpose(-1, -2)).softmax(-1) @ key)
    assert _flops(lambda: F.scaled_dot_product_attention(query, key, key)) == products == (2 * 2 * 8 * 6 * 9 * 8, ())
    assert _flops(lambda: weight @ weight[0]) == (2 * 1024 * 512, ())
    assert _flops(lambda: torch.addmv(weight[:, 0], weight, weight[0])) == (2 * 1024 * 512, ())
    assert _flops(lambda: weight[0] @ weight[1]) == (2 * 512, ())
    assert _flops(lambda: torch.einsum("bi,oi->bo", weight, weight)) == (2 * 1024 * 1024 * 512, ())
    with torch.inference_mode():
        assert _flops(lambda: F.linear(x, weight)) == (2 * 35 * 512 * 1024, ())


def test_what_multiplies_no_matrices_costs_nothing() -> None:
    x = torch.ones(5, 7)
    assert _flops(lambda: (x.cumsum(0).cummax(0).values.lgamma() * x).softmax(-1).sum()) == (0, ())


def test_an_operator_of_unknown_work_is_named_and_there_is_no_number() -> None:
    with torch.library._scoped_library("elfbench_test", "DEF") as library:
        library.define("secret(Tensor x) -> Tensor")
        library.impl("secret", lambda x: x + 1, "CPU")
        found = _flops(lambda: torch.ops.elfbench_test.secret(torch.ones(3)) @ torch.ones(3))
    assert found == (None, ("elfbench_test.secret",))
    for rows in (5, 30):  # short and long ones are made by unlike operators
        assert _flops(lambda n=rows: torch.cdist(torch.ones(n, 7), torch.ones(n, 7))).total is None  # type: ignore[misc]
    assert _flops(lambda: torch.nn.LSTM(4, 4)(torch.ones(3, 2, 4))).total is None
    assert _flops(lambda: torch.linalg.inv(torch.eye(3))).total is None


def test_the_rate_is_that_of_the_fastest_product() -> None:
    ticks = iter(range(10**6))
    # A clock that says one second for every product: the largest has the highest rate.
    assert matmul_rate("cpu", "float32", lambda: float(next(ticks))) == 2.0 * 1024**3


@pytest.mark.parametrize("name", ["mdlm-sotu", "elf-sotu", "duo-sotu"])
def test_the_count_of_a_sampler_grows_with_rows_and_misses_nothing(name: str) -> None:
    model = catalog.models().get(name).toy(0)

    def flops(rows: int) -> Flops:
        return _flops(lambda: model.sample(SampleRequest((0,) * rows, row_seeds(0, 0, 1) * rows, 12, 4)))

    one, three = flops(1), flops(3)
    assert one.unseen == three.unseen == ()
    assert one.total is not None
    assert three.total is not None
    assert 0 < 2 * one.total < three.total <= 3 * one.total
