from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from elfbench.core.errors import ConfigError
from elfbench.statistics.bootstrap import (
    Method,
    Resampling,
    bootstrap_exp_ratio,
    bootstrap_ratio,
    ratio_columns,
    resample_counts,
    resampled_ratios,
)
from elfbench.statistics.interval import DEGENERATE
from elfbench.statistics.mean import bca_mean

RNG = np.random.default_rng(5)
TOKENS = RNG.integers(10, 60, 40).astype(float)
NLL = TOKENS * RNG.lognormal(1.0, 0.3, 40)


def _scipy(above: np.ndarray, below: np.ndarray, method: str, seed: int, resamples: int) -> tuple[float, float]:
    order = np.lexsort((below, above))
    result = stats.bootstrap(
        (above[order], below[order]),
        lambda a, b, axis=-1: a.sum(axis=axis) / b.sum(axis=axis),
        paired=True,
        vectorized=True,
        n_resamples=resamples,
        method=method,
        random_state=np.random.default_rng(seed),
    )
    return result.confidence_interval.low, result.confidence_interval.high


@pytest.mark.parametrize("method", ["percentile", "BCa"])
@pytest.mark.parametrize("seed", [0, 3])
def test_intervals_are_scipys_of_the_same_resamples(method: Method, seed: int) -> None:
    draws = Resampling(3000, seed)
    interval = bootstrap_ratio(NLL, TOKENS, method=method, draws=draws)
    assert (interval.low, interval.high) == pytest.approx(_scipy(NLL, TOKENS, method, seed, 3000), rel=1e-9)
    assert interval.value == pytest.approx(NLL.sum() / TOKENS.sum(), rel=1e-14)
    assert interval.method == f"{method} bootstrap over rows, 3000 resamples"


def test_a_mean_is_a_ratio_to_ones() -> None:
    ratio, mean = bootstrap_ratio(NLL, np.ones(40), draws=Resampling(2000, 4)), bca_mean(NLL, seed=4)
    assert (ratio.value, ratio.low, ratio.high) == pytest.approx((mean.value, mean.low, mean.high), rel=1e-9)


def test_percentiles_are_those_of_all_resamples_of_few_rows() -> None:
    """Enumeration of 4^4 equally likely resamples."""
    above, below = np.array([1.0, 4.0, 2.0, 9.0]), np.array([1.0, 2.0, 2.0, 3.0])
    places = np.array(list(itertools.product(range(4), repeat=4)))
    every = above[places].sum(axis=1) / below[places].sum(axis=1)
    drawn = resampled_ratios(ratio_columns(above, below), Resampling(200_000))
    assert set(np.round(drawn, 9)) == set(np.round(every, 9))
    for tail in (0.1, 0.33, 0.5, 0.8):
        assert np.mean(drawn <= np.quantile(every, tail) + 1e-9) == pytest.approx(
            np.mean(every <= np.quantile(every, tail) + 1e-9), abs=0.005
        )
    assert drawn.mean() == pytest.approx(every.mean(), abs=0.005)


@pytest.mark.parametrize(("n", "resamples"), [(7, 100), (1500, 1001), (400_000, 5)])
def test_counts_are_of_n_rows_each_and_as_many_as_asked(n: int, resamples: int) -> None:
    blocks = list(resample_counts(n, Resampling(resamples, 2)))
    assert sum(len(block) for block in blocks) == resamples
    assert all((block.sum(axis=1) == n).all() for block in blocks)


def test_counts_of_a_row_are_binomial() -> None:
    counts = np.concatenate(list(resample_counts(20, Resampling(20_000))))
    expected = stats.binom(20, 1 / 20).pmf(np.arange(4))
    assert [np.mean(counts[:, 3] == k) for k in range(4)] == pytest.approx(expected, abs=0.012)


def test_the_order_of_rows_does_not_matter_and_the_seed_does() -> None:
    draws = Resampling(500, 1)
    assert bootstrap_ratio(NLL, TOKENS, draws=draws) == bootstrap_ratio(NLL[::-1], TOKENS[::-1], draws=draws)
    assert bootstrap_ratio(NLL, TOKENS, draws=draws) != bootstrap_ratio(NLL, TOKENS, draws=Resampling(500, 2))
    assert Resampling(500, 1).stream(0) != Resampling(500, 1).stream(1)


@pytest.mark.parametrize("method", ["percentile", "BCa"])
def test_a_perplexity_is_the_same_interval_of_the_logarithm(method: Method) -> None:
    plain, ppl = (f(NLL, TOKENS, method=method) for f in (bootstrap_ratio, bootstrap_exp_ratio))
    assert (ppl.value, ppl.low, ppl.high) == tuple(math.exp(x) for x in (plain.value, plain.low, plain.high))
    with pytest.raises(ConfigError, match="finite"):
        bootstrap_exp_ratio([1e4, 2e4, 3e4], [1.0, 1.0, 2.0], method=method)


def test_equal_rows_are_told_as_degenerate() -> None:
    interval = bootstrap_ratio(0.1 * TOKENS, TOKENS)
    assert interval.low == interval.value == interval.high == pytest.approx(0.1)
    assert interval.method == DEGENERATE


def test_few_rows_are_named() -> None:
    assert "only 5 rows" in bootstrap_ratio(NLL[:5], TOKENS[:5]).method
    assert "only" not in bootstrap_ratio(NLL[:10], TOKENS[:10]).method


def test_an_undefined_acceleration_is_named_and_the_percentile_interval_given() -> None:
    """One row holds all but a rounding of the denominator: without it there is no ratio, and no jackknife."""
    above, below = [3.0, 1.0, 2.0, 1.0], [1.0, 1e-13, 1e-13, 3e-13]
    interval, percentile = (bootstrap_ratio(above, below, method=method) for method in ("BCa", "percentile"))
    assert "percentile" in interval.method
    assert "BCa undefined: acceleration" in interval.method
    assert (interval.low, interval.high) == (percentile.low, percentile.high)


def test_an_undefined_bias_is_named() -> None:
    """One resample is never on both sides of the value."""
    interval = bootstrap_ratio(NLL, TOKENS, draws=Resampling(1, 0))
    assert "BCa undefined: all resamples lie on one side of the value" in interval.method


def test_an_undefined_adjusted_level_is_named() -> None:
    """An outlier's acceleration is near 1/6, and so 1 - a z is below 0 from z = 6 on."""
    rows = np.append(np.linspace(0.0, 0.1, 200), 50.0)
    assert "BCa undefined: adjusted level" in bootstrap_ratio(rows, np.ones(201), level=1.0 - 1e-10).method


def test_a_resample_without_denominator_is_refused() -> None:
    with pytest.raises(ConfigError, match="no denominator"):
        bootstrap_ratio([1.0, 0.0, 2.0], [1.0, 0.0, 1.0])


@pytest.mark.parametrize(
    ("above", "below"),
    [([1.0], [1.0]), ([1.0, 2.0], [1.0]), ([1.0, 2.0], [0.0, 0.0]), ([1.0, math.nan], [1.0, 1.0]), ([1, 2], [3, -1])],
)
def test_bad_rows_are_refused(above: list[float], below: list[float]) -> None:
    with pytest.raises(ConfigError):
        bootstrap_ratio(above, below)


def test_no_resamples_and_no_level_are_refused() -> None:
    with pytest.raises(ConfigError, match="resamples"):
        bootstrap_ratio(NLL, TOKENS, draws=Resampling(0))
    with pytest.raises(ConfigError, match="confidence level"):
        bootstrap_ratio(NLL, TOKENS, level=95.0)
