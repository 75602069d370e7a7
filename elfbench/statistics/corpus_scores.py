"""Two systems' corpus scores on the same examples: the paired bootstrap (Koehn 2004) and approximate randomization
(Riezler and Maxwell 2005).

A corpus score is any function of sums over examples, such as BLEU of pooled n-gram counts: not a ratio of sums, for
which `bootstrap` and `permutation` are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from elfbench.core.errors import ConfigError
from elfbench.statistics.bootstrap import Resampling, percentile_levels, resample_counts
from elfbench.statistics.interval import checked_level
from elfbench.statistics.permutation import Permutation, swaps

OfSums = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""Sums [M, K] -> scores [M]."""
_BOOTSTRAP = Resampling()
_RANDOMIZATION = Resampling(resamples=9999)


@dataclass(frozen=True, slots=True)
class CorpusDifference:
    """Score of B minus score of A, over resamples of the examples that both share."""

    value: float
    low: float
    high: float
    """Percentile interval."""
    wins: float
    """Share of resamples in which B scores above A, ties half: Koehn's paired bootstrap."""
    p_value: float
    """As sacreBLEU and Moses count it: how often |difference| lies further above its mean over resamples than the
    measured one lies above 0."""
    resamples: int


def paired_bootstrap(
    a: ArrayLike,
    b: ArrayLike,
    of_sums: OfSums,
    *,
    level: float = 0.95,
    draws: Resampling = _BOOTSTRAP,
    name: str = "rows",
) -> CorpusDifference:
    """a, b: [n, K] statistics of the n examples, n >= 2. Raises ConfigError for other shapes, NaN or infinity."""
    left, right = _paired(a, b, name)
    checked_level(level)
    value = _difference(left.sum(axis=0)[None], right.sum(axis=0)[None], of_sums)[0]
    found = np.concatenate(
        [_difference(counts @ left, counts @ right, of_sums) for counts in resample_counts(len(left), draws)]
    )
    low, high = np.quantile(found, percentile_levels(level))
    above = np.abs(found) - np.abs(found).mean() > abs(value)
    return CorpusDifference(
        value=float(value),
        low=float(low),
        high=float(high),
        wins=float((found > 0).mean() + 0.5 * (found == 0).mean()),
        p_value=float((1 + above.sum()) / (1 + len(found))),
        resamples=len(found),
    )


def approximate_randomization(
    a: ArrayLike, b: ArrayLike, of_sums: OfSums, *, draws: Resampling = _RANDOMIZATION, name: str = "rows"
) -> Permutation:
    """How often swapping the two systems' outputs of examples leaves a difference at least as large; a, b: [n, K].

    All 2^n arrangements where they are few, else a seeded sample of them, with the measured one counted.
    """
    left, right = _paired(a, b, name)
    sums_a, sums_b, moved = left.sum(axis=0), right.sum(axis=0), right - left
    value = float(_difference(sums_a[None], sums_b[None], of_sums)[0])
    # Arrangements that tie with the measured one differ from it by rounding only.
    least = abs(value) - 1e-12 * max(abs(value), abs(float(of_sums(sums_a[None])[0])))
    exact, blocks = swaps(len(left), draws)
    extreme = total = 0
    for block in blocks:
        found = _difference(sums_a + block @ moved, sums_b - block @ moved, of_sums)
        extreme += int((np.abs(found) >= least).sum())
        total += len(found)
    return Permutation(value, extreme / total if exact else (1 + extreme) / (1 + total), total, exact)


def _difference(a: NDArray[np.float64], b: NDArray[np.float64], of_sums: OfSums) -> NDArray[np.float64]:
    difference: NDArray[np.float64] = of_sums(b) - of_sums(a)
    return difference


def _paired(a: ArrayLike, b: ArrayLike, name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    left, right = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if left.ndim != 2 or left.shape != right.shape or len(left) < 2:
        raise ConfigError(
            "paired tests need the same examples of both systems",
            key=name,
            found=f"shapes {left.shape} and {right.shape}",
            allowed="[n, K] twice, n >= 2",
        )
    if not (np.isfinite(left).all() and np.isfinite(right).all()):
        raise ConfigError("NaN and infinity are not measured values", key=name, allowed="finite")
    return left, right
