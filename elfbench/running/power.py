"""What the planned rows can show: the detectable difference per cell and metric, and the rows that other differences need.

The spread of a row is measured in a store that has some rows already; nothing is sampled. Without one, the table holds for the usual
spread of log-perplexity and says that it is assumed. Two independent runs, normal approximation, two-sided alpha 0.05, power 0.8.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from elfbench.core.errors import StoreError
from elfbench.registry import catalog
from elfbench.running.plan import PlannedCell, planned_cells
from elfbench.spec.metric import Metric
from elfbench.spec.suite import Suite
from elfbench.statistics.power import detectable_difference, rows_needed
from elfbench.store.row_sums import row_sums
from elfbench.store.store import Store

ASSUMED_SPREAD = 0.3
"""Nats of log-perplexity per row: what texts of some hundred tokens usually vary by."""
SHARES = (0.01, 0.02, 0.05, 0.10)
"""Relative differences for which the rows needed are told."""


@dataclass(frozen=True, slots=True)
class Power:
    """One metric of one cell. Differences are shares of the metric's value."""

    cell: str | None
    """None: an assumption, of no cell."""
    name: str
    metric: str
    scale: Literal["relative", "nats"]
    """Of the spread: a share of the value, or nats of the metric's logarithm."""
    basis: str
    """Where the spread is from, or why there is none."""
    planned_rows: int
    """Rows that the metric would use, those that are dropped left out."""
    spread: float | None
    detectable: float | None
    """The least difference between two runs of `planned_rows` that is found four times of five."""
    needed: Mapping[str, int]
    """Rows of each run, by difference: '1%' -> 14200."""


def power(suite: Suite, store: Store | None = None, *, rows: int | None = None) -> list[Power]:
    """Per cell and metric that is a ratio of sums over rows; metrics of pooled rows have no spread of a row. Executes nothing."""
    planned = planned_cells(suite, rows=rows)
    if store is None:
        n_rows = max(cell.n_rows for cell in planned)
        requested = next((m.rows for m in suite.metrics if m.name == "gen_ppl" and m.rows), n_rows)
        basis = f"assumed: {ASSUMED_SPREAD:g} nats of log-perplexity, usual in the field; not of this suite"
        return [_power(None, "any", "log-PPL", "nats", basis, ASSUMED_SPREAD, min(requested, n_rows))]
    return [_measured(store, suite, cell, metric, n) for cell in planned for metric, n in _metrics(suite, cell)]


def _metrics(suite: Suite, cell: PlannedCell) -> Iterator[tuple[Metric, int]]:
    for wanted in suite.metrics:
        for name in catalog.expand_metrics(wanted.name):
            metric = catalog.metrics().get(name)
            if metric.per_row is not None:
                yield metric, min(wanted.rows or cell.n_rows, cell.n_rows)


def _measured(store: Store, suite: Suite, planned: PlannedCell, metric: Metric, n_rows: int) -> Power:
    """The power from rows that the store has measured under the suite's measure: of this cell, or of the same setting under other
    weights or seeds."""
    scale: Literal["relative", "nats"] = "nats" if metric.per_row_scale == "log" else "relative"
    held = _held(store, suite, planned, metric)
    if held is None:
        return _unknown(planned, metric, scale, "not measured in this store", n_rows)
    try:
        stored = store.rows(held.cell, held.n_rows)
        found = row_sums(store, stored, metric, measurement=held.measurement, measure=suite.measure, n_rows=held.n_rows)
    except StoreError as error:
        return _unknown(planned, metric, scale, f"not measured in this store: {error.message}", n_rows)
    if scale == "relative" and found.value == 0.0:
        return _unknown(planned, metric, scale, "its value is 0, which has no relative differences", n_rows)
    spread = found.spread if scale == "nats" else found.spread / abs(found.value)
    usable = max(1, round(n_rows * len(found.rows) / held.n_rows))
    other = "" if held.cell == planned.cell.id else " under other weights or seeds"
    basis = f"measured on {len(found.rows)} rows{other}"
    return _power(planned.cell.id, _name(planned), metric.name, scale, basis, spread, usable)


@dataclass(frozen=True, slots=True)
class _Held:
    """Where a store has a metric of a setting."""

    cell: str
    measurement: Mapping[str, Any]
    """Its protocol."""
    n_rows: int


def _held(store: Store, suite: Suite, planned: PlannedCell, metric: Metric) -> _Held | None:
    """This cell before others of its setting, then most rows. None where nothing fits the suite's measure and judge."""
    setting = (planned.cell.model, planned.cell.steps, dict(planned.cell.options))
    found: list[_Held] = []
    for record in store.suites():
        document = record["suite"]
        if document.get("measure") != suite.measure.model_dump(mode="json") or document.get("judge") != suite.judge:
            continue
        for described in record["metrics"]:
            if (described["metric"], described["version"]) == (metric.name, metric.version):
                found += [
                    _Held(
                        cell["cell"],
                        described["protocol"]["measurement"],
                        min(cell["n_rows"], described["n_requested"]),
                    )
                    for cell in record["cells"]
                    if (cell["model"], cell["steps"], cell["options"]) == setting
                ]
    return max(found, key=lambda one: (one.cell == planned.cell.id, one.n_rows), default=None)


def _power(
    cell: str | None, name: str, metric: str, scale: Literal["relative", "nats"], basis: str, spread: float, n: int
) -> Power:
    log = scale == "nats"
    least = detectable_difference(spread, spread, n, n)
    needed = {f"{share:.0%}": rows_needed(spread, math.log1p(share) if log else share) for share in SHARES}
    return Power(cell, name, metric, scale, basis, n, spread, math.expm1(least) if log else least, needed)


def _unknown(
    planned: PlannedCell, metric: Metric, scale: Literal["relative", "nats"], basis: str, n_rows: int
) -> Power:
    return Power(planned.cell.id, _name(planned), metric.name, scale, basis, n_rows, None, None, {})


def _name(planned: PlannedCell) -> str:
    return planned.label + (f"@{planned.cell.steps}" if planned.cell.steps else "")
