"""Figures for a paper: PNG, PDF and the numbers behind each as CSV. Byte-stable: no dates, no random ids.

A figure whose data the suite does not have is left out; the page says so.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from elfbench.core.errors import PrerequisiteError
from elfbench.reporting.dot_figure import draw_dots, too_many_curves
from elfbench.reporting.escaping import one_line, spreadsheet
from elfbench.reporting.palette import Style, styles
from elfbench.reporting.section import MODEL_FAMILIES, ScoredCell, Section
from elfbench.spec.metric import Score

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

_INCHES = (5.6, 3.6)
_RC: dict[Any, Any] = {
    "font.family": "serif",
    "font.serif": ["DejaVu Serif"],
    "mathtext.fontset": "dejavuserif",
    "font.size": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.labelsize": 9,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "lines.linewidth": 1.3,
    "lines.markersize": 5,
    "svg.hashsalt": "elfbench",
    "pdf.fonttype": 42,
    "figure.constrained_layout.use": True,
}

Scale = Literal["linear", "log", "symlog"]


@dataclass(frozen=True, slots=True)
class Figure:
    """A drawn figure."""

    name: str
    caption: str
    png: bytes
    pdf: bytes
    data: str


class _Data:
    """What a figure shows, as CSV rows."""

    def __init__(self) -> None:
        self._rows: list[list[object]] = []

    def add(self, cell: ScoredCell, score: Score) -> None:
        steps = cell.steps if cell.steps is not None else ""
        self._rows.append([cell.model, cell.label, steps, score.metric, score.value, score.low, score.high, score.n])

    def text(self) -> str:
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["model", "label", "steps", "metric", "value", "low", "high", "n"])
        for row in dict.fromkeys(tuple(row) for row in self._rows):
            writer.writerow([spreadsheet(value) for value in row])
        return stream.getvalue()


def draw_figures(section: Section) -> list[Figure]:
    """All figures that the section has data for. Raises PrerequisiteError when matplotlib is missing."""
    drawn = []
    with drawing():
        if too_many_curves(section):
            dots = _dots(section)
            return [dots] if dots is not None else []
        for name, caption, draw in _FIGURES:
            figure = _drawn(section, name, caption, draw)
            if figure is not None:
                drawn.append(figure)
    return drawn


def _dots(section: Section) -> Figure | None:
    found = draw_dots(section)
    if found is None:
        return None
    canvas, shown, metrics = found
    data = _Data()
    for cell in shown:
        for metric in metrics:
            score = cell.value(metric)
            if score is not None:
                data.add(cell, score)
    caption = "Every variant on a line of its own; dots are numbers of sampling steps, bars intervals, the black line the reference."
    return Figure("variants", caption, *rendered(canvas), data.text())


@contextmanager
def drawing() -> Iterator[None]:
    """The house's look, without a screen. Raises PrerequisiteError when matplotlib is missing."""
    try:
        import matplotlib as mpl

        mpl.use("Agg", force=False)
    except ModuleNotFoundError as error:
        raise PrerequisiteError(
            "figures need matplotlib", found="not installed", remedy="pip install 'elfbench[report]'"
        ) from error
    with mpl.rc_context(_RC):
        yield


def rendered(canvas: Canvas) -> tuple[bytes, bytes]:
    """(PNG, PDF), the same bytes for the same drawing."""
    png, pdf = io.BytesIO(), io.BytesIO()
    canvas.savefig(png, format="png", dpi=200, metadata={"Software": None})
    canvas.savefig(pdf, format="pdf", metadata={"CreationDate": None, "Producer": None, "Creator": None})
    return png.getvalue(), pdf.getvalue()


def _drawn(section: Section, name: str, caption: str, draw: Callable[[Section, Axes, _Data], bool]) -> Figure | None:
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=_INCHES)
    data = _Data()
    if not draw(section, canvas.add_subplot(), data):
        return None
    return Figure(name, caption, *rendered(canvas), data.text())


def _frontier(
    x_name: str, x_label: str, y_name: str, y_label: str, *, scale: Scale
) -> Callable[[Section, Axes, _Data], bool]:
    """A drawing of quality against diversity: one without the other is collapse."""

    def draw(section: Section, axes: Axes, data: _Data) -> bool:
        cells = [cell for cell in section.cells if cell.value(x_name) and cell.value(y_name)]
        if len(cells) < 2:
            return False
        for curve in _curves(cells):
            _frontier_curve(curve, _looks(section)[curve[0].label], axes, data, (x_name, y_name))
        _scaled(axes, scale)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
        return True

    return draw


def _frontier_curve(cells: list[ScoredCell], style: Style, axes: Axes, data: _Data, names: tuple[str, str]) -> None:
    rows = [(cell, cell.value(names[0]), cell.value(names[1])) for cell in cells]
    for cell, x, y in rows:
        assert x is not None
        assert y is not None
        data.add(cell, x)
        data.add(cell, y)
        is_model = cell.family in MODEL_FAMILIES
        axes.errorbar(
            x.value, y.value, xerr=_bar(x), yerr=_bar(y), color=style.color, marker="+" if cell.family == "reference" else style.marker,
            markersize=10 if cell.family == "reference" else 5 if is_model else 4, elinewidth=0.6, capsize=0, linestyle="none", zorder=3,
        )  # fmt: skip
        # A long curve is read from its ends; every number on it would cover the others.
        if cell.steps is not None and (len(cells) <= 5 or cell in (cells[0], cells[-1])):
            axes.annotate(
                str(cell.steps),
                (x.value, y.value),
                textcoords="offset points",
                xytext=(4, 4),
                fontsize=6.5,
                color=style.color,
            )
    axes.plot(
        [x.value for _, x, _ in rows if x],
        [y.value for _, _, y in rows if y],
        color=style.color,
        linewidth=1.0,
        alpha=0.7,
    )
    axes.plot(
        [],
        [],
        color=style.color,
        marker="+" if cells[0].family == "reference" else style.marker,
        linewidth=1.0,
        label=_short(cells[0].label),
    )


def _against(
    x_name: str, x_label: str, y_name: str, y_label: str, *, scale: Scale
) -> Callable[[Section, Axes, _Data], bool]:
    """A drawing of metric `y_name` against steps, or against the metric `x_name`, with bands; flat rows are horizontal lines."""

    def draw(section: Section, axes: Axes, data: _Data) -> bool:
        curves = [cells for cells in _curves(section.cells) if cells[0].steps is not None and len(cells) > 1]
        curves = [
            [cell for cell in cells if cell.value(y_name) and (x_name == "steps" or cell.value(x_name))]
            for cells in curves
        ]
        if not any(curves):
            return False
        looks = _looks(section)
        for cells in filter(None, curves):
            style = looks[cells[0].label]
            scores = [score for cell in cells if (score := cell.value(y_name)) is not None]
            xs = [float(cell.steps or 0) if x_name == "steps" else _value(cell, x_name) for cell in cells]
            for cell, score in zip(cells, scores, strict=True):
                data.add(cell, score)
            axes.plot(
                xs,
                [score.value for score in scores],
                color=style.color,
                marker=style.marker,
                label=_short(cells[0].label),
                zorder=3,
            )
            axes.fill_between(
                xs,
                [score.low for score in scores],
                [score.high for score in scores],
                color=style.color,
                alpha=0.18,
                linewidth=0,
            )
        for cell in section.cells:
            score = cell.value(y_name)
            if cell.steps is not None or score is None:
                continue
            data.add(cell, score)
            style = looks[cell.label]
            dashes = {"reference": "-", "autoregressive": "--"}.get(cell.family, ":")
            axes.axhline(
                score.value, color=style.color, linestyle=dashes, linewidth=1.0, label=_short(cell.label), zorder=1
            )
            if cell.family == "reference":
                axes.axhspan(score.low, score.high, color=style.color, alpha=0.08, linewidth=0)
        axes.set_xscale("log", base=2)
        ticks = sorted(
            {
                float(cell.steps or 0) if x_name == "steps" else _value(cell, x_name)
                for cells in curves
                for cell in cells
            }
        )
        axes.set_xticks(
            ticks if x_name == "steps" else [2.0**k for k in range(2, 12) if ticks[0] / 2 < 2.0**k < 2 * ticks[-1]]
        )
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.minorticks_off() if scale == "linear" else axes.xaxis.set_minor_locator(_no_ticks())
        _scaled(axes, scale)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
        return True

    return draw


_FIGURES: tuple[tuple[str, str, Callable[[Section, Any, _Data], bool]], ...] = (
    (
        "entropy_vs_ppl",
        "Quality against diversity. A low perplexity at an entropy below that of real text (the cross) is collapse, not quality. "
        "Numbers at the markers are sampling steps; bars are intervals.",
        _frontier(
            "unigram_entropy",
            "unigram entropy within a text (nats; a proxy of diversity)",
            "gen_ppl",
            "generative perplexity (log scale)",
            scale="log",
        ),
    ),
    (
        "entropy_vs_grammatical",
        "Grammar against diversity. A high share of grammatical sentences left of the language (the cross) is collapse, not quality. "
        "Numbers at the markers are sampling steps; bars are intervals.",
        _frontier(
            "corpus_entropy",
            "unigram entropy of all texts (nats)",
            "grammatical",
            "share of grammatical sentences",
            scale="linear",
        ),
    ),
    (
        "grammatical_vs_steps",
        "Share of grammatical sentences against sampling steps; bands are intervals, horizontal lines have no steps.",
        _against("steps", "sampling steps", "grammatical", "share of grammatical sentences", scale="linear"),
    ),
    (
        "oracle_kl_vs_steps",
        "Divergence from the language against sampling steps (a lower bound, see the metric), linear below 0.1 and logarithmic above: "
        "lower is better, and collapse does not lower it.",
        _against("steps", "sampling steps", "oracle_kl", "oracle KL (nats per word)", scale="symlog"),
    ),
    (
        "ppl_vs_steps",
        "Generative perplexity against sampling steps, both on log scales; bands are intervals, horizontal lines have no steps.",
        _against("steps", "sampling steps", "gen_ppl", "generative perplexity", scale="log"),
    ),
    (
        "ppl_vs_nfe",
        "Generative perplexity against network forward passes per text, both on log scales.",
        _against("nfe", "network forward passes per text (NFE)", "gen_ppl", "generative perplexity", scale="log"),
    ),
    (
        "entropy_vs_steps",
        "Unigram entropy within a text against sampling steps. The aim is the line of real text.",
        _against("steps", "sampling steps", "unigram_entropy", "unigram entropy (nats)", scale="linear"),
    ),
    (
        "mauve_vs_steps",
        "MAUVE against sampling steps. The line of real text is the ceiling: real against real at the same n and k.",
        _against("steps", "sampling steps", "mauve", "MAUVE", scale="linear"),
    ),
)


def _curves(cells: Sequence[ScoredCell]) -> list[list[ScoredCell]]:
    """Cells that differ in steps only, ordered by steps."""
    groups: dict[tuple[str, str], list[ScoredCell]] = {}
    for cell in cells:
        groups.setdefault((cell.model, cell.label), []).append(cell)
    return [sorted(group, key=lambda cell: cell.steps or 0) for group in groups.values()]


def _looks(section: Section) -> dict[str, Style]:
    return styles([(cell.label, cell.family) for cell in section.cells])


def _value(cell: ScoredCell, metric: str) -> float:
    score = cell.value(metric)
    assert score is not None
    return score.value


def _bar(score: Score) -> list[list[float]]:
    """Distances to both ends, as errorbar wants them."""
    return [[max(0.0, score.value - score.low)], [max(0.0, score.high - score.value)]]


def _short(label: str) -> str:
    """A legend label: one line, no mathtext, cut when long."""
    text = one_line(label).replace("$", r"\$")
    return text if len(text) <= 28 else text[:27] + "\N{HORIZONTAL ELLIPSIS}"


def _scaled(axes: Axes, scale: Scale) -> None:
    """The y axis on this scale, with plain numbers."""
    if scale == "log":
        axes.set_yscale("log")
        _plain_log(axes, "y")
    elif scale == "symlog":
        # Divergences of exact samples lie around 0, those of one step far above.
        axes.set_yscale("symlog", linthresh=0.1, linscale=0.5)
        axes.set_ylim(bottom=min(-0.03, axes.dataLim.y0))
        axes.yaxis.set_major_locator(_fixed((0.0, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)))
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")


def _fixed(places: tuple[float, ...]) -> Any:
    from matplotlib.ticker import FixedLocator

    return FixedLocator(places)


def _plain_log(axes: Axes, which: str) -> None:
    """Ticks at 1, 2, 5 times powers of ten, as plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axis = axes.yaxis if which == "y" else axes.xaxis
    axis.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def _no_ticks() -> Any:
    from matplotlib.ticker import NullLocator

    return NullLocator()
