"""A section of a report: one suite record of a store, with the scores that belong to its cells and metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from elfbench.core.canonical import digest
from elfbench.core.errors import ConfigError, StoreError
from elfbench.spec.metric import Score
from elfbench.store.store import Store

# The order of table blocks; a family that is not here comes last.
BLOCKS = {
    "reference": "Reference",
    "control": "Controls",
    "autoregressive": "Autoregressive",
    "discrete": "Discrete diffusion",
    "continuous": "Continuous diffusion",
    "imported": "Imported samples",
}
MODEL_FAMILIES = ("autoregressive", "discrete", "continuous", "imported")


@dataclass(frozen=True, slots=True)
class ScoredCell:
    """A row of the table. `scores` holds (key, score) by metric name; an absent metric was not computed."""

    id: str
    model: str
    label: str
    """What tells this row from others of the same model and steps."""
    family: str
    steps: int | None
    options: Mapping[str, Any]
    n_rows: int
    n_params: int | None
    scores: Mapping[str, tuple[str, Score]]

    @property
    def name(self) -> str:
        """'MDLM @ 32 steps'."""
        return self.label + (f" @ {self.steps} steps" if self.steps else "")

    def value(self, metric: str) -> Score | None:
        """The score, or None when it is missing."""
        found = self.scores.get(metric)
        return found[1] if found else None


@dataclass(frozen=True, slots=True)
class Section:
    """One suite of a store."""

    suite: Mapping[str, Any]
    command: str
    cells: tuple[ScoredCell, ...]
    metrics: tuple[Mapping[str, Any], ...]
    reference: Mapping[str, Any] | None
    id: str
    """NAME-DIGEST of the suite document: what --suite takes."""
    faults: str = ""
    """What captions say of broken and left out rows (`row_faults`)."""

    @property
    def name(self) -> str:
        return str(self.suite["suite"])

    def blocks(self) -> list[tuple[str, list[ScoredCell]]]:
        """(title, cells) in table order; cells keep the suite's order."""
        order = [*BLOCKS, *sorted({cell.family for cell in self.cells} - set(BLOCKS))]
        grouped = [(family, [cell for cell in self.cells if cell.family == family]) for family in order]
        return [(BLOCKS.get(family, family), cells) for family, cells in grouped if cells]

    def reference_row(self) -> ScoredCell | None:
        """The row of real held-out text, or of the language itself, if the suite has one."""
        return next((cell for cell in self.cells if cell.family == "reference"), None)

    def missing(self) -> list[str]:
        """What was asked for and is not there; controls and real text are not timed."""
        return [
            f"{cell.name}: {metric['title']}"
            for cell in self.cells
            for metric in self.metrics
            if metric["metric"] not in cell.scores and (cell.family in MODEL_FAMILIES or not _is_timing(metric))
        ]


def _is_timing(metric: Mapping[str, Any]) -> bool:
    return bool(metric["protocol"]["measurement"]["measurement"] == "timing")


def load_sections(store: Store, suite: str | None) -> list[Section]:
    """The suites of a store, or the one that `suite` (a name or NAME-DIGEST prefix) picks.

    Records of one suite document are one section: runs with more rows, or more metrics and files that were scored later. Raises ConfigError
    when the store holds several documents under one name and none was picked, or none fits.
    """
    records: dict[str, list[Mapping[str, Any]]] = {}
    for record in store.suites():
        records.setdefault(f"{record['suite']['suite']}-{digest(record['suite'])[:12]}", []).append(record)
    if not records:
        raise StoreError(
            "a store without any suite",
            key=str(store.root),
            remedy="elfbench run SUITE --out STORE, or elfbench score FILE --out STORE",
        )
    picked = {name: parts for name, parts in records.items() if suite is None or name.startswith(suite)}
    if not picked:
        raise ConfigError("no such suite in this store", key="--suite", found=suite, allowed=sorted(records))
    names = [parts[0]["suite"]["suite"] for parts in picked.values()]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        versions = [name for name, parts in picked.items() if parts[0]["suite"]["suite"] in twice]
        raise ConfigError(
            f"the store holds several versions of suite {twice[0]!r}",
            key="--suite",
            allowed=versions,
            remedy=f"--suite {versions[0]}",
        )
    scores: dict[tuple[str, str], dict[int, tuple[str, Score]]] = {}
    for key, score in store.scores():
        scores.setdefault((score.cell, score.fingerprint), {})[score.n_requested] = (key, score)
    return [_section(name, parts, scores) for name, parts in picked.items()]


def _holder(cell: Mapping[str, Any], metric: Mapping[str, Any]) -> str:
    """The cell that holds a metric's rows: a row's own, or its model's likelihood cell ('' where there is none)."""
    likelihood = metric["protocol"]["measurement"]["measurement"] == "likelihood"
    return str(cell.get("likelihood", "") if likelihood else cell["cell"])


def _section(
    name: str, records: Sequence[Mapping[str, Any]], scores: Mapping[tuple[str, str], Mapping[int, tuple[str, Score]]]
) -> Section:
    """One section of all records of a suite document; of two scores that differ in rows only, the one with more rows."""
    metrics: dict[tuple[str, str], Mapping[str, Any]] = {}
    cells: dict[str, Mapping[str, Any]] = {}
    asked: dict[tuple[str, str], set[int]] = {}
    for record in records:
        for metric in record["metrics"]:
            place = (metric["metric"], metric["fingerprint"])
            if place not in metrics or metric["n_requested"] > metrics[place]["n_requested"]:
                metrics[place] = metric
            for cell in record["cells"]:
                asked.setdefault((_holder(cell, metric), metric["fingerprint"]), set()).add(metric["n_requested"])
        for cell in record["cells"]:
            if cell["cell"] not in cells or cell["n_rows"] > cells[cell["cell"]]["n_rows"]:
                cells[cell["cell"]] = cell
    scored = []
    for cell in cells.values():
        found: dict[str, tuple[str, Score]] = {}
        for metric in metrics.values():
            place = (_holder(cell, metric), metric["fingerprint"])
            there = {n: one for n, one in scores.get(place, {}).items() if n in asked.get(place, ())}
            if there:
                found[metric["metric"]] = there[max(there)]
        fields = {
            field: cell[field] for field in ("model", "label", "family", "steps", "options", "n_rows", "n_params")
        }
        scored.append(ScoredCell(id=cell["cell"], scores=found, **fields))
    first = records[0]
    reference = next((record["reference"] for record in records if record.get("reference")), None)
    return Section(first["suite"], first["command"], tuple(scored), tuple(metrics.values()), reference, name)
