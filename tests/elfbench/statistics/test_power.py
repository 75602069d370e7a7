from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from elfbench.core.errors import ConfigError
from elfbench.statistics.power import detectable_difference, rows_needed


@pytest.mark.parametrize(("loss", "rows"), [(0.10, 156), (0.05, 593), (0.02, 3600), (0.01, 14200)])
def test_rows_for_a_loss_of_perplexity(loss: float, rows: int) -> None:
    """The known table: spread 0.3 nats, two-sided 5 %, power 80 %, per side (rounded there)."""
    assert rows_needed(0.3, math.log1p(loss)) == pytest.approx(rows, rel=0.006)


@pytest.mark.parametrize(("rows", "loss"), [(256, 0.077), (1000, 0.038), (5000, 0.017)])
def test_the_loss_that_rows_can_see(rows: int, loss: float) -> None:
    assert math.expm1(detectable_difference(0.3, 0.3, rows, rows)) == pytest.approx(loss, abs=5e-4)


@pytest.mark.parametrize(("sides", "alternative"), [(1, "greater"), (2, "two-sided")])
def test_power_is_that_of_simulated_tests(sides: int, alternative: str) -> None:
    n_a, n_b = 120, 200
    loss = detectable_difference(0.3, 0.5, n_a, n_b, alpha=0.02, power=0.7, sides=sides)
    rng = np.random.default_rng(sides)
    a, b = rng.normal(0.0, 0.3, (4000, n_a)), rng.normal(loss, 0.5, (4000, n_b))
    p = stats.ttest_ind(b, a, axis=1, equal_var=False, alternative=alternative).pvalue
    assert np.mean(p <= 0.02) == pytest.approx(0.7, abs=0.03)


def test_rows_and_difference_are_inverse() -> None:
    rows = rows_needed(0.3, 0.05, alpha=0.0025 / 6, sides=1)
    assert detectable_difference(0.3, 0.3, rows, rows, alpha=0.0025 / 6, sides=1) <= 0.05
    assert detectable_difference(0.3, 0.3, rows - 1, rows - 1, alpha=0.0025 / 6, sides=1) > 0.05


@pytest.mark.parametrize(
    "changes",
    [{"n_a": 0}, {"spread_b": -0.1}, {"alpha": 0.0}, {"power": 1.0}, {"sides": 3}],
)
def test_bad_plans_are_refused(changes: dict[str, float]) -> None:
    plan = {"spread_a": 0.3, "spread_b": 0.3, "n_a": 10, "n_b": 10}
    with pytest.raises(ConfigError):
        detectable_difference(**(plan | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("difference", [0.0, -0.1])
def test_no_number_of_rows_sees_nothing(difference: float) -> None:
    with pytest.raises(ConfigError):
        rows_needed(0.3, difference)
