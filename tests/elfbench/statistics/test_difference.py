from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from elfbench.core.errors import ConfigError
from elfbench.statistics.difference import Difference, Scale, paired_difference, unpaired_difference

RNG = np.random.default_rng(11)
A, B = RNG.normal(3.0, 0.3, 40), RNG.normal(3.1, 0.5, 55)
ONES_A, ONES_B = np.ones(40), np.ones(55)
NOISE = RNG.normal(0.0, 1.0, 400)
TOKENS = RNG.integers(10, 60, 400).astype(float)
NLL = TOKENS * (3.0 + 0.3 * NOISE)
OTHER_TOKENS = TOKENS + RNG.integers(0, 5, 400)
OTHER_NLL = OTHER_TOKENS * (3.1 + 0.3 * NOISE + 0.1 * RNG.normal(size=400))


def _value(a: tuple[np.ndarray, np.ndarray], b: tuple[np.ndarray, np.ndarray], scale: Scale) -> float:
    left, right = a[0].sum() / a[1].sum(), b[0].sum() / b[1].sum()
    return float(right - left if scale == "difference" else right / left - 1.0)


def _left_out(part: tuple[np.ndarray, np.ndarray], row: int) -> tuple[np.ndarray, np.ndarray]:
    return np.delete(part[0], row), np.delete(part[1], row)


def _spread(values: list[float]) -> float:
    """Variance of the jackknife from the values without one row each."""
    return float((len(values) - 1) / len(values) * ((np.array(values) - np.mean(values)) ** 2).sum())


@pytest.mark.parametrize("alpha", [0.0025, 0.05, 0.4])
def test_means_of_two_samples_are_welchs_test(alpha: float) -> None:
    found = unpaired_difference((A, ONES_A), (B, ONES_B))
    greater = stats.ttest_ind(B, A, equal_var=False, alternative="greater")
    less = stats.ttest_ind(B, A, equal_var=False, alternative="less")
    assert found.value == pytest.approx(B.mean() - A.mean(), rel=1e-12)
    assert found.p_above() == pytest.approx(greater.pvalue, rel=1e-9)
    assert found.p_two_sided() == pytest.approx(stats.ttest_ind(B, A, equal_var=False).pvalue, rel=1e-9)
    assert found.degrees_of_freedom == pytest.approx(greater.df)
    assert found.lower(alpha) == pytest.approx(greater.confidence_interval(1 - alpha).low, rel=1e-9)
    assert found.upper(alpha) == pytest.approx(less.confidence_interval(1 - alpha).high, rel=1e-9)
    assert (found.n_a, found.n_b, found.paired) == (40, 55, False)
    assert found.variances == pytest.approx((A.var(ddof=1), B.var(ddof=1)))


@pytest.mark.parametrize("alpha", [0.0025, 0.05, 0.4])
def test_means_of_paired_rows_are_the_paired_test(alpha: float) -> None:
    a, b = NLL[:30], NLL[:30] + RNG.normal(0.2, 1.0, 30)
    found = paired_difference((a, np.ones(30)), (b, np.ones(30)))
    greater = stats.ttest_rel(b, a, alternative="greater")
    assert found.p_above() == pytest.approx(greater.pvalue, rel=1e-9)
    assert found.p_two_sided() == pytest.approx(stats.ttest_rel(b, a).pvalue, rel=1e-9)
    assert found.lower(alpha) == pytest.approx(greater.confidence_interval(1 - alpha).low, rel=1e-9)
    assert found.upper(alpha) == pytest.approx(
        stats.ttest_rel(b, a, alternative="less").confidence_interval(1 - alpha).high, rel=1e-9
    )
    assert found.paired
    assert found.degrees_of_freedom == 29


def test_the_p_value_of_a_threshold_is_that_of_shifted_rows() -> None:
    shifted = stats.ttest_ind(B - 0.15, A, equal_var=False, alternative="greater")
    assert unpaired_difference((A, ONES_A), (B, ONES_B)).p_above(0.15) == pytest.approx(shifted.pvalue, rel=1e-9)


@pytest.mark.parametrize("scale", ["difference", "relative"])
def test_paired_ratios_have_the_error_of_the_jackknife(scale: Scale) -> None:
    a, b = (NLL, TOKENS), (OTHER_NLL, OTHER_TOKENS)
    found = paired_difference(a, b, scale=scale)
    without = [_value(_left_out(a, row), _left_out(b, row), scale) for row in range(400)]
    assert found.value == pytest.approx(_value(a, b, scale), rel=1e-12)
    assert found.error == pytest.approx(math.sqrt(_spread(without)), rel=0.01)
    assert found.error < 0.5 * unpaired_difference(a, b, scale=scale).error, "shared noise is not counted"


@pytest.mark.parametrize("scale", ["difference", "relative"])
def test_unpaired_ratios_have_the_error_of_the_jackknife_and_of_the_bootstrap(scale: Scale) -> None:
    a, b = (NLL[:250], TOKENS[:250]), (OTHER_NLL, OTHER_TOKENS)
    found = unpaired_difference(a, b, scale=scale)
    left = [_value(_left_out(a, row), b, scale) for row in range(250)]
    right = [_value(a, _left_out(b, row), scale) for row in range(400)]
    assert found.error == pytest.approx(math.sqrt(_spread(left) + _spread(right)), rel=0.01)
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(2000):
        i, j = rng.integers(0, 250, 250), rng.integers(0, 400, 400)
        drawn.append(_value((a[0][i], a[1][i]), (b[0][j], b[1][j]), scale))
    assert found.error == pytest.approx(np.std(drawn), rel=0.06)


def test_the_other_sign_swaps_the_bounds() -> None:
    found = unpaired_difference((A, ONES_A), (B, ONES_B))
    other = found.flipped()
    assert (other.value, other.lower(0.01), other.upper(0.01)) == (-found.value, -found.upper(0.01), -found.lower(0.01))
    assert other.p_above() == pytest.approx(1.0 - found.p_above())


@pytest.mark.parametrize("scale", ["difference", "relative"])
def test_equal_paired_rows_differ_by_nothing_exactly(scale: Scale) -> None:
    found = paired_difference((NLL, TOKENS), (NLL.copy(), TOKENS.copy()), scale=scale)
    assert (found.value, found.error, found.lower(0.01), found.upper(0.01)) == (0.0, 0.0, 0.0, 0.0)
    assert (found.p_above(), found.p_two_sided()) == (1.0, 1.0)


def test_rows_that_all_move_alike_are_sure() -> None:
    rows = np.arange(8.0)
    found = paired_difference((rows, np.ones(8)), (rows + 0.5, np.ones(8)))
    assert (found.value, found.error) == (0.5, 0.0)
    assert (found.p_above(), found.p_above(0.5), found.p_two_sided()) == (0.0, 1.0, 0.0)
    constant = unpaired_difference((np.full(4, 2.0), np.ones(4)), (np.full(9, 2.5), np.ones(9)), scale="relative")
    assert (constant.value, constant.error, constant.degrees_of_freedom) == (0.25, 0.0, 11.0)


@pytest.mark.parametrize("function", [paired_difference, unpaired_difference])
@pytest.mark.parametrize(
    ("a", "b"),
    [
        (([1.0], [1.0]), ([1.0], [1.0])),
        (([1.0, 2.0], [1.0]), ([1.0, 2.0], [1.0, 1.0])),
        (([1.0, 2.0], [1.0, 1.0]), ([1.0, math.nan], [1.0, 1.0])),
        (([1.0, 2.0], [1.0, 1.0]), ([1.0, 2.0], [0.0, 0.0])),
        (([1.0, 2.0], [1.0, 1.0]), ([1.0, 2.0], [3.0, -1.0])),
    ],
)
def test_bad_rows_are_refused(function: object, a: tuple[list[float], ...], b: tuple[list[float], ...]) -> None:
    with pytest.raises(ConfigError):
        function(a, b)  # type: ignore[operator]


def test_pairs_are_complete_and_relative_needs_a_base() -> None:
    with pytest.raises(ConfigError, match="equally many"):
        paired_difference((A, ONES_A), (B, ONES_B))
    with pytest.raises(ConfigError, match="positive value"):
        unpaired_difference((np.zeros(4), np.ones(4)), (np.ones(4), np.ones(4)), scale="relative")


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1])
def test_bounds_need_a_probability(alpha: float) -> None:
    with pytest.raises(ConfigError):
        Difference(0.1, 0.1, 10.0, 6, 6, False, (0.1, 0.1)).lower(alpha)


def test_null_p_values_are_uniform_under_shared_noise_and_unequal_lengths() -> None:
    rng = np.random.default_rng(1)
    found = []
    for _ in range(600):
        noise, tokens = rng.normal(size=64), rng.integers(10, 60, 64)
        a, b = (tokens * (3.0 + 0.3 * noise + 0.1 * rng.normal(size=64)) for _ in range(2))
        found.append(paired_difference((a, tokens), (b, tokens), scale="relative").p_above())
    assert stats.kstest(found, "uniform").pvalue > 0.01
