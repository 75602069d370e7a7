"""Timing cells: sampling of every row of a suite's table at every batch size, alone and after everything else of the run.

A cell is stored when all of its repeats are done, so an interrupted run goes on at the next batch size. Scores stand on the sample cell's
row; their detail names the timing cell.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from elfbench.core.canonical import digest
from elfbench.core.errors import ConfigError, ElfbenchError
from elfbench.registry import catalog
from elfbench.running.metric_plan import MetricPlan
from elfbench.running.plan import PlannedCell, estimate_seconds, planned_cells
from elfbench.running.reporter import Reporter
from elfbench.running.sampling import Refresh, Resources, discard, how_made, out_of_memory, stale_ranges
from elfbench.running.timing.batch import Clock, as_columns, time_batch
from elfbench.running.timing.flops import matmul_rate
from elfbench.running.timing.setting import TimingSetting, timing_setting
from elfbench.spec.cell import Cell, timing_cell
from elfbench.spec.metric import EstimateContext, Rows
from elfbench.spec.sampling import Model
from elfbench.spec.suite import Suite
from elfbench.store.shards import RowRange
from elfbench.store.store import Store
from elfbench.store.timings import stored_timings, timing_table

_UNTIMED = ("reference", "control")
"""Families without a network: their speed says nothing."""
_WATCHED = 2
"""Runs after the timed ones: one for memory, one for FLOPs."""


@dataclass(slots=True)
class Timed:
    """What timing did. `gaps`: batch sizes, or scores, that there are not, and why."""

    runs_made: int = 0
    runs_kept: int = 0
    runs_stale: int = 0
    scores_made: int = 0
    gaps: list[dict[str, str]] = field(default_factory=list)


def with_timings(planned: Sequence[PlannedCell], setting: TimingSetting | None) -> list[PlannedCell]:
    """The planned cells, each with a timing cell for every batch size where it has a network."""
    if setting is None:
        return list(planned)
    return [
        replace(item, timings=tuple(timing_cell(item.cell, timing) for timing in setting.by_batch))
        if item.card.family not in _UNTIMED
        else item
        for item in planned
    ]


def plan_timings(suite: Suite, store: Store | None = None, *, device: str = "cpu") -> list[dict[str, Any]]:
    """Per timing cell: model, steps, batch, runs asked for and missing, estimated seconds and on what they rest; [] without timing."""
    if suite.timing is None:
        return []
    setting, found = timing_setting(suite.timing, device), []
    for item in with_timings(planned_cells(suite), setting):
        seconds, basis = estimate_seconds(item, store)
        for cell in item.timings:
            assert cell.timing is not None
            done = store is not None and store.n_rows(cell.id) >= setting.repeats
            runs = cell.timing.warmup + setting.repeats + _WATCHED
            found.append(
                {
                    "cell": cell.id,
                    "model": cell.model,
                    "steps": cell.steps,
                    "batch": cell.timing.batch,
                    "runs": runs,
                    "missing": 0 if done else runs,
                    "seconds": 0.0 if done else round(seconds * cell.timing.batch * runs, 1),
                    "basis": basis,
                }
            )
    return found


@dataclass(frozen=True, slots=True)
class _Session:
    """What all cells of a run are timed with."""

    store: Store
    resources: Resources
    reporter: Reporter
    refresh: Refresh
    clock: Clock
    repeats: int
    done: Timed = field(default_factory=Timed)
    rates: dict[str, float] = field(default_factory=dict)
    """Rate of matrix products by number format, measured once."""

    def rate(self, dtype: str) -> float:
        if dtype not in self.rates:
            self.rates[dtype] = matmul_rate(self.resources.device, dtype, self.clock)
        return self.rates[dtype]


def time_suite(
    planned: Sequence[PlannedCell],
    plans: Sequence[MetricPlan],
    store: Store,
    resources: Resources,
    reporter: Reporter,
    refresh: Refresh = "none",
    clock: Clock = time.perf_counter,
) -> Timed:
    """Times what is missing, row by row, and scores each row under `plans`, all of measurement timing. What can't be timed is a gap."""
    if not plans:
        return Timed()
    session = _Session(store, resources, reporter, refresh, clock, plans[0].n_requested)
    for item in planned:
        missing = _missing(item, session)
        if missing:
            reporter.stage(f"timing {item.name}", len(missing), "batch sizes")
            entry = catalog.models().get(item.cell.model)
            model = entry.load(weights=item.weights, device=resources.device, dtype=item.cell.numerics.dtype)
            for cell in missing:
                _time_cell(item, cell, model, session)
                reporter.advance(1)
        _score(item, plans, session)
    return session.done


def _missing(item: PlannedCell, session: _Session) -> list[Cell]:
    """Timing cells with fewer repeats than asked for."""
    store, done, missing = session.store, session.done, []
    for cell in item.timings:
        assert cell.timing is not None
        store.add_cell(cell)
        discard(cell.id, f"timing of {item.name}, batch {cell.timing.batch}", store, session.refresh, session.reporter)
        done.runs_stale += sum(part.stop - part.start for part in stale_ranges(cell.id, store))
        if store.n_rows(cell.id) >= session.repeats:
            done.runs_kept += session.repeats
        else:
            missing.append(cell)
    return missing


def _time_cell(item: PlannedCell, cell: Cell, model: Model, session: _Session) -> None:
    """Stores all repeats of one batch size, or says why there are none."""
    assert cell.timing is not None
    batch, repeats, device = cell.timing.batch, session.repeats, session.resources.device
    rate = session.rate(cell.numerics.dtype)
    try:
        timed = time_batch(model, cell, repeats, prompts=item.prompts, device=device, clock=session.clock)
    except (ElfbenchError, RuntimeError, MemoryError) as error:
        if not isinstance(error, ElfbenchError) and not out_of_memory(error):
            raise
        why = f"batch {batch}: {_line(error) if isinstance(error, ElfbenchError) else 'out of memory'}"
        session.done.gaps.append({"cell": cell.id, "model": item.name, "metric": "timing", "why": why})
        return
    seconds = sum(run.seconds for run in timed.runs)
    table = timing_table(as_columns(timed, cell, rate))
    session.store.write_shard(cell.id, RowRange(0, repeats), table, how_made(seconds, batch, device))
    session.reporter.note(f"timed {cell.id[:12]} {repeats} batches of {batch} of {item.name} in {seconds:.1f} s")
    session.done.runs_made += repeats


def _score(item: PlannedCell, plans: Sequence[MetricPlan], session: _Session) -> None:
    """Scores a row of the table from the batch sizes that could be timed; a score of other timings is replaced."""
    store, repeats = session.store, session.repeats
    cells = {cell.timing.batch: cell.id for cell in item.timings if cell.timing and store.n_rows(cell.id) >= repeats}
    if not cells:
        return
    columns = stored_timings(store, list(cells.values()), repeats)
    rows_digest = digest({name: _plain(values) for name, values in columns.items()})
    rows = Rows(columns, n=repeats, n_requested=repeats, n_dropped=0)
    for plan in plans:
        key = digest({"cell": item.cell.id, "protocol": plan.fingerprint, "n_requested": repeats})
        there = store.score(key)
        if there is not None and there.rows_digest == rows_digest:
            continue
        try:
            estimate = plan.metric.estimate(rows, None, EstimateContext(level=plan.protocol["interval"]["level"]))
        except ConfigError as error:
            session.done.gaps.append(
                {"cell": item.cell.id, "model": item.name, "metric": plan.metric.name, "why": _line(error)}
            )
            continue
        place = cells[int(estimate.detail.get("batch", max(cells)))]
        traced = replace(estimate, detail={**estimate.detail, "timing_cell": place})
        # Memory is watched in one run, passes are counted in those of all batch sizes.
        used = replace(rows, n=int(estimate.detail.get("runs", repeats)))
        store.write_score(plan.score(item.cell.id, traced, used, rows_digest=rows_digest, reference_digest=None), key)
        session.done.scores_made += 1


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


def _plain(values: np.ndarray) -> list[Any]:
    """NaN, which JSON does not have, as null."""
    return [None if isinstance(value, float) and np.isnan(value) else value for value in values.tolist()]
