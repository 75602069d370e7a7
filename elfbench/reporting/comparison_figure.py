"""The forest plot of a comparison: standardized differences with their intervals, one line a metric. Byte-stable PNG and PDF.

Standardized, because metrics of several units share the axis: the difference over the pooled standard deviation of a row's influence.
Costs are left out. A hollow marker is a tie.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from elfbench.reporting.compared import Compared
from elfbench.reporting.comparison import Comparison
from elfbench.reporting.comparison_text import as_csv, difference_text
from elfbench.reporting.escaping import one_line
from elfbench.reporting.figures import Figure, drawing, rendered

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_LINES = 60
_LINE_INCHES = 0.21
_WIDTH = 6.8
_COLORS = {"A": "#0072B2", "B": "#D55E00", "differs": "#000000", "tie": "#7f7f7f"}
_MEANING = {"A": "A better", "B": "B better", "differs": "differ", "tie": "tie"}
_LABEL = 44


def draw_comparison(comparison: Comparison) -> Figure | None:
    """The figure; None where nothing has a scale. Raises PrerequisiteError when matplotlib is missing.

    Of more than 60 comparisons it shows those with the smallest p, in table order, and the caption says so.
    """
    able = [one for one in comparison.compared if one.effect is not None]
    if not able:
        return None
    kept = sorted(range(len(able)), key=lambda place: (able[place].p, place))[:_MOST_LINES]
    shown = [able[place] for place in sorted(kept)]
    with drawing():
        from matplotlib.figure import Figure as Canvas

        canvas = Canvas(figsize=(_WIDTH, 1.2 + _LINE_INCHES * len(_lines(shown))))
        _draw(canvas.add_subplot(), shown, comparison)
        files = rendered(canvas)
    part = f" The {len(shown)} of {len(able)} with the smallest p." if len(shown) < len(able) else ""
    caption = f"Standardized differences with 95 % intervals (not adjusted); hollow markers are ties after Holm.{part}"
    return Figure("comparison", caption, *files, as_csv(comparison))


def _lines(shown: Sequence[Compared]) -> list[Compared | str]:
    """Comparisons, with the name of their row above where there are several rows."""
    rows = list(dict.fromkeys(one.row for one in shown))
    if len(rows) == 1:
        return list(shown)
    lines: list[Compared | str] = []
    for row in rows:
        lines += [row, *(one for one in shown if one.row == row)]
    return lines


def _draw(axes: Axes, shown: Sequence[Compared], comparison: Comparison) -> None:
    lines = _lines(shown)
    names = [_cut(line if isinstance(line, str) else line.title) for line in lines]
    axes.axvline(0.0, color="#b0b0b0", linewidth=0.8, zorder=0)
    for place, line in enumerate(lines):
        if isinstance(line, str):
            continue
        assert line.effect is not None
        assert line.effect_low is not None
        assert line.effect_high is not None
        color = _COLORS[line.outcome]
        axes.errorbar(
            line.effect,
            place,
            xerr=[[line.effect - line.effect_low], [line.effect_high - line.effect]],
            color=color,
            marker="o",
            markerfacecolor="white" if line.outcome == "tie" else color,
            elinewidth=1.0,
            linestyle="none",
        )
        value, interval = difference_text(line)
        axes.annotate(
            f"{value} {interval}",
            (1.0, place),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            xytext=(6, 0),
            va="center",
            fontsize=7.5,
            color=color,
        )
    axes.set_yticks(range(len(lines)), names)
    for tick, line in zip(axes.get_yticklabels(), lines, strict=True):
        tick.set_fontweight("bold" if isinstance(line, str) else "normal")
    axes.set_ylim(len(lines) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("B - A, in standard deviations of a row (95 % interval)")
    axes.set_title(f"A: {_cut(comparison.a)}\nB: {_cut(comparison.b)}", loc="left", fontsize=9)
    _legend(axes, shown)


def _legend(axes: Axes, shown: Sequence[Compared]) -> None:
    outcomes = {one.outcome for one in shown}
    for outcome, color in _COLORS.items():
        if outcome in outcomes:
            axes.plot(
                [],
                [],
                color=color,
                marker="o",
                linestyle="none",
                markerfacecolor="white" if outcome == "tie" else color,
                label=_MEANING[outcome],
            )
    axes.figure.legend(loc="outside lower center", ncols=len(outcomes))


def _cut(text: str) -> str:
    """One line, no mathtext, cut in the middle when long: names differ at both ends."""
    text = one_line(text)
    if len(text) > _LABEL:
        text = f"{text[: _LABEL // 2]}\N{HORIZONTAL ELLIPSIS}{text[-(_LABEL // 2 - 1) :]}"
    return text.replace("$", r"\$")
