from __future__ import annotations

import dataclasses

import pytest

from elfbench.reporting.discrimination import surely_above, undiscriminating
from elfbench.reporting.panel import panel_tables, verdict
from elfbench.reporting.section import ScoredCell, Section
from elfbench.reporting.tables import headers, latex_table, markdown_table
from elfbench.spec.metric import Score
from elfbench.spec.suite import PanelBand


def _score(low: float, high: float) -> Score:
    return Score(
        cell="c", metric="m", version=1, protocol={}, fingerprint="f", value=(low + high) / 2, low=low, high=high, level=0.95, n=9,
        n_requested=9, n_dropped=0, unit="", method="test", covers="rows", detail={}, rows_digest="r", reference_digest=None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("interval", "band", "said"),
    [
        ((1.0, 1.9), {"low": 2.0, "high": 3.0}, "low"),
        ((1.0, 2.0), {"low": 2.0, "high": 3.0}, "inside"),
        ((2.9, 9.0), {"low": 2.0, "high": 3.0}, "inside"),
        ((3.1, 9.0), {"low": 2.0, "high": 3.0}, "high"),
        ((0.0, 9.0), {"low": 2.0, "high": 3.0}, "inside"),
        ((3.1, 9.0), {"low": 2.0}, "inside"),
        ((0.0, 1.0), {"high": 3.0}, "inside"),
    ],
)
def test_rejected_is_what_lies_wholly_outside(interval: tuple[float, float], band: dict[str, float], said: str) -> None:
    assert verdict(_score(*interval), PanelBand(**band)) == said
    assert verdict(None, PanelBand(**band)) == "missing"


def test_a_rank_needs_intervals_apart() -> None:
    low, high, wide = _score(1.0, 2.0), _score(3.0, 4.0), _score(1.5, 3.5)
    assert surely_above(low, high, "lower", None)
    assert not surely_above(high, low, "lower", None)
    assert surely_above(high, low, "higher", None)
    assert not surely_above(low, wide, "lower", None)
    aim = _score(2.9, 3.1)
    assert surely_above(_score(2.9, 3.0), low, "match", aim)
    # Beside the aim on both sides: distances 0 to 1 and 0 to 1.5.
    assert not surely_above(high, wide, "match", aim)
    assert not surely_above(_score(2.9, 3.0), low, "match", None)


ROWS = {
    "real": ("reference", (29.0, 31.0), (4.4, 4.6)),
    "tiled": ("control", (28.0, 28.0), (3.0, 3.0)),
    "noise": ("control", (900.0, 990.0), (4.5, 4.7)),
    "cold": ("autoregressive", (10.0, 12.0), None),
    "model": ("autoregressive", (50.0, 60.0), (4.0, 4.2)),
}


PROTOCOL = {"interval": {"level": 0.95}, "parameters": {}}


def _section(panel: object) -> Section:
    cells = []
    for name, (family, *intervals) in ROWS.items():
        found = zip(("gen_ppl", "entropy"), intervals, strict=True)
        scores = {metric: (name, _score(*interval)) for metric, interval in found if interval}
        scores["nfe"] = (name, _score(*((0.0, 0.0) if family == "control" else (64.0, 64.0))))
        cells.append(ScoredCell(name, name, name, family, None, {}, 9, None, scores))
    metrics = [
        {
            "metric": name,
            "title": title,
            "direction": direction,
            "protocol": PROTOCOL | {"measurement": {"measurement": read}},
        }
        for name, title, direction, read in (
            ("gen_ppl", "PPL", "lower", "judge_nll"),
            ("entropy", "entropy", "match", "tokens"),
            ("nfe", "NFE", "lower", "cost"),
        )
    ]
    suite = {"suite": "test", "title": "A test", "version": 1, "panel": panel}
    return Section(suite, "", tuple(cells), tuple(metrics), None, "id")  # type: ignore[arg-type]


BANDS = {"gen_ppl": {"low": 25.0, "high": 35.0}, "entropy": {"low": 4.3, "high": None}}


def test_the_panel_tells_which_metric_rejects_which_row_and_which_prefers_a_control() -> None:
    matrix, rows = panel_tables(_section({"bands": BANDS, "controls": ["cold"]}))
    assert matrix.headers == (
        "metric",
        "band",
        "real",
        "tiled",
        "noise",
        "cold",
        "model",
        "ranks a control above a model",
    )
    said = {row[0]: dict(zip(matrix.headers[1:], row[1:], strict=True)) for row in matrix.rows}
    assert said["PPL"]["band"] == "25 to 35"
    assert said["PPL"]["tiled"] == "28 ok"
    assert said["PPL"]["noise"].endswith("rejected \N{UPWARDS ARROW}")
    assert said["PPL"]["ranks a control above a model"] == "tiled above model; cold above model"
    assert said["entropy"]["band"] == "at least 4.3"
    assert said["entropy"]["cold"] == "\N{EN DASH}"
    assert said["entropy"]["ranks a control above a model"] == "noise above model"
    assert "Not discriminative here, as they rank a control above a trained model: PPL, entropy." in matrix.caption
    assert {row[0]: row[1:3] for row in rows.rows} == {
        "real": ("real text", "0 of 2"),
        "tiled": ("control", "1 of 2"),
        "noise": ("control", "1 of 2"),
        "cold": ("control", "1 of 1"),
        "model": ("model", "2 of 2"),
    }
    assert {row[0]: row[3:] for row in rows.rows}["tiled"] == ("entropy \N{DOWNWARDS ARROW}", "PPL")


def test_a_cold_model_is_a_model_unless_the_suite_says_otherwise() -> None:
    matrix, rows = panel_tables(_section({"bands": BANDS, "controls": []}))
    assert [row[1] for row in rows.rows if row[0] == "cold"] == ["model"]
    assert matrix.rows[0][-1] == "tiled above model"


def test_without_a_panel_there_are_no_tables() -> None:
    assert panel_tables(_section(None)) == []


def test_every_table_marks_the_metrics_that_rank_a_control_above_a_model_but_not_costs() -> None:
    section = _section(None)
    assert undiscriminating(section) == {"gen_ppl": ["tiled"], "entropy": ["noise"]}
    assert headers(section) == [
        "PPL\N{DOUBLE DAGGER} \N{DOWNWARDS ARROW}",
        "entropy\N{DOUBLE DAGGER} match",
        "NFE \N{DOWNWARDS ARROW}",
    ]
    said = "so it is not discriminative here: PPL (tiled); entropy (noise)."
    for text in (markdown_table(section), latex_table(section)):
        assert said in text.replace("\\", "")
    assert r"PPL$\ddagger$ $\downarrow$" in latex_table(section)
    without = dataclasses.replace(section, cells=tuple(cell for cell in section.cells if cell.family != "control"))
    assert undiscriminating(without) == {}
    assert "discriminative" not in markdown_table(without)
