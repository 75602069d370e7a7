"""Delete-one jackknife (Tukey 1958; Efron and Stein 1981), for pooled statistics that resampling with replacement
would distort.
"""

from __future__ import annotations

import math

from numpy.typing import ArrayLike

from elfbench.statistics.interval import DEGENERATE, Interval, all_equal, finite_rows, t_quantile


def jackknife_variance(leave_one_out: ArrayLike, *, name: str = "rows") -> float:
    """(n-1)/n sum_i (theta_(i) - mean)^2 of the values [n] without row i, n >= 2."""
    values = finite_rows(leave_one_out, name, at_least=2)
    if all_equal(values):
        return 0.0
    n = len(values)
    centered = values - math.fsum(values) / n
    return (n - 1) / n * math.fsum(centered**2)


def jackknife(
    value: float,
    leave_one_out: ArrayLike,
    *,
    level: float = 0.95,
    bounds: tuple[float, float] = (-math.inf, math.inf),
    name: str = "rows",
) -> Interval:
    """value +- t(n-1) se, cut at `bounds`. The value is not bias-corrected: it is the statistic of these n rows."""
    (center,) = finite_rows([value], name, at_least=1)
    values = finite_rows(leave_one_out, name, at_least=2)
    half = t_quantile(level, len(values) - 1) * math.sqrt(jackknife_variance(values, name=name))
    method = DEGENERATE if all_equal(values) else f"delete-one jackknife over rows, {len(values)} rows"
    return clipped(float(center), half, bounds, method)


def bias_corrected_jackknife(
    value: float, leave_one_out: ArrayLike, *, level: float = 0.95, name: str = "rows"
) -> Interval:
    """n theta - (n-1) mean theta_(i), +- t(n-1) se: removes the bias of order 1/n of a plug-in (Quenouille 1956), e.g. of an entropy."""
    values = finite_rows(leave_one_out, name, at_least=2)
    n = len(values)
    corrected = n * value - (n - 1) * math.fsum(values) / n
    plain = jackknife(corrected, values, level=level, name=name)
    return Interval(plain.value, plain.low, plain.high, plain.method.replace("delete-one", "bias-corrected delete-one"))


def clipped(value: float, half: float, bounds: tuple[float, float], method: str) -> Interval:
    """value +- half, cut at `bounds`, in which the value itself must lie up to rounding."""
    low, high = bounds
    value = min(max(value, low), high)
    return Interval(value, max(low, value - half), min(high, value + half), method)
