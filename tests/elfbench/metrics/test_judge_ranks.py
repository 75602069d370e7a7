"""The judge-rank divergence against scipy, loops over left-out rows, and simulated texts whose tokens depend on each other."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon

from elfbench.core.errors import ConfigError
from elfbench.metrics.judge_ranks import BINS, JUDGE_RANK_DIVERGENCE, jensen_shannon, rank_counts
from elfbench.spec.metric import Estimate, EstimateContext, Rows


def _rows(counts: np.ndarray, missing: int = 0) -> Rows:
    scored = counts.sum(axis=1)
    columns = {"rank_counts": list(counts), "n_scored": scored + missing, "n_tokens": np.full(len(counts), 40)}
    return Rows(columns, len(counts), len(counts), 0)


def _estimate(samples: np.ndarray, references: np.ndarray) -> Estimate:
    return JUDGE_RANK_DIVERGENCE.estimate(_rows(samples), _rows(references), EstimateContext())


def _texts(rng: np.random.Generator, n: int, tilt: float = 0.0) -> np.ndarray:
    """[n, BINS] counts of 40 tokens; every text has shares of its own, so that tokens of one text go together."""
    shares = np.exp(-0.25 * np.arange(BINS) * (1.0 + tilt))
    own = rng.dirichlet(12.0 * shares / shares.sum(), size=n)
    return np.stack([rng.multinomial(40, one) for one in own])


@given(st.lists(st.integers(1, 60_000), max_size=30))
def test_bins_double_in_width(ranks: list[int]) -> None:
    (found,) = rank_counts([np.array(ranks, dtype=np.int64)])
    places = [min(rank.bit_length() - 1, BINS - 1) for rank in ranks]
    assert found.tolist() == [places.count(place) for place in range(BINS)]


def test_the_edges_of_bins_and_tokens_without_a_rank() -> None:
    found = rank_counts(
        [np.array([1, 2, 3, 4, 7, 8, 8191, 8192, 50_000]), np.array([0, 0, 1]), np.zeros(0, dtype=np.int64)]
    )
    assert found[0].tolist() == [1, 2, 2, 1, *[0] * 8, 1, 2]
    assert found.sum(axis=1).tolist() == [9, 1, 0]


@given(st.lists(st.integers(0, 50), min_size=3, max_size=3), st.lists(st.integers(0, 50), min_size=3, max_size=3))
def test_the_divergence_is_scipys_squared(p: list[int], q: list[int]) -> None:
    if sum(p) and sum(q):
        found = jensen_shannon(np.array(p), np.array(q))
        assert found == pytest.approx(np.nan_to_num(jensenshannon(p, q)) ** 2, abs=1e-12)
        assert -1e-15 <= found <= math.log(2.0) + 1e-12
    assert jensen_shannon(np.array([3, 0]), np.array([0, 9])) == pytest.approx(math.log(2.0))


def test_bias_and_interval_are_those_of_rows_left_out_one_by_one() -> None:
    rng = np.random.default_rng(0)
    x, y = _texts(rng, 17, tilt=0.4), _texts(rng, 16)

    def whole(a: np.ndarray, b: np.ndarray) -> float:
        return float(jensenshannon(a.sum(axis=0), b.sum(axis=0)) ** 2)

    plain = whole(x, y)
    left = [
        [whole(np.delete(x, i, axis=0), y) for i in range(17)],
        [whole(x, np.delete(y, j, axis=0)) for j in range(16)],
    ]
    value = plain + sum((len(part) - 1) * (plain - np.mean(part)) for part in left)
    error = math.sqrt(sum((len(part) - 1) * np.var(part) for part in left))
    found = _estimate(x, y)
    assert found.value == pytest.approx(value)
    assert found.high - found.low == pytest.approx(2 * 2.131450 * error, rel=1e-6)  # Student's, 15 degrees of freedom
    assert found.detail["plug_in"] == pytest.approx(plain)
    assert found.detail["rank_1_share"] == pytest.approx(x[:, 0].sum() / x.sum())
    assert found.detail["rank_1_share_reference"] == pytest.approx(y[:, 0].sum() / y.sum())


def test_equal_laws_score_zero_in_the_mean_and_are_covered() -> None:
    rng = np.random.default_rng(1)
    found = [_estimate(_texts(rng, 24), _texts(rng, 40)) for _ in range(120)]
    values = np.array([one.value for one in found])
    plain = np.array([one.detail["plug_in"] for one in found], dtype=float)
    error = values.std() / math.sqrt(len(values))
    assert abs(values.mean()) < 4 * error + 0.05 * plain.mean()
    assert plain.mean() > 8 * error
    assert np.mean([one.low <= 0.0 <= one.high for one in found]) >= 0.94


def test_the_interval_covers_the_truth_away_from_zero() -> None:
    rng = np.random.default_rng(2)
    truth = float(jensen_shannon(_texts(rng, 20_000, tilt=1.0).sum(axis=0), _texts(rng, 20_000).sum(axis=0)))
    found = [_estimate(_texts(rng, 40, tilt=1.0), _texts(rng, 40)) for _ in range(150)]
    assert 0.9 <= np.mean([one.low <= truth <= one.high for one in found]) <= 0.99
    assert min(one.low for one in found) > 0.0


@settings(deadline=None, max_examples=8)
@given(st.integers(16, 24), st.integers(16, 24), st.integers(0, 99))
def test_neither_order_nor_sides_matter_and_copies_go_unseen(n: int, m: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = _texts(rng, n, tilt=0.5), _texts(rng, m)
    found = _estimate(x, y)
    assert found.low <= found.value <= found.high
    for other in (_estimate(rng.permutation(x), rng.permutation(y)), _estimate(y, x)):
        assert (other.value, other.low, other.high) == pytest.approx((found.value, found.low, found.high), abs=1e-12)
    doubled = _estimate(np.repeat(x, 2, axis=0), np.repeat(y, 2, axis=0))
    assert doubled.detail["plug_in"] == pytest.approx(found.detail["plug_in"])


def test_what_cannot_be_compared_is_refused() -> None:
    rng = np.random.default_rng(3)
    x, context = _texts(rng, 16), EstimateContext()
    with pytest.raises(ConfigError, match="too few rows"):
        _estimate(x, x[:15])
    with pytest.raises(ConfigError, match="reference"):
        JUDGE_RANK_DIVERGENCE.estimate(_rows(x), None, context)
    with pytest.raises(ConfigError, match="not all numbers"):
        JUDGE_RANK_DIVERGENCE.estimate(_rows(x, missing=1), _rows(x), context)
    longer = _rows(x)
    longer.columns["n_tokens"][:] = 60
    with pytest.raises(ConfigError, match="one length"):
        JUDGE_RANK_DIVERGENCE.estimate(longer, _rows(x), context)
