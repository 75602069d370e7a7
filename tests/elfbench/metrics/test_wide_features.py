"""Metrics of features with fewer rows than dimensions, as 128 rows of GPT-2 large (1,280) are: they must still tell alike from unlike."""

from __future__ import annotations

import numpy as np
import pytest

from elfbench.core.errors import ConfigError
from elfbench.registry import catalog
from elfbench.spec.metric import Estimate, EstimateContext, Rows

ROWS, WIDTH = 64, 400


def _estimate(metric: str, samples: np.ndarray, references: np.ndarray) -> Estimate:
    sides = [
        Rows({"vector": side.astype(np.float32), "n_tokens": np.full(len(side), 9)}, len(side), len(side), 0)
        for side in (samples, references)
    ]
    return catalog.metrics().get(metric).estimate(sides[0], sides[1], EstimateContext())


@pytest.mark.parametrize(
    ("metric", "null"),
    [
        ("mauve", None),
        ("mauve_star", None),
        ("frontier_integral", None),
        ("c2st", 0.5),
        ("typicality", 0.5),
        ("prdc_precision", None),
        ("prdc_recall", None),
    ],
)
def test_alike_and_unlike_are_told_apart(metric: str, null: float | None) -> None:
    """Two samples of one Gaussian, a third 0.5 standard deviations off in every axis: intervals don't meet, and the null is held."""
    rng = np.random.default_rng(0)
    one, two, other = (rng.normal(shift, 1.0, size=(ROWS, WIDTH)) for shift in (0.0, 0.0, 0.5))
    alike, unlike = _estimate(metric, one, two), _estimate(metric, other, two)
    lower_is_better = metric in ("c2st", "frontier_integral")
    near, far = (alike, unlike) if lower_is_better else (unlike, alike)
    assert near.high < far.low
    if null is not None:
        assert alike.low < null < alike.high


def test_a_direction_that_many_axes_share_does_not_hide_the_rest() -> None:
    """Hidden states of language models have a few large axes: MAUVE's axes of 90 % of the variance may leave the difference out, c2st not."""
    rng = np.random.default_rng(1)
    scale = np.where(np.arange(WIDTH) < 4, 100.0, 1.0)
    one, two = rng.normal(size=(2, ROWS, WIDTH)) * scale
    shifted = one + 0.5 * (np.arange(WIDTH) >= 4)
    assert _estimate("mauve", shifted, two).value == pytest.approx(_estimate("mauve", one, two).value, abs=0.05)
    assert _estimate("c2st", shifted, two).low > 0.8


def test_covariances_of_fewer_rows_than_dimensions_are_refused() -> None:
    rng = np.random.default_rng(2)
    with pytest.raises(ConfigError, match="400 dimensions: 128, at least 800"):
        _estimate("frechet_distance", *rng.normal(size=(2, 128, WIDTH)))
