"""Do two instruments order systems alike? Spearman's rho and Kendall's tau-b of their values, with two kinds of uncertainty.

Rows of text: every system's rows are drawn again, the same ones for both instruments, as both judged the same texts. Systems: a permutation
test of no association, over all orders where they are few. The interval holds for these systems; another choice of systems is another question,
and a few that are far apart (shuffled text, say) make any two instruments agree.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from elfbench.core.errors import ConfigError
from elfbench.statistics.bootstrap import Resampling, percentile_levels, resample_counts
from elfbench.statistics.interval import Interval, checked_level, finite_rows
from elfbench.statistics.ranks import mean_ranks

MIN_SYSTEMS = 3
"""Two systems are in one order or the other: no measure of agreement."""
_EXACT_SYSTEMS = 8
"""8! = 40,320 orders."""
_DRAWS, _PERMUTATIONS = Resampling(), Resampling(resamples=9999)
Statistic = Literal["rho", "tau"]


@dataclass(frozen=True, slots=True)
class Association:
    """A rank correlation in [-1, 1], and how often chance alone is as far from 0."""

    value: float
    p_value: float
    """Two-sided."""
    exact: bool
    """Whether all orders were looked at."""


@dataclass(frozen=True, slots=True)
class SurePairs:
    """Pairs of systems that both instruments tell apart, by intervals that do not overlap."""

    alike: int
    swapped: tuple[tuple[int, int], ...]
    """(i, j), i < j: one instrument has i surely below j, the other surely above."""


def spearman(a: ArrayLike, b: ArrayLike) -> float:
    """Pearson's correlation of the ranks of [M] and [M]; equal values share the mean of their ranks."""
    return float(_rho(*_checked(a, b))[0])


def kendall(a: ArrayLike, b: ArrayLike) -> float:
    """Kendall's tau-b of [M] and [M]: (concordant - discordant pairs) / sqrt(pairs untied in a x pairs untied in b)."""
    return float(_tau(*_checked(a, b))[0])


def association(a: ArrayLike, b: ArrayLike, statistic: Statistic, *, draws: Resampling = _PERMUTATIONS) -> Association:
    """The correlation of [M] and [M] with its permutation test: b's values change places, every order equally likely.

    Up to 8 systems all orders; beyond, a seeded sample of them with p = (1 + as extreme) / (1 + sampled).
    """
    left, right = _checked(a, b)
    n, of = len(left), _STATISTICS[statistic]
    value = float(of(left, right)[0])
    exact = n <= _EXACT_SYSTEMS
    if exact:
        orders = np.array(list(itertools.permutations(range(n))))
    else:
        rng = np.random.default_rng(draws.seed)
        orders = rng.permuted(np.tile(np.arange(n), (draws.resamples, 1)), axis=1)
    found = of(np.broadcast_to(left, (n, len(orders))), right[:, 0][orders].T)
    # Orders that tie with the measured one differ from it by rounding only.
    extreme = int((np.abs(found) >= abs(value) - 1e-9).sum())
    return Association(value, extreme / len(orders) if exact else (1 + extreme) / (1 + len(orders)), exact)


def bootstrap_agreement(
    systems: Sequence[NDArray[np.float64]], statistic: Statistic, *, level: float = 0.95, draws: Resampling = _DRAWS
) -> Interval:
    """Percentile interval over rows. systems: M arrays [4, n], per row the numerator and denominator of both instruments, zeros where one
    did not use the row; a system's values are the ratios of its sums.

    Resamples reorder systems that are close, so that a value of 1 can stand at the upper end only. Raises ConfigError for fewer than 3 systems,
    and where a resample has no denominator.
    """
    checked_level(level)
    values = [_ratios(np.ones((1, rows.shape[1])), rows) for rows in systems]
    replicates = [_replicates(rows, draws.stream(number)) for number, rows in enumerate(systems)]
    a, b = (np.stack([one[side] for one in values]) for side in (0, 1))
    _checked(a[:, 0], b[:, 0])
    of = _STATISTICS[statistic]
    found = of(*(np.stack([one[side] for one in replicates]) for side in (0, 1)))
    low, high = np.quantile(found, percentile_levels(level))
    text = f"percentile bootstrap over rows, the same for both, {draws.resamples} resamples"
    return Interval(float(of(a, b)[0]), float(low), float(high), text)


def sure_pairs(a: Sequence[tuple[float, float]], b: Sequence[tuple[float, float]]) -> SurePairs:
    """Of intervals (low, high) of the same systems under two instruments."""
    alike, swapped = 0, []
    for i, j in itertools.combinations(range(len(a)), 2):
        both = _order(a[i], a[j]) * _order(b[i], b[j])
        alike += both > 0
        if both < 0:
            swapped.append((i, j))
    return SurePairs(alike, tuple(swapped))


def _order(first: tuple[float, float], second: tuple[float, float]) -> int:
    """-1: surely below, 1: surely above, 0: they overlap."""
    return int(first[0] > second[1]) - int(first[1] < second[0])


def _checked(a: ArrayLike, b: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """[M, 1] each."""
    left, right = finite_rows(a, "first instrument", at_least=1), finite_rows(b, "second instrument", at_least=1)
    if left.shape != right.shape or len(left) < MIN_SYSTEMS:
        raise ConfigError(
            "an agreement of ranks needs systems that both instruments measured",
            key="systems",
            found=f"{len(left)} and {len(right)}",
            allowed=f">= {MIN_SYSTEMS}, equally many",
        )
    if np.ptp(left) == 0.0 or np.ptp(right) == 0.0:
        raise ConfigError("equal values have no order", key="systems", found="all values of an instrument are equal")
    return left[:, None], right[:, None]


def _rho(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """[M, R] and [M, R] -> [R]; 0 where an instrument has all systems tied."""
    x, y = (mean_ranks(part) - (len(part) + 1) / 2 for part in (a, b))
    return _over((x * y).sum(axis=0), np.sqrt((x**2).sum(axis=0) * (y**2).sum(axis=0)))


def _tau(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """[M, R] and [M, R] -> [R]; 0 where an instrument has all systems tied."""
    i, j = np.triu_indices(len(a), 1)
    x, y = (np.sign(part[i] - part[j]) for part in (a, b))
    return _over((x * y).sum(axis=0), np.sqrt((x != 0).sum(axis=0) * (y != 0).sum(axis=0)))


def _over(above: NDArray[np.float64], below: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


def _replicates(rows: NDArray[np.float64], draws: Resampling) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both ratios of each resample of the rows of [4, n], as [resamples] each."""
    # In one order whatever the given one, because a seeded draw is of positions.
    ordered = rows[:, np.lexsort(rows)]
    parts = [_ratios(counts, ordered) for counts in resample_counts(rows.shape[1], draws)]
    return np.concatenate([a for a, _ in parts]), np.concatenate([b for _, b in parts])


def _ratios(counts: NDArray[np.float64], rows: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """counts [r, n], rows [4, n] -> [r] and [r]."""
    sums = counts @ rows.T
    if not (sums[:, 1::2] > 0.0).all() or not math.isfinite(float(sums.sum())):
        raise ConfigError("a resample of these rows has no denominator", key="rows", remedy="measure more rows")
    return sums[:, 0] / sums[:, 1], sums[:, 2] / sums[:, 3]


_STATISTICS = {"rho": _rho, "tau": _tau}
