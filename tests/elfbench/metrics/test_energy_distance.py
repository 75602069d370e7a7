"""The energy distance against scipy in one dimension, brute force, a closed form; surface features against hand counts."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import energy_distance as scipy_energy_distance

from elfbench.core.errors import ConfigError
from elfbench.metrics.energy_distance import (
    ENERGY_DISTANCE,
    distance_sums,
    energy_distance,
    leave_one_out,
    standardized,
)
from elfbench.metrics.surface import FEATURES, surface_features
from elfbench.spec.metric import Estimate, EstimateContext, Rows


def _estimate(samples: np.ndarray, references: np.ndarray) -> Estimate:
    sides = [
        Rows({"surface": side, "n_tokens": np.full(len(side), 9)}, len(side), len(side), 0)
        for side in (samples, references)
    ]
    return ENERGY_DISTANCE.estimate(sides[0], sides[1], EstimateContext())


def test_one_dimension_is_scipys_squared() -> None:
    rng = np.random.default_rng(0)
    for n, m in ((20, 20), (300, 17)):
        x, y = rng.normal(size=n), rng.exponential(size=m)
        sums = distance_sums(x[:, None], y[:, None])
        # scipy counts a row's distance of 0 from itself, the unbiased estimate does not.
        plain = 2 * sums.across.sum() / (n * m) - sums.within.sum() / n**2 - sums.within_reference.sum() / m**2
        assert plain == pytest.approx(scipy_energy_distance(x, y) ** 2)
        unbiased = plain - sums.within.sum() / n**2 / (n - 1) - sums.within_reference.sum() / m**2 / (m - 1)
        assert energy_distance(sums) == pytest.approx(unbiased)


def test_two_gaussians_have_a_closed_form() -> None:
    shift, scale = 1.5, math.sqrt(2.0)
    folded = scale * math.sqrt(2 / math.pi) * math.exp(-(shift**2) / (2 * scale**2)) + shift * math.erf(
        shift / (scale * math.sqrt(2))
    )
    expected = 2 * folded - 2 * 2 / math.sqrt(math.pi)
    rng = np.random.default_rng(1)
    found = [
        energy_distance(distance_sums(rng.normal(shift, 1, (60, 1)), rng.normal(size=(60, 1)))) for _ in range(200)
    ]
    assert np.mean(found) == pytest.approx(expected, abs=4 * np.std(found) / math.sqrt(200))
    null = [energy_distance(distance_sums(rng.normal(size=(30, 2)), rng.normal(size=(40, 2)))) for _ in range(200)]
    assert abs(np.mean(null)) < 4 * np.std(null) / math.sqrt(200)


def test_without_one_equals_computing_again() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(9, 3)), rng.normal(size=(7, 3)) + 1
    samples, references = leave_one_out(distance_sums(x, y))
    assert samples == pytest.approx([energy_distance(distance_sums(np.delete(x, i, axis=0), y)) for i in range(9)])
    assert references == pytest.approx([energy_distance(distance_sums(x, np.delete(y, i, axis=0))) for i in range(7)])


def test_the_interval_covers_the_truth_away_from_zero() -> None:
    rng = np.random.default_rng(3)
    truth = energy_distance(distance_sums(*(rng.normal(at, 1, (1500, 2)) for at in (1.0, 0.0))))
    hits = 0
    for _ in range(150):
        sums = distance_sums(rng.normal(1, 1, (50, 2)), rng.normal(size=(50, 2)))
        variance = sum((len(part) - 1) * part.var() for part in leave_one_out(sums))
        hits += abs(energy_distance(sums) - truth) < 1.96 * math.sqrt(variance)
    assert 0.88 <= hits / 150 <= 0.99


def test_equal_laws_are_covered_and_equal_rows_are_degenerate() -> None:
    rng = np.random.default_rng(4)
    found = [_estimate(rng.normal(size=(40, 3)), rng.normal(size=(40, 3))) for _ in range(150)]
    assert np.mean([one.low <= 0.0 <= one.high for one in found]) >= 0.94
    point = _estimate(np.ones((16, 2)), np.zeros((16, 2)))
    assert point.value == pytest.approx(2 * math.sqrt(2))
    assert "degenerate" in point.method


@settings(deadline=None, max_examples=20)
@given(st.integers(16, 40), st.integers(16, 40), st.integers(1, 5), st.integers(0, 99))
def test_order_does_not_matter_and_sides_trade_places(n: int, m: int, width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(n, width)), rng.normal(0.5, 2, size=(m, width))
    found = _estimate(x, y)
    assert found == _estimate(x[rng.permutation(n)], y[rng.permutation(m)])
    assert found.low <= found.value <= found.high
    # Scales come from the references, so only the distance itself is symmetric.
    assert energy_distance(distance_sums(x, y)) == pytest.approx(energy_distance(distance_sums(y, x)))
    # Features in other units are the same features.
    assert _estimate(x * 7 + 3, y * 7 + 3).value == pytest.approx(found.value)


def test_constant_features_keep_their_unit_and_outliers_are_cut() -> None:
    x, y = np.ones((16, 2)) * [3.0, 1e9], np.column_stack([np.full(16, 2.5), np.arange(16.0)])
    first, second = standardized(x, y)
    assert first[0].tolist() == [0.5, 8.0]
    assert second[:, 0].tolist() == [0.0] * 16
    with pytest.raises(ConfigError, match="too few"):
        _estimate(x[:15], y)


def test_surface_features_are_what_hand_counting_gives() -> None:
    text = "The cat saw Anna, and and ran! NASA sent 12 astronauts...\nWhy?"
    found = dict(zip(FEATURES, surface_features([text])[0], strict=True))
    words = ["The", "cat", "saw", "Anna", "and", "and", "ran", "NASA", "sent", "12", "astronauts", "Why"]
    lengths = [len(word) for word in words]
    assert found["word_length_mean"] == pytest.approx(sum(lengths) / 12)
    assert found["word_length_sd"] == pytest.approx(np.std(lengths))
    assert found["sentence_length_mean"] == pytest.approx((7 + 4 + 1) / 3)
    assert found["sentence_length_sd"] == pytest.approx(np.std([7, 4, 1]))
    counts = {
        "long_word_share": 1,
        "sentence_ends_per_word": 3,
        "commas_per_word": 1,
        "other_marks_per_word": 0,
        "capitalized_share": 4,
        "capitalized_inside_share": 1,
        "uppercase_share": 1,
        "number_share": 1,
        "distinct_share": 11,
        "repeated_share": 1,
        "line_breaks_per_word": 1,
    }
    assert {name: round(12 * found[name], 9) for name in counts} == counts
    assert found["characters_per_space"] == pytest.approx(len(text) / 12)
    assert set(counts) | {
        "word_length_mean",
        "word_length_sd",
        "sentence_length_mean",
        "sentence_length_sd",
        "characters_per_space",
    } == set(FEATURES)


@given(st.lists(st.text(max_size=60), max_size=5))
def test_any_text_has_finite_features(texts: list[str]) -> None:
    found = surface_features(texts)
    assert found.shape == (len(texts), len(FEATURES))
    assert np.isfinite(found).all()
    assert (found >= 0).all()
