"""`elfbench.compare`: two rows of a store, or two stores row by row: differences, intervals, adjusted p-values. Numpy and stored numbers.

The tests are one family: Holm (1979) for claims, or Benjamini and Hochberg (1995) for lists to look through. What only one side has is
missing. Nothing here knows how much a model varies with its training seed. Of a single metric see `compared`.

No probability of improvement and no interquartile mean (Agarwal et al. 2021): they resample several runs of every task, and two stores hold
one run of each row; steps of one model are no sample of tasks, and metrics share no scale. `statistics.improvement` and `iqm` take such tables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from elfbench.core.differences import differences
from elfbench.core.errors import ConfigError, unknown
from elfbench.registry import catalog
from elfbench.reporting.compared import Compared, compared, incomparable
from elfbench.reporting.pairs import Pair, opened, pair_of_rows, pairs_of_stores, row_name
from elfbench.statistics.multiplicity import benjamini_hochberg, holm
from elfbench.store.store import Store

_ALPHA = 0.05
Adjust = Literal["holm", "bh"]
"""holm: the chance of any false claim is at most alpha; bh: of the differences shown, a share of alpha is false on average."""
_ADJUSTED = {"holm": holm, "bh": benjamini_hochberg}


@dataclass(frozen=True, slots=True)
class Lacking:
    """A metric that can't be compared, and why."""

    row: str
    metric: str
    why: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """Everything about A against B."""

    a: str
    b: str
    alpha: float
    compared: tuple[Compared, ...]
    missing: tuple[Lacking, ...]
    unmatched: tuple[str, ...]
    """Rows that do not face each other."""
    changed: Mapping[str, tuple[str, ...]]
    """By row: in what the identities of the two cells differ."""
    adjust: Adjust = "holm"
    """How p-values were adjusted for their number."""

    @property
    def sentence(self) -> str:
        """What came out, in one or two plain sentences."""
        quality = [one for one in self.compared if not one.is_cost]
        ties = sum(one.outcome == "tie" for one in quality)
        rows = len(self.changed)
        parts = [
            f"{side} is better in {_listed(found, rows)}"
            for side in ("B", "A")
            if (found := [one for one in quality if one.outcome == side])
        ]
        if open_ := [one for one in quality if one.outcome == "differs"]:
            parts.append(f"they differ in {_listed(open_, rows)} without one being surely better")
        if ties == len(quality):
            parts.append(f"all {ties} comparisons tie" if ties > 1 else "they tie" if ties else "no metric of quality")
        elif ties:
            parts.append(f"{ties} of {len(quality)} tie")
        costs = [
            f"{side} costs less in {_listed(found, rows)}"
            for side in ("B", "A")
            if (found := [one for one in self.compared if one.is_cost and one.outcome == side])
        ]
        where = f" Over {rows} rows of the table:" if rows > 1 else ""
        told = f"B ({self.b}) against A ({self.a}):{where} {'; '.join([*parts, *costs])}."
        listed = " Of differences found so, a share of at most that is false on average: look closer before a claim."
        return f"{told} A tie is no proof of equality: it is an adjusted p above {self.alpha:g}.{listed if self.adjust == 'bh' else ''}"


def compare(
    a: Store | Path | str,
    b: Store | Path | str,
    *,
    store: Store | Path | str | None = None,
    suite: str | None = None,
    metrics: Sequence[str] | None = None,
    alpha: float = _ALPHA,
    adjust: Adjust = "holm",
) -> Comparison:
    """Compares two stores, or with `store` two of its rows: each a label or model's name, with @STEPS where it has several.

    metrics: only these (names or families): fewer tests need less adjustment. alpha: an adjusted p above it is a tie. adjust: `holm` for
    claims, `bh` (false discovery rate) for a list of many to look through.
    Raises ConfigError for unknown names and for metrics measured under unlike protocols, StoreError for a damaged store.
    """
    if adjust not in get_args(Adjust):
        raise unknown("adjustment", adjust, get_args(Adjust), key="--adjust")
    if store is not None:
        pair = pair_of_rows(opened(store, "--store"), str(a), str(b), suite)
        pairs, apart = [pair], list[str]()
        names = [row_name(side.cell) for side in (pair.a, pair.b)]
    else:
        pairs, apart = pairs_of_stores(opened(a, "A"), opened(b, "B"), suite)
        names = [str(one.root) if isinstance(one, Store) else str(one) for one in (a, b)]
    wanted = _wanted(pairs, metrics)
    _refuse_unlike_protocols(pairs, wanted)
    tests: list[Compared] = []
    missing: list[Lacking] = []
    for pair in pairs:
        found, lacking = _compared_pair(pair, wanted)
        tests += found
        missing += lacking
    if not tests:
        raise ConfigError(
            "nothing to compare: no metric is scored on both sides",
            key="--metric" if metrics else "A, B",
            found="; ".join(f"{gap.row}: {gap.metric}: {gap.why}" for gap in missing[:4]),
            remedy="run the suite to its end, or score both sides with one metric",
        )
    adjusted = _ADJUSTED[adjust]([one.p for one in tests])
    finished = [_decided(one, float(p), alpha) for one, p in zip(tests, adjusted, strict=True)]
    changed = {pair.name: tuple(pair.changed()) for pair in pairs}
    return Comparison(names[0], names[1], alpha, tuple(finished), tuple(missing), tuple(apart), changed, adjust)


def _wanted(pairs: Sequence[Pair], metrics: Sequence[str] | None) -> list[str]:
    """Metrics of any side, in the order of the suites; those that were asked for."""
    there = list(
        dict.fromkeys(
            str(metric["metric"]) for pair in pairs for side in (pair.a, pair.b) for metric in side.section.metrics
        )
    )
    if metrics is None:
        return there
    asked: set[str] = set()
    for name in metrics:
        members = [name] if name in there else catalog.expand_metrics(name)
        if not set(members) & set(there):
            raise unknown("metric", name, there, key="--metric")
        asked |= set(members)
    return [name for name in there if name in asked]


def _refuse_unlike_protocols(pairs: Sequence[Pair], wanted: Sequence[str]) -> None:
    unlike: dict[str, list[str]] = {}
    for pair in pairs:
        for name in wanted:
            a, b = pair.a.cell.value(name), pair.b.cell.value(name)
            if a is not None and b is not None and a.fingerprint != b.fingerprint:
                unlike.setdefault(name, differences(a.protocol, b.protocol) or ["fingerprint"])
    if unlike:
        alike = [name for name in wanted if name not in unlike]
        raise ConfigError(
            "A and B were measured under unlike protocols",
            key=", ".join(unlike),
            found="; ".join(dict.fromkeys(line for lines in unlike.values() for line in lines)),
            allowed="equal protocols (A -> B shows the difference)",
            remedy="measure both alike"
            + (f", or compare the rest: --metric {' --metric '.join(alike)}" if alike else ""),
        )


def _compared_pair(pair: Pair, wanted: Sequence[str]) -> tuple[list[Compared], list[Lacking]]:
    found: list[Compared] = []
    missing: list[Lacking] = []
    stored = [side.store.rows(side.cell.id, side.cell.n_rows) for side in (pair.a, pair.b)]
    for name in wanted:
        scores = pair.a.cell.value(name), pair.b.cell.value(name)
        if scores[0] is None or scores[1] is None:
            sides = " and ".join(side for side, score in zip("AB", scores, strict=True) if score is None)
            missing.append(Lacking(pair.name, name, f"not scored in {sides}"))
            continue
        both = scores[0], scores[1]
        if why := incomparable(both):
            missing.append(Lacking(pair.name, name, why))
            continue
        found.append(compared(pair, name, both, stored))
    return found, missing


def _decided(one: Compared, p_adjusted: float, alpha: float) -> Compared:
    tie = p_adjusted > alpha
    notes = tuple(note for note in one.notes if not (tie and "reference" in note))
    return replace(one, p_adjusted=p_adjusted, outcome="tie" if tie else one.outcome, notes=notes)


def _listed(found: Sequence[Compared], rows: int) -> str:
    """Titles; over many rows of the table only how many."""
    if rows > 1:
        return f"{len(found)} of them" if len(found) > 3 else ", ".join(f"{one.title} of {one.row}" for one in found)
    names = [one.title for one in found]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
