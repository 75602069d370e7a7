"""The frontier's figure: gen-PPL along entropy with bands, and the numbers behind it. Byte-stable PNG and PDF."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from elfbench.reporting.escaping import one_line, spreadsheet
from elfbench.reporting.figures import Figure, drawing, rendered
from elfbench.reporting.frontier import PERPLEXITY, Frontier, Line
from elfbench.reporting.palette import Style, styles
from elfbench.statistics.matched import Band, Curve, Missing, band

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_frontier(frontier: Frontier) -> Figure | None:
    """Curves with simultaneous bands, the data's entropy as a vertical line; None where no curve could be made."""
    lines = [line for line in frontier.lines if isinstance(line.curve, Curve)]
    if not lines:
        return None
    with drawing():
        from matplotlib.figure import Figure as Canvas

        canvas = Canvas(figsize=(5.6, 3.6))
        data = _draw(canvas.add_subplot(), frontier, lines)
        files = rendered(canvas)
    caption = (
        "gen-PPL along entropy, a curve for each model and number of steps through its temperatures; compare at equal entropy only. Bands hold "
        f"a whole curve with {frontier.level:.0%} over rows; the vertical line is the data's entropy, the cross the data."
    )
    return Figure("frontier", caption, *files, data)


def _draw(axes: Axes, frontier: Frontier, lines: Sequence[Line]) -> str:
    """Draws, and returns the numbers behind it as CSV."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["model", "steps", "kind", "entropy", "gen_ppl", "low", "high"])
    looks = styles([(line.title, line.cells[0].family) for line in lines])
    for line in lines:
        assert isinstance(line.curve, Curve)
        points = line.curve.points
        drawn = band(line.curve, level=frontier.level)
        place = [spreadsheet(line.name), line.steps or ""]
        writer.writerows([*place, "point", h, math.exp(y), "", ""] for h, y in points.tolist())
        if isinstance(drawn, Band):
            numbers = np.stack([drawn.entropy, *np.exp([drawn.value, drawn.low, drawn.high])], axis=1)
            writer.writerows([*place, "band", *row] for row in numbers.tolist())
        _draw_line(axes, line, points, drawn, looks[line.title])
    if frontier.entropy is not None:
        axes.axvspan(frontier.entropy.low, frontier.entropy.high, color="#000000", alpha=0.08, linewidth=0)
        axes.axvline(frontier.entropy.value, color="#000000", linewidth=0.8, zorder=1)
        own = frontier.reference.value(PERPLEXITY) if frontier.reference else None
        if own:
            axes.plot(frontier.entropy.value, own.value, color="#000000", marker="+", markersize=10, linestyle="none")
            writer.writerow(["reference", "", "point", frontier.entropy.value, own.value, own.low, own.high])
    _log_scale(axes)
    axes.set_xlabel("unigram entropy within a text (nats; a proxy of the model's entropy)")
    axes.set_ylabel("generative perplexity (log scale)")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return stream.getvalue()


def _draw_line(axes: Axes, line: Line, points: NDArray[np.float64], drawn: Band | Missing, style: Style) -> None:
    assert isinstance(line.curve, Curve)
    grid = np.linspace(points[0, 0], points[-1, 0], 100)
    axes.plot(grid, np.exp(line.curve.at(grid)), color=style.color, linewidth=1.0)
    axes.plot(points[:, 0], np.exp(points[:, 1]), color=style.color, marker=style.marker, linestyle="none", zorder=3)
    label = one_line(line.title).replace("$", r"\$")
    axes.plot([], [], color=style.color, marker=style.marker, linewidth=1.0, label=label)
    if isinstance(drawn, Band):
        axes.fill_between(
            drawn.entropy, np.exp(drawn.low), np.exp(drawn.high), color=style.color, alpha=0.18, linewidth=0
        )


def _log_scale(axes: Axes) -> None:
    """Plain numbers, dense enough for curves that span less than a power of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(base=10, subs=(1.0, 1.5, 2.0, 3.0, 5.0, 7.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())
