"""Intervals of a rate k / n of yes-or-no rows: Wilson's score interval (1927) and Clopper and Pearson's exact one (1934).

Rare rates need them: with no hit in n rows every bootstrap and every t interval has no width at all.
"""

from __future__ import annotations

import math

from scipy.special import ndtri
from scipy.stats import beta

from elfbench.core.errors import ConfigError
from elfbench.statistics.interval import Interval, checked_level


def wilson(hits: int, rows: int, *, level: float = 0.95, name: str = "rows") -> Interval:
    """The rates that a score test does not reject; coverage is `level` on average over rates, at times a little below."""
    _check(hits, rows, name)
    z, share = float(ndtri(0.5 + 0.5 * checked_level(level))), hits / rows
    center = (share + z * z / (2 * rows)) / (1.0 + z * z / rows)
    half = z / (1.0 + z * z / rows) * math.sqrt(share * (1.0 - share) / rows + z * z / (4 * rows * rows))
    low, high = 0.0 if hits == 0 else center - half, 1.0 if hits == rows else center + half
    return Interval(share, max(0.0, low), min(1.0, high), f"Wilson score interval over {rows} rows")


def clopper_pearson(hits: int, rows: int, *, level: float = 0.95, name: str = "rows") -> Interval:
    """The rates that neither exact one-sided test rejects; coverage is never below `level`, mostly above."""
    _check(hits, rows, name)
    tail = 0.5 - 0.5 * checked_level(level)
    low = 0.0 if hits == 0 else float(beta.ppf(tail, hits, rows - hits + 1))
    high = 1.0 if hits == rows else float(beta.isf(tail, hits + 1, rows - hits))
    return Interval(hits / rows, low, high, f"Clopper-Pearson interval over {rows} rows")


def _check(hits: int, rows: int, name: str) -> None:
    if rows < 1 or not 0 <= hits <= rows:
        raise ConfigError(
            "a rate is of rows that there are", key=name, found=f"{hits} of {rows}", allowed="0 <= k <= n, n >= 1"
        )
