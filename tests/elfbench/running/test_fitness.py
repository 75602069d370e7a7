"""Lengths against scipy's distance and brute force; which comparisons of lengths are refused, and the window that is proposed."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import wasserstein_distance

from elfbench.core.errors import ConfigError
from elfbench.metrics.energy_distance import ENERGY_DISTANCE
from elfbench.metrics.entropy import UNIGRAM_ENTROPY
from elfbench.metrics.gen_ppl import GEN_PPL
from elfbench.metrics.mauve import MAUVE
from elfbench.metrics.sanity import FOREIGN_SCRIPT_SHARE, NONFINITE_SHARE
from elfbench.running.fitness import KEPT, Side, largest_window, length_distance, refuse_unfit
from elfbench.spec.measure import Measure
from elfbench.spec.metric import usable_rows


def _side(lengths: object, measure: Measure, metric=MAUVE, name: str = "samples") -> Side:  # type: ignore[no-untyped-def]
    columns = {"n_tokens": np.array(lengths), "scripts": ["LATIN=3"] * len(np.array(lengths))}
    return Side(name, usable_rows(metric, columns, len(columns["scripts"]), measure), columns)


def _refuse(
    samples: object, reference: object, *, window: int | None = None, short: str = "keep", metric=MAUVE
) -> None:  # type: ignore[no-untyped-def]
    measure = Measure(window=window, short=short)
    refuse_unfit(metric, _side(samples, measure, metric), _side(reference, measure, metric, "reference"), measure)


@pytest.mark.parametrize("sizes", [(1, 1), (7, 7), (40, 60), (33, 128)])
def test_the_distance_of_lengths_is_wasserstein_1(sizes: tuple[int, int]) -> None:
    rng = np.random.default_rng(sizes[1])
    first, second = rng.integers(1, 60, sizes[0]), rng.integers(20, 90, sizes[1])
    assert length_distance(first, second) == pytest.approx(wasserstein_distance(first, second), abs=1e-9)
    assert length_distance(first, first[::-1]) == pytest.approx(0.0, abs=1e-9)
    assert length_distance(first, second) >= abs(first.mean() - second.mean()) - 1e-9


def test_the_window_is_the_largest_that_keeps_enough_of_both_sides() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        sides = [rng.integers(0, 80, size) for size in rng.integers(5, 90, 2)]
        kept = [
            window
            for window in range(1, 90)
            if all((side >= window).sum() >= KEPT * (side > 0).sum() for side in sides)
        ]
        assert largest_window(*sides) == max(kept)


def test_unlike_lengths_are_refused_with_the_window_that_mends_it() -> None:
    rng = np.random.default_rng(1)
    samples, reference = rng.integers(35, 46, 100), np.full(80, 64)
    with pytest.raises(ConfigError, match=r"found:   samples of median 4\d tokens") as caught:
        _refuse(samples, reference)
    window = largest_window(samples, reference)
    assert caught.value.key == "measure.window"
    assert f"--window {window} --short drop" in str(caught.value)
    assert "against median 64 tokens" in str(caught.value)
    _refuse(samples, reference, window=window, short="drop")
    _refuse(samples, samples[::-1])
    _refuse(samples, reference, metric=FOREIGN_SCRIPT_SHARE)


def test_kept_short_rows_are_a_difference_of_length_too() -> None:
    reference = np.full(100, 64)
    _refuse(np.repeat([64, 30], [90, 10]), reference, window=60)
    with pytest.raises(ConfigError, match="with window 60"):
        _refuse(np.repeat([64, 30], [70, 30]), reference, window=60)
    # The medians and means agree, the lengths do not.
    with pytest.raises(ConfigError, match="differ in length"):
        _refuse(np.repeat([40, 64, 88], [40, 20, 40]), reference)


def test_too_few_rows_are_counted_by_cause() -> None:
    measure = Measure(window=50)
    lengths = np.repeat([0, 30, 60], [3, 70, 40])
    with pytest.raises(ConfigError, match="too few usable rows of samples") as caught:
        refuse_unfit(MAUVE, _side(lengths, measure), None, measure)
    assert caught.value.found == "40 of 113 (3 empty, 70 shorter than the window of 50)"
    assert "--window 30" in str(caught.value.remedy)
    with pytest.raises(ConfigError, match="at least 64 texts that are not empty"):
        refuse_unfit(MAUVE, _side([0] * 100 + [60] * 9, measure), None, measure)
    with pytest.raises(ConfigError, match="of reference"):
        _refuse([20] * 40, [20] * 4, metric=ENERGY_DISTANCE)
    refuse_unfit(UNIGRAM_ENTROPY, _side([60, 60], measure, UNIGRAM_ENTROPY), None, measure)


def test_a_judges_nan_is_for_one_metric_only() -> None:
    columns = {"nll_nats": np.array([1.0, 2.0, np.nan]), "n_scored": np.ones(3), "n_tokens": np.array([5, 0, 5])}
    for metric, told in ((NONFINITE_SHARE, None), (GEN_PPL, "1 of 2 rows, the first is row 2")):
        side = Side("samples", usable_rows(metric, columns, 3, Measure()), columns)
        if told is None:
            refuse_unfit(metric, side, None, Measure())
            continue
        with pytest.raises(ConfigError, match=told):
            refuse_unfit(metric, side, None, Measure())
