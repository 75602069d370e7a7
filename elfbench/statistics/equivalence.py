"""Equivalence and non-inferiority by two one-sided tests (TOST, Schuirmann 1987): the question is not whether there is a difference but
whether it is small enough.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from scipy.special import ndtri

from elfbench.core.errors import ConfigError
from elfbench.statistics.difference import Difference
from elfbench.statistics.interval import checked_level
from elfbench.statistics.power import paired_rows

Verdict = Literal["equivalent", "not equivalent", "undecided"]


@dataclass(frozen=True, slots=True)
class Equivalence:
    """Whether a difference lies between -margin and margin."""

    p_value: float
    """Of the hypothesis that the difference is at least as large as the margin, on either side: equivalent at or below alpha."""
    low: float
    high: float
    """The interval of level 1 - 2 alpha: equivalent exactly where it lies inside the margins."""
    verdict: Verdict
    """not equivalent: the interval lies outside the margins altogether; undecided: it crosses one, and more rows would tell."""


def equivalence(difference: Difference, margin: float, *, alpha: float = 0.05) -> Equivalence:
    """TOST of |difference| < margin, in the difference's unit (log-PPL: nats); errs at most at `alpha`."""
    if not (margin > 0.0 and math.isfinite(margin)):
        raise ConfigError("an equivalence margin is positive", key="margin", found=margin, allowed="> 0")
    p = max(difference.p_above(-margin), difference.flipped().p_above(-margin))
    low, high = difference.lower(alpha), difference.upper(alpha)
    verdict: Verdict = "undecided"
    if p <= alpha:
        verdict = "equivalent"
    elif low > margin or high < -margin:
        verdict = "not equivalent"
    return Equivalence(p, low, high, verdict)


def rows_for_equivalence(
    spread: float, margin: float, *, alpha: float = 0.05, power: float = 0.8, correlation: float | None = None
) -> int:
    """Rows on each of two sides to call equal laws equivalent with this power; normal approximation.

    2 (spread (z_alpha + z_{(1 + power)/2}) / margin)^2: both tests must reject. spread: standard deviation of a row's influence.
    correlation: of the rows of a pair; None: two independent samples.
    """
    if not (margin > 0.0 and spread >= 0.0):
        raise ConfigError(
            "a plan needs a margin and a spread", key="margin", found=f"{margin}; {spread}", allowed="> 0"
        )
    quantiles = -ndtri(checked_level(alpha)) + ndtri(0.5 + 0.5 * checked_level(power))
    rows = 2.0 * (spread * float(quantiles) / margin) ** 2
    return max(2, math.ceil(rows)) if correlation is None else paired_rows(rows, correlation, float(-ndtri(alpha)))
