"""Timing cells in a run: what is stored, resumed, scored and shown. Small models; no time is ever asserted."""

from __future__ import annotations

import gc
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

import elfbench
from elfbench.core import provenance
from elfbench.core.errors import ConfigError, StoreError
from elfbench.reporting.mixed import one_protocol_a_column
from elfbench.reporting.report import write_report
from elfbench.reporting.section import load_sections
from elfbench.reporting.tables import markdown_table
from elfbench.running.plan import planned_cells
from elfbench.running.run import run
from elfbench.running.timing import cells as timing
from elfbench.running.timing import setting as timing_setting
from elfbench.running.timing.batch import TimedBatch, time_batch
from elfbench.running.timing.cells import plan_timings, with_timings
from elfbench.spec.metric import Score
from elfbench.spec.suite import SPEED_METRICS, Suite
from elfbench.store.store import Store
from elfbench.store.timings import stored_timings

BLOCK = {"batches": [1, 2], "repeats": 3, "warmup": 0}
SUITE: dict[str, Any] = {
    "suite": "test",
    "version": 1,
    "title": "Speed",
    "length": 8,
    "rows": 2,
    "measure": {"tokenizer": "words"},
    "timing": BLOCK,
    "models": [{"name": "exact-oracle"}, {"name": "ar-oracle"}, {"name": "mdlm-oracle", "steps": [1, 2]}],
    "metrics": [{"name": "unigram_entropy"}, {"name": "speed"}],
}
RATE = 1e9


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gc, "collect", lambda: 0)
    monkeypatch.setattr(timing, "matmul_rate", lambda device, dtype, clock: RATE)
    monkeypatch.setattr(timing_setting, "device_name", lambda device: "chip A")


@pytest.fixture(scope="module")
def timed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("timed") / "S"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gc, "collect", lambda: 0)
        patch.setattr(timing, "matmul_rate", lambda device, dtype, clock: RATE)
        patch.setattr(timing_setting, "device_name", lambda device: "chip A")
        summary = run(_suite(), place)
    assert (summary.runs_timed, summary.rows_made) == (3 * 2 * 3, 4 * 2)
    gaps = {gap["metric"] for gap in summary.not_scored}
    assert gaps <= {"peak_memory"}  # where the system does not tell it
    return place


def _suite(**changes: object) -> Suite:
    return Suite.model_validate(SUITE | changes, strict=False)


def _scores(store: Path) -> dict[tuple[str, int | None], dict[str, Score]]:
    opened, found = Store.open(store), {}  # type: ignore[var-annotated]
    for _, score in opened.scores():
        cell = opened.cell(score.cell)
        found.setdefault((cell.model, cell.steps), {})[score.metric] = score
    return found


def _timing_cells(store: Path) -> dict[tuple[str, int | None, int], str]:
    opened = Store.open(store)
    cells = [opened.cell(cell_id) for cell_id in opened.cell_ids()]
    return {(cell.model, cell.steps, cell.timing.batch): cell.id for cell in cells if cell.timing}


def test_every_model_row_and_batch_has_a_cell_and_controls_have_none(timed: Path) -> None:
    rows = [("ar-oracle", None), ("mdlm-oracle", 1), ("mdlm-oracle", 2)]
    assert sorted(_timing_cells(timed), key=str) == sorted(((*row, batch) for row in rows for batch in (1, 2)), key=str)
    store = Store.open(timed)
    for (_, _, batch), cell_id in _timing_cells(timed).items():
        cell = store.cell(cell_id)
        assert (cell.kind, cell.timing and cell.timing.device) == ("timing", "chip A")
        columns = stored_timings(store, [cell_id], 3)
        assert columns["batch"].tolist() == [batch] * 3
        assert columns["tokens"].tolist() == [8 * batch] * 3
        assert columns["passes"].tolist() == columns["nfe"].tolist()
        assert (columns["flops"] > 0).all()
        assert (columns["seconds"] > 0).all()


def test_scores_stand_on_the_sample_row_and_name_the_timing_cell(timed: Path) -> None:
    store, cells = Store.open(timed), _timing_cells(timed)
    samples = {(item.cell.model, item.cell.steps): item.cell.id for item in planned_cells(_suite())}
    for place, scores in _scores(timed).items():
        if place[0] == "exact-oracle":
            assert not set(scores) & set(SPEED_METRICS)
            continue
        assert set(SPEED_METRICS) - {"peak_memory"} <= set(scores)
        best = scores["throughput_best"]
        assert best.cell == samples[place]
        assert best.detail["timing_cell"] == cells[(*place, int(best.detail["batch"]))]
        columns = stored_timings(store, [str(best.detail["timing_cell"])], 3)
        assert best.value == pytest.approx(np.median(columns["tokens"] / columns["seconds"]))
        assert (best.n, best.n_requested, best.n_dropped, best.covers) == (3, 3, 0, "run-to-run on one machine")
        used = scores["flop_utilization"]
        assert used.value == pytest.approx(np.median(columns["flops"] / columns["seconds"]) / RATE)
        assert best.protocol["measurement"] == {
            "measurement": "timing", "version": 1, "device": "chip A", "batches": [1, 2], "warmup": 0,
            **{name: best.protocol["measurement"][name] for name in ("threads", "torch")},
        }  # fmt: skip
        assert scores["nfe_counted"].value <= (place[1] or 8)
        if "peak_memory" in scores:
            assert (scores["peak_memory"].n, scores["peak_memory"].detail["batch"]) == (1, 2)


def test_records_hold_neither_hosts_nor_paths(timed: Path) -> None:
    for cell_id in _timing_cells(timed).values():
        (made,) = Store.open(timed).cell_folder(cell_id).glob("*.run.json")
        document = json.loads(made.read_text())
        assert {"device", "versions", "platform", "code", "seconds", "batch_size"} <= set(document)
        assert str(timed) not in made.read_text()


def test_a_second_run_computes_nothing_and_more_repeats_are_timed_anew(
    timed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = dict(Store.open(timed).scores())
    again = run(_suite(), timed)
    assert (again.runs_timed, again.scores_made, again.nothing_to_do) == (0, 0, True)
    assert dict(Store.open(timed).scores()) == before
    one = _suite(models=[{"name": "ar-oracle"}])
    run(one, tmp_path / "S")
    cells = set(_timing_cells(tmp_path / "S").values())
    more = run(_suite(models=one.models, timing=BLOCK | {"repeats": 4}), tmp_path / "S")
    assert (more.runs_timed, set(_timing_cells(tmp_path / "S").values())) == (2 * 4, cells)
    assert run(one, tmp_path / "S").runs_timed == 0  # the first three of four
    monkeypatch.setattr(provenance, "code_digest", lambda: "0")
    stale = run(one, tmp_path / "S")
    assert (stale.runs_timed, stale.rows_stale) == (0, 2 + 2 * 4)
    renewed = run(one, tmp_path / "S", refresh="stale")
    assert renewed.runs_timed == 2 * 3
    scores = _scores(tmp_path / "S")[("ar-oracle", None)]
    columns = stored_timings(Store.open(tmp_path / "S"), [str(scores["latency_batch_1"].detail["timing_cell"])], 3)
    assert scores["latency_batch_1"].value == np.median(columns["seconds"])


def test_an_interrupted_run_goes_on_at_the_next_batch_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def interrupted(model: Any, cell: Any, repeats: int, **options: Any) -> TimedBatch:
        calls.append(cell.timing.batch)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return time_batch(model, cell, repeats, **options)

    monkeypatch.setattr(timing, "time_batch", interrupted)
    suite = _suite(models=[{"name": "ar-oracle"}])
    with pytest.raises(KeyboardInterrupt):
        run(suite, tmp_path / "S")
    finished = run(suite, tmp_path / "S")
    assert (finished.runs_timed, calls) == (3, [1, 2, 2])
    assert finished.rows_kept == 2


def test_a_batch_that_does_not_fit_is_a_gap_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(model: Any, cell: Any, repeats: int, **options: Any) -> TimedBatch:
        if cell.timing.batch == 2:
            raise RuntimeError("CUDA out of memory")
        return time_batch(model, cell, repeats, **options)

    monkeypatch.setattr(timing, "time_batch", full)
    summary = run(_suite(models=[{"name": "ar-oracle"}]), tmp_path / "S")
    gap = next(gap for gap in summary.not_scored if gap["metric"] == "timing")
    assert (gap["model"], gap["why"], summary.runs_timed) == ("ar-oracle", "batch 2: out of memory", 3)
    assert _scores(tmp_path / "S")[("ar-oracle", None)]["throughput_best"].detail["batch"] == 1
    monkeypatch.setattr(timing, "time_batch", _wrong)
    with pytest.raises(RuntimeError, match="shapes"):
        run(_suite(models=[{"name": "ar-oracle"}]), tmp_path / "S")


def _wrong(*arguments: Any, **options: Any) -> TimedBatch:
    raise RuntimeError("shapes do not fit")


def test_tables_of_two_machines_refuse_to_mix(timed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    suite = _suite(models=[{"name": "ar-oracle"}])
    run(suite, tmp_path / "S")
    monkeypatch.setattr(timing_setting, "device_name", lambda device: "chip B")
    run(suite, tmp_path / "other")
    with pytest.raises(ConfigError, match=r"unlike protocols(.|\n)*device: chip A -> chip B"):
        elfbench.compare(str(tmp_path / "S"), str(tmp_path / "other"))
    run(suite, tmp_path / "S")
    with pytest.raises(ConfigError, match=r"2 protocols(.|\n)*chip"):
        write_report(tmp_path / "S", tmp_path / "report")
    store = Store.open(tmp_path / "S")
    (section,) = one_protocol_a_column(store, load_sections(store, None), mixed=True)
    header = markdown_table(section).splitlines()[0]
    assert header.count("tokens/s, best batch") == 2
    assert header.count("entropy") == 1


def test_a_report_shows_speed_beside_the_samples(timed: Path, tmp_path: Path) -> None:
    write_report(timed, tmp_path / "R")
    table = (tmp_path / "R" / "table.md").read_text()
    assert "tokens/s, best batch ↑ | tokens/s, batch 1 ↑ | s/text, batch 1 ↓" in table
    assert "Speed: on chip A" in table
    assert "**" not in next(line for line in table.splitlines() if line.startswith("| AR")).split("|", 4)[4]
    assert (tmp_path / "R" / "figures" / "quality_vs_speed.png").is_file()


def test_the_cell_knows_all_that_changes_a_time() -> None:
    def ids(**changes: object) -> list[str]:
        suite = _suite(models=[{"name": "ar-oracle"}], **changes)
        assert suite.timing is not None
        planned = with_timings(planned_cells(suite), timing_setting.timing_setting(suite.timing, "cpu"))
        return [cell.id for item in planned for cell in item.timings]

    first = ids()
    assert len(set(first)) == 2
    assert ids(timing=BLOCK | {"repeats": 9}) == first
    assert ids(timing=BLOCK | {"batches": [1, 2, 3]})[:2] == first
    for change in ({"timing": BLOCK | {"warmup": 1}}, {"seed": 1}, {"length": 9}):
        assert not set(ids(**change)) & set(first)
    (sample,) = planned_cells(_suite(models=[{"name": "ar-oracle"}]))
    assert "timing" not in sample.cell.model_dump(mode="json")


def test_a_plan_lists_timed_runs(timed: Path) -> None:
    planned = plan_timings(_suite())
    assert [(one["model"], one["steps"], one["batch"], one["runs"], one["missing"]) for one in planned[:3]] == [
        ("ar-oracle", None, 1, 5, 5), ("ar-oracle", None, 2, 5, 5), ("mdlm-oracle", 1, 1, 5, 5)
    ]  # fmt: skip
    assert all(one["seconds"] >= 0 and "parameters" in one["basis"] for one in planned)
    assert {one["missing"] for one in plan_timings(_suite(), Store.open(timed))} == {0}
    assert plan_timings(_suite(timing=None, metrics=[{"name": "nfe"}])) == []


def test_a_damaged_timing_is_no_number(timed: Path, tmp_path: Path) -> None:
    run(_suite(models=[{"name": "ar-oracle"}]), tmp_path / "S")
    store, cell_id = Store.open(tmp_path / "S"), _timing_cells(tmp_path / "S")[("ar-oracle", None, 1)]
    with pytest.raises(StoreError, match="timed runs are missing"):
        stored_timings(store, [cell_id], 4)
    shard = store.cell_folder(cell_id) / "rows-000000-000002.parquet"
    shard.write_bytes(shard.read_bytes()[:-20])
    with pytest.raises(StoreError, match="damaged"):
        stored_timings(store, [cell_id], 3)


def test_mistakes_name_their_key() -> None:
    for change, message in (
        ({"timing": BLOCK | {"batches": [2, 1]}}, "ascending"),
        ({"timing": BLOCK | {"batches": []}}, "at least 1"),
        ({"timing": BLOCK | {"repeats": 2}}, "greater than or equal to 3"),
        ({"timing": BLOCK | {"batches": [2, 4]}}, "needs batch 1"),
        ({"metrics": [{"name": "nfe"}]}, "add '- name: speed'"),
    ):
        with pytest.raises(ValidationError, match=message):
            _suite(**change)
    assert _suite(timing=BLOCK | {"batches": [2]}, metrics=[{"name": "throughput_best"}]).timing is not None
    with pytest.raises(ConfigError, match="add 'timing: "):
        run(_suite(timing=None), "nowhere")
    with pytest.raises(ConfigError, match="samples do not have it"):
        elfbench.score(["some words", "and more"], ["throughput_best"])
