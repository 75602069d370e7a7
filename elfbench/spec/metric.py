"""Metrics are functions of stored measurements: per-row numbers that were made once, then numpy.

A metric = which measurement it reads + a finisher with an interval. Changing a number means raising the metric's version.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

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


Estimator = Callable[[Rows, Rows | None, EstimateContext], Estimate]


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
    """Which stored per-row measurement it reads: tokens | judge_nll | features | cost."""
    estimate: Estimator
    parameters: Mapping[str, float | int | str] = field(default_factory=dict)
    """Constants of the definition; part of the fingerprint."""
    needs_reference: bool = False
    min_rows: int = 2
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


def column(rows: Rows, name: str) -> np.ndarray:
    """A dense column as an array."""
    return np.asarray(rows.columns[name])
