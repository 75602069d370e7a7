"""All pairs of M ratios of sums at once: standard errors and one-sided p-values, rows paired where they share their noise.

The variance of R_i - R_j is that of the sum over rows of the two influences (delta method, as in `difference`), divided by their numbers of
rows: rows that only one has count by themselves, so that a row that was dropped on one side costs nothing. On equal rows it is the paired
test, without shared noise Welch's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, t

from elfbench.core.errors import ConfigError
from elfbench.statistics.difference import influence


@dataclass(frozen=True, slots=True)
class RatioRows:
    """One of the M: the ratio is sum numerator / sum denominator."""

    rows: NDArray[np.int64]
    """[n] numbers of its rows, ascending; equal numbers of one `noise` are the same draw of it."""
    numerator: NDArray[np.float64]
    denominator: NDArray[np.float64]
    noise: str | None
    """Whose rows share their noise; None: nobody else's."""


def pairwise_p(models: Sequence[RatioRows], losses: NDArray[np.float64]) -> NDArray[np.float64]:
    """[M, M] one-sided p-values that the one of smaller loss [M] is not truly better, symmetric; 1 where losses are equal.

    A loss is the ratio, or its negative. Degrees of freedom: n - 1 of the smaller where rows pair, else Welch's.
    """
    if len(models) != len(losses):
        raise ConfigError("every model has a loss", key="losses", found=f"{len(losses)} of {len(models)}")
    numbers = np.array([len(model.rows) for model in models], dtype=np.float64)
    covariance = _covariance(models)
    variance = np.diag(covariance)
    paired = np.array([[a.noise is not None and a.noise == b.noise for b in models] for a in models])
    squared = variance[:, None] + variance[None, :]
    welch = squared**2 / np.maximum(_squares_over_freedom(variance, numbers), np.finfo(float).tiny)
    freedom = np.where(paired, np.minimum(numbers[:, None], numbers[None, :]) - 1.0, np.maximum(welch, 1.0))
    # Rounding must not make noise of rows that are equal.
    error = np.sqrt(np.maximum(squared - 2.0 * np.where(paired, covariance, 0.0), 1e-18 * squared))
    return _one_sided(losses, error, freedom)


def normal_p(losses: NDArray[np.float64], errors: NDArray[np.float64]) -> NDArray[np.float64]:
    """[M, M] as `pairwise_p`, of independent normals with standard errors [M]."""
    return _one_sided(losses, np.hypot(errors[:, None], errors[None, :]), None)


def nearer_p(
    values: NDArray[np.float64], errors: NDArray[np.float64], p: NDArray[np.float64], aim: float, aim_error: float
) -> NDArray[np.float64]:
    """[M, M] p-values that the value nearer to an uncertain aim is not truly nearer.

    |x_i - a| < |x_j - a| exactly where x_i - x_j and x_i + x_j - 2a have opposite signs. Both signs must be sure (intersection-union,
    Berger 1982), at twice the larger one-sided p, because a wrong one may come of either pair of signs. p: [M, M] of the first; the error of
    the second is the largest that any dependence of the two rows allows.
    """
    middle = np.abs(values[:, None] + values[None, :] - 2.0 * aim)
    error = np.hypot(errors[:, None] + errors[None, :], 2.0 * aim_error)
    with np.errstate(divide="ignore", invalid="ignore"):
        of_middle = np.where(middle > 0.0, norm.sf(middle / error), 1.0)
    return np.minimum(1.0, 2.0 * np.maximum(p, of_middle))


def _covariance(models: Sequence[RatioRows]) -> NDArray[np.float64]:
    """[M, M] of the ratios, as if all shared their noise; unbiased on the diagonal."""
    places = np.unique(np.concatenate([model.rows for model in models]))
    scaled = np.zeros((len(models), len(places)))
    for number, model in enumerate(models):
        n = len(model.rows)
        _, own = influence(model.numerator, model.denominator)
        spread = own - own.mean()
        if (own == own[0]).all():
            spread = np.zeros(n)
        scaled[number, np.searchsorted(places, model.rows)] = spread / np.sqrt(n * (n - 1.0))
    covariance: NDArray[np.float64] = scaled @ scaled.T
    return covariance


def _squares_over_freedom(variance: NDArray[np.float64], numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    part = variance**2 / (numbers - 1.0)
    total: NDArray[np.float64] = part[:, None] + part[None, :]
    return total


def _one_sided(
    losses: NDArray[np.float64], error: NDArray[np.float64], freedom: NDArray[np.float64] | None
) -> NDArray[np.float64]:
    gap = np.abs(losses[:, None] - losses[None, :])
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = gap / error
    tail = norm.sf(ratio) if freedom is None else t.sf(ratio, freedom)
    p: NDArray[np.float64] = np.where(gap == 0.0, 1.0, np.where(error == 0.0, 0.0, tail))
    return p
