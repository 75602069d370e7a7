from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from elfbench.core.errors import ConfigError
from elfbench.statistics.difference import paired_difference, unpaired_difference
from elfbench.statistics.equivalence import equivalence, rows_for_equivalence

A = [3.057, 2.843, 2.876, 2.268, 3.54, 3.343, 2.902, 3.232, 3.084, 2.834, 3.293, 2.907]
B = [2.918, 2.733, 3.232, 3.01, 3.268, 2.807, 3.101, 2.693, 3.387, 3.125, 3.182, 3.214, 2.646, 3.363, 3.873]
ONES = np.ones(15)


def test_p_values_are_those_of_statsmodels() -> None:
    """statsmodels 0.15: ttost_ind(B, A, -0.3, 0.3, usevar="unequal") and ttost_paired(B[:12], A, -0.3, 0.3)."""
    unpaired = unpaired_difference((A, ONES[:12]), (B, ONES))
    assert equivalence(unpaired, 0.3).p_value == pytest.approx(0.05299777058173243, rel=1e-9)
    paired = paired_difference((A, ONES[:12]), (B[:12], ONES[:12]))
    assert equivalence(paired, 0.3).p_value == pytest.approx(0.020715901058653702, rel=1e-9)


@pytest.mark.parametrize("margin", [0.05, 0.2, 0.5])
@pytest.mark.parametrize("alpha", [0.05, 0.2])
def test_equivalent_is_an_interval_inside_the_margins(margin: float, alpha: float) -> None:
    result = equivalence(unpaired_difference((A, ONES[:12]), (B, ONES)), margin, alpha=alpha)
    expected = stats.ttest_ind(B, A, equal_var=False).confidence_interval(1 - 2 * alpha)
    assert (result.low, result.high) == pytest.approx((expected.low, expected.high))
    assert (result.verdict == "equivalent") == (-margin < expected.low and expected.high < margin)


def test_verdicts() -> None:
    far = unpaired_difference((A, ONES[:12]), (np.array(B) + 5, ONES))
    assert equivalence(far, 0.3).verdict == "not equivalent"
    assert equivalence(far.flipped(), 0.3).verdict == "not equivalent"
    near = unpaired_difference((A, ONES[:12]), (B, ONES))
    assert equivalence(near, 0.3).verdict == "undecided"
    assert equivalence(near, 0.5).verdict == "equivalent"
    same = paired_difference((A, ONES[:12]), (A, ONES[:12]))
    assert equivalence(same, 1e-6).verdict == "equivalent"
    for margin in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ConfigError, match="margin"):
            equivalence(near, margin)


def test_at_the_margin_it_errs_at_alpha_and_at_none_it_has_the_planned_power() -> None:
    n = rows_for_equivalence(0.3, math.log1p(0.05), power=0.8)
    assert n == math.ceil(2 * (0.3 * (1.6448536269514722 + 1.2815515655446004) / math.log1p(0.05)) ** 2)
    rng, ones = np.random.default_rng(3), np.ones(n)
    for shift, expected in ((math.log1p(0.05), 0.05), (0.0, 0.8)):
        found = [
            equivalence(
                unpaired_difference((rng.normal(0, 0.3, n), ones), (rng.normal(shift, 0.3, n), ones)), math.log1p(0.05)
            )
            for _ in range(600)
        ]
        share = np.mean([result.verdict == "equivalent" for result in found])
        assert share == pytest.approx(expected, abs=3.5 * math.sqrt(expected * (1 - expected) / 600))
    with pytest.raises(ConfigError):
        rows_for_equivalence(0.3, 0.0)
