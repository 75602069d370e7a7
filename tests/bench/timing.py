"""Side-by-side timing for the benchmarks: rows of the table, alternating runs, the rate of matrix products.

Not a profiler: whole tasks, the best of a few runs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

_REPEATS = 3


class Line(NamedTuple):
    """One row of the table; None where there is nothing to say."""

    what: str
    ours: float
    """Seconds."""
    other: float | None = None
    """Seconds of the other."""
    than: str = ""
    """What the other is, and what was extrapolated."""
    utilization: float | None = None
    """FLOPs of the task over those that matrix products alone would do in our time."""
    peaks: tuple[float, float] | None = None
    """Peak resident memory of the process, ours and the other's, in MB of 10^6 bytes."""


HEADER = (
    "| what | ours, s | other, s | ratio | FLOP utilization | peak MB, ours | peak MB, other | other |\n"
    "|:--|--:|--:|--:|--:|--:|--:|:--|"
)


def row(line: Line) -> str:
    """The line in Markdown."""
    other = "" if line.other is None else f"{line.other:.3g}"
    ratio = "" if line.other is None else f"{line.other / line.ours:.2f}x"
    utilization = "" if line.utilization is None else f"{line.utilization:.0%}"
    peaks = ("", "") if line.peaks is None else tuple(f"{peak:.0f}" for peak in line.peaks)
    cells = (line.what, f"{line.ours:.3g}", other, ratio, utilization, *peaks, line.than)
    return f"| {' | '.join(cells)} |"


def seconds(
    *tasks: Callable[[], object], repeats: int = _REPEATS, clock: Callable[[], float] = time.perf_counter
) -> list[float]:
    """Best time of each task, runs alternating so that a slow minute hits all alike."""
    best = [float("inf")] * len(tasks)
    for _ in range(repeats):
        for number, task in enumerate(tasks):
            start = clock()
            task()
            best[number] = min(best[number], clock() - start)
    return best
