"""Metrics are functions of stored measurements: per-row numbers that were made once, then numpy.

A metric = which measurement it reads + a finisher with an interval. Changing a number means raising the metric's version.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np

from elfbench.spec.measure import Measure
from elfbench.spec.record import Record

Direction = Literal["lower", "higher", "match"]
"""lower or higher is better; match: the reference text's own value is the aim."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Measured rows that a metric may use, after dropping. Columns: [n] or [n, D] arrays, or lists of [m] arrays."""

    columns: Mapping[str, Any]
    n: int
    n_requested: int
    n_dropped: int
    """Rows left out because they were empty or shorter than the window."""
    kept: np.ndarray | None = None
    """[n] the numbers of these rows in their cell, where rows pair across cells."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its interval. NaN is refused when it is written."""

    value: float
    low: float
    high: float
    method: str
    """How the interval was made, e.g. 'BCa bootstrap over rows, 2000 resamples'."""
    covers: str
    """Which variation the interval covers, e.g. 'sampling of rows'."""
    detail: Mapping[str, float | int | str] = field(default_factory=dict)
    """Companions that belong beside the value, e.g. bits per byte, k-means seed spread."""


class EstimateContext(Record):
    """What an estimator may depend on beside its rows."""

    level: float = 0.95
    seed: int = 0
    window: int | None = None


Prepare = Callable[[Mapping[str, Any]], tuple[Mapping[str, Any], np.ndarray]]
"""Measured columns of all rows -> (columns, [n] bool which rows count), for protocols in which rows depend on each other."""
Estimator = Callable[[Rows, Rows | None, EstimateContext], Estimate]
PerRow = Callable[[Rows], tuple[np.ndarray, np.ndarray]]
"""rows -> (numerator [n], denominator [n]): the metric, or its logarithm, is the sum of the first over the sum of the second."""


class CorpusScore(NamedTuple):
    """A score of samples beside their references that is a function of sums over examples, such as BLEU: what paired
    tests of two systems resample."""

    statistics: Callable[[Rows], np.ndarray]
    """rows -> [E, K], one row per example."""
    of_sums: Callable[[np.ndarray], np.ndarray]
    """sums [M, K] -> scores [M]."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A registered metric."""

    name: str
    version: int
    title: str
    """Short label for headers, without arrow."""
    unit: str
    direction: Direction
    measurement: str
    """Which stored per-row measurement it reads: tokens | judge_nll | judge_PROTOCOL | judge_ranks | judge_gradient | features | cost | ..."""
    estimate: Estimator
    parameters: Mapping[str, float | int | str] = field(default_factory=dict)
    """Constants of the definition; part of the fingerprint."""
    needs_reference: bool = False
    paired: Literal["output", "input"] | None = None
    """It reads every sample beside a text of its own: the output that belongs to its prompt, or the prompt; empty samples count."""
    protocol: str = "clean"
    """The protocol that its number follows."""
    protocols: Mapping[str, str] = field(default_factory=dict)
    """Other protocols of the same metric -> the names they are registered under, as their numbers are not comparable."""
    min_rows: int = 2
    per_row: PerRow | None = None
    """Its sufficient statistics by row, where it is a ratio of sums: what gates and comparisons rest on. None for pooled metrics."""
    per_row_scale: Literal["value", "log"] = "value"
    """log: the ratio of sums is the metric's logarithm (gen-PPL), so that its differences are relative changes of the metric."""
    rate: bool = False
    """A share of yes-or-no outcomes, each of a row by itself: its interval is Wilson's where rows come in clusters."""
    corpus: CorpusScore | None = None
    """Its statistics by example, where it is paired with references: comparisons of two systems rest on them."""
    prepare: Prepare | None = None
    """Which rows its protocol uses and what they count as; None: rows that are not empty, as measured."""
    of: str = ""
    """The metric that this one is under another protocol, where results print that name with the protocol beside it."""
    length_sensitive: bool = True
    """Its value moves with text length: rows shorter than the window are dropped when the measure says so."""
    description: str = ""


class Score(Record):
    """One estimate as stored and printed: nothing is a bare number."""

    cell: str
    metric: str
    version: int
    protocol: Mapping[str, Any]
    fingerprint: str
    value: float
    low: float
    high: float
    level: float
    n: int
    n_requested: int
    n_dropped: int
    unit: str
    method: str
    covers: str
    detail: Mapping[str, float | int | str]
    rows_digest: str
    reference_digest: str | None


def usable_rows(metric: Metric, columns: Mapping[str, Any], n_requested: int, measure: Measure) -> Rows:
    """The rows of measured `columns` that `metric` may use: empty rows are dropped always, rows shorter than the window where the metric
    and the measure say so; or the rows that its protocol uses."""
    if metric.prepare is not None:
        columns, keep = metric.prepare(columns)
        return _kept(columns, keep, n_requested)
    counts = np.asarray(columns["n_tokens"])
    keep = counts > 0
    if "n_scored" in columns:
        keep &= np.asarray(columns["n_scored"]) > 0
    if metric.length_sensitive and measure.window is not None and measure.short == "drop":
        keep &= counts >= measure.window
    return _kept(columns, keep, n_requested)


def _kept(columns: Mapping[str, Any], keep: np.ndarray, n_requested: int) -> Rows:
    kept = np.flatnonzero(keep)
    values = columns_at(columns, kept)
    return Rows(values, n=len(kept), n_requested=n_requested, n_dropped=int(len(keep) - len(kept)), kept=kept)


def columns_at(columns: Mapping[str, Any], places: np.ndarray) -> dict[str, Any]:
    """The rows at `places` of every column, be it an array or a list."""
    return {
        name: [column[i] for i in places] if isinstance(column, list) else np.asarray(column)[places]
        for name, column in columns.items()
    }


def column(rows: Rows, name: str) -> np.ndarray:
    """A dense column as an array."""
    return np.asarray(rows.columns[name])
