"""The figure of a report with many variants: one line each, one panel a metric, one dot a number of steps. Byte-stable.

Curves of more than a dozen labels can't be told apart, and their legend is longer than the figure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from elfbench.reporting.escaping import one_line
from elfbench.reporting.palette import interpolated
from elfbench.reporting.section import MODEL_FAMILIES, ScoredCell, Section

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

MOST_CURVES = 12
_PANELS = (
    ("gen_ppl", "generative perplexity", "log"),
    ("mauve", "MAUVE", "linear"),
    ("unigram_entropy", "entropy within a text, nats", "linear"),
    ("grammatical", "grammatical sentences, share", "linear"),
    ("corpus_entropy", "entropy of all texts, nats", "linear"),
    ("oracle_kl", "oracle KL, nats per word", "linear"),
)
_MOST_PANELS = 3
_LABEL = 40


def too_many_curves(section: Section) -> bool:
    """Whether dots replace curves."""
    return len({cell.label for cell in section.cells if cell.family in MODEL_FAMILIES}) > MOST_CURVES


def draw_dots(section: Section) -> tuple[Canvas, list[ScoredCell], tuple[str, ...]] | None:
    """The canvas, what it shows, and the metrics of its panels; None where the section has none of the metrics."""
    from matplotlib.figure import Figure as Canvas

    shown = [cell for cell in section.cells if cell.family in MODEL_FAMILIES]
    labels = list(dict.fromkeys(cell.label for cell in shown))
    panels = [one for one in _PANELS if any(cell.value(one[0]) for cell in shown)][:_MOST_PANELS]
    if not panels:
        return None
    canvas = Canvas(figsize=(2.2 + 2.0 * len(panels), 0.9 + 0.2 * len(labels)))
    places = {label: place for place, label in enumerate(labels)}
    steps = sorted({cell.steps or 0 for cell in shown})
    colors = dict(zip(steps, interpolated(len(steps)), strict=True))
    for number, (metric, title, scale) in enumerate(panels):
        axes = canvas.add_subplot(1, len(panels), number + 1)
        _panel(axes, shown, places, metric, colors, section.reference_row())
        axes.set_xscale(scale)
        axes.set_xlabel(title, fontsize=8)
        axes.set_yticks(range(len(labels)), [_cut(label) for label in labels] if number == 0 else [""] * len(labels))
        axes.set_ylim(len(labels) - 0.5, -0.5)
    handles, names = canvas.axes[0].get_legend_handles_labels()
    canvas.legend(handles, names, loc="outside upper right", ncols=len(names), fontsize=8)
    return canvas, shown, tuple(metric for metric, _, _ in panels)


def _panel(
    axes: Axes,
    shown: list[ScoredCell],
    places: dict[str, int],
    metric: str,
    colors: dict[int, str],
    reference: ScoredCell | None,
) -> None:
    named: set[int] = set()
    for cell in shown:
        score, steps = cell.value(metric), cell.steps or 0
        if score is None:
            continue
        axes.errorbar(
            score.value,
            places[cell.label],
            xerr=[[max(0.0, score.value - score.low)], [max(0.0, score.high - score.value)]],
            color=colors[steps],
            marker="o",
            markersize=4,
            elinewidth=1.0,
            linestyle="none",
            label=(f"{steps} steps" if steps else "no steps") if steps not in named else None,
        )
        named.add(steps)
    aim = reference.value(metric) if reference is not None else None
    if aim is not None:
        axes.axvline(aim.value, color="#000000", linewidth=0.8, zorder=0)
    for place in places.values():
        axes.axhline(place, color="#e4e4e4", linewidth=0.5, zorder=-1)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def _cut(label: str) -> str:
    text = one_line(label).replace("$", r"\$")
    return text if len(text) <= _LABEL else text[: _LABEL - 1] + "\N{HORIZONTAL ELLIPSIS}"
