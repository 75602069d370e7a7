"""How often the intervals hold the truth: thousands of samples from known laws, each handed to the functions that the instrument uses.

Means (normal, skewed, heavy tails), rates, log-PPL (a ratio of sums) and clustered means, by number of rows. Bootstraps use the counts of one
seed for all samples of a size, as runs with the default seed do. Writes coverage.md and coverage.csv; `nox -s coverage` runs it.
"""

from __future__ import annotations

import argparse
import csv
import io
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from elfbench.statistics.bootstrap import (
    Method,
    Resampling,
    interval_of_replicates,
    ratio_columns,
    resample_counts,
    same_ratio,
)
from elfbench.statistics.clusters import clustered_ratio
from elfbench.statistics.interval import Interval
from elfbench.statistics.rate import clopper_pearson, wilson
from elfbench.statistics.ratio import ratio_of_sums

SIZES = (32, 100, 1000)
RATES = (0.02, 0.2, 0.5)
TARGET = (0.93, 0.97)
LEVEL = 0.95
CLUSTER_ROWS = 4
CLUSTER_SHARE = 0.5
"""Intraclass correlation of the clustered rows."""

Sample = tuple[NDArray[np.float64], NDArray[np.float64]]
"""(numerators [S, n], denominators [S, n]) of S simulations."""
Draw = Callable[[int, int, np.random.Generator], Sample]


@dataclass(frozen=True, slots=True)
class Law:
    """What rows are drawn from, and the true ratio."""

    title: str
    truth: float
    draw: Draw
    """(simulations, rows, generator) -> sample."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """One line of the table: a share with its Clopper-Pearson interval."""

    law: str
    method: str
    rows: int
    simulations: int
    held: int
    coverage: float
    low: float
    high: float
    below: float
    """Share of intervals that lie below the truth altogether; those above are the rest."""
    width: float
    """Median width."""
    exact: float | None
    """Coverage by summation over all numbers of hits, for rates."""
    target: str
    """met | too low | too high | near (missed, but the interval of the coverage reaches the target)."""


def laws() -> tuple[Law, ...]:
    """All but rates, which depend on their number of hits only."""
    means = (
        Law("mean, normal", 0.0, lambda s, n, rng: _mean(rng.standard_normal((s, n)))),
        Law("mean, skewed (exponential)", 1.0, lambda s, n, rng: _mean(rng.standard_exponential((s, n)))),
        Law(
            "mean, skewed (lognormal, sigma 1)", math.exp(0.5), lambda s, n, rng: _mean(rng.lognormal(0.0, 1.0, (s, n)))
        ),
        Law("mean, heavy tails (t, 3 df)", 0.0, lambda s, n, rng: _mean(rng.standard_t(3, (s, n)))),
    )
    return (*means, Law("log-PPL, lognormal rows", log_ppl_truth(), draw_log_ppl))


def _mean(rows: NDArray[np.float64]) -> Sample:
    return rows, np.ones_like(rows)


_TOKENS = (4.0, 0.5)
_NLL = (1.2, -0.15, 0.25)


def draw_log_ppl(simulations: int, n: int, rng: np.random.Generator) -> Sample:
    """Rows' nll in nats and tokens: lengths lognormal (mean of logs 4, sigma 0.5), nats per token lognormal and less in longer rows."""
    lengths = _TOKENS[1] * rng.standard_normal((simulations, n))
    per_token = _NLL[0] + _NLL[1] * lengths + _NLL[2] * rng.standard_normal((simulations, n))
    return np.exp(_TOKENS[0] + lengths + per_token), np.exp(_TOKENS[0] + lengths)


def log_ppl_truth() -> float:
    """E nll / E tokens of `draw_log_ppl`, in nats: both are lognormal."""
    variance = ((1.0 + _NLL[1]) * _TOKENS[1]) ** 2 + _NLL[2] ** 2
    return math.exp(_NLL[0] + 0.5 * variance - 0.5 * _TOKENS[1] ** 2)


def clustered_rows(simulations: int, n: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """[S, n] standard normal, clusters of CLUSTER_ROWS neighbours with correlation CLUSTER_SHARE; mean 0."""
    shared = np.repeat(rng.standard_normal((simulations, n // CLUSTER_ROWS)), CLUSTER_ROWS, axis=1)
    return math.sqrt(CLUSTER_SHARE) * shared + math.sqrt(1.0 - CLUSTER_SHARE) * rng.standard_normal((simulations, n))


def law_intervals(sample: Sample, draws: Resampling) -> dict[str, list[Interval]]:
    """One interval a simulation, by method; S simulations of n rows."""
    rows = [ratio_columns(above, below) for above, below in zip(*sample, strict=True)]
    counts = np.concatenate(list(resample_counts(sample[0].shape[1], draws)))
    found: dict[str, list[Interval]] = {"delta method, t": [], "percentile": [], "BCa": []}
    for columns in rows:
        found["delta method, t"].append(ratio_of_sums(*columns, level=LEVEL))
        above, below = columns @ counts.T
        for method in ("percentile", "BCa"):
            found[method].append(_bootstrap(columns, above / below, method))
    return found


def _bootstrap(columns: NDArray[np.float64], replicates: NDArray[np.float64], method: Method) -> Interval:
    if same_ratio(columns):
        value = float(columns[0].sum() / columns[1].sum())
        return Interval(value, value, value, "degenerate")
    return interval_of_replicates(columns, replicates, method, LEVEL)


def rate_intervals(n: int, hits: Sequence[int], draws: Resampling) -> dict[str, dict[int, Interval]]:
    """Intervals of each number of hits, by method."""
    samples = np.arange(n) < np.asarray(hits)[:, None]
    by_law = law_intervals(_mean(samples.astype(np.float64)), draws)
    found = {method: dict(zip(hits, intervals, strict=True)) for method, intervals in by_law.items()}
    for method, function in (("Wilson", wilson), ("Clopper-Pearson", clopper_pearson)):
        found[method] = {k: function(k, n, level=LEVEL) for k in hits}
    return found


def cluster_intervals(rows: NDArray[np.float64]) -> dict[str, list[Interval]]:
    """Of [S, n]: clusters heeded, and rows taken as independent."""
    labels, ones = np.arange(rows.shape[1]) // CLUSTER_ROWS, np.ones(rows.shape[1])
    return {
        "over clusters, t": [clustered_ratio(row, ones, labels, level=LEVEL) for row in rows],
        "rows as if independent, t": [ratio_of_sums(row, ones, level=LEVEL) for row in rows],
    }


def results(simulations: int, draws: Resampling, progress: Callable[[str], object]) -> list[Coverage]:
    """All lines of the table; every law and size has its own stream of the seed."""
    lines = []
    for number, law in enumerate(laws()):
        progress(law.title)
        for n in SIZES:
            sample = law.draw(simulations, n, np.random.default_rng([draws.seed, number, n]))
            lines += _lines(law.title, n, law.truth, law_intervals(sample, draws))
    for number, rate in enumerate(RATES):
        progress(f"rate {rate}")
        for n in SIZES:
            drawn = np.random.default_rng([draws.seed, 100 + number, n]).binomial(n, rate, simulations)
            lines += _rate_lines(rate, n, drawn.tolist(), draws)
    title = f"mean, clusters of {CLUSTER_ROWS} rows (correlation {CLUSTER_SHARE})"
    progress(title)
    for n in SIZES:
        rows = clustered_rows(simulations, n, np.random.default_rng([draws.seed, 200, n]))
        lines += _lines(title, n, 0.0, cluster_intervals(rows))
    return lines


def _rate_lines(rate: float, n: int, drawn: Sequence[int], draws: Resampling) -> list[Coverage]:
    likely = [k for k in range(n + 1) if binom.pmf(k, n, rate) > 1e-9]
    by_method = rate_intervals(n, sorted({*likely, *drawn}), draws)
    exact = {
        method: math.fsum(binom.pmf(k, n, rate) for k in likely if table[k].low <= rate <= table[k].high)
        for method, table in by_method.items()
    }
    chosen = {method: [table[k] for k in drawn] for method, table in by_method.items()}
    return _lines(f"rate, p = {rate:g}", n, rate, chosen, exact)


def _lines(
    law: str,
    n: int,
    truth: float,
    by_method: Mapping[str, Sequence[Interval]],
    exact: Mapping[str, float] | None = None,
) -> list[Coverage]:
    lines = []
    for method, intervals in by_method.items():
        low, high = (np.array([getattr(interval, end) for interval in intervals]) for end in ("low", "high"))
        held = int(((low <= truth) & (truth <= high)).sum())
        bar = clopper_pearson(held, len(intervals), level=LEVEL)
        lines.append(
            Coverage(
                law=law,
                method=method,
                rows=n,
                simulations=len(intervals),
                held=held,
                coverage=bar.value,
                low=bar.low,
                high=bar.high,
                below=float((high < truth).mean()),
                width=float(np.median(high - low)),
                exact=None if exact is None else exact[method],
                target=_verdict(bar),
            )
        )
    return lines


def _verdict(coverage: Interval) -> str:
    if TARGET[0] <= coverage.value <= TARGET[1]:
        return "met"
    if coverage.high < TARGET[0]:
        return "too low"
    return "too high" if coverage.low > TARGET[1] else "near"


def as_csv(lines: Sequence[Coverage], seed: int) -> str:
    """One line a law, size and method, shares as fractions with six digits."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([*Coverage.__dataclass_fields__, "seed"])
    for line in lines:
        fields = [getattr(line, name) for name in Coverage.__dataclass_fields__]
        writer.writerow([f"{part:.6g}" if isinstance(part, float) else part for part in fields] + [seed])
    return stream.getvalue()


def as_markdown(lines: Sequence[Coverage], draws: Resampling, command: str) -> str:
    """The committed table."""
    rows = [
        f"| {line.law} | {line.rows} | {line.method} | {line.coverage:.1%} | {line.low:.1%} .. {line.high:.1%} | {line.below:.1%} "
        f"| {line.width:.3g} | {'' if line.exact is None else f'{line.exact:.1%}'} | {line.target} |"
        for line in lines
    ]
    return "\n".join(
        [
            "# How often the intervals hold the truth",
            "",
            f"{LEVEL:.0%} intervals of {lines[0].simulations:,} simulated samples from known laws, by the functions that the instrument uses; the share",
            f"that holds the truth, with its {LEVEL:.0%} Clopper-Pearson interval. target: {TARGET[0]:.0%} to {TARGET[1]:.0%}; near: missed, but within the",
            "coverage's own interval. below: intervals that lie below the truth altogether. width: the median. exact: by summation over all",
            f"numbers of hits. Bootstraps of {draws.resamples} resamples.",
            "",
            "| law | rows | method | coverage | interval | below | width | exact | target |",
            "|:--|--:|:--|--:|:-:|--:|--:|--:|:--|",
            *rows,
            "",
            f"Seed {draws.seed}, numpy {np.__version__}. Command: `{command}`",
            "",
        ]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the table; a missed target is a finding, not an error."""
    parser = argparse.ArgumentParser(prog="python -m elfbench.statistics.coverage", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of coverage.md and coverage.csv")
    parser.add_argument("--simulations", type=int, default=2000, help="samples a law and size (2000)")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    draws = Resampling(seed=given.seed)
    lines = results(given.simulations, draws, lambda text: sys.stderr.write(f"{text}\n"))
    command = f"python -m elfbench.statistics.coverage --out DIR --simulations {given.simulations} --seed {given.seed}"
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "coverage.csv").write_bytes(as_csv(lines, given.seed).encode())
    (given.out / "coverage.md").write_bytes(as_markdown(lines, draws, command).encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
