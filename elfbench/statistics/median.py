"""The median with an interval of order statistics: exact for every continuous law, and honest about what few values can say.

The interval [X_(r), X_(n+1-r)] misses the median with probability 2 P(Bin(n, 1/2) < r): five values reach 93.75 % at most, six 96.9 %.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from elfbench.statistics.interval import Interval, checked_level, finite_rows


class OrderInterval(NamedTuple):
    """The r-th smallest to the r-th largest of n values, and the probability that they enclose the median."""

    rank: int
    coverage: float


def order_interval(n: int, level: float) -> OrderInterval:
    """The narrowest symmetric interval of `n` values that covers the median with `level` or more; least to most where none does."""
    checked_level(level)
    rank, missed = 1, 2.0**-n  # P(Bin(n, 1/2) < rank)
    while 2 * (rank + 1) <= n:
        wider = missed + math.comb(n, rank) * 2.0**-n
        if 1.0 - 2.0 * wider < level:
            break
        rank, missed = rank + 1, wider
    return OrderInterval(rank, max(0.0, 1.0 - 2.0 * missed))


def median(values: ArrayLike, *, level: float, name: str) -> Interval:
    """The median of `values` [n], n >= 1, with its order-statistic interval. Raises ConfigError for NaN and infinity.

    `method` says the coverage that was reached, which for few values is less than `level`.
    """
    ordered = np.sort(finite_rows(values, name, at_least=1))
    n = len(ordered)
    found = order_interval(n, level)
    method = f"median of {n}, order statistics {found.rank} and {n + 1 - found.rank}, which enclose it with {found.coverage:.2%}"
    low, high = float(ordered[found.rank - 1]), float(ordered[n - found.rank])
    return Interval(float(np.median(ordered)), low, high, method)
