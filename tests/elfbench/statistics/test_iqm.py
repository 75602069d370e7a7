from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from elfbench.core.errors import ConfigError
from elfbench.statistics.bootstrap import Resampling
from elfbench.statistics.interval import DEGENERATE
from elfbench.statistics.iqm import iqm, iqm_interval, stratified_resamples

X = [
    [0.53, 1.86, 1.72, -0.01],
    [0.2, -0.03, 1.07, 0.44],
    [1.25, -1.35, 2.07, 0.4],
    [1.18, 0.36, 0.12, 0.96],
    [1.32, 0.3, 0.35, 1.19],
]
RLIABLE = (0.35, 1.045)
Y = [[0.2, -1.51, 0.39, -0.67], [-1.92, -0.81, -0.47, -1.19], [-1.49, 0.04, 0.9, -0.23]]


def test_iqm_is_rliables() -> None:
    """rliable 1.2.0, metrics.aggregate_iqm."""
    assert iqm(X) == pytest.approx(0.678, abs=1e-12)
    assert iqm(Y) == pytest.approx(-0.555, abs=1e-12)


@pytest.mark.parametrize("shape", [(2, 1), (3, 1), (5, 3), (7, 7)])
def test_iqm_is_scipys_trimmed_mean(shape: tuple[int, int]) -> None:
    table = np.random.default_rng(1).normal(size=shape)
    assert iqm(table) == pytest.approx(stats.trim_mean(table.ravel(), 0.25))


def test_an_outlier_does_not_move_it() -> None:
    table = np.array(X)
    far = table.copy()
    far[2, 2] = 1e9
    assert iqm(far) == iqm(table)


def test_the_interval_is_that_of_all_resamples_within_tasks() -> None:
    """Enumeration of (2^2)^2 equally likely resamples of 2 runs of 2 tasks."""
    table = np.array([[0.0, 5.0], [1.0, 7.0]])
    every = [
        iqm(np.array([[table[i, 0], table[k, 1]], [table[j, 0], table[m, 1]]]))
        for i, j, k, m in itertools.product(range(2), repeat=4)
    ]
    drawn = [iqm(resample) for resample in stratified_resamples(table, Resampling(20_000))]
    for value in sorted(set(every)):
        assert np.mean(np.isclose(drawn, value)) == pytest.approx(np.mean(np.isclose(every, value)), abs=0.012)


def test_the_interval_is_near_rliables() -> None:
    """rliable 1.2.0, library.get_interval_estimates with 20,000 stratified resamples; ends move by about 0.01 with the seed."""
    interval = iqm_interval(X, draws=Resampling(20_000))
    assert (interval.low, interval.high) == pytest.approx(RLIABLE, abs=0.02)
    assert interval.method == "percentile bootstrap over 5 runs within 4 tasks, 20000 resamples"


def test_degenerate_tables_are_told_and_bad_ones_refused() -> None:
    interval = iqm_interval([[1.0, 2.0, 3.0]] * 4)
    assert interval.low == interval.value == interval.high == 2.0
    assert interval.method == DEGENERATE
    for bad in ([1.0, 2.0], [[1.0, 2.0]], [[1.0], [math.nan]], [[], []]):
        with pytest.raises(ConfigError):
            iqm_interval(bad)


def test_seeded_and_blind_to_the_order_of_runs() -> None:
    draws = Resampling(300, 1)
    assert iqm_interval(X, draws=draws) == iqm_interval(X[::-1], draws=draws)
    assert iqm_interval(X, draws=draws) != iqm_interval(X, draws=Resampling(300, 2))
