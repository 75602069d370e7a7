"""What a score refuses of its rows: too few of them, a judge's NaN, and samples of another length than the reference text's.

For lengths the remedy is a window, and is told with its number. There is no way round that rule: at another length the same model
is another question, and `short: keep` obeys it too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from elfbench.core.errors import ConfigError
from elfbench.metrics.sanity import NONFINITE_SHARE
from elfbench.spec.measure import Measure
from elfbench.spec.metric import Metric, Rows

TOLERANCE = 0.1
"""Lengths of two sides may be so far apart, as a share of the shorter side's mean."""
KEPT = 0.95
"""Share of either side's rows that the proposed window keeps."""


class Side(NamedTuple):
    """One side of a comparison: the rows that a metric uses, and the measured columns of all rows that were asked for."""

    name: str
    used: Rows
    measured: Mapping[str, Any]


def refuse_unfit(metric: Metric, samples: Side, reference: Side | None, measure: Measure) -> None:
    """Raises ConfigError for fewer usable rows than the metric's least, on either side, and for unlike lengths where they matter."""
    sides = [samples] if reference is None else [samples, reference]
    _refuse_nonfinite(metric, samples.used)
    for side in sides:
        if side.used.n < metric.min_rows:
            raise _too_few(metric, side, sides, measure)
    if reference is None or not metric.length_sensitive:
        return
    lengths = [_tokens(side.used.columns) for side in sides]
    if any(side is None or not len(side) for side in lengths):
        return
    seen = [np.minimum(side, measure.window or side) for side in lengths if side is not None]
    if length_distance(*seen) <= TOLERANCE * min(side.mean() for side in seen):
        return
    raise ConfigError(
        "samples and reference text differ in length, which this metric would take for a difference of the text",
        key="measure.window",
        found=f"samples of {_spread(seen[0])} against {_spread(seen[1])}"
        + (f", with window {measure.window}" if measure.window else ", without a window"),
        allowed=f"lengths at most {TOLERANCE:.0%} apart on average",
        remedy=_window_remedy(sides),
    )


def _refuse_nonfinite(metric: Metric, rows: Rows) -> None:
    """A judge's NaN is a finding about the judge: one metric counts it, and no other averages it away."""
    if "nll_nats" not in rows.columns or metric.name.partition("@")[0] == NONFINITE_SHARE.name:
        return
    bad = np.flatnonzero(~np.isfinite(np.asarray(rows.columns["nll_nats"], dtype=np.float64)))
    if len(bad):
        first = bad[0] if rows.kept is None else rows.kept[bad[0]]
        raise ConfigError(
            "the judge gave NaN or infinity",
            key="judge",
            found=f"{len(bad)} of {rows.n} rows, the first is row {first}",
            allowed="finite numbers",
            remedy="--metric nonfinite_share counts them; another judge, or sound weights",
        )


def length_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Mean distance, in tokens, between the quantile functions of two sets of lengths [n] and [m] (their Wasserstein-1 distance).

    It is at least the difference of the means, and 0 for equal distributions only.
    """
    a, b = np.sort(first), np.sort(second)
    edges = np.union1d(np.arange(1, len(a) + 1) / len(a), np.arange(1, len(b) + 1) / len(b))
    # A level that both sides have may come out twice, one rounding error apart: its step then has no width.
    middles = edges - np.diff(edges, prepend=0.0) / 2
    return float(np.sum(np.diff(edges, prepend=0.0) * np.abs(_at(a, middles) - _at(b, middles))))


def largest_window(*sides: np.ndarray) -> int:
    """The most tokens that at least `KEPT` of the texts of every side have, empty ones aside. Lengths: [n] each, some above 0."""
    written = [np.sort(side[side > 0])[::-1] for side in sides]
    return min(int(side[math.ceil(KEPT * len(side)) - 1]) for side in written if len(side))


def _at(lengths: np.ndarray, levels: np.ndarray) -> np.ndarray:
    places = np.minimum((levels * len(lengths)).astype(np.int64), len(lengths) - 1)
    found: np.ndarray = lengths[places]
    return found


def _too_few(metric: Metric, side: Side, sides: list[Side], measure: Measure) -> ConfigError:
    used, lengths = side.used, _tokens(side.measured)
    counted = f"{used.n} of {used.n + used.n_dropped}"
    remedy = f"at least {metric.min_rows} texts"
    if lengths is not None and used.n_dropped:
        empty = int((lengths == 0).sum())
        short = used.n_dropped - empty
        reasons = [f"{empty} empty"] if empty else []
        reasons += [f"{short} shorter than the window of {measure.window}"] if short and measure.window else []
        counted += f" ({', '.join(reasons)})" if reasons else ""
        if int((lengths > 0).sum()) < metric.min_rows:
            remedy = f"at least {metric.min_rows} texts that are not empty"
        elif short and measure.window:
            remedy = _window_remedy(sides)
    return ConfigError(
        f"too few usable rows of {side.name}", key="rows", found=counted, allowed=f">= {metric.min_rows}", remedy=remedy
    )


def _window_remedy(sides: list[Side]) -> str:
    counts = [found for side in sides if (found := _tokens(side.measured)) is not None]
    window = largest_window(*counts)
    both = "both sides are cut to it" if len(sides) > 1 else "texts are cut to it"
    return f"--window {window} --short drop (in a suite, measure.window: {window}): {both}, and {KEPT:.0%} of the rows have so many tokens"


def _tokens(columns: Mapping[str, Any]) -> np.ndarray | None:
    found = columns.get("n_tokens")
    return None if found is None else np.asarray(found, dtype=np.int64)


def _spread(lengths: np.ndarray) -> str:
    low, middle, high = np.quantile(lengths, [0.25, 0.5, 0.75])
    return f"median {middle:.0f} tokens" + (f" (middle half {low:.0f} to {high:.0f})" if low < high else "")
