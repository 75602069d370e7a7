"""Rank agreement against scipy.stats, enumeration by hand, and a simulation of noisy instruments."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from elfbench.core.errors import ConfigError
from elfbench.statistics.agreement import association, bootstrap_agreement, kendall, spearman, sure_pairs
from elfbench.statistics.bootstrap import Resampling

SMALL = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=3, max_size=12)


@settings(max_examples=60, deadline=None)
@given(SMALL)
def test_values_are_scipys_with_and_without_ties(pairs: list[tuple[int, int]]) -> None:
    a, b = np.array(pairs, dtype=float).T
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        with pytest.raises(ConfigError, match="equal values have no order"):
            spearman(a, b)
        return
    assert spearman(a, b) == pytest.approx(scipy.stats.spearmanr(a, b).statistic, abs=1e-12)
    assert kendall(a, b) == pytest.approx(scipy.stats.kendalltau(a, b).statistic, abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_the_exact_test_is_scipys(seed: int) -> None:
    a, b = np.random.default_rng(seed).normal(size=(2, 6))
    tau = association(a, b, "tau")
    assert tau.exact
    assert tau.p_value == pytest.approx(scipy.stats.kendalltau(a, b, method="exact").pvalue)
    rho = association(a, b, "rho")
    expected = scipy.stats.permutation_test(
        (a,), lambda x: scipy.stats.spearmanr(x, b).statistic, permutation_type="pairings", n_resamples=np.inf
    )
    assert (rho.value, rho.p_value) == pytest.approx((expected.statistic, expected.pvalue))


def test_the_sampled_test_is_near_the_exact_one_and_never_zero() -> None:
    a, b = np.random.default_rng(5).normal(size=(2, 9))
    sampled = association(a, b, "tau")
    assert not sampled.exact
    assert sampled.p_value == pytest.approx(scipy.stats.kendalltau(a, b, method="exact").pvalue, abs=0.02)
    order = np.arange(12.0)
    assert association(order, order, "rho").p_value == pytest.approx(1 / 10_000, rel=1.5)


def test_three_systems_by_hand() -> None:
    """Of the 6 orders of three systems, 2 are as far from chance as the full reversal."""
    found = association([1.0, 2.0, 3.0], [9.0, 5.0, 1.0], "tau")
    assert (found.value, found.p_value, found.exact) == (-1.0, pytest.approx(2 / 6), True)


def _systems(means: list[float], other: list[float], *, n: int, seed: int) -> list[np.ndarray]:
    """Per system [4, n]: a shared error of the text and one of each instrument, with one token per row."""
    rng = np.random.default_rng(seed)
    systems = []
    for first, second in zip(means, other, strict=True):
        shared = rng.normal(size=n)
        rows = [first + shared + 0.2 * rng.normal(size=n), np.ones(n), second + shared + 0.2 * rng.normal(size=n)]
        systems.append(np.stack([*rows, np.ones(n)]))
    return systems


def test_the_interval_of_far_systems_is_certain_and_of_close_ones_wide() -> None:
    far = bootstrap_agreement(_systems([0, 10, 20, 30], [0, 10, 20, 30], n=30, seed=0), "tau")
    assert (far.value, far.low, far.high) == (1.0, 1.0, 1.0)
    close = bootstrap_agreement(_systems([0, 0.1, 0.2, 0.3], [0, 0.1, 0.2, 0.3], n=30, seed=0), "tau")
    assert close.low < close.value <= close.high
    assert close.high - close.low > 0.5


def test_replicates_are_those_of_a_plain_loop() -> None:
    systems = _systems([0, 0.2, 0.4, 0.3], [0.1, 0.5, 0.2, 0.3], n=8, seed=3)
    draws = Resampling(40, 7)
    found = bootstrap_agreement(systems, "rho", draws=draws)
    values = np.empty((2, 4, 40))
    for number, rows in enumerate(systems):
        rows = rows[:, np.lexsort(rows)]
        places = np.random.default_rng(draws.stream(number).seed).integers(0, 8, (40, 8))
        for resample, chosen in enumerate(places):
            sums = [math.fsum(row[chosen]) for row in rows]
            values[:, number, resample] = sums[0] / sums[1], sums[2] / sums[3]
    expected = [scipy.stats.spearmanr(values[0, :, i], values[1, :, i]).statistic for i in range(40)]
    assert (found.low, found.high) == pytest.approx(np.quantile(expected, [0.025, 0.975]))
    shuffled = [rows[:, ::-1] for rows in systems]
    assert bootstrap_agreement(shuffled, "rho", draws=draws) == found


def test_only_pairs_that_both_tell_apart_count() -> None:
    a = [(0.0, 1.0), (2.0, 3.0), (2.5, 4.0), (5.0, 6.0)]
    b = [(4.0, 5.0), (1.0, 2.0), (1.5, 2.5), (8.0, 9.0)]
    found = sure_pairs(a, b)
    assert found.swapped == ((0, 1), (0, 2))
    assert found.alike == 3


@pytest.mark.parametrize(
    ("a", "b"), [([1.0, 2.0], [1.0, 2.0]), ([1.0, 2.0, 3.0], [1.0, 2.0]), ([1.0, 2.0, math.nan], [1.0, 2.0, 3.0])]
)
def test_what_has_no_agreement_is_refused(a: list[float], b: list[float]) -> None:
    with pytest.raises(ConfigError):
        kendall(a, b)
