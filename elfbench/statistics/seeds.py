"""Nested seeds, e.g. training > sampling > k-means: variance components and an interval that says what it covers.

Balanced nested random effects (Searle, Casella and McCulloch 1992, chapter 3): mean squares by level, components by their expectations. The
mean's error comes from the spread of the outermost level with two units or more, and so covers that level and all within it. A level with
one unit is never covered: most papers have one training seed, and their bar says nothing about training again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from elfbench.core.errors import ConfigError
from elfbench.statistics.interval import Interval, all_equal
from elfbench.statistics.mean import t_mean


@dataclass(frozen=True, slots=True)
class Component:
    """The variance that one level of seeds adds, in the metric's unit squared."""

    level: str
    units: int
    """How many seeds there are within one seed of the level outside."""
    variance: float | None
    """None where one unit cannot tell; a negative estimate is 0."""
    negative: bool
    """Whether the estimate was below 0: the level adds less than can be seen."""


@dataclass(frozen=True, slots=True)
class SeedInterval:
    """A mean over seeds, with what its bar covers."""

    interval: Interval
    components: tuple[Component, ...]
    """From the outermost level to the innermost."""
    covers: tuple[str, ...]
    """Levels whose chance the interval accounts for."""
    not_covered: tuple[str, ...]
    """Levels outside of it, with one unit each: their variance is unknown."""

    @property
    def statement(self) -> str:
        """What the bar covers, for a caption."""
        covered = f"bar covers {', '.join(self.covers)}" if self.covers else "no bar"
        unknown = "; ".join(f"variance of {level} unknown (1 measured)" for level in self.not_covered)
        return f"{covered}; {unknown}" if unknown else covered


def nested_seeds(values: ArrayLike, levels: Sequence[str], *, level: float = 0.95, name: str = "seeds") -> SeedInterval:
    """Of values [K1, ..., Kd], one axis a level of seeds from the outermost inwards; `levels` names the axes.

    An inner seed is drawn anew for every outer one: one that all share is crossed, not nested, and its chance is not covered. Rows can be the
    innermost level. Each entry is the metric of one combination.
    Raises ConfigError for missing combinations (NaN), names that do not fit and values of which no level has two units.
    """
    table = _checked(values, levels, name)
    outer = next((axis for axis, units in enumerate(table.shape) if units > 1), None)
    if outer is None:
        raise ConfigError("one seed has no spread", key=name, found=f"shape {table.shape}", remedy="measure more seeds")
    interval = t_mean(_unit_means(table, outer + 1).ravel(), level=level, name=name)
    covers, left = tuple(levels[outer:]), tuple(levels[:outer])
    single = tuple(text for text, units in zip(levels[outer:], table.shape[outer:], strict=True) if units == 1)
    # One unit per outer unit: its variance is in the bar, inseparably from that of the level outside.
    text = f"{interval.method.replace('rows', levels[outer])}; covers {', '.join(covers)}"
    if single:
        text += f" ({', '.join(single)} not separable)"
    bar = Interval(interval.value, interval.low, interval.high, text)
    return SeedInterval(bar, variance_components(table, levels, name=name), covers, left)


def variance_components(values: ArrayLike, levels: Sequence[str], *, name: str = "seeds") -> tuple[Component, ...]:
    """Components of values [K1, ..., Kd], outermost first: (MS of the level - MS of the next inner one with a spread) / values per unit."""
    table = _checked(values, levels, name)
    squares = [_mean_square(table, axis) for axis in range(table.ndim)]
    components = []
    for axis, units in enumerate(table.shape):
        own = squares[axis]
        if own is None:
            components.append(Component(levels[axis], units, None, False))
            continue
        inner = next((square for square in squares[axis + 1 :] if square is not None), 0.0)
        estimate = (own - inner) / math.prod(table.shape[axis + 1 :])
        components.append(Component(levels[axis], units, max(0.0, estimate), estimate < 0.0))
    return tuple(components)


def _unit_means(table: NDArray[np.float64], depth: int) -> NDArray[np.float64]:
    """Means over all axes from `depth` on."""
    means: NDArray[np.float64] = table.reshape(*table.shape[:depth], -1).mean(axis=-1)
    return means


def _mean_square(table: NDArray[np.float64], axis: int) -> float | None:
    """Of the units of `axis` around the mean of their outer unit, times the values in a unit; None with one unit."""
    units = table.shape[axis]
    if units == 1:
        return None
    means = _unit_means(table, axis + 1)
    if all_equal(means.ravel()):
        return 0.0
    spread = float(((means - means.mean(axis=-1, keepdims=True)) ** 2).sum())
    freedom: int = math.prod(table.shape[:axis]) * (units - 1)
    return spread * math.prod(table.shape[axis + 1 :]) / freedom


def _checked(values: ArrayLike, levels: Sequence[str], name: str) -> NDArray[np.float64]:
    try:
        table: NDArray[np.float64] = np.asarray(values, dtype=np.float64)
    except ValueError:
        raise ConfigError(
            "seeds are balanced: every outer seed has equally many inner ones", key=name, found="a ragged table"
        ) from None
    if table.ndim != len(levels) or table.ndim == 0 or len(set(levels)) != len(levels):
        raise ConfigError(
            "each axis of seeds has a name of its own", key=name, found=f"{table.ndim} axes, {list(levels)}"
        )
    if table.size == 0 or not np.isfinite(table).all():
        raise ConfigError("every combination of seeds has a finite value", key=name, found=f"shape {table.shape}")
    return table
