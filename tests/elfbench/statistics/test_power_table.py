from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from elfbench.core.errors import ConfigError
from elfbench.statistics import power_table
from elfbench.statistics.difference import paired_difference, unpaired_difference
from elfbench.statistics.equivalence import rows_for_equivalence
from elfbench.statistics.power import rows_needed
from elfbench.statistics.power_table import SIMULATIONS, Plan

REPORT = Path(__file__).parents[3] / "reports" / "statistics"
LINES = list(csv.DictReader((REPORT / "power.csv").read_text(encoding="utf-8").splitlines()))


def test_the_committed_table_is_what_the_command_makes() -> None:
    """Of every promise the rows, and of those with few rows the simulation, to the byte."""
    assert len(LINES) == len(power_table.plans()) == 2 * 4 * 3 * 4
    for number, (line, plan) in enumerate(zip(LINES, power_table.plans(), strict=True)):
        assert int(line["rows"]) == plan.rows
        if plan.rows < 120:
            again = power_table.csv_fields(power_table.simulated(plan, SIMULATIONS, [0, number]), 0)
            assert {key: str(value) for key, value in again.items()} == line
    text = (REPORT / "power.md").read_text(encoding="utf-8")
    assert sum(line.startswith("| ") for line in text.splitlines()) == len(LINES) + 1


def test_the_documentation_quotes_the_table() -> None:
    page = (REPORT.parents[1] / "docs" / "statistics.md").read_text(encoding="utf-8")
    for difference in power_table.DIFFERENCES:
        asked = [(None, "two-sided"), (0.5, "two-sided"), (0.9, "two-sided"), (None, "TOST"), (0.9, "TOST")]
        rows = (f"{Plan(difference, 0.3, correlation, test).rows:,}" for correlation, test in asked)  # type: ignore[arg-type]
        assert f"| {difference:.0%} | {' | '.join(rows)} |" in page


def test_every_promise_is_kept() -> None:
    """By four standard errors of 2,000 simulations; all lines together closer."""
    shares = np.array([[float(line["simulated"]), float(line["errors"])] for line in LINES])
    assert {line["simulations"] for line in LINES} == {"2000"}
    assert (np.abs(shares[:, 0] - 0.8) < 4 * math.sqrt(0.16 / 2000)).all()
    assert (np.abs(shares[:, 1] - 0.05) < 4 * math.sqrt(0.0475 / 2000)).all()
    assert shares.mean(axis=0) == pytest.approx([0.8, 0.051], abs=0.003)


@pytest.mark.parametrize("correlation", [None, 0.5])
def test_what_is_simulated_are_the_public_tests(correlation: float | None) -> None:
    plan = Plan(0.1, 0.3, correlation, "two-sided")
    change, error, freedom = next(power_table.statistics_of_samples(plan, 3, np.random.default_rng(1)))
    rng, n, ones = np.random.default_rng(1), plan.rows, np.ones(plan.rows)
    a, own = 0.3 * rng.standard_normal((3, n)), 0.3 * rng.standard_normal((3, n))
    b = own if correlation is None else correlation * a + math.sqrt(1 - correlation**2) * own
    test = unpaired_difference if correlation is None else paired_difference
    for row in range(3):
        found = test((a[row], ones), (b[row], ones))
        assert (change[row], error[row], freedom[row]) == pytest.approx(
            (found.value, found.error, found.degrees_of_freedom)
        )


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9, 0.98])
@pytest.mark.parametrize("difference", [0.02, 0.1])
def test_rows_of_pairs_are_those_of_the_noncentral_t(correlation: float, difference: float) -> None:
    n = rows_needed(0.3, difference, correlation=correlation)
    spread = 0.3 * math.sqrt(2 * (1 - correlation))

    def power(rows: int) -> float:
        least = stats.t.isf(0.025, rows - 1)
        return float(stats.nct.sf(least, rows - 1, difference / spread * math.sqrt(rows)))

    assert power(n) == pytest.approx(0.8, abs=0.03)
    assert power(n + 1) > 0.795


def test_pairs_that_cannot_be() -> None:
    assert rows_for_equivalence(0.3, 0.05, correlation=0.9) < rows_for_equivalence(0.3, 0.05) / 8
    for correlation in (1.0, -1.5):
        with pytest.raises(ConfigError, match="correlation"):
            rows_needed(0.3, 0.1, correlation=correlation)
