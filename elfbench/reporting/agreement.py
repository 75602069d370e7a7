"""Do the judges agree? Where a suite has one metric under two or more judges or featurizers (`NAME@INSTRUMENT`): how alike they order its rows,
and which pairs of rows they put in opposite orders, each beyond its intervals.
"""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from elfbench.core.errors import ConfigError, StoreError
from elfbench.registry import catalog
from elfbench.reporting.caption import judge_title
from elfbench.reporting.cell_sums import sums_of
from elfbench.reporting.discrimination import name_of
from elfbench.reporting.escaping import spreadsheet
from elfbench.reporting.frontier import TextTable
from elfbench.reporting.numbers import MISSING, formatted
from elfbench.reporting.section import MODEL_FAMILIES, ScoredCell, Section
from elfbench.spec.metric import Score
from elfbench.statistics.agreement import (
    MIN_SYSTEMS,
    Association,
    Statistic,
    SurePairs,
    association,
    bootstrap_agreement,
    sure_pairs,
)
from elfbench.statistics.interval import Interval
from elfbench.statistics.ranks import mean_ranks
from elfbench.store.row_sums import RowSums
from elfbench.store.store import Store

_LEVEL = 0.95
_GREEK = {"rho": "Spearman's rho", "tau": "Kendall's tau"}


@dataclass(frozen=True, slots=True)
class Agreement:
    """Two instruments on the rows that both have scored."""

    metric: str
    """Title without the instrument."""
    names: tuple[str, str]
    """Of the two metrics."""
    titles: tuple[str, str]
    """Of the two instruments."""
    cells: tuple[ScoredCell, ...]
    kind: str
    """rows: all of the table; models: the trained models alone."""
    ranks: Mapping[Statistic, tuple[Association, Interval | None]]
    pairs: SurePairs
    level: float


def agreements(store: Store, section: Section) -> list[Agreement]:
    """Of all rows, and of the models alone where there are enough; none where the suite has no metric under two instruments."""
    found = []
    for first, second in _couples(section):
        cells = [
            cell for _, group in section.blocks() for cell in group if _scores(cell, first, second) is not None
        ]  # fmt: skip
        models = [cell for cell in cells if cell.family in MODEL_FAMILIES]
        for kind, chosen in (("all rows", cells), ("models", models)):
            if len(chosen) >= MIN_SYSTEMS and (one := _agreement(store, section, first, second, kind, chosen)):
                found.append(one)
    return found


def _couples(section: Section) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Pairs of columns of one metric, under different instruments."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for metric in section.metrics:
        if judge_title(metric) is not None:
            groups.setdefault(metric["metric"].partition("@")[0], []).append(metric)
    couples = [pair for group in groups.values() for pair in itertools.combinations(group, 2)]
    return [(a, b) for a, b in couples if _instrument(a)["digest"] != _instrument(b)["digest"]]


def _instrument(metric: Mapping[str, Any]) -> Mapping[str, Any]:
    measurement = metric["protocol"]["measurement"]
    found: Mapping[str, Any] = measurement.get("judge") or measurement["featurizer"]
    return found


def _scores(cell: ScoredCell, *metrics: Mapping[str, Any]) -> tuple[Score, Score] | None:
    a, b = (cell.value(metric["metric"]) for metric in metrics)
    return (a, b) if a is not None and b is not None else None


def _agreement(
    store: Store,
    section: Section,
    first: Mapping[str, Any],
    second: Mapping[str, Any],
    kind: str,
    cells: Sequence[ScoredCell],
) -> Agreement | None:
    scores = [both for cell in cells if (both := _scores(cell, first, second))]
    level = float(section.suite.get("level", _LEVEL))
    a, b = ([both[side].value for both in scores] for side in (0, 1))
    systems = _systems(store, section, cells, scores)
    ranks: dict[Statistic, tuple[Association, Interval | None]] = {}
    statistics: tuple[Statistic, ...] = ("rho", "tau")
    for statistic in statistics:
        try:
            interval = bootstrap_agreement(systems, statistic, level=level) if systems else None
            ranks[statistic] = (association(a, b, statistic), interval)
        except ConfigError:
            return None  # all values of an instrument are equal
    return Agreement(
        metric=_title(first),
        names=(first["metric"], second["metric"]),
        titles=(_instrument(first)["title"], _instrument(second)["title"]),
        cells=tuple(cells),
        kind=kind,
        ranks=ranks,
        pairs=sure_pairs(*([(both[side].low, both[side].high) for both in scores] for side in (0, 1))),
        level=level,
    )


def _title(metric: Mapping[str, Any]) -> str:
    base = metric["metric"].partition("@")[0]
    return catalog.metrics().get(base).title if base in catalog.metrics().names() else base


def _systems(
    store: Store, section: Section, cells: Sequence[ScoredCell], scores: Sequence[tuple[Score, Score]]
) -> list[np.ndarray] | None:
    """Per cell [4, n], numerators and denominators by row under both; None where the metric is no ratio of sums over stored rows."""
    try:
        return [
            _by_row([_sums(store, section, cell, one) for one in both])
            for cell, both in zip(cells, scores, strict=True)
        ]
    except (ConfigError, StoreError):
        return None


def _sums(store: Store, section: Section, cell: ScoredCell, score: Score) -> RowSums:
    metric = catalog.metrics().get(score.metric)
    if metric.per_row is None or metric.version != score.version:
        raise StoreError("a metric without statistics by row", key=score.metric)
    return sums_of(store, section, score, store.rows(cell.id, min(score.n_requested, cell.n_rows)))


def _by_row(sums: Sequence[RowSums]) -> np.ndarray:
    columns = np.zeros((4, 1 + max(int(one.rows[-1]) for one in sums)))
    for side, one in enumerate(sums):
        columns[2 * side, one.rows] = one.numerator
        columns[2 * side + 1, one.rows] = one.denominator
    used: np.ndarray = columns[:, (columns[1::2] > 0).any(axis=0)]
    return used


def agreement_tables(found: Sequence[Agreement]) -> list[TextTable]:
    """The correlations, then every couple's rows in the first instrument's order."""
    if not found:
        return []
    return [_summary(found), *(_orders(one) for one in found if one.kind == "all rows")]


def _summary(found: Sequence[Agreement]) -> TextTable:
    rows = []
    for one in found:
        told = [_correlation(*one.ranks[statistic]) for statistic in one.ranks]
        apart = one.pairs.alike + len(one.pairs.swapped)
        total = len(one.cells) * (len(one.cells) - 1) // 2
        pairs = f"{len(one.pairs.swapped)} of {apart} sure ones ({total} in all)"
        rows.append((one.metric, *one.titles, f"{one.kind}, {len(one.cells)}", *told, pairs))
    return TextTable(
        f"How alike two instruments order the rows. In brackets: {found[0].level:.0%} percentile intervals over the texts of these rows, drawn again "
        "alike for both; no interval where the metric is pooled over rows. p: permutation test of no association, over all orders of up to 8 "
        "rows, else a sample. All rows holds real text, controls and models: rows that are far apart, such as shuffled text, agree easily, so "
        "read the models' line too. Sure pairs: both instruments tell the two rows apart, by intervals that do not overlap; swapped: in opposite orders.",
        ("metric", "instrument A", "instrument B", "rows", _GREEK["rho"], _GREEK["tau"], "swapped pairs"),
        tuple(rows),
    )


def _correlation(found: Association, interval: Interval | None) -> str:
    shown = f"{found.value:.2f}" + (f" [{interval.low:.2f}, {interval.high:.2f}]" if interval else "")
    return f"{shown}, p = {found.p_value:.2g}"


def _orders(one: Agreement) -> TextTable:
    scores = [[cell.scores[name][1] for name in one.names] for cell in one.cells]
    ranks = mean_ranks(np.array([[both[0].value, both[1].value] for both in scores]))
    rows = []
    for number in sorted(range(len(one.cells)), key=lambda place: ranks[place][0]):
        against = [name_of(one.cells[j if i == number else i]) for i, j in one.pairs.swapped if number in (i, j)]
        values = [
            f"{' '.join(formatted(score))} ({rank:g}{'!' if against else ''})"
            for score, rank in zip(scores[number], ranks[number], strict=True)
        ]
        rows.append((name_of(one.cells[number]), *values, ", ".join(against) or MISSING))
    return TextTable(
        f"{one.metric} of every row under both, with its rank from the lowest value. Marked (!): rows of a swapped pair.",
        ("row", f"A: {one.titles[0]}", f"B: {one.titles[1]}", "swapped with"),
        tuple(rows),
    )


def agreement_csv(found: Sequence[Agreement]) -> str:
    """One row per couple, kind of rows and statistic."""
    stream = io.StringIO()
    columns = ["metric_a", "metric_b", "judge_a", "judge_b", "rows", "n", "statistic", "value", "low", "high", "level"]
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([*columns, "p_value", "exact", "pairs_alike", "pairs_swapped"])
    for one in found:
        for statistic, (value, interval) in one.ranks.items():
            ends = (interval.low, interval.high, one.level) if interval else ("", "", "")
            line = [*one.names, *one.titles, one.kind, len(one.cells), statistic, value.value, *ends, value.p_value]
            line += [value.exact, one.pairs.alike, len(one.pairs.swapped)]
            writer.writerow([spreadsheet(field) for field in line])
    return stream.getvalue()
