from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from elfbench.core.errors import ConfigError
from elfbench.statistics.bootstrap import Resampling
from elfbench.statistics.permutation import paired_permutation, unpaired_permutation

RNG = np.random.default_rng(3)
ONES = np.ones(60)


def _corpus(n: int, shift: float) -> tuple[np.ndarray, np.ndarray]:
    tokens = RNG.integers(5, 50, n).astype(float)
    return tokens * (3.0 + shift + 0.3 * RNG.normal(size=n)), tokens


def test_paired_means_are_scipys_exact_test() -> None:
    a, b = RNG.normal(size=9), RNG.normal(0.6, 1.0, 9)
    expected = stats.permutation_test(
        (a, b), lambda x, y, axis=-1: y.mean(axis) - x.mean(axis), permutation_type="samples", vectorized=True
    )
    found = paired_permutation((a, ONES[:9]), (b, ONES[:9]))
    assert found.exact
    assert found.arrangements == 2**9
    assert found.value == pytest.approx(expected.statistic)
    assert found.p_value == pytest.approx(expected.pvalue)


def test_unpaired_means_are_scipys_exact_test() -> None:
    a, b = RNG.normal(size=5), RNG.normal(0.9, 1.0, 6)
    expected = stats.permutation_test(
        (a, b), lambda x, y, axis=-1: y.mean(axis) - x.mean(axis), permutation_type="independent", vectorized=True
    )
    found = unpaired_permutation((a, ONES[:5]), (b, ONES[:6]))
    # scipy doubles the smaller tail; ours counts both, so compare with the enumerated distribution itself.
    both = np.mean(np.abs(expected.null_distribution) >= abs(expected.statistic) - 1e-12)
    assert found.exact
    assert found.arrangements == math.comb(11, 5)
    assert found.p_value == pytest.approx(both)


def test_corpus_ratios_swap_numerator_and_denominator_together() -> None:
    a, b = _corpus(8, 0.0), _corpus(8, 0.2)
    every = []
    for number in range(2**8):
        swap = np.array([(number >> i) & 1 for i in range(8)], dtype=bool)
        left = np.where(swap, b[0], a[0]).sum() / np.where(swap, b[1], a[1]).sum()
        right = np.where(swap, a[0], b[0]).sum() / np.where(swap, a[1], b[1]).sum()
        every.append(right - left)
    assert paired_permutation(a, b).p_value == np.mean(np.abs(every) >= abs(every[0]) - 1e-12)


def test_sampled_arrangements_are_near_the_t_tests() -> None:
    a, b = RNG.normal(size=60), RNG.normal(0.3, 1.0, 60)
    paired, unpaired = (test((a, ONES), (b, ONES)) for test in (paired_permutation, unpaired_permutation))
    assert not paired.exact
    assert not unpaired.exact
    assert paired.p_value == pytest.approx(stats.ttest_rel(a, b).pvalue, abs=0.015)
    assert unpaired.p_value == pytest.approx(stats.ttest_ind(a, b).pvalue, abs=0.015)


@pytest.mark.parametrize("test", [paired_permutation, unpaired_permutation])
def test_a_sampled_p_is_never_zero_and_does_not_depend_on_the_order(test: object) -> None:
    a, b = _corpus(60, 0.0), _corpus(60, 9.0)
    draws = Resampling(199, 4)
    found = test(a, b, draws=draws)  # type: ignore[operator]
    assert found.p_value == 1 / 200
    order = RNG.permutation(60)
    near = tuple(part[order] for part in a), tuple(part[order] for part in b)
    assert test(*near, draws=draws).p_value == found.p_value  # type: ignore[operator]


@pytest.mark.parametrize("test", [paired_permutation, unpaired_permutation])
def test_equal_sides_have_p_one(test: object) -> None:
    a = _corpus(6, 0.0)
    assert test(a, a).p_value == 1.0  # type: ignore[operator]


def test_under_the_null_p_is_at_most_alpha_in_a_share_of_alpha() -> None:
    """Skewed rows, 7 a side, where Student's t is not exact."""
    rng = np.random.default_rng(5)
    sides = [tuple((rng.exponential(size=7), ONES[:7]) for _ in range(2)) for _ in range(250)]
    p = np.array([unpaired_permutation(*pair).p_value for pair in sides])
    for alpha in (0.05, 0.2):
        assert np.mean(p <= alpha) <= alpha + 3 * math.sqrt(alpha * (1 - alpha) / 250)


def test_unequal_pairs_and_empty_sides_are_refused() -> None:
    with pytest.raises(ConfigError, match="equally many"):
        paired_permutation(_corpus(5, 0.0), _corpus(6, 0.0))
    with pytest.raises(ConfigError, match="denominator"):
        unpaired_permutation(([1.0, 2.0], [0.0, 1.0]), ([1.0, 2.0], [0.0, 1.0]))
