"""Numbers with their intervals, at the digits that the interval allows."""

from __future__ import annotations

import math

from elfbench.spec.metric import Score

_DIGITS = 4
MISSING = "\N{EN DASH}"
ARROWS = {"lower": "\N{DOWNWARDS ARROW}", "higher": "\N{UPWARDS ARROW}", "match": "match"}

BOUND_MARKS = {"exact": "", "upper": "<= ", "estimate": "~ "}
"""In front of values."""


def decimals(low: float, high: float) -> int:
    """Decimals at which half the interval's width has two significant digits, but no more than four digits of the number itself."""
    size = max(abs(low), abs(high)) or 1.0
    most = max(0, _DIGITS - 1 - math.floor(math.log10(size)))
    half = (high - low) / 2.0
    if half <= 0.0:
        return 0 if float(high).is_integer() else most
    return min(most, max(0, 1 - math.floor(math.log10(half))))


def formatted(score: Score) -> tuple[str, str]:
    """('24.1', '[22.9, 25.4]'): the value, with its mark where it is a bound or an estimate, and its interval at equal decimals."""
    places = decimals(score.low, score.high)
    return f"{BOUND_MARKS[bound(score)]}{score.value:.{places}f}", f"[{score.low:.{places}f}, {score.high:.{places}f}]"


def bound(score: Score) -> str:
    """exact | upper | estimate: what a likelihood says of itself; all else is exact."""
    return str(score.detail.get("bound", "exact"))
