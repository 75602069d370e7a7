"""How many rows a comparison of two log-perplexities needs, and whether so many are enough: every promise beside its simulation.

Rows to find a difference (two-sided test) and to show that there is none as large (TOST), by spread of a row and design. Each line draws its
own samples: the share found at the promised rows, which should be the promised power, and the share of errors, which should not exceed 5 %.
Writes power.md and power.csv; `nox -s coverage` runs it.
"""

from __future__ import annotations

import argparse
import csv
import io
import itertools
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t

from elfbench.statistics.equivalence import rows_for_equivalence
from elfbench.statistics.power import rows_needed
from elfbench.statistics.rate import clopper_pearson

DIFFERENCES = (0.01, 0.02, 0.05, 0.10)
"""Of perplexity, as shares; in nats log(1 + share)."""
SPREADS = (0.2, 0.3, 0.5)
"""Nats: standard deviation of a row's influence on log-PPL."""
CORRELATIONS = (None, 0.0, 0.5, 0.9)
"""None: two independent samples."""
ALPHA, POWER = 0.05, 0.8
SIMULATIONS = 2000
_NUMBERS = 4_000_000  # normals at a time: 32 MB

Test = Literal["two-sided", "TOST"]
TESTS: tuple[Test, ...] = ("two-sided", "TOST")


@dataclass(frozen=True, slots=True)
class Plan:
    """A question, and the rows that it is promised to need."""

    difference: float
    spread: float
    correlation: float | None
    test: Test

    @property
    def nats(self) -> float:
        return math.log1p(self.difference)

    @property
    def rows(self) -> int:
        """Of each side."""
        needed = rows_needed if self.test == "two-sided" else rows_for_equivalence
        return needed(self.spread, self.nats, alpha=ALPHA, power=POWER, correlation=self.correlation)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table."""

    plan: Plan
    simulations: int
    found: int
    """Samples in which the test finds what is there: the difference, or the equality."""
    errors: int
    """Samples in which it finds what is not: a difference of equal laws, or equality of laws that are the margin apart."""


def plans() -> tuple[Plan, ...]:
    """In the order of the table."""
    return tuple(
        Plan(difference, spread, correlation, test)
        for test, difference, spread, correlation in itertools.product(TESTS, DIFFERENCES, SPREADS, CORRELATIONS)
    )


def simulated(plan: Plan, simulations: int, seed: Sequence[int]) -> Line:
    """The test of `plan` on normal rows, at its number of rows; one stream of the seed."""
    found = errors = 0
    for change, error, freedom in statistics_of_samples(plan, simulations, np.random.default_rng(seed)):
        # One sample serves both questions: the laws differ by a shift.
        if plan.test == "two-sided":
            found += _differs(change + plan.nats, error, freedom)
            errors += _differs(change, error, freedom)
        else:
            found += _equivalent(change, error, freedom, plan.nats)
            errors += _equivalent(change + plan.nats, error, freedom, plan.nats)
    return Line(plan, simulations, found, errors)


Statistics = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]


def statistics_of_samples(plan: Plan, simulations: int, rng: np.random.Generator) -> Iterator[Statistics]:
    """(difference of means, its standard error, degrees of freedom), each [S], of samples whose laws are equal."""
    n, correlation = plan.rows, plan.correlation
    step = max(1, _NUMBERS // (2 * n))
    for start in range(0, simulations, step):
        count = min(step, simulations - start)
        a, own = plan.spread * rng.standard_normal((count, n)), plan.spread * rng.standard_normal((count, n))
        if correlation is None:
            parts = a.var(axis=1, ddof=1) / n, own.var(axis=1, ddof=1) / n
            total = parts[0] + parts[1]
            freedom = total**2 / ((parts[0] ** 2 + parts[1] ** 2) / (n - 1))
            yield own.mean(axis=1) - a.mean(axis=1), np.sqrt(total), freedom
        else:
            change = correlation * a + math.sqrt(1.0 - correlation**2) * own - a
            yield change.mean(axis=1), np.sqrt(change.var(axis=1, ddof=1) / n), np.full(count, n - 1.0)


def _differs(change: NDArray[np.float64], error: NDArray[np.float64], freedom: NDArray[np.float64]) -> int:
    return int((np.abs(change) / error >= t.isf(ALPHA / 2.0, freedom)).sum())


def _equivalent(
    change: NDArray[np.float64], error: NDArray[np.float64], freedom: NDArray[np.float64], margin: float
) -> int:
    return int(((margin - np.abs(change)) / error >= t.isf(ALPHA, freedom)).sum())


def results(simulations: int, seed: int, progress: Callable[[str], object]) -> list[Line]:
    """All lines; every line has its own stream of the seed."""
    lines = []
    for number, plan in enumerate(plans()):
        progress(f"{plan.test}, {plan.difference:.0%}, spread {plan.spread:g}, correlation {plan.correlation}")
        lines.append(simulated(plan, simulations, [seed, number]))
    return lines


def csv_fields(line: Line, seed: int) -> dict[str, object]:
    """What the CSV says of a line: shares with three digits."""
    plan, bar = line.plan, clopper_pearson(line.found, line.simulations)
    return {
        "test": plan.test,
        "difference": plan.difference,
        "spread": plan.spread,
        "design": "two samples" if plan.correlation is None else "paired",
        "correlation": "" if plan.correlation is None else plan.correlation,
        "rows": plan.rows,
        "promised": POWER,
        "simulated": f"{bar.value:.4f}",
        "low": f"{bar.low:.4f}",
        "high": f"{bar.high:.4f}",
        "errors": f"{line.errors / line.simulations:.4f}",
        "simulations": line.simulations,
        "seed": seed,
    }


def as_csv(lines: Sequence[Line], seed: int) -> str:
    """One line a question."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(csv_fields(lines[0], seed)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(csv_fields(line, seed) for line in lines)
    return stream.getvalue()


def as_markdown(lines: Sequence[Line], seed: int, command: str) -> str:
    """The committed table."""
    simulations = lines[0].simulations
    rows = [
        f"| {line.plan.test} | {line.plan.difference:.0%} | {line.plan.spread:g} | {_design(line.plan)} | {line.plan.rows:,} | {POWER:.0%} "
        f"| {line.found / simulations:.1%} | {line.errors / simulations:.1%} |"
        for line in lines
    ]
    return "\n".join(
        [
            "# How many rows a comparison needs",
            "",
            "Rows of each side to compare two log-perplexities, by the spread of a row (nats: the standard deviation of its influence; 0.3 is usual",
            f"for texts of some hundred tokens). two-sided: a difference of so many percent of perplexity is found in {POWER:.0%} of all comparisons,",
            f"at {ALPHA:.0%}. TOST: equal laws are shown to differ by less than that margin in {POWER:.0%}, each one-sided test at {ALPHA:.0%}. paired: row i of",
            "both sides shares its noise. `elfbench plan SUITE --power` tells it for a suite, with the spread that a store has measured.",
            "",
            f"promised and simulated: the share found at so many rows, by the formula and in {simulations:,} simulated comparisons (normal rows). errors:",
            f"differences found between equal laws, or equality of laws that are the margin apart. A simulated share of {POWER:.0%} is uncertain by "
            f"{_uncertainty(simulations):.1%}.",
            "",
            "| test | difference | spread | design | rows | promised | simulated | errors |",
            "|:--|--:|--:|:--|--:|--:|--:|--:|",
            *rows,
            "",
            f"Seed {seed}. Command: `{command}`",
            "",
        ]
    )


def _design(plan: Plan) -> str:
    return "two samples" if plan.correlation is None else f"paired, correlation {plan.correlation:g}"


def _uncertainty(simulations: int) -> float:
    return 1.96 * math.sqrt(POWER * (1.0 - POWER) / simulations)


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the table; a missed promise is a finding, not an error."""
    parser = argparse.ArgumentParser(prog="python -m elfbench.statistics.power_table", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of power.md and power.csv")
    parser.add_argument("--simulations", type=int, default=SIMULATIONS, help=f"comparisons a line ({SIMULATIONS})")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    lines = results(given.simulations, given.seed, lambda text: sys.stderr.write(f"{text}\n"))
    command = (
        f"python -m elfbench.statistics.power_table --out DIR --simulations {given.simulations} --seed {given.seed}"
    )
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "power.csv").write_bytes(as_csv(lines, given.seed).encode())
    (given.out / "power.md").write_bytes(as_markdown(lines, given.seed, command).encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
