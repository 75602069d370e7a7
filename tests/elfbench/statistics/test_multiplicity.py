from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from elfbench.core.errors import ConfigError
from elfbench.statistics.multiplicity import benjamini_hochberg, holm


def _closed(p: list[float], alpha: float) -> list[bool]:
    """Closed testing: reject a hypothesis when Bonferroni rejects every intersection of hypotheses that holds it."""
    everyone = range(len(p))
    sets = [part for size in range(1, len(p) + 1) for part in itertools.combinations(everyone, size)]
    rejected = {part: min(p[i] for i in part) * len(part) <= alpha for part in sets}
    return [all(rejected[part] for part in sets if i in part) for i in everyone]


@pytest.mark.parametrize("m", [1, 2, 3, 5, 6])
def test_holm_is_closed_testing_with_bonferroni(m: int) -> None:
    rng = np.random.default_rng(m)
    for _ in range(40):
        p = (rng.random(m) ** 3).tolist()
        adjusted = holm(p)
        # Just off the adjusted p-values themselves, where floats may fall to either side.
        edges = np.concatenate([adjusted * 0.999, adjusted * 1.001, [0.05, 0.0025, 0.3]])
        for alpha in edges[edges < 1.0]:
            assert (adjusted <= alpha).tolist() == _closed(p, float(alpha))


def test_a_known_example_in_the_given_order() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9, 0.9]).tolist() == [1.0, 1.0, 1.0]
    assert holm([0.02, 0.02]) == pytest.approx([0.04, 0.04])
    assert holm([0.3]).tolist() == [0.3]
    assert holm([]).tolist() == []


@pytest.mark.parametrize("method", [holm, benjamini_hochberg])
@pytest.mark.parametrize("bad", [[0.1, 1.1], [-0.1], [math.nan], [[0.1]]])
def test_what_is_no_probability_is_refused(method: object, bad: list[object]) -> None:
    with pytest.raises(ConfigError):
        method(bad)  # type: ignore[operator]


@pytest.mark.parametrize("m", [1, 2, 5, 30])
def test_benjamini_hochberg_is_scipys_and_the_step_up_rule(m: int) -> None:
    rng = np.random.default_rng(m)
    for _ in range(30):
        p = np.round(rng.random(m) ** 3, 2)  # with ties
        adjusted = benjamini_hochberg(p)
        assert adjusted == pytest.approx(stats.false_discovery_control(p))
        for q in (0.013, 0.051, 0.27):
            # Reject the k smallest, k the largest with p_(k) <= k q / m.
            ordered = np.sort(p)
            k = max((k for k in range(1, m + 1) if ordered[k - 1] <= k * q / m), default=0)
            assert (adjusted <= q).sum() == (0 if k == 0 else (p <= ordered[k - 1]).sum())
    assert benjamini_hochberg([]).tolist() == []


def test_false_discoveries_are_a_share_of_at_most_q() -> None:
    """8 of 10 hypotheses are true; independent tests, where the share is exactly q 8/10."""
    rng, shares = np.random.default_rng(6), []
    for _ in range(4000):
        rejected = benjamini_hochberg(np.append(rng.random(8), rng.random(2) * 1e-3)) <= 0.2
        shares.append(rejected[:8].sum() / max(1, rejected.sum()))
    assert np.mean(shares) == pytest.approx(0.2 * 0.8, abs=0.012)


def test_the_family_errs_at_most_at_alpha_also_when_tests_depend() -> None:
    rng = np.random.default_rng(4)
    for p in (rng.random((8000, 6)), np.repeat(rng.random((8000, 1)), 6, axis=1)):
        errors = np.mean([holm(row).min() <= 0.05 for row in p])
        assert errors <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 8000)
