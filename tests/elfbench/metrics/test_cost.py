from __future__ import annotations

import numpy as np
import pytest

from elfbench.core.errors import ConfigError
from elfbench.metrics.cost import NFE, POSITIONS, TOKENS_PER_SECOND
from elfbench.spec.metric import EstimateContext, Rows


def _rows(seconds: list[float], tokens: list[int]) -> Rows:
    columns = {
        "nfe": np.full(4, 33),
        "positions": np.array([60, 64, 64, 62]),
        "n_new_tokens": np.array([60, 64, 64, 62]),
        "shard_seconds": np.array(seconds),
        "shard_tokens": np.array(tokens),
    }
    return Rows(columns, n=4, n_requested=4, n_dropped=0)


def test_counts_are_exact_means() -> None:
    rows = _rows([1.0, 1.0], [10, 10])
    nfe = NFE.estimate(rows, None, EstimateContext())
    assert (nfe.value, nfe.low, nfe.high) == (33.0, 33.0, 33.0)
    assert "degenerate" in nfe.method
    positions = POSITIONS.estimate(rows, None, EstimateContext())
    assert positions.value == 62.5
    assert positions.low < 62.5 < positions.high


def test_tokens_per_second_is_pooled_over_shards() -> None:
    estimate = TOKENS_PER_SECOND.estimate(_rows([1.0, 3.0, 2.0], [1000, 2000, 1800]), None, EstimateContext())
    assert estimate.value == pytest.approx(4800 / 6)
    assert 0 < estimate.low < estimate.value < estimate.high
    assert estimate.covers == "run-to-run of shards on one machine; not a timing cell"
    assert estimate.detail["shards"] == 3


def test_one_shard_gives_no_rate() -> None:
    with pytest.raises(ConfigError, match="two timed shards"):
        TOKENS_PER_SECOND.estimate(_rows([1.0], [1000]), None, EstimateContext())
