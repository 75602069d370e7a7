"""Many variants get a line each instead of curves that nobody can tell apart."""

from __future__ import annotations

import pytest

from elfbench.reporting.dot_figure import MOST_CURVES, too_many_curves
from elfbench.reporting.figures import draw_figures
from elfbench.reporting.palette import interpolated
from elfbench.reporting.section import ScoredCell, Section
from elfbench.spec.metric import Score


def _score(metric: str, value: float) -> Score:
    return Score(
        cell="c",
        metric=metric,
        version=1,
        protocol={},
        fingerprint="f",
        value=value,
        low=value - 0.01,
        high=value + 0.01,
        level=0.95,
        n=8,
        n_requested=8,
        n_dropped=0,
        unit="share",
        method="m",
        covers="rows",
        detail={},
        rows_digest="r",
        reference_digest=None,
    )


def _section(variants: int) -> Section:
    cells = [
        ScoredCell(
            "i",
            "m",
            f"variant {n} $x$",
            "continuous",
            steps,
            {},
            8,
            None,
            {"grammatical": ("k", _score("grammatical", n / 50))},
        )
        for n in range(variants)
        for steps in (8, 32)
    ]
    reference = ScoredCell(
        "r", "e", "the language", "reference", None, {}, 8, None, {"grammatical": ("k", _score("grammatical", 1.0))}
    )
    return Section({"suite": "s"}, "run", (reference, *cells), (), None, "s-1")


def test_dots_replace_curves_when_there_are_many() -> None:
    assert not too_many_curves(_section(MOST_CURVES))
    (few,) = draw_figures(_section(MOST_CURVES))
    assert few.name == "grammatical_vs_steps"
    (many,) = draw_figures(_section(MOST_CURVES + 1))
    assert many.name == "variants"
    lines = many.data.splitlines()
    assert len(lines) == 1 + 2 * (MOST_CURVES + 1)
    assert lines[3].split(",")[1:5] == ["variant 1 $x$", "8", "grammatical", "0.02"]
    assert many.png == draw_figures(_section(MOST_CURVES + 1))[0].png, "byte-stable"


def test_a_section_without_its_metrics_has_no_figure() -> None:
    section = _section(MOST_CURVES + 1)
    bare = [ScoredCell("i", "m", f"v{n}", "continuous", 8, {}, 8, None, {}) for n in range(MOST_CURVES + 1)]
    assert draw_figures(Section(section.suite, "run", tuple(bare), (), None, "s-1")) == []


@pytest.mark.parametrize("count", [1, 2, 7])
def test_colors_go_from_light_to_dark(count: int) -> None:
    colors = interpolated(count)
    brightness = [sum(int(one[k : k + 2], 16) for k in (1, 3, 5)) for one in colors]
    assert len(set(colors)) == count
    assert brightness == sorted(brightness, reverse=True)
