"""The frontier of a suite that samples a model at several temperatures: gen-PPL along entropy, and which model is lower at matched entropy.

One curve is one model at one number of steps with all else equal, through its temperatures; steps are never mixed in a curve. Suites without
a temperature grid have none of it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from elfbench.core.errors import StoreError
from elfbench.registry import catalog
from elfbench.reporting.escaping import markdown, one_line
from elfbench.reporting.numbers import MISSING, decimals
from elfbench.reporting.section import MODEL_FAMILIES, ScoredCell, Section
from elfbench.spec.measure import Measure
from elfbench.statistics.interval import Interval
from elfbench.statistics.matched import Curve, Dominance, Missing, at_entropy, curve_of, dominance
from elfbench.statistics.ratio import ratio_of_sums
from elfbench.store.row_sums import RowSums, row_sums
from elfbench.store.store import Store

ENTROPY, PERPLEXITY = "unigram_entropy", "gen_ppl"
TEMPERATURES = ("temperature", "decode_temperature")
"""Options along which a curve runs."""
_PLAIN_LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Line:
    """One model at one number of steps."""

    name: str
    cells: tuple[ScoredCell, ...]
    root_seed: int
    curve: Curve | Missing
    value: Interval | Missing
    """log-PPL at the reference's entropy."""

    @property
    def steps(self) -> int | None:
        return self.cells[0].steps

    @property
    def title(self) -> str:
        return self.name + (f" @ {self.steps}" if self.steps else "")

    def pairs_with(self, other: Line) -> bool:
        """Whether row i of both has the same noise. Imported rows have no seeds."""
        imported = any(line.cells[0].model.startswith("imported:") for line in (self, other))
        return not imported and self.root_seed == other.root_seed and _n_rows(self.cells) == _n_rows(other.cells)


@dataclass(frozen=True, slots=True)
class Frontier:
    """All curves of a section."""

    lines: tuple[Line, ...]
    contests: tuple[tuple[Line, Line, Dominance], ...]
    """Of two models, at equal steps where both have steps."""
    reference: ScoredCell | None
    entropy: Interval | None
    """The reference's."""
    level: float
    level_of_contests: float


@dataclass(frozen=True, slots=True)
class TextTable:
    """A small table for markdown and HTML."""

    caption: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def frontier_of(store: Store, section: Section) -> Frontier | None:
    """The section's curves with their values at the reference's entropy; None where no model has two temperatures under both metrics."""
    groups = _groups(store, section)
    if all(len(cells) < 2 for cells in groups):
        return None
    level = float(section.suite.get("level", _PLAIN_LEVEL))
    aim = _aim(store, section)
    names = _names(groups)
    lines = tuple(_line(store, section, cells, name, aim, level) for cells, name in zip(groups, names, strict=True))
    able = [(line, line.curve) for line in lines if isinstance(line.curve, Curve)]
    pairs = [
        (a, b) for a, b in itertools.combinations(able, 2)
        if a[0].name != b[0].name and (a[0].steps == b[0].steps or None in (a[0].steps, b[0].steps))
    ]  # fmt: skip
    adjusted = 1.0 - (1.0 - level) / max(1, len(pairs))
    contests = tuple(
        (a[0], b[0], dominance(a[1], b[1], paired=a[0].pairs_with(b[0]), level=adjusted)) for a, b in pairs
    )
    entropy = None if isinstance(aim, Missing) else ratio_of_sums(*aim, level=level)
    return Frontier(lines, contests, section.reference_row(), entropy, level, adjusted)


def _aim(store: Store, section: Section) -> tuple[np.ndarray, np.ndarray] | Missing:
    """(entropy, weights) of the reference's rows."""
    reference = section.reference_row()
    if reference is None or reference.value(ENTROPY) is None:
        return Missing("the suite has no reference row, such as real-text, with an entropy")
    try:
        return _sums(store, section, reference, ENTROPY).ratio
    except StoreError as error:
        return Missing(one_line(str(error)))


def _groups(store: Store, section: Section) -> list[list[ScoredCell]]:
    """Model cells that have both metrics, apart by everything but the temperature."""
    groups: dict[str, list[ScoredCell]] = {}
    for cell in section.cells:
        if cell.family in MODEL_FAMILIES and cell.value(ENTROPY) and cell.value(PERPLEXITY):
            identity = store.cell(cell.id)
            others = {key: value for key, value in identity.options.items() if key not in TEMPERATURES}
            groups.setdefault(identity.model_copy(update={"options": others}).id, []).append(cell)
    return list(groups.values())


def _names(groups: Sequence[Sequence[ScoredCell]]) -> list[str]:
    """The model's name with its other options; where models of one name are still the same, the first cell's id."""
    names = []
    for cells in groups:
        others = [f"{key}={value}" for key, value in sorted(cells[0].options.items()) if key not in TEMPERATURES]
        names.append(cells[0].model + (f" ({', '.join(others)})" if others else ""))
    places = [(name, cells[0].steps) for name, cells in zip(names, groups, strict=True)]
    return [
        f"{place[0]} [{cells[0].id[:8]}]" if places.count(place) > 1 else place[0]
        for place, cells in zip(places, groups, strict=True)
    ]


def _line(
    store: Store,
    section: Section,
    cells: Sequence[ScoredCell],
    name: str,
    aim: tuple[np.ndarray, np.ndarray] | Missing,
    level: float,
) -> Line:
    found: Curve | Missing
    try:
        found = curve_of([_point(store, section, cell, _n_rows(cells)) for cell in cells])
    except StoreError as error:
        found = Missing(one_line(str(error)))
    value: Interval | Missing
    if isinstance(found, Missing):
        value = found
    elif isinstance(aim, Missing):
        value = aim
    else:
        value = at_entropy(found, aim, level=level)
    return Line(name, tuple(cells), store.cell(cells[0].id).root_seed, found, value)


def _point(
    store: Store, section: Section, cell: ScoredCell, n_rows: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """(entropy, its weights, NLL, tokens), each [n_rows] with zeros where the metric did not use a row."""
    columns = np.zeros((4, n_rows))
    for place, metric in ((0, ENTROPY), (2, PERPLEXITY)):
        sums = _sums(store, section, cell, metric)
        columns[place, sums.rows] = sums.numerator
        columns[place + 1, sums.rows] = sums.denominator
    return columns[0], columns[1], columns[2], columns[3]


def _sums(store: Store, section: Section, cell: ScoredCell, name: str) -> RowSums:
    score, metric = cell.scores[name][1], catalog.metrics().get(name)
    if metric.version != score.version:
        raise StoreError(
            f"{name} was scored by another version",
            key=cell.label,
            found=score.version,
            allowed=str(metric.version),
            remedy="run the suite again",
        )
    return row_sums(
        store,
        store.rows(cell.id, score.n_requested),
        metric,
        measurement=score.protocol["measurement"],
        measure=Measure.model_validate(section.suite["measure"]),
        n_rows=score.n_requested,
    )


def _n_rows(cells: Sequence[ScoredCell]) -> int:
    return max(cell.scores[name][1].n_requested for cell in cells for name in (ENTROPY, PERPLEXITY))


def frontier_tables(frontier: Frontier) -> list[TextTable]:
    """Perplexity at the data's entropy, and the verdicts of the pairs where there are any."""
    tables = [_value_table(frontier)]
    if frontier.contests:
        tables.append(_contest_table(frontier))
    return tables


def _value_table(frontier: Frontier) -> TextTable:
    rows = []
    for line in frontier.lines:
        shown = f"{MISSING} ({line.value.reason})" if isinstance(line.value, Missing) else _exp_text(line.value)
        n = str(line.curve.n) if isinstance(line.curve, Curve) else MISSING
        rows.append((line.name, str(line.steps or ""), str(len(line.cells)), n, shown))
    text = f"gen-PPL where each model has the data's entropy, with {frontier.level:.0%} intervals over rows of model and data."
    if frontier.reference is not None and frontier.entropy is not None:
        text += f" The data ({frontier.reference.label}) has {_text(frontier.entropy)} nats"
        own = frontier.reference.value(PERPLEXITY)
        text += f" and gen-PPL {_text(Interval(own.value, own.low, own.high, own.method))}." if own else "."
    return TextTable(
        f"{text} Between temperatures: PCHIP of log-PPL over entropy, never extrapolated.",
        ("model", "steps", "temperatures", "n", "gen-PPL at the data's entropy"),
        tuple(rows),
    )


def _contest_table(frontier: Frontier) -> TextTable:
    rows = []
    for a, b, found in frontier.contests:
        where = MISSING
        if found.difference is not None:
            where = f"{found.difference.entropy[0]:.2f} to {found.difference.entropy[-1]:.2f}"
        said = {
            "A": f"{a.title} is lower",
            "B": f"{b.title} is lower",
            "cross": "cross: no verdict",
            "unclear": "no sure difference: no verdict",
            "apart": "no common range: no verdict",
        }[found.verdict]
        rows.append((f"{a.title} / {b.title}", where, said))
    return TextTable(
        f"At matched entropy: lower over the whole common range, by a simultaneous band of level {frontier.level_of_contests:.4g} "
        f"({frontier.level:.0%} for all {len(rows)} pairs together, Bonferroni).",
        ("pair", "entropy (nats)", "gen-PPL"),
        tuple(rows),
    )


def markdown_tables(tables: Sequence[TextTable]) -> str:
    """GitHub tables, each with its caption below."""
    parts = []
    for table in tables:
        lines = [table.headers, tuple(":--" for _ in table.headers), *(map(markdown, row) for row in table.rows)]
        parts.append("\n".join("| " + " | ".join(line) + " |" for line in lines) + f"\n\n{markdown(table.caption)}\n")
    return "\n".join(parts)


def _exp_text(interval: Interval) -> str:
    value, low, high = (math.exp(number) for number in (interval.value, interval.low, interval.high))
    return _text(Interval(value, low, high, interval.method))


def _text(interval: Interval) -> str:
    places = decimals(interval.low, interval.high)
    return f"{interval.value:.{places}f} [{interval.low:.{places}f}, {interval.high:.{places}f}]"
