from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from elfbench.core.errors import ConfigError
from elfbench.statistics.bootstrap import Resampling
from elfbench.statistics.improvement import improvement_interval, probability_of_improvement

X = [
    [0.53, 1.86, 1.72, -0.01],
    [0.2, -0.03, 1.07, 0.44],
    [1.25, -1.35, 2.07, 0.4],
    [1.18, 0.36, 0.12, 0.96],
    [1.32, 0.3, 0.35, 1.19],
]
Y = [[0.2, -1.51, 0.39, -0.67], [-1.92, -0.81, -0.47, -1.19], [-1.49, 0.04, 0.9, -0.23]]
RLIABLE = (0.73333333, 0.98333333)


def test_probability_is_rliables() -> None:
    """rliable 1.2.0, metrics.probability_of_improvement; one pair is tied."""
    assert probability_of_improvement(X, Y) == pytest.approx(0.875, abs=1e-12)
    assert probability_of_improvement(Y, X) == pytest.approx(0.125, abs=1e-12)


def test_probability_is_the_mean_of_mann_whitneys_u() -> None:
    rng = np.random.default_rng(4)
    x, y = rng.integers(0, 6, (7, 5)).astype(float), rng.integers(0, 6, (4, 5)).astype(float)
    shares = [stats.mannwhitneyu(x[:, task], y[:, task]).statistic / 28 for task in range(5)]
    assert probability_of_improvement(x, y) == pytest.approx(np.mean(shares))


def test_the_interval_is_near_rliables() -> None:
    """rliable 1.2.0, library.get_interval_estimates with 5,000 stratified resamples; ends move by about 0.01 with the seed."""
    interval = improvement_interval(X, Y, draws=Resampling(20_000))
    assert (interval.low, interval.high) == pytest.approx(RLIABLE, abs=0.02)
    assert interval.method == "percentile bootstrap over 5 and 3 runs within 4 tasks, 20000 resamples"


def test_the_interval_of_no_improvement_holds_a_half() -> None:
    rng = np.random.default_rng(2)
    found = [
        improvement_interval(rng.normal(size=(10, 5)), rng.normal(size=(10, 5)), draws=Resampling(300))
        for _ in range(200)
    ]
    # Ten runs a task: a percentile interval is a little short.
    assert 0.87 <= np.mean([interval.low <= 0.5 <= interval.high for interval in found]) <= 0.99


def test_runs_that_always_win_are_told_as_degenerate() -> None:
    interval = improvement_interval(np.array(X) + 10, Y)
    assert (interval.low, interval.value, interval.high) == (1.0, 1.0, 1.0)
    assert "degenerate" in interval.method


def test_other_tasks_are_refused() -> None:
    with pytest.raises(ConfigError, match="same tasks"):
        probability_of_improvement(X, np.array(Y)[:, :3])
