"""Permutation tests of two ratios of sums, for rows too few or too odd for Student's t (`difference`): the p-value is exact under its null.

Paired: each row's a and b may swap (Fisher 1935; approximate randomization of corpus scores, Riezler and Maxwell 2005). Unpaired: rows may
change sides; the null is that both laws are equal, not only their ratios. All arrangements where they are few, else a seeded sample of them,
with p = (1 + as extreme) / (1 + sampled), which is never 0 (Phipson and Smyth 2010).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from elfbench.core.errors import ConfigError
from elfbench.statistics.bootstrap import Resampling, ratio_columns

_EXACT_UP_TO = 1 << 14
_BLOCK_NUMBERS = 1_000_000
_DEFAULT = Resampling(resamples=9999)


@dataclass(frozen=True, slots=True)
class Permutation:
    """R_b - R_a and how often chance alone is as far from 0."""

    value: float
    p_value: float
    """Two-sided: the share of arrangements whose |difference| is at least the measured one."""
    arrangements: int
    exact: bool
    """Whether these were all arrangements."""


def paired_permutation(
    a: tuple[ArrayLike, ArrayLike],
    b: tuple[ArrayLike, ArrayLike],
    *,
    draws: Resampling = _DEFAULT,
    name: str = "rows",
) -> Permutation:
    """Rows i of `a` and `b`, each (numerator [n], denominator [n]), are of one example; they swap or stay."""
    left, right = _columns(a, name), _columns(b, name)
    n = left.shape[1]
    if right.shape[1] != n:
        raise ConfigError("paired rows are equally many", key=name, found=f"{n} and {right.shape[1]}")
    # In one order whatever the given one, because a seeded draw is of positions.
    order = np.lexsort(np.concatenate([left, right]))
    left, right = left[:, order], right[:, order]
    exact, blocks = swaps(n, draws)
    moved = right - left
    return _tested(left, right, (moved @ block.T for block in blocks), exact)


def swaps(n: int, draws: Resampling) -> tuple[bool, Iterator[NDArray[np.float64]]]:
    """Whether all arrangements of n pairs are few enough, and blocks [r, n] of them or of a seeded sample: 1 swaps."""
    exact = 2**n <= _EXACT_UP_TO
    return exact, _all_swaps(n) if exact else _drawn_swaps(n, draws)


def unpaired_permutation(
    a: tuple[ArrayLike, ArrayLike],
    b: tuple[ArrayLike, ArrayLike],
    *,
    draws: Resampling = _DEFAULT,
    name: str = "rows",
) -> Permutation:
    """Rows of `a` and of `b`, each (numerator, denominator), are independent samples; rows change sides, sizes stay."""
    left, right = ratio_columns(*a, name), ratio_columns(*b, name)
    n, pooled = left.shape[1], np.concatenate([left, right], axis=1)
    exact = math.comb(pooled.shape[1], n) <= _EXACT_UP_TO
    sides = _all_sides(pooled.shape[1], n) if exact else _drawn_sides(pooled.shape[1], n, draws)
    own = left.sum(axis=1)[:, None]
    return _tested(left, right, (pooled @ block.T - own for block in sides), exact)


def _columns(rows: tuple[ArrayLike, ArrayLike], name: str) -> NDArray[np.float64]:
    """[2, n], checked, in the given order."""
    ratio_columns(*rows, name)
    return np.stack([np.asarray(part, dtype=np.float64) for part in rows])


def _tested(
    left: NDArray[np.float64], right: NDArray[np.float64], moves: Iterator[NDArray[np.float64]], exact: bool
) -> Permutation:
    """moves: blocks [2, r] of what goes from the right's sums to the left's."""
    sums_a, sums_b = left.sum(axis=1)[:, None], right.sum(axis=1)[:, None]
    value = float(sums_b[0, 0] / sums_b[1, 0] - sums_a[0, 0] / sums_a[1, 0])
    # Arrangements that tie with the measured one differ from it by rounding only.
    least = abs(value) - 1e-12 * max(abs(value), abs(float(sums_a[0, 0] / sums_a[1, 0])))
    extreme = total = 0
    for move in moves:
        above, below = sums_a + move, sums_b - move
        if (above[1] <= 0.0).any() or (below[1] <= 0.0).any():
            raise ConfigError("an arrangement leaves a side without denominator", key="rows", found="zero in sum")
        extreme += int((np.abs(below[0] / below[1] - above[0] / above[1]) >= least).sum())
        total += move.shape[1]
    p = extreme / total if exact else (1 + extreme) / (1 + total)
    return Permutation(value, p, total, exact)


def _all_swaps(n: int) -> Iterator[NDArray[np.float64]]:
    yield ((np.arange(2**n)[:, None] >> np.arange(n)) & 1).astype(np.float64)


def _drawn_swaps(n: int, draws: Resampling) -> Iterator[NDArray[np.float64]]:
    rng = np.random.default_rng(draws.seed)
    for size in _blocks(n, draws):
        yield rng.integers(0, 2, (size, n)).astype(np.float64)


def _all_sides(total: int, n: int) -> Iterator[NDArray[np.float64]]:
    chosen = np.array(list(itertools.combinations(range(total), n)))
    sides = np.zeros((len(chosen), total))
    np.put_along_axis(sides, chosen, 1.0, axis=1)
    yield sides


def _drawn_sides(total: int, n: int, draws: Resampling) -> Iterator[NDArray[np.float64]]:
    rng, first = np.random.default_rng(draws.seed), (np.arange(total) < n).astype(np.float64)
    for size in _blocks(total, draws):
        yield rng.permuted(np.tile(first, (size, 1)), axis=1)


def _blocks(n: int, draws: Resampling) -> Iterator[int]:
    block = max(1, _BLOCK_NUMBERS // n)
    for start in range(0, draws.resamples, block):
        yield min(block, draws.resamples - start)
