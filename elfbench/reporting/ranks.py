"""Where the model rows of a table stand: ranks with simultaneous intervals and letters of ties, one metric at a time. The table's bold type
follows the same tests, so that no row is bold here and beaten there.

Metrics that are ratios of sums are tested from stored sums by row: paired where rows share their seed, over clusters where rows are not
independent. Of all others only the stored intervals are known: they count as independent normals.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from elfbench.core.canonical import digest
from elfbench.core.errors import StoreError
from elfbench.registry import catalog
from elfbench.reporting.cell_sums import COSTS, cluster_rows, has_rows, is_likelihood, unequal_rows
from elfbench.reporting.escaping import spreadsheet
from elfbench.reporting.frontier import TextTable
from elfbench.reporting.numbers import ARROWS, MISSING, bound
from elfbench.reporting.section import MODEL_FAMILIES, ScoredCell, Section
from elfbench.spec.measure import Measure
from elfbench.spec.metric import Score
from elfbench.statistics.pairwise import RatioRows, nearer_p, normal_p, pairwise_p
from elfbench.statistics.ranks import both_directions, groups_of, letters, mean_ranks, rank_bounds
from elfbench.store.blocks import Columns, stored_columns
from elfbench.store.likelihoods import likelihood_sums
from elfbench.store.row_sums import RowSums, sums_of_columns
from elfbench.store.shards import StoredRows
from elfbench.store.store import Store

FEWEST = 3
"""Model rows from which on a table of ranks is worth its place."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a row stands in one metric, 1 the best."""

    rank: float
    """Of the measured values; equal ones share the mean of their ranks."""
    low: int
    high: int
    letters: str
    """Rows that share a letter are not told apart."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """One metric's contest; controls and the reference compete with nobody."""

    metric: Mapping[str, Any]
    standings: Mapping[str, Standing]
    """By the cell's id."""
    level: float
    by_rows: bool
    """Whether the tests rest on sums by row; else on the stored intervals."""
    clusters: int
    """Rows of a cluster, where rows are not independent; else 1."""

    def best(self) -> set[str]:
        """Ids of the rows that may be the best: no other is surely better."""
        return {cell for cell, standing in self.standings.items() if standing.low == 1}


def rankings_of(store: Store, section: Section) -> dict[str, Ranking]:
    """By metric: its contest. Costs are none, nor are numbers of which some are bounds, nor 'match' metrics without a reference row."""
    contests = {metric["metric"]: _rivals(section, metric) for metric in section.metrics}
    wanted = {name: rivals for name, rivals in contests.items() if len(rivals) >= 2}
    sums = _all_sums(store, section, wanted)
    described = {metric["metric"]: metric for metric in section.metrics}
    return {name: _ranking(section, described[name], rivals, sums) for name, rivals in wanted.items()}


def _rivals(section: Section, metric: Mapping[str, Any]) -> list[tuple[ScoredCell, Score]]:
    name = metric["metric"]
    cells = [cell for cell in section.cells if cell.family in MODEL_FAMILIES]
    rivals = [(cell, score) for cell in cells if (score := cell.value(name)) is not None]
    cost = metric["protocol"]["measurement"]["measurement"] in COSTS
    # Who has an upper bound may be better than it: with exact values it is in no contest.
    unlike = len({bound(score) for _, score in rivals}) > 1
    aimless = metric["direction"] == "match" and _aim(section, name) is None
    return [] if cost or unlike or aimless else rivals


def _aim(section: Section, name: str) -> Score | None:
    """The score that a 'match' metric should have: the first reference row's that has one."""
    return next((s for cell in section.cells if cell.family == "reference" and (s := cell.value(name))), None)


def _ranking(
    section: Section,
    metric: Mapping[str, Any],
    rivals: Sequence[tuple[ScoredCell, Score]],
    sums: Mapping[tuple[str, str], RatioRows],
) -> Ranking:
    name, scores = metric["metric"], [score for _, score in rivals]
    level = scores[0].level
    values, errors = np.array([score.value for score in scores]), np.array([_error(score) for score in scores])
    rows = [sums[cell.id, name] for cell, _ in rivals if (cell.id, name) in sums]
    by_rows = len(rows) == len(rivals)
    p = pairwise_p(rows, _ratios(rows)) if by_rows else normal_p(values, errors)
    losses = values if metric["direction"] == "lower" else -values
    if metric["direction"] == "match":
        aim = _aim(section, name)
        assert aim is not None
        p, losses = nearer_p(values, errors, p, aim.value, _error(aim)), np.abs(values - aim.value)
    if not by_rows:
        p = np.where([[unequal_rows((a, b)) for b in scores] for a in scores], 1.0, p)
    adjusted = both_directions(p)
    lows, highs = rank_bounds(losses, adjusted, level=level)
    names = letters([tuple(map(str, group)) for group in groups_of(losses, adjusted, level=level)])
    standings = {
        cell.id: Standing(float(rank), int(lows[i]), int(highs[i]), names[str(i)])
        for i, ((cell, _), rank) in enumerate(zip(rivals, mean_ranks(losses), strict=True))
    }
    return Ranking(metric, standings, level, by_rows, max(map(cluster_rows, scores)))


def _error(score: Score) -> float:
    """The standard error that an interval implies; a skewed or clipped one counts with its longer arm."""
    return max(score.high - score.value, score.value - score.low) / float(norm.isf((1.0 - score.level) / 2.0))


def _ratios(models: Sequence[RatioRows]) -> NDArray[np.float64]:
    return np.array([model.numerator.sum() / model.denominator.sum() for model in models])


def _all_sums(
    store: Store, section: Section, contests: Mapping[str, Sequence[tuple[ScoredCell, Score]]]
) -> dict[tuple[str, str], RatioRows]:
    """(cell, metric) -> sums by row, cell by cell so that each measurement is read once; what is not stored is left out."""
    found: dict[tuple[str, str], RatioRows] = {}
    asked: dict[str, dict[str, Score]] = {}
    for name, rivals in contests.items():
        for cell, score in rivals:
            if has_rows(score):
                asked.setdefault(cell.id, {})[name] = score
    for cell_id, scores in asked.items():
        reader = _Reader(store, section, cell_id)
        for name, score in scores.items():
            try:
                found[cell_id, name] = reader.sums(score)
            except StoreError:
                continue  # an imported or trimmed store: its intervals are all there is
    return found


class _Reader:
    """Sums by row of one cell; a measurement that several metrics share is read once."""

    def __init__(self, store: Store, section: Section, cell_id: str) -> None:
        self._store, self._measure = store, Measure.model_validate(section.suite["measure"])
        cell = store.cell(cell_id)
        # Rows that were made elsewhere have no seeds: their order may mean anything.
        self._noise = None if cell.model.startswith("imported:") else f"seed {cell.root_seed}"
        self._cell_id = cell_id
        self._stored: dict[int, StoredRows] = {}
        self._columns: dict[str, Columns] = {}

    def sums(self, score: Score) -> RatioRows:
        """Raises StoreError where the measurement is not stored."""
        size = cluster_rows(score)
        if is_likelihood(score):
            return _as_ratio(likelihood_sums(self._store, score.cell, score.n), "texts", size)
        metric, measurement = catalog.metrics().get(score.metric), score.protocol["measurement"]
        key = digest([measurement, score.n_requested])
        if key not in self._columns:
            n = min(score.n_requested, self._store.n_rows(self._cell_id))
            if n not in self._stored:
                self._stored[n] = self._store.rows(self._cell_id, n)
            stored = self._stored[n]
            texts = stored.texts if measurement.get("view", self._measure.view) == "final" else stored.raw_texts
            self._columns[key] = stored_columns(self._store, measurement, texts)
        return _as_ratio(sums_of_columns(metric, self._columns[key], self._measure), self._noise, size)


def _as_ratio(sums: RowSums, noise: str | None, size: int) -> RatioRows:
    if size > 1:
        clusters = sums.by_cluster(size)
        if len(clusters.rows) >= 2:
            sums, noise = clusters, noise and f"{noise}, clusters of {size}"
    return RatioRows(sums.rows, sums.numerator, sums.denominator, noise)


def ranks_table(section: Section, rankings: Mapping[str, Ranking]) -> TextTable | None:
    """'1 [1, 3] ab' of every model row and metric; None below FEWEST model rows."""
    shown = [ranking for ranking in rankings.values() if len(ranking.standings) >= FEWEST]
    cells = [cell for _, group in section.blocks() for cell in group if cell.family in MODEL_FAMILIES]
    if not shown:
        return None
    headers = ("model", "steps", *(f"{one.metric['title']} {ARROWS[one.metric['direction']]}" for one in shown))
    rows = [
        (cell.label, str(cell.steps or ""), *(_text(one.standings.get(cell.id)) for one in shown)) for cell in cells
    ]
    return TextTable(_caption(section, shown), headers, tuple(rows))


def _text(standing: Standing | None) -> str:
    if standing is None:
        return MISSING
    return f"{standing.rank:g} [{standing.low}, {standing.high}] {standing.letters}"


def _caption(section: Section, shown: Sequence[Ranking]) -> str:
    levels = "/".join(sorted({f"{one.level:.0%}" for one in shown}))
    parts = [
        f"Ranks of the model rows, 1 the best, with {levels} rank intervals: all true ranks of a column lie in theirs at once. "
        "Rows that share a letter are not told apart (one-sided tests of all pairs in both directions, Holm). "
        "The main table's bold rows are those whose interval holds rank 1."
    ]
    if matched := [one for one in shown if one.metric["direction"] == "match"]:
        reference = next(
            cell for cell in section.cells if cell.family == "reference" and cell.value(matched[0].metric["metric"])
        )
        parts.append(f"'match' columns rank by the distance to the row {reference.label}, whose own error counts.")
    if by_rows := [one.metric["title"] for one in shown if one.by_rows]:
        parts.append(f"By rows, paired where they share a seed: {', '.join(by_rows)}.")
    if others := [one.metric["title"] for one in shown if not one.by_rows]:
        parts.append(f"From the stored intervals as independent normals: {', '.join(others)}.")
    if max(one.clusters for one in shown) > 1:
        parts.append("Rows that are not independent are tested by cluster.")
    parts.append("Ranks are of these weights: they do not cover training again.")
    return " ".join(parts)


def ranks_csv(section: Section, rankings: Mapping[str, Ranking]) -> str:
    """One line a model row and metric."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    names = ("suite", "model", "label", "steps", "cell", "metric", "direction", "rank", "low", "high", "letters")
    writer.writerow([*names, "level", "rows_ranked", "tests"])
    for name, ranking in rankings.items():
        tests = "rows" if ranking.by_rows else "stored intervals"
        for cell in section.cells:
            if (found := ranking.standings.get(cell.id)) is not None and len(ranking.standings) >= FEWEST:
                where = (
                    section.name,
                    cell.model,
                    cell.label,
                    cell.steps or "",
                    cell.id,
                    name,
                    ranking.metric["direction"],
                )
                stands = (
                    found.rank,
                    found.low,
                    found.high,
                    found.letters,
                    ranking.level,
                    len(ranking.standings),
                    tests,
                )
                writer.writerow([spreadsheet(value) for value in (*where, *stands)])
    return stream.getvalue()
