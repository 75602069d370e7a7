from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import entropy

from elfbench.metrics.frontier import divergence_curve, frontier_integral, mauve_area

COUNTS = st.lists(st.integers(0, 9), min_size=4, max_size=4).filter(any)
QUICK = settings(deadline=None, max_examples=30)


def _histogram(counts: list[int]) -> np.ndarray:
    return np.array(counts, dtype=float) / sum(counts)


def _direct(p: np.ndarray, q: np.ndarray, scaling: float) -> tuple[list[tuple[float, float]], float]:
    """The definition point by point, and the mean of the integrals over either axis.

    Along the curve x falls and y rises; a stable sort keeps points of equal x, as equal histograms have, in that order.
    """
    curve = [(1.0, 0.0)]
    for w in np.linspace(1e-6, 1 - 1e-6, 25):
        r = w * p + (1 - w) * q
        curve.append((math.exp(-scaling * entropy(q, r)), math.exp(-scaling * entropy(p, r))))
    curve.append((0.0, 1.0))
    backwards = curve[::-1]
    x, y = np.array(sorted(backwards, key=lambda point: point[0])).T
    u, v = np.array(sorted(curve, key=lambda point: point[1])).T
    trapezoids = [((b[1:] + b[:-1]) / 2 * np.diff(a)).sum() for a, b in ((x, y), (v, u))]
    return curve, float(np.mean(trapezoids))


@QUICK
@given(COUNTS, COUNTS, st.sampled_from([1.0, 5.0]))
def test_the_curve_and_its_area_equal_the_definition(left: list[int], right: list[int], scaling: float) -> None:
    p, q = _histogram(left), _histogram(right)
    curve, area = _direct(p, q, scaling)
    assert divergence_curve(p, q, scaling=scaling) == pytest.approx(np.array(curve), abs=1e-9)
    assert float(mauve_area(p, q, scaling=scaling)) == pytest.approx(area, abs=1e-9)


@QUICK
@given(COUNTS, COUNTS)
def test_the_frontier_integral_is_the_integral(left: list[int], right: list[int]) -> None:
    p, q = _histogram(left), _histogram(right)

    def integrand(w: float) -> float:
        r = w * p + (1 - w) * q
        return float(w * entropy(p, r) + (1 - w) * entropy(q, r))

    expected = 2 * quad(integrand, 0, 1, limit=200)[0]
    assert float(frontier_integral(p, q)) == pytest.approx(expected, abs=1e-6)


def test_equal_and_disjoint_histograms() -> None:
    p = _histogram([1, 2, 3, 4])
    assert float(mauve_area(p, p, scaling=5.0)) == pytest.approx(1.0)
    assert float(frontier_integral(p, p)) == 0.0
    a, b = _histogram([1, 1, 0, 0]), _histogram([0, 0, 1, 1])
    assert float(mauve_area(a, b, scaling=5.0)) < 0.01
    assert float(frontier_integral(a, b)) == pytest.approx(1.0)


def test_many_histograms_at_once_equal_one_by_one() -> None:
    many = np.random.default_rng(0).dirichlet(np.ones(6), size=5)
    fixed = many[0]
    together = mauve_area(many, fixed[None], scaling=5.0)
    assert together == pytest.approx([float(mauve_area(one, fixed, scaling=5.0)) for one in many])


def test_real_against_real_is_about_0_96_when_k_is_a_tenth_of_n() -> None:
    """Two samples of one distribution over k = n/10 equal bins: the ceiling that a table must be read against."""
    rng = np.random.default_rng(4)
    for n in (250, 1000):
        k = n // 10
        samples = rng.multinomial(n, np.full(k, 1 / k), size=(2, 60)) / n
        assert 0.95 < float(mauve_area(samples[0], samples[1], scaling=5.0).mean()) < 0.975
