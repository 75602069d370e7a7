from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from elfbench.core.errors import ConfigError
from elfbench.statistics.ratio import exp_ratio_of_sums, log_ratio_of_sums, ratio_of_sums

RNG = np.random.default_rng(5)
TOKENS = RNG.integers(10, 60, 50).astype(float)
NLL = TOKENS * RNG.normal(3.0, 0.3, 50)


def test_equal_denominators_give_the_t_interval_of_a_mean() -> None:
    per_token = NLL / TOKENS
    expected = stats.ttest_1samp(per_token, 0.0).confidence_interval(0.95)
    interval = ratio_of_sums(per_token * 7, np.full(50, 7.0))
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), rel=1e-9)


def test_the_standard_error_is_near_the_jackknifes() -> None:
    interval = ratio_of_sums(NLL, TOKENS)
    without = (NLL.sum() - NLL) / (TOKENS.sum() - TOKENS)
    error = math.sqrt(49 / 50 * ((without - without.mean()) ** 2).sum())
    assert (interval.high - interval.value) / stats.t.ppf(0.975, 49) == pytest.approx(error, rel=0.05)


def test_exp_and_log_are_the_same_interval_on_other_scales() -> None:
    plain, exponential = ratio_of_sums(NLL, TOKENS), exp_ratio_of_sums(NLL, TOKENS)
    assert exponential.value == pytest.approx(math.exp(NLL.sum() / TOKENS.sum()))
    assert (exponential.low, exponential.high) == pytest.approx((math.exp(plain.low), math.exp(plain.high)))
    rate = log_ratio_of_sums(NLL, TOKENS)
    assert rate.low * rate.high == pytest.approx(rate.value**2)
    assert math.log(rate.high / rate.value) == pytest.approx((plain.high - plain.value) / plain.value)


def test_rows_of_one_ratio_are_told_as_degenerate() -> None:
    for method in (ratio_of_sums, exp_ratio_of_sums, log_ratio_of_sums):
        interval = method(0.1 * TOKENS, TOKENS)
        assert interval.low == interval.value == interval.high
        assert "degenerate" in interval.method


@pytest.mark.parametrize(
    ("above", "below"),
    [([1.0], [1.0]), ([1.0, 2.0], [1.0]), ([1.0, 2.0], [0.0, 0.0]), ([1.0, math.nan], [1.0, 1.0]), ([1, 2], [3, -1])],
)
def test_bad_rows_are_refused(above: list[float], below: list[float]) -> None:
    with pytest.raises(ConfigError):
        ratio_of_sums(above, below)


def test_an_infinite_perplexity_and_a_zero_rate_are_refused() -> None:
    with pytest.raises(ConfigError, match="finite"):
        exp_ratio_of_sums([1e4, 1e4 + 1], [1.0, 1.0])
    with pytest.raises(ConfigError, match="positive"):
        log_ratio_of_sums([0.0, 0.0], [1.0, 1.0])


@pytest.mark.parametrize("n", [32, 256])
def test_coverage_of_a_corpus_perplexity(n: int) -> None:
    """Rows are clusters: the tokens of a row share an effect, and longer rows are easier."""
    rng = np.random.default_rng(30 + n)

    def corpus(rows: int) -> tuple[np.ndarray, np.ndarray]:
        tokens = rng.integers(10, 100, rows)
        return tokens * (3.5 - 0.005 * tokens + 0.3 * rng.gamma(4.0, 0.5, rows)), tokens

    nll, tokens = corpus(2_000_000)
    truth = math.exp(nll.sum() / tokens.sum())
    intervals = [exp_ratio_of_sums(*corpus(n)) for _ in range(600)]
    assert 0.915 <= np.mean([interval.low <= truth <= interval.high for interval in intervals]) <= 0.98
