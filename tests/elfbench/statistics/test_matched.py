from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.interpolate import PchipInterpolator

from elfbench.core.errors import ConfigError
from elfbench.statistics.bootstrap import Resampling
from elfbench.statistics.interval import Interval
from elfbench.statistics.matched import Band, Curve, Missing, at_entropy, band, curve_of, dominance, pchip

VOCABULARY, LENGTH = 40, 200
JUDGE = (lambda p: p / p.sum())(1.0 / np.arange(1.0, VOCABULARY + 1.0))
"""The judge is the language: KL(q || judge) = CE - H."""
TEMPERATURES = (0.7, 0.76, 0.82, 0.88, 0.94)
Points = list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]


def _law(temperature: float, noise: float) -> np.ndarray:
    """A tempered judge, a share of whose tokens is uniform: at equal entropy, more noise is a larger KL."""
    tempered = JUDGE ** (1.0 / temperature)
    return (1.0 - noise) * tempered / tempered.sum() + noise / VOCABULARY


def _exact(law: np.ndarray) -> tuple[float, float]:
    """Entropy and cross-entropy under the judge, nats per token."""
    return -float(law @ np.log(law)), -float(law @ np.log(JUDGE))


def _points(temperatures: tuple[float, ...], noise: float, *, rows: int, seed: int) -> Points:
    """Rows drawn token by token; the row's entropy is plugged in. Row i has the same noise at each temperature."""
    uniforms = np.random.default_rng(seed).random((rows, LENGTH))
    points = []
    for temperature in temperatures:
        tokens = np.searchsorted(np.cumsum(_law(temperature, noise))[:-1], uniforms)
        shares = np.stack([np.bincount(row, minlength=VOCABULARY) for row in tokens]) / LENGTH
        entropy = -(shares * np.log(np.where(shares > 0.0, shares, 1.0))).sum(axis=1)
        nll = -np.log(JUDGE)[tokens].sum(axis=1)
        points.append((entropy, np.ones(rows), nll, np.full(rows, float(LENGTH))))
    return points


def _curve(points: Points) -> Curve:
    found = curve_of(points)
    assert isinstance(found, Curve)
    return found


def _linear(
    slope: float, level: float, *, rows: int = 64, seed: int = 0, at: tuple[float, ...] = (3.0, 3.5, 4.0, 4.5)
) -> Curve:
    """log-PPL = level + slope (entropy - 3.75), with noise by row."""
    rng = np.random.default_rng(seed)
    row = rng.normal(0.0, 0.1, (2, rows))
    ones = np.ones(rows)
    return _curve(
        [(h + row[0] + rng.normal(0, 0.02, rows), ones, level + slope * (h - 3.75) + row[1], ones) for h in at]
    )


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 7), st.integers(0, 10_000))
def test_the_interpolant_is_scipys_on_any_order_and_batch(k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y, at = rng.normal(size=(3, k)), rng.normal(size=(3, k)), rng.normal(size=(3, 20))
    found = pchip(x, y, at)
    for i in range(3):
        order = np.argsort(x[i])
        np.testing.assert_allclose(found[i], PchipInterpolator(x[i][order], y[i][order], extrapolate=False)(at[i]))


def test_equal_entropies_neither_divide_by_zero_nor_overshoot() -> None:
    x, y, at = np.array([1.0, 2.0, 2.0, 3.0]), np.array([0.0, 1.0, 2.0, 3.0]), np.linspace(1.0, 3.0, 41)
    found = pchip(x, y, at)
    assert (np.diff(found) >= 0.0).all()
    assert (found[0], found[-1]) == (0.0, 3.0)
    assert np.isnan(pchip(x, y, np.array([0.99, 3.01]))).all()


def test_the_better_model_wins_at_matched_entropy_although_its_perplexity_is_higher() -> None:
    """The worse model is sampled colder. Its perplexity at each of its temperatures is lower than the better one's there."""
    better, worse, cold = 0.0, 0.3, tuple(t - 0.35 for t in TEMPERATURES)
    for warm, chilled in zip(TEMPERATURES, cold, strict=True):
        assert _exact(_law(chilled, worse))[1] < _exact(_law(warm, better))[1]
    a = _curve(_points(TEMPERATURES, better, rows=64, seed=1))
    b = _curve(_points(cold, worse, rows=64, seed=2))
    entropy = np.linspace(2.42, 2.55, 7)
    kl = [
        np.interp(entropy, *np.array([_exact(_law(t, noise)) for t in np.linspace(0.2, 1.4, 400)]).T)
        for noise in (better, worse)
    ]
    assert (kl[0] < kl[1]).all()
    assert dominance(a, b, paired=False).verdict == "A"
    assert dominance(b, a, paired=False).verdict == "B"
    np.testing.assert_allclose(b.at(entropy) - a.at(entropy), kl[1] - kl[0], atol=0.05)


def test_crossing_curves_have_no_verdict() -> None:
    crossing = dominance(_linear(0.5, 4.0), _linear(1.5, 4.0, seed=1), paired=False)
    assert crossing.verdict == "cross"
    assert crossing.difference is not None
    # Both ends are sure, and they disagree.
    assert crossing.difference.low[0] > 0.0 > crossing.difference.high[-1]


def test_close_and_distant_curves_have_no_verdict_either() -> None:
    assert dominance(_linear(1.0, 4.0), _linear(1.0, 4.01, seed=1), paired=False).verdict in ("unclear", "cross")
    elsewhere = dominance(_linear(1.0, 4.0), _linear(1.0, 9.0, at=(5.0, 6.0)), paired=False)
    assert (elsewhere.verdict, elsewhere.difference) == ("apart", None)


def test_pairing_sees_differences_that_two_samples_do_not() -> None:
    a = _linear(1.0, 4.0)
    columns = a.columns.copy()
    columns[:, 2] += 0.005
    b = Curve(columns)
    assert dominance(a, b, paired=True).verdict == "A"
    assert dominance(a, b, paired=False).verdict == "unclear"
    with pytest.raises(ConfigError, match="64 and 30"):
        dominance(a, _linear(1.0, 4.0, rows=30), paired=True)


def test_a_line_has_its_value_at_the_references_entropy() -> None:
    reference = (np.random.default_rng(9).normal(3.6, 0.1, 100), np.ones(100))
    found = at_entropy(_linear(1.2, 4.0), reference)
    assert isinstance(found, Interval)
    a = _linear(1.2, 4.0)
    by_hand = np.interp(reference[0].mean(), *a.points.T)
    assert found.value == pytest.approx(by_hand, abs=0.01)
    assert found.low < 4.0 + 1.2 * (3.6 - 3.75) < found.high


def test_the_error_is_the_delta_methods_where_all_points_share_a_rows_noise() -> None:
    """On a line of slope s, row shifts (dx, dy) move the value at H by dy - s dx, and the reference's rows by s times their own."""
    rows, slope = 64, 1.2
    dx = np.random.default_rng(4).normal(0.0, 0.1, rows)
    dy = 0.5 * dx + np.random.default_rng(5).normal(0.0, 0.05, rows)
    ones = np.ones(rows)
    line = _curve([(h + dx, ones, 4.0 + slope * (h - 3.75) + dy, ones) for h in (3.0, 4.0)])
    data = np.random.default_rng(9).normal(3.5, 0.1, 100)
    found = at_entropy(line, (data, np.ones(100)), draws=Resampling(20_000))
    assert isinstance(found, Interval)
    error = math.sqrt((dy - slope * dx).var(ddof=1) / rows + slope**2 * data.var(ddof=1) / 100)
    assert (found.high - found.low) / 2.0 == pytest.approx(stats.t.ppf(0.975, rows - 1) * error, rel=0.03)


def test_nothing_is_extrapolated() -> None:
    a = _linear(1.0, 4.0)
    rows = np.random.default_rng(9).normal(0.0, 0.1, 100)
    outside = at_entropy(a, (rows - rows.mean() + 5.2, np.ones(100)))
    assert isinstance(outside, Missing)
    assert "5.200" in outside.reason
    assert "never extrapolated" in outside.reason
    at_the_end = at_entropy(a, (rows - rows.mean() + a.points[-1, 0] - 0.005, np.ones(100)))
    assert isinstance(at_the_end, Missing)
    assert "of 2000 resamples" in at_the_end.reason


def test_what_is_no_curve_says_why() -> None:
    point = _points((1.0,), 0.0, rows=30, seed=0)[0]
    for points, reason in (
        ([point], "one point"),
        ([point, point], "one entropy"),
        (
            [tuple(part[:19] for part in one) for one in _points((0.7, 1.0), 0.0, rows=30, seed=0)],
            "has 19, at least 20",
        ),
    ):
        found = curve_of(points)
        assert isinstance(found, Missing)
        assert reason in found.reason
    with pytest.raises(ConfigError, match="finite"):
        curve_of([(point[0] * math.nan, *point[1:]), point])


def test_the_order_of_rows_and_points_does_not_matter() -> None:
    points = _points(TEMPERATURES, 0.05, rows=48, seed=3)
    order = np.random.default_rng(0).permutation(48)
    shuffled = [tuple(part[order] for part in points[i]) for i in (3, 0, 4, 2, 1)]
    reference = (points[2][0], points[2][1])
    one, other = _curve(points), _curve(shuffled)
    assert at_entropy(one, reference) == at_entropy(other, (reference[0][order], reference[1]))
    left, right = band(one), band(other)
    assert isinstance(left, Band)
    assert isinstance(right, Band)
    np.testing.assert_allclose(left.high, right.high, rtol=1e-12)


def test_rows_that_a_point_could_not_use_leave_its_value_alone() -> None:
    points = [tuple(part.copy() for part in point) for point in _points(TEMPERATURES, 0.05, rows=64, seed=3)]
    for part in points[1]:
        part[::3] = 0.0
    found = _curve(points)
    used = np.arange(64) % 3 > 0
    by_hand = points[1][0][used].mean(), points[1][2][used].sum() / points[1][3][used].sum()
    assert tuple(found.points[1]) == pytest.approx(by_hand)
    assert found.n == used.sum()


def _noisy(entropy: np.ndarray, loss: np.ndarray, rng: np.random.Generator, rows: int) -> Curve:
    """Noise of a row, part of it shared by all points; rows of unequal length."""
    shared = rng.normal(0.0, 0.15, (2, rows))
    tokens = rng.integers(20, 60, rows).astype(float)
    x = entropy[:, None] + shared[0] + rng.normal(0.0, 0.05, (len(entropy), rows))
    y = loss[:, None] + shared[1] + rng.normal(0.0, 0.1, (len(loss), rows))
    return _curve([(x[i], np.ones(rows), tokens * y[i], tokens) for i in range(len(entropy))])


def test_bands_and_values_hold_the_truth_as_often_as_they_say() -> None:
    """300 samples of 48 rows from known laws; the truth is the curve through the exact points. 95 % +- 3 standard errors."""
    rng, sims, draws = np.random.default_rng(11), 300, Resampling(300)
    entropy, loss = np.array([3.0, 3.4, 3.8, 4.2]), np.array([3.0, 3.2, 3.7, 4.5])
    held = np.zeros(3)
    for _ in range(sims):
        one, other = (_noisy(entropy, loss + shift, rng, 48) for shift in (0.0, 0.1))
        drawn = band(one, draws=draws)
        value = at_entropy(one, (3.6 + rng.normal(0.0, 0.15, 64), np.ones(64)), draws=draws)
        difference = dominance(one, other, paired=False, draws=draws).difference
        assert isinstance(drawn, Band)
        assert isinstance(value, Interval)
        assert difference is not None
        truth = pchip(entropy, loss, np.clip(drawn.entropy, 3.0, 4.2))
        held += [
            ((drawn.low <= truth) & (truth <= drawn.high)).all(),
            value.low <= float(pchip(entropy, loss, np.array([3.6]))[0]) <= value.high,
            ((difference.low <= -0.1) & (difference.high >= -0.1)).all(),
        ]
    assert ((held / sims >= 0.912) & (held / sims <= 0.988)).all(), held / sims
