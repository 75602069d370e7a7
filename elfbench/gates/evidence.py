"""What a store knows of the gates of a suite: numbers by row, values, ids hashes, and how the rows were made."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from elfbench.core.canonical import array_digest, digest
from elfbench.core.errors import ConfigError, StoreError
from elfbench.registry import catalog
from elfbench.spec.measure import Measure
from elfbench.spec.metric import Metric
from elfbench.spec.suite import SuiteGates
from elfbench.store.row_sums import RowSums, row_sums
from elfbench.store.shards import StoredRows
from elfbench.store.store import Store

BLOCK = 64
"""Rows under one ids hash."""
ScoreKey = tuple[str, str, int]
"""Cell, fingerprint, rows asked for."""


@dataclass(frozen=True, slots=True)
class CellEvidence:
    """One cell of the suite."""

    name: str
    """e.g. 'mdlm-oracle @ 16 steps'; with the label where the suite gives one."""
    identity: Mapping[str, Any]
    n_rows: int
    root_seed: int
    ids: tuple[str, ...]
    """Hash of the ids of every whole block of 64 rows."""
    made: Mapping[str, Any]
    """Platform and device of its rows; empty where they differ from shard to shard."""
    code: tuple[str, ...]
    """Digests of the code that made its rows."""
    losses: Mapping[str, RowSums]
    """By metric."""
    values: Mapping[str, float]
    """Stored value of the metrics of floor gates."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """One suite of a store."""

    suite: Mapping[str, Any]
    """The suite document."""
    gates: SuiteGates
    protocols: Mapping[str, Mapping[str, Any]]
    """Full protocol by metric."""
    cells: tuple[CellEvidence, ...]

    @property
    def n_rows(self) -> int:
        """Rows that every cell has."""
        return min(cell.n_rows for cell in self.cells)


def gather(store: Store, suite: str) -> Evidence:
    """The evidence of `suite` in `store`. Raises ConfigError when the store holds no such suite, or one without gates, StoreError when a
    measurement or score that a gate needs is missing."""
    records = [record for record in store.suites() if record["suite"]["suite"] == suite]
    if not records:
        held = sorted({record["suite"]["suite"] for record in store.suites()})
        raise ConfigError(
            "the store holds no run of the baseline's suite",
            key="suite",
            found=", ".join(held) or "none",
            allowed=suite,
            remedy=f"elfbench run {suite} --out STORE",
        )
    _refuse_several(records)
    record = max(records, key=lambda one: min(cell["n_rows"] for cell in one["cells"]))
    document = record["suite"]
    if not document.get("gates"):
        raise ConfigError(
            "the suite has no gates",
            key="gates",
            found=suite,
            remedy="add 'gates:' to the suite (docs/quality-gates.md)",
        )
    # JSON has no tuples, so the strict record is read from text.
    gates = SuiteGates.model_validate_json(json.dumps(document["gates"]))
    described = {metric["metric"]: metric for metric in record["metrics"]}
    wanted = [*(gate.metric for gate in gates.loss), *(gate.metric for gate in gates.floor)]
    lacking = sorted({name for name in wanted if name not in described})
    if lacking:
        raise ConfigError(
            "a gate's metric is not among the metrics of the suite",
            key="gates",
            found=", ".join(lacking),
            allowed=sorted(described),
            remedy="add it to 'metrics:' and run again",
        )
    names = [cell_name(cell) for cell in record["cells"]]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(
            "cells of a gate suite need names of their own",
            key="models",
            found=f"several {', '.join(twice)}",
            remedy="give each a label in the suite",
        )
    metrics = {gate.metric: _loss_metric(gate.metric) for gate in gates.loss}
    measure = Measure.model_validate(document["measure"])
    # Read once: a store has a file per score.
    scores = {(one.cell, one.fingerprint, one.n_requested): one.value for _, one in store.scores()}
    cells = [_cell(store, cell, gates, described, metrics, measure, scores) for cell in record["cells"]]
    protocols = {name: described[name]["protocol"] for name in wanted}
    return Evidence(document, gates, protocols, tuple(cells))


def _refuse_several(records: Sequence[Mapping[str, Any]]) -> None:
    """Looks of one run differ in rows only; a store of two seeds, versions or protocols does not say which run is meant."""
    runs = {}
    for record in records:
        suite = {key: value for key, value in record["suite"].items() if key not in ("rows", "title", "description")}
        protocols = {metric["metric"]: metric["protocol"] for metric in record["metrics"]}
        runs[digest([suite, protocols])] = f"version {suite['version']}, seed {suite['seed']}"
    if len(runs) > 1:
        raise ConfigError(
            "the store holds several runs of the suite that differ in more than rows",
            key="suite",
            found="; ".join(sorted(runs.values())),
            allowed="one",
            remedy="run into a store of its own: --out NEW",
        )


def _loss_metric(name: str) -> Metric:
    metric = catalog.metrics().get(name)
    if metric.per_row is None:
        raise ConfigError(
            f"{name} is pooled over rows, so it can be no loss gate",
            key="gates.loss",
            found=name,
            allowed=[
                one
                for one in catalog.metrics().names()
                if not one.endswith(":") and catalog.metrics().get(one).per_row is not None
            ],
            remedy="make it a floor gate",
        )
    return metric


def _cell(
    store: Store,
    cell: Mapping[str, Any],
    gates: SuiteGates,
    described: Mapping[str, Mapping[str, Any]],
    metrics: Mapping[str, Metric],
    measure: Measure,
    scores: Mapping[ScoreKey, float],
) -> CellEvidence:
    stored = store.cell(cell["cell"])
    rows = store.rows(stored.id, cell["n_rows"])
    made = [store.made(stored.id, part) for part in store.ranges(stored.id) if part.start < cell["n_rows"]]
    places = [{"device": one.get("device"), **one.get("platform", {})} for one in made]
    losses = {
        name: row_sums(
            store,
            rows,
            metric,
            measurement=described[name]["protocol"]["measurement"],
            measure=measure,
            n_rows=min(cell["n_rows"], described[name]["n_requested"]),
        )
        for name, metric in metrics.items()
    }
    values = {gate.metric: _value(scores, stored.id, described[gate.metric]) for gate in gates.floor}
    return CellEvidence(
        name=cell_name(cell),
        identity=stored.model_dump(mode="json"),
        n_rows=cell["n_rows"],
        root_seed=stored.root_seed,
        ids=_hashes(rows),
        made=places[0] if places and all(place == places[0] for place in places) else {},
        code=tuple(sorted({str(one["code"]) for one in made if "code" in one})),
        losses=losses,
        values=values,
    )


def cell_name(cell: Mapping[str, Any]) -> str:
    """How gates call a cell of a suite record."""
    return str(cell["label"]) + (f" @ {cell['steps']} steps" if cell["steps"] else "")


def _value(scores: Mapping[ScoreKey, float], cell_id: str, described: Mapping[str, Any]) -> float:
    key = (cell_id, described["fingerprint"], described["n_requested"])
    if key not in scores:
        raise StoreError(
            "a gate's metric was not scored",
            key=str(described["metric"]),
            found=f"cell {cell_id[:12]}",
            remedy="run the suite again; it says why a metric could not be scored",
        )
    return scores[key]


def _hashes(rows: StoredRows) -> tuple[str, ...]:
    whole = len(rows.tokens) // BLOCK
    return tuple(array_digest(rows.tokens[number * BLOCK : (number + 1) * BLOCK])[:16] for number in range(whole))
