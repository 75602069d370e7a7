from __future__ import annotations

import math

import numpy as np
import pytest

from elfbench.core.errors import ConfigError
from elfbench.statistics.interval import DEGENERATE
from elfbench.statistics.jackknife import jackknife, jackknife_variance
from elfbench.statistics.mean import t_mean

ROWS = np.random.default_rng(0).normal(size=30)


def test_the_jackknife_of_a_mean_is_its_t_interval() -> None:
    without = (ROWS.sum() - ROWS) / (len(ROWS) - 1)
    assert jackknife_variance(without) == pytest.approx(ROWS.var(ddof=1) / len(ROWS))
    found, expected = jackknife(ROWS.mean(), without), t_mean(ROWS)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert "30 rows" in found.method


def test_intervals_are_cut_at_the_bounds() -> None:
    interval = jackknife(0.99, [0.9, 1.0, 0.95], bounds=(0.0, 1.0))
    assert interval.high == 1.0
    assert 0.0 <= interval.low < 0.99


def test_degenerate_and_refused_rows() -> None:
    assert jackknife(0.5, [0.4, 0.4]).method == DEGENERATE
    for bad in ([0.5], [0.5, math.nan]):
        with pytest.raises(ConfigError):
            jackknife(0.5, bad)
    with pytest.raises(ConfigError):
        jackknife(math.nan, [0.5, 0.6])
