from __future__ import annotations

import csv
import io
from itertools import product
from typing import Any

import numpy as np
import pytest

from elfbench.reporting import speed_figure
from elfbench.reporting.section import ScoredCell, Section
from elfbench.reporting.speed_figure import draw_speed, non_dominated
from elfbench.spec.metric import Score


def test_the_hull_is_what_no_other_beats() -> None:
    points = [(1.0, 1.0), (2.0, 2.0), (2.0, 1.5), (3.0, 3.0), (0.5, 1.0), (3.0, 3.0)]
    assert non_dominated(points) == [True, False, True, True, False, True]
    rng = np.random.default_rng(0)
    cloud = [tuple(point) for point in rng.integers(0, 6, size=(40, 2)).astype(float).tolist()]
    # Its complement, point by point: some other is no worse in both and better in one.
    beaten = {a for a, b in product(cloud, cloud) if (b[0] > a[0] and b[1] <= a[1]) or (b[0] >= a[0] and b[1] < a[1])}
    assert non_dominated(cloud) == [point not in beaten for point in cloud]


def _score(metric: str, value: float) -> tuple[str, Score]:
    fields: dict[str, Any] = dict.fromkeys(
        ("cell", "fingerprint", "unit", "method", "covers", "rows_digest", "reference_digest"), ""
    )
    numbers = {"value": value, "low": value * 0.9, "high": value * 1.1, "level": 0.95}
    counts = {"version": 1, "n": 5, "n_requested": 5, "n_dropped": 0}
    return "key", Score(metric=metric, protocol={}, detail={}, **fields, **numbers, **counts)


def _section(direction: str, reference: float | None = None) -> Section:
    def cell(label: str, family: str, **values: float) -> ScoredCell:
        scores = {name: _score(name, value) for name, value in values.items()}
        return ScoredCell(label, label, label, family, None, {}, 5, None, scores)

    cells = [
        cell("fast", "discrete", throughput_best=900.0, quality=3.0),
        cell("good", "continuous", throughput_best=30.0, quality=1.0),
        cell("neither", "discrete", throughput_best=20.0, quality=4.0),
        cell("untimed", "discrete", quality=0.5),
    ]
    if reference is not None:
        cells.append(cell("real", "reference", quality=reference))

    def metric(name: str, measurement: str) -> dict[str, Any]:
        measured = {"measurement": measurement, "device": "chip", "threads": 1}
        shown = {"metric": name, "title": name, "unit": "nats", "direction": direction}
        return shown | {"protocol": {"measurement": measured}}

    metrics = (metric("nfe", "cost"), metric("throughput_best", "timing"), metric("quality", "tokens"))
    return Section({"suite": "s", "version": 1}, "", tuple(cells), metrics, None, "s-1")


def _hull(section: Section) -> set[str]:
    figure = draw_speed(section)
    assert figure is not None
    rows = list(csv.DictReader(io.StringIO(figure.data)))
    assert {row["metric"] for row in rows} == {"throughput_best", "quality"}
    return {row["label"] for row in rows if row["on_hull"] == "1"}


def test_directions_decide_who_is_on_the_hull(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed_figure, "rendered", lambda canvas: (b"", b""))
    assert _hull(_section("lower")) == {"fast", "good"}
    assert _hull(_section("higher")) == {"fast", "neither"}
    assert _hull(_section("match", reference=1.1)) == {"fast", "good"}
    assert _hull(_section("match", reference=3.0)) == {"fast"}


def test_without_two_timed_models_there_is_no_figure() -> None:
    assert draw_speed(_section("match")) is None  # nothing to match
    section = _section("lower")
    few = Section(section.suite, "", section.cells[1:2], section.metrics, None, "s-1")
    assert draw_speed(few) is None
    costs = Section(section.suite, "", section.cells, section.metrics[:2], None, "s-1")
    assert draw_speed(costs) is None


def test_the_figure_is_the_same_bytes_twice() -> None:
    first, second = draw_speed(_section("lower")), draw_speed(_section("lower"))
    assert first is not None
    assert second is not None
    assert (first.png, first.pdf, first.data) == (second.png, second.pdf, second.data)
    assert "chip" in first.caption
