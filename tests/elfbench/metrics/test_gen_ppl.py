from __future__ import annotations

import math

import numpy as np
import pytest

from elfbench.core.errors import ConfigError
from elfbench.metrics.gen_ppl import BITS_PER_BYTE, GEN_PPL
from elfbench.spec.metric import EstimateContext, Rows


def _rows(nll: list[float], n_scored: list[int], n_bytes: list[int]) -> Rows:
    columns = {
        "nll_nats": np.array(nll),
        "n_scored": np.array(n_scored),
        "n_bytes_scored": np.array(n_bytes),
        "n_tokens": np.array(n_scored),
    }
    return Rows(columns, n=len(nll), n_requested=len(nll), n_dropped=0)


TWO_TEXTS = _rows([6.0, 3.0], [2, 3], [10, 8])  # token NLLs [2, 4] and [1, 1, 1]


def test_perplexity_is_pooled_over_tokens() -> None:
    estimate = GEN_PPL.estimate(TWO_TEXTS, None, EstimateContext())
    assert estimate.value == pytest.approx(6.04965, abs=1e-5)
    assert estimate.low < estimate.value < estimate.high
    assert estimate.detail["nats_per_token"] == pytest.approx(9 / 5)
    assert estimate.detail["tokens_scored"] == 5
    assert estimate.detail["bits_per_byte"] == pytest.approx(9 / 18 / math.log(2))


def test_bits_per_byte() -> None:
    estimate = BITS_PER_BYTE.estimate(TWO_TEXTS, None, EstimateContext())
    assert estimate.value == pytest.approx(9 / 18 / math.log(2))
    assert estimate.detail["bytes_scored"] == 18


def test_the_order_of_rows_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    nll, tokens = rng.normal(100, 9, 50), rng.integers(20, 40, 50)
    order = rng.permutation(50)
    estimates = [
        GEN_PPL.estimate(
            _rows(list(nll[places]), list(tokens[places]), list(4 * tokens[places])), None, EstimateContext()
        )
        for places in (np.arange(50), order)
    ]
    assert estimates[0] == estimates[1]


@pytest.mark.parametrize("metric", [GEN_PPL, BITS_PER_BYTE])
def test_nothing_scored_is_an_error_and_no_number(metric: object) -> None:
    with pytest.raises(ConfigError, match="scored nothing"):
        metric.estimate(_rows([0.0, 0.0], [0, 0], [0, 0]), None, EstimateContext())  # type: ignore[attr-defined]


def test_one_row_is_refused() -> None:
    with pytest.raises(ConfigError, match="too few rows"):
        GEN_PPL.estimate(_rows([6.0], [2], [10]), None, EstimateContext())
