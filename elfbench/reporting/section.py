"""A section of a report: one suite record of a store, with the scores that belong to its cells and metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from elfbench.core.canonical import digest
from elfbench.core.errors import ConfigError, StoreError
from elfbench.spec.metric import Score
from elfbench.store.store import Store

# The order of table blocks; a family that is not here comes last.
BLOCKS = {
    "reference": "Real text",
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
    family: str
    steps: int | None
    options: Mapping[str, Any]
    n_rows: int
    n_params: int | None
    scores: Mapping[str, tuple[str, Score]]

    @property
    def name(self) -> str:
        """Label with what tells this row from others of the same model."""
        parts = [f"{key}={value}" for key, value in sorted(self.options.items())]
        return self.label + (f" ({', '.join(parts)})" if parts else "")

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
    digest: str

    @property
    def name(self) -> str:
        return str(self.suite["suite"])

    def blocks(self) -> list[tuple[str, list[ScoredCell]]]:
        """(title, cells) in table order; cells keep the suite's order."""
        order = [*BLOCKS, *sorted({cell.family for cell in self.cells} - set(BLOCKS))]
        grouped = [(family, [cell for cell in self.cells if cell.family == family]) for family in order]
        return [(BLOCKS.get(family, family), cells) for family, cells in grouped if cells]

    def real_text(self) -> ScoredCell | None:
        """The row of real held-out text, if the suite has one."""
        return next((cell for cell in self.cells if cell.family == "reference"), None)

    def missing(self) -> list[str]:
        """What was asked for and is not there."""
        return [
            f"{cell.name}{f' @ {cell.steps} steps' if cell.steps else ''}: {metric['title']}"
            for cell in self.cells
            for metric in self.metrics
            if metric["metric"] not in cell.scores
        ]


def load_sections(store: Store, suite: str | None) -> list[Section]:
    """The suites of a store, or the one that `suite` (a name or NAME-DIGEST prefix) picks.

    Raises ConfigError when the store holds several versions of one suite and none was picked, or none fits.
    """
    records = store.suites()
    if not records:
        raise StoreError(
            "a store without any suite",
            key=str(store.root),
            remedy="elfbench run SUITE --out STORE, or elfbench score FILE --out STORE",
        )
    named = {f"{record['suite']['suite']}-{digest(record)[:12]}": record for record in records}
    if suite is not None:
        picked = {name: record for name, record in named.items() if name.startswith(suite)}
        if not picked:
            raise ConfigError("no such suite in this store", key="--suite", found=suite, allowed=sorted(named))
        named = picked
    names = [record["suite"]["suite"] for record in named.values()]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        versions = [name for name, record in named.items() if record["suite"]["suite"] in twice]
        raise ConfigError(
            f"the store holds several versions of suite {twice[0]!r}",
            key="--suite",
            allowed=versions,
            remedy=f"--suite {versions[0]}",
        )
    scores: dict[tuple[str, str, int], tuple[str, Score]] = {}
    for key, score in store.scores():
        scores[score.cell, score.fingerprint, score.n_requested] = (key, score)
    return [_section(record, scores) for record in named.values()]


def _section(record: Mapping[str, Any], scores: Mapping[tuple[str, str, int], tuple[str, Score]]) -> Section:
    metrics = tuple(record["metrics"])
    cells = []
    for cell in record["cells"]:
        found = {
            metric["metric"]: scores[place]
            for metric in metrics
            if (place := (cell["cell"], metric["fingerprint"], metric["n_requested"])) in scores
        }
        fields = {name: cell[name] for name in ("model", "label", "family", "steps", "options", "n_rows", "n_params")}
        cells.append(ScoredCell(id=cell["cell"], scores=found, **fields))
    return Section(record["suite"], record["command"], tuple(cells), metrics, record.get("reference"), digest(record))
