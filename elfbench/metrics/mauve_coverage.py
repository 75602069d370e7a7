"""How often the bars of MAUVE, mauve* and the frontier integral hold what they estimate: simulated embeddings, by the functions that score.

The estimand is the metric's expectation at the stated numbers of rows, biased as it is there: the mean over the draws. What the bars claim is
that of samples AND references drawn anew; with one reference that all systems share, its rows' part of the bar is too much. Writes
mauve-coverage.md and mauve-coverage.csv; `nox -s coverage` runs it.
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from elfbench.metrics.frontier_integral import FRONTIER_INTEGRAL
from elfbench.metrics.mauve import MAUVE
from elfbench.metrics.mauve_star import MAUVE_STAR
from elfbench.metrics.quantization import n_clusters
from elfbench.spec.metric import EstimateContext, Metric, Rows
from elfbench.statistics.interval import Interval, t_quantile
from elfbench.statistics.rate import wilson

METRICS = (MAUVE, MAUVE_STAR, FRONTIER_INTEGRAL)
SIZES = (64, 128, 256)
LEAST_COVERAGE = 0.9
"""Below it a bar is a spread."""
LEVEL = 0.95
MODES, WIDTH, CENTER_SCALE = 8, 12, 1.5
_CENTERS_SEED = 99
_TOKENS = 40  # no metric here reads lengths but to refuse unequal ones

Sides = Literal["both anew", "reference fixed"]


@dataclass(frozen=True, slots=True)
class Law:
    """Samples come from `modes` of the references' Gaussian modes, each coordinate shifted by `shift` of its standard deviation."""

    title: str
    modes: int
    shift: float
    fixed: bool
    """Whether it is simulated with a fixed reference, too."""


LAWS = (
    Law("equal laws", MODES, 0.0, True),
    Law("a mode is missing", MODES - 1, 0.0, True),
    Law("all modes shifted by 0.5 sd", MODES, 0.5, False),
    Law("all modes shifted by 2 sd", MODES, 2.0, False),
)


@dataclass(frozen=True, slots=True)
class Coverage:
    """One line of the table: a share with its Wilson interval."""

    law: str
    sides: Sides
    metric: str
    rows: int
    k: int
    draws: int
    expectation: float
    """The estimand: the mean over draws."""
    sd: float
    """Of the values over draws."""
    claimed_sd: float
    """Half the mean width of the bars over Student's quantile: what they take for the sd."""
    held: int
    coverage: float
    low: float
    high: float
    below: float
    """Share of bars that lie below the estimand altogether; those above are the rest."""
    width: float
    """Mean width."""
    bar: Literal["interval", "spread"]


def embeddings(n: int, law: Law | None, rng: np.random.Generator) -> np.ndarray:
    """[n, WIDTH] float64 of `law`'s samples, or of references (None): `MODES` unit Gaussians of equal weight around fixed centers."""
    centers = np.random.default_rng(_CENTERS_SEED).normal(scale=CENTER_SCALE, size=(MODES, WIDTH))
    modes, shift = (MODES, 0.0) if law is None else (law.modes, law.shift)
    drawn: np.ndarray = centers[rng.integers(modes, size=n)] + rng.standard_normal((n, WIDTH)) + shift
    return drawn


def simulated(law: Law, n: int, sides: Sides, *, draws: int, seed: int) -> list[Coverage]:
    """The lines of all metrics: n samples and n references, `draws` times, with the seeds of k-means that scoring takes."""
    place = [seed, LAWS.index(law), n]
    fixed = embeddings(n, None, np.random.default_rng([*place, 1]))
    found: list[list[Interval]] = [[] for _ in METRICS]
    for draw in range(draws):
        rng = np.random.default_rng([*place, 0, draw])
        samples = _rows(embeddings(n, law, rng))
        reference = _rows(embeddings(n, None, rng) if sides == "both anew" else fixed)
        for bars, metric in zip(found, METRICS, strict=True):
            # One after the other on the same rows: they share the clusters, which are what costs.
            one = metric.estimate(samples, reference, EstimateContext(level=LEVEL))
            bars.append(Interval(one.value, one.low, one.high, one.method))
    return [_line(law, sides, metric, n, bars) for metric, bars in zip(METRICS, found, strict=True)]


def _rows(vectors: np.ndarray) -> Rows:
    n = len(vectors)
    return Rows({"vector": vectors, "n_tokens": np.full(n, _TOKENS)}, n=n, n_requested=n, n_dropped=0)


def _line(law: Law, sides: Sides, metric: Metric, n: int, bars: Sequence[Interval]) -> Coverage:
    values, lows, highs = (np.array([getattr(bar, end) for bar in bars]) for end in ("value", "low", "high"))
    expectation = float(values.mean())
    held = int(((lows <= expectation) & (expectation <= highs)).sum())
    share = wilson(held, len(bars), level=LEVEL)
    width = float((highs - lows).mean())
    return Coverage(
        law=law.title,
        sides=sides,
        metric=metric.name,
        rows=n,
        k=n_clusters(n, n),
        draws=len(bars),
        expectation=expectation,
        sd=float(values.std(ddof=1)),
        claimed_sd=0.5 * width / t_quantile(LEVEL, n - 1),
        held=held,
        coverage=share.value,
        low=share.low,
        high=share.high,
        below=float((highs < expectation).mean()),
        width=width,
        bar="interval" if share.value >= LEAST_COVERAGE else "spread",
    )


def results(draws: int, seed: int, progress: Callable[[str], object]) -> list[Coverage]:
    """All lines: law, sides, rows, metric."""
    lines = []
    for law in LAWS:
        kinds: tuple[Sides, ...] = ("both anew", "reference fixed") if law.fixed else ("both anew",)
        for sides in kinds:
            progress(f"{law.title}, {sides}")
            for n in SIZES:
                lines += simulated(law, n, sides, draws=draws, seed=seed)
    return lines


def as_csv(lines: Sequence[Coverage], seed: int) -> str:
    """One line a law, kind of draw, size and metric, shares as fractions with six digits."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([*Coverage.__dataclass_fields__, "seed"])
    for line in lines:
        fields = [getattr(line, name) for name in Coverage.__dataclass_fields__]
        writer.writerow([f"{part:.6g}" if isinstance(part, float) else part for part in fields] + [seed])
    return stream.getvalue()


def as_markdown(lines: Sequence[Coverage], seed: int, command: str) -> str:
    """The committed table."""
    rows = [
        f"| {line.law} | {line.sides} | {line.rows} | {line.k} | `{line.metric}` | {line.expectation:.3f} | {line.sd:.4f} | {line.claimed_sd:.4f} "
        f"| {line.coverage:.1%} | {line.low:.1%} .. {line.high:.1%} | {line.below:.1%} | {line.width:.3f} | {line.bar} |"
        for line in lines
    ]
    return "\n".join(
        [
            "# How often the bars of MAUVE hold its expectation",
            "",
            f"Command: `{command}`",
            "",
            f"{LEVEL:.0%} bars of {lines[0].draws:,} independent draws of simulated embeddings ({MODES} Gaussian modes in {WIDTH} dimensions), as many references",
            "as samples, k = n / 10, five k-means seeds, by the functions that score. The estimand is the metric's expectation at these rows and clusters,",
            "the mean over the draws (not its limit: real text against real text does not reach 1). coverage: the share of bars that hold it, with its",
            f"{LEVEL:.0%} Wilson interval; below: bars that lie below it altogether. sd: of the values over draws; claimed sd: half the mean width over",
            f"Student's quantile. bar: below {LEAST_COVERAGE:.0%} coverage it is a *spread*, not an interval. both anew: samples and references are drawn anew,",
            "which is what the bars claim to cover; reference fixed: one reference for all draws, as all systems of a suite share, and the",
            "expectation given that reference: there the bars are wider than they need be.",
            "",
            "| law | drawn | rows | k | metric | expectation | sd | claimed sd | coverage | interval | below | width | bar |",
            "|:--|:--|--:|--:|:--|--:|--:|--:|--:|:-:|--:|--:|:--|",
            *rows,
            "",
            f"Seed {seed}, numpy {np.__version__}.",
            "",
        ]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the table; a missed target is a finding, not an error."""
    parser = argparse.ArgumentParser(prog="python -m elfbench.metrics.mauve_coverage", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of mauve-coverage.md and mauve-coverage.csv")
    parser.add_argument("--draws", type=int, default=500, help="independent draws a law and size (500)")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    lines = results(given.draws, given.seed, lambda text: sys.stderr.write(f"{text}\n"))
    command = f"python -m elfbench.metrics.mauve_coverage --out DIR --draws {given.draws} --seed {given.seed}"
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "mauve-coverage.csv").write_bytes(as_csv(lines, given.seed).encode())
    (given.out / "mauve-coverage.md").write_bytes(as_markdown(lines, given.seed, command).encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
