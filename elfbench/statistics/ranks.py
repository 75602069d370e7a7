"""Ranks of models with their uncertainty: bootstrap ranks, simultaneous rank intervals from pairwise tests, and groups that cannot be told apart.

Bootstrap ranks show how often a model would come where, but are too short where models tie (Hall and Miller 2009). The pairwise intervals
hold all true ranks at once (Mogstad, Romano, Shaikh and Wilhelm 2024; here from Holm-adjusted Welch tests).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from elfbench.core.errors import ConfigError
from elfbench.statistics.bootstrap import Resampling, percentile_levels, ratio_columns, resampled_ratios
from elfbench.statistics.difference import unpaired_difference
from elfbench.statistics.interval import checked_level
from elfbench.statistics.multiplicity import holm

Rows = tuple[ArrayLike, ArrayLike]
"""(numerator [n], denominator [n]) of one model: its value is the ratio of the sums."""
Direction = Literal["lower", "higher"]
_DEFAULT = Resampling()


@dataclass(frozen=True, slots=True)
class Rank:
    """Where a model stands, 1 the best."""

    model: str
    value: float
    rank: float
    """Of the measured values; equal values share the mean of their ranks."""
    low: float
    high: float


def bootstrap_ranks(
    models: Mapping[str, Rows], *, better: Direction, level: float = 0.95, draws: Resampling = _DEFAULT
) -> list[Rank]:
    """Best first, with percentile intervals of the ranks of resamples; each model's rows are resampled by a seed of their own."""
    names = _checked(models, level)
    values, replicates = np.empty(len(names)), np.empty((len(names), draws.resamples))
    for number, name in enumerate(names):
        columns = ratio_columns(*models[name], name)
        values[number] = columns[0].sum() / columns[1].sum()
        replicates[number] = resampled_ratios(columns, draws.stream(number), name=name)
    sign = 1.0 if better == "lower" else -1.0
    measured, ranks = mean_ranks(sign * values), mean_ranks(sign * replicates)
    lows, highs = (np.quantile(ranks, tail, axis=1, method=how) for tail, how in _tails(level))
    return _sorted(
        [Rank(*row) for row in zip(names, *(x.tolist() for x in (values, measured, lows, highs)), strict=True)]
    )


def mean_ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks of [M, ...] over the first axis, the smallest is 1; equal values share the mean of their ranks."""
    ranks = np.empty(values.shape)
    for number, own in enumerate(values):
        ranks[number] = (values < own).sum(axis=0) + ((values == own).sum(axis=0) + 1) / 2
    return ranks


def rank_intervals(models: Mapping[str, Rows], *, better: Direction, level: float = 0.95) -> list[Rank]:
    """Best first: low is 1 + models surely better, high is the number of models minus those surely worse; all true ranks at once."""
    names = _checked(models, level)
    values, adjusted = _pairwise(models, names, better)
    lows, highs = rank_bounds(values, adjusted, level=level)
    sign = 1.0 if better == "lower" else -1.0
    columns = ((sign * values).tolist(), mean_ranks(values).tolist(), lows.tolist(), highs.tolist())
    return _sorted([Rank(*row) for row in zip(names, *columns, strict=True)])


def tie_groups(models: Mapping[str, Rows], *, better: Direction, level: float = 0.95) -> list[tuple[str, ...]]:
    """The largest groups of models of which no two are told apart (Holm over all pairs), the best first; a model can be in several.

    Written as letters, two models that share one are not told apart (a compact letter display, Piepho 2004).
    """
    names = _checked(models, level)
    values, adjusted = _pairwise(models, names, better)
    return [tuple(names[place] for place in group) for group in groups_of(values, adjusted, level=level)]


def rank_bounds(
    losses: NDArray[np.float64], adjusted: NDArray[np.float64], *, level: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lowest and highest rank [M] of losses [M], the smaller the better, from p-values [M, M] that `both_directions` adjusted."""
    wins = (adjusted <= 1.0 - checked_level(level)) & (losses[:, None] < losses[None, :])
    return 1.0 + wins.sum(axis=0), float(len(losses)) - wins.sum(axis=1)


def groups_of(losses: NDArray[np.float64], adjusted: NDArray[np.float64], *, level: float) -> list[tuple[int, ...]]:
    """`tie_groups` as positions in losses [M]."""
    order = np.argsort(losses, kind="stable")
    together = (adjusted > 1.0 - checked_level(level))[np.ix_(order, order)]
    groups = sorted(sorted(group) for group in _largest_cliques(together))
    return [tuple(int(order[place]) for place in group) for group in groups]


def both_directions(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Adjusted p-values [M, M], 1 on the diagonal, of one-sided ones [M, M] in the direction measured.

    Holm over both directions of every pair: a pair told apart in the wrong direction is an error of the family, too.
    """
    upper = np.triu_indices(len(p), 1)
    adjusted = np.ones_like(p)
    # A p-value of the other direction is never smaller than that of the direction measured, and is not of interest: it only counts.
    adjusted[upper] = holm(np.concatenate([p[upper], np.ones(len(upper[0]))]))[: len(upper[0])]
    return np.minimum(adjusted, adjusted.T)


def letters(groups: Sequence[tuple[str, ...]]) -> dict[str, str]:
    """Letters by model, a for the first group; z is followed by a1."""
    alphabet = "abcdefghijklmnopqrstuvwxyz"
    found: dict[str, str] = {}
    for number, group in enumerate(groups):
        turn = number // len(alphabet)
        letter = alphabet[number % len(alphabet)] + (str(turn) if turn else "")
        for model in group:
            found[model] = found.get(model, "") + letter
    return found


def _pairwise(
    models: Mapping[str, Rows], names: list[str], better: Direction
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Values [M], the smaller the better, and adjusted p-values [M, M] of "no difference in the direction measured"."""
    sign = 1.0 if better == "lower" else -1.0
    p = np.ones((len(names), len(names)))
    for i, j in itertools.combinations(range(len(names)), 2):
        p[i, j] = p[j, i] = unpaired_difference(models[names[i]], models[names[j]]).p_two_sided() / 2.0
    columns = [ratio_columns(*models[name], name) for name in names]
    return sign * np.array([above.sum() / below.sum() for above, below in columns]), both_directions(p)


def _largest_cliques(linked: NDArray[np.bool_]) -> list[set[int]]:
    """Bron and Kerbosch (1973) with a pivot; every node is linked to itself."""
    others = [set(np.flatnonzero(row).tolist()) - {number} for number, row in enumerate(linked)]
    found: list[set[int]] = []

    def extend(clique: set[int], candidates: set[int], excluded: set[int]) -> None:
        if not candidates and not excluded:
            found.append(clique)
            return
        pivot = max(candidates | excluded, key=lambda node: (len(others[node] & candidates), -node))
        for node in sorted(candidates - others[pivot]):
            extend(clique | {node}, candidates & others[node], excluded & others[node])
            candidates = candidates - {node}
            excluded = excluded | {node}

    extend(set(), set(range(len(others))), set())
    return found


def _tails(level: float) -> list[tuple[float, Literal["inverted_cdf"]]]:
    """Ranks are steps: their quantiles are ranks that occur."""
    return [(tail, "inverted_cdf") for tail in percentile_levels(level)]


def _sorted(ranks: list[Rank]) -> list[Rank]:
    return sorted(ranks, key=lambda rank: (rank.rank, rank.model))


def _checked(models: Mapping[str, Rows], level: float) -> list[str]:
    checked_level(level)
    if len(models) < 2:
        raise ConfigError("a ranking needs two models", key="models", found=sorted(models), allowed=">= 2")
    return sorted(models)
