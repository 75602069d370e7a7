"""From an interval to an estimate: says which variation the interval covers, and puts companions beside the value."""

from __future__ import annotations

from collections.abc import Mapping

from elfbench.spec.metric import Estimate
from elfbench.statistics.interval import Interval


def as_estimate(interval: Interval, covers: str, detail: Mapping[str, float | int | str] | None = None) -> Estimate:
    """The estimate with this interval."""
    return Estimate(
        value=interval.value,
        low=interval.low,
        high=interval.high,
        method=interval.method,
        covers=covers,
        detail=dict(detail or {}),
    )
