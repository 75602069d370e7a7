from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from elfbench.core.errors import ConfigError
from elfbench.statistics.sequential import alpha_of_looks, doubling_looks


def test_rows_double_and_end_with_all() -> None:
    assert doubling_looks(320, 2560) == (320, 640, 1280, 2560)
    assert doubling_looks(320, 2000) == (320, 640, 1280, 2000)
    assert doubling_looks(320, 641) == (320, 640, 641)
    assert doubling_looks(320, 320) == (320,)
    assert doubling_looks(2, 3) == (2, 3)


@pytest.mark.parametrize(("first", "most"), [(1, 10), (0, 0), (11, 10)])
def test_a_first_look_beyond_all_rows_is_refused(first: int, most: int) -> None:
    with pytest.raises(ConfigError, match="first look"):
        doubling_looks(first, most)


@pytest.mark.parametrize("looks", [(320,), (320, 640, 1280, 2560), (10, 11, 12), tuple(range(1, 100))])
def test_what_the_looks_spend_sums_to_alpha(looks: tuple[int, ...]) -> None:
    spent = alpha_of_looks(looks, 0.0025)
    assert len(spent) == len(looks)
    assert min(spent) > 0.0
    assert math.fsum(spent) == pytest.approx(0.0025, rel=1e-12)
    for k in range(len(looks)):
        # Pocock's spending function, as Lan and DeMets write it.
        fraction = looks[k] / looks[-1]
        assert math.fsum(spent[: k + 1]) == pytest.approx(0.0025 * math.log(1 + (math.e - 1) * fraction))


def test_looks_at_growing_data_err_at_most_at_alpha() -> None:
    """A mean of normal rows, tested one-sided at each look: cumulative sums at known variance."""
    rng, looks, alpha, n = np.random.default_rng(2), doubling_looks(32, 256), 0.05, 20_000
    sums = np.cumsum([rng.normal(0.0, math.sqrt(step), n) for step in np.diff([0, *looks])], axis=0)
    p = stats.norm.sf(sums / np.sqrt(np.array(looks))[:, None])
    errors = np.mean((p <= np.array(alpha_of_looks(looks, alpha))[:, None]).any(axis=0))
    assert 0.5 * alpha < errors <= alpha + 3 * math.sqrt(alpha * (1 - alpha) / n)


@pytest.mark.parametrize("looks", [(), (0, 10), (10, 10), (20, 10)])
def test_looks_rise(looks: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="rising"):
        alpha_of_looks(looks, 0.05)


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_alpha_is_a_probability(alpha: float) -> None:
    with pytest.raises(ConfigError):
        alpha_of_looks((10, 20), alpha)
