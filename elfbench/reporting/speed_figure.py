"""Quality against speed: the suite's first metric of quality over tokens per second at the best batch, with the hull of rows that no other
row beats in both. Byte-stable PNG and PDF, and the numbers behind them.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from elfbench.reporting.cell_sums import COSTS
from elfbench.reporting.escaping import one_line, spreadsheet
from elfbench.reporting.figures import Figure, drawing, rendered
from elfbench.reporting.palette import Style, styles
from elfbench.reporting.section import MODEL_FAMILIES, ScoredCell, Section
from elfbench.spec.metric import Score

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SPEED = "throughput_best"
_FADED = 0.35


class _Point(NamedTuple):
    """A row of the table."""

    cell: ScoredCell
    speed: Score
    quality: Score
    loss: float
    """Lower is better."""


def draw_speed(section: Section) -> Figure | None:
    """None where fewer than two models were timed and measured."""
    metric = next((one for one in section.metrics if one["protocol"]["measurement"]["measurement"] not in COSTS), None)
    if metric is None:
        return None
    points = _points(section, metric)
    if len(points) < 2:
        return None
    hull = non_dominated([(point.speed.value, point.loss) for point in points])
    with drawing():
        from matplotlib.figure import Figure as Canvas

        canvas = Canvas(figsize=(5.6, 3.6))
        _draw(canvas.add_subplot(), section, metric, points, hull)
        files = rendered(canvas)
    measured = next(one["protocol"]["measurement"] for one in section.metrics if one["metric"] == SPEED)
    caption = (
        f"{metric['title']} against generated tokens per second at the best batch, on {measured['device']}, "
        f"{measured['threads']} thread(s). Bars are intervals, numbers at the markers sampling steps; the dashed hull joins the rows that no other "
        "beats in both, the others are faded."
    )
    return Figure("quality_vs_speed", caption, *files, _csv(points, hull))


def non_dominated(points: Sequence[tuple[float, float]]) -> list[bool]:
    """points: (speed, loss) -> which are not dominated: no other is as fast and as good, and better in one of the two."""
    return [
        not any(
            fast >= speed and bad <= loss and (fast, bad) != (speed, loss)
            for other, (fast, bad) in enumerate(points)
            if other != i
        )
        for i, (speed, loss) in enumerate(points)
    ]


def _points(section: Section, metric: Mapping[str, Any]) -> list[_Point]:
    reference = section.reference_row()
    target = reference.value(metric["metric"]) if reference is not None else None
    if metric["direction"] == "match" and target is None:
        return []
    points = []
    for cell in section.cells:
        speed, quality = cell.value(SPEED), cell.value(metric["metric"])
        if speed is None or quality is None or cell.family not in MODEL_FAMILIES:
            continue
        if metric["direction"] == "match":
            assert target is not None
            loss = abs(quality.value - target.value)
        else:
            loss = quality.value if metric["direction"] == "lower" else -quality.value
        points.append(_Point(cell, speed, quality, loss))
    return points


def _draw(
    axes: Axes, section: Section, metric: Mapping[str, Any], points: Sequence[_Point], hull: Sequence[bool]
) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    looks = styles([(cell.label, cell.family) for cell in section.cells])
    for point, best in zip(points, hull, strict=True):
        _draw_point(axes, point, looks[point.cell.label], 1.0 if best else _FADED)
    for label in dict.fromkeys(point.cell.label for point in points):
        title = one_line(label).replace("$", r"\$")
        axes.plot([], [], color=looks[label].color, marker=looks[label].marker, linestyle="none", label=title)
    outer = sorted((point.speed.value, point.quality.value) for point, best in zip(points, hull, strict=True) if best)
    axes.plot(*zip(*outer, strict=True), color="#000000", linestyle="--", linewidth=0.8, zorder=1)
    reference = section.reference_row()
    own = reference.value(metric["metric"]) if reference is not None else None
    if own is not None:
        axes.axhline(own.value, color="#000000", linewidth=0.8, zorder=1)
        axes.axhspan(own.low, own.high, color="#000000", alpha=0.08, linewidth=0)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("generated tokens per second, best batch (log scale)")
    axes.set_ylabel(f"{metric['title']} ({metric['unit']})".replace("$", r"\$"))
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))


def _draw_point(axes: Axes, point: _Point, style: Style, alpha: float) -> None:
    x, y = point.speed, point.quality
    axes.errorbar(
        x.value,
        y.value,
        xerr=[[x.value - x.low], [x.high - x.value]],
        yerr=[[max(0.0, y.value - y.low)], [max(0.0, y.high - y.value)]],
        color=style.color,
        marker=style.marker,
        alpha=alpha,
        elinewidth=0.6,
        linestyle="none",
        zorder=3,
    )
    if point.cell.steps is not None:
        place, offset = (x.value, y.value), (4, 4)
        axes.annotate(
            str(point.cell.steps), place, textcoords="offset points", xytext=offset, fontsize=6.5, color=style.color
        )


def _csv(points: Sequence[_Point], hull: Sequence[bool]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["model", "label", "steps", "metric", "value", "low", "high", "n", "on_hull"])
    for point, best in zip(points, hull, strict=True):
        for score in (point.speed, point.quality):
            place = [spreadsheet(point.cell.model), spreadsheet(point.cell.label), point.cell.steps or ""]
            writer.writerow([*place, score.metric, score.value, score.low, score.high, score.n, int(best)])
    return stream.getvalue()
