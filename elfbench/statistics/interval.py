"""What every interval method returns, and the checks that all of them share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import t

from elfbench.core.errors import ConfigError

DEGENERATE = "degenerate: all rows equal"
"""Method text where the rows do not vary: the interval is the value itself, which says nothing about other rows."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with its interval, and how the interval was made. low <= high, all finite."""

    value: float
    low: float
    high: float
    method: str


def finite_rows(values: ArrayLike, name: str, *, at_least: int) -> NDArray[np.float64]:
    """`values` as [n] float64. Raises ConfigError for fewer than `at_least` rows, another shape, NaN or infinity."""
    rows: NDArray[np.float64] = np.asarray(values, dtype=np.float64)
    if rows.ndim != 1:
        raise ConfigError("an interval needs one number per row", key=name, found=f"shape {rows.shape}", allowed="[n]")
    if len(rows) < at_least:
        raise ConfigError(
            f"too few rows for an interval: {len(rows)}, at least {at_least}",
            key=name,
            found=len(rows),
            allowed=f">= {at_least}",
            remedy="measure more rows",
        )
    if not np.isfinite(rows).all():
        bad = int(np.flatnonzero(~np.isfinite(rows))[0])
        raise ConfigError(
            "NaN and infinity are not measured values", key=name, found=f"row {bad}: {rows[bad]}", allowed="finite"
        )
    return rows


def checked_level(level: float) -> float:
    """`level`, a confidence level in (0, 1). Raises ConfigError outside."""
    if not 0.0 < level < 1.0:
        raise ConfigError("a confidence level lies between 0 and 1", key="level", found=level, allowed="e.g. 0.95")
    return level


def t_quantile(level: float, degrees_of_freedom: int) -> float:
    """Two-sided Student quantile: P(|T| <= q) = level."""
    return float(t.ppf(0.5 + 0.5 * checked_level(level), degrees_of_freedom))


def all_equal(values: NDArray[Any]) -> bool:
    """Whether every entry equals the first, exactly."""
    return bool((values == values[0]).all())
