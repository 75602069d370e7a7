"""Intervals of a rate k / n of yes-or-no rows: Wilson's score interval (1927) and Clopper and Pearson's exact one (1934).

Rare rates need them: with no hit in n rows every bootstrap and every t interval has no width at all. Where rows share a document, an example
or a batch, Wilson's interval takes the number of independent rows that would say as much (Korn and Graubard 1998; Dean and Pagano 2015).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri
from scipy.stats import beta

from elfbench.core.errors import ConfigError
from elfbench.statistics.difference import influence, row_variance
from elfbench.statistics.interval import Interval, checked_level, t_quantile


@dataclass(frozen=True, slots=True)
class ClusteredRate:
    """A rate of trials in clusters."""

    interval: Interval
    design_effect: float | None
    """Variance with clusters over variance as if trials were independent; None where no trial, or every one, is a hit."""
    effective: float
    """Independent trials that the interval counts."""


def wilson(hits: int, rows: int, *, level: float = 0.95, name: str = "rows") -> Interval:
    """The rates that a score test does not reject; coverage is `level` on average over rates, at times a little below."""
    _check(hits, rows, name)
    low, high = _score_interval(hits / rows, rows, level)
    return Interval(hits / rows, low, high, f"Wilson score interval over {rows} rows")


def clustered_wilson(
    hits: ArrayLike, trials: ArrayLike, *, level: float = 0.95, name: str = "rows", unit: str = "rows"
) -> ClusteredRate:
    """Sum of hits [G] / sum of trials [G] of G >= 2 clusters, 0 <= hits <= trials each; `unit` names the clusters.

    The trials count as many as the linearized variance of the ratio leaves of them, never more than there are, and by Student's quantile
    of G - 1 degrees of freedom; a cluster without trials is none. Where nothing, or everything, is a hit, that variance is not known: then each cluster counts as one trial.
    """
    counts = np.asarray(trials, dtype=np.float64)
    tried = counts > 0.0
    share, own = influence(np.asarray(hits)[tried], counts[tried], name=name)
    n, clusters = math.fsum(counts), len(own)
    return wilson_of_variance(share, row_variance(own) / clusters, n, clusters, level=level, name=name, unit=unit)


def wilson_of_variance(
    share: float, variance: float, trials: float, clusters: int, *, level: float = 0.95, name: str = "rows", unit: str
) -> ClusteredRate:
    """`clustered_wilson` of a rate whose variance is known from `clusters` clusters, e.g. by a jackknife over them."""
    if clusters < 2 or not 0.0 <= share <= 1.0 or variance < 0.0:
        raise ConfigError("a rate of clusters", key=name, found=f"{share} of {clusters} clusters", allowed=">= 2")
    spread = share * (1.0 - share)
    effect = variance * trials / spread if spread > 0.0 and variance > 0.0 else None
    effective = min(trials, trials / effect) if effect is not None else float(clusters)
    # Few clusters know their own variance badly.
    effective *= (float(ndtri(0.5 + 0.5 * checked_level(level))) / t_quantile(level, clusters - 1)) ** 2
    low, high = _score_interval(share, effective, level)
    text = f"Wilson score interval over {clusters} {unit}"
    text += f", design effect {effect:.3g}" if effect is not None else ", each counted once, as they do not vary"
    return ClusteredRate(Interval(share, min(low, share), max(high, share), text), effect, effective)


def _score_interval(share: float, rows: float, level: float) -> tuple[float, float]:
    z = float(ndtri(0.5 + 0.5 * checked_level(level)))
    center = (share + z * z / (2 * rows)) / (1.0 + z * z / rows)
    half = z / (1.0 + z * z / rows) * math.sqrt(share * (1.0 - share) / rows + z * z / (4 * rows * rows))
    low, high = 0.0 if share == 0.0 else center - half, 1.0 if share == 1.0 else center + half
    return max(0.0, low), min(1.0, high)


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
