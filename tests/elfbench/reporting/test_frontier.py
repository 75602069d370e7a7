from __future__ import annotations

import csv
import io
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from elfbench.reporting.frontier import Frontier, frontier_of, frontier_tables, markdown_tables
from elfbench.reporting.report import write_report
from elfbench.reporting.section import load_sections
from elfbench.spec.cell import Cell
from elfbench.spec.metric import Score
from elfbench.statistics.interval import Interval
from elfbench.statistics.matched import Missing
from elfbench.store.blocks import BLOCK_ROWS, block_keys
from elfbench.store.shards import RowRange, text_table
from elfbench.store.store import Store

VOCABULARY, LENGTH, ROWS = 40, 100, 64
JUDGE = (lambda p: p / p.sum())(1.0 / np.arange(1.0, VOCABULARY + 1.0))
MEASUREMENTS = {
    "unigram_entropy": {"measurement": "tokens", "version": 1},
    "gen_ppl": {"measurement": "judge_nll", "version": 1},
}
GRID = (0.7, 0.85, 1.0, 1.15)


def _tokens(temperature: float, noise: float, seed: int) -> np.ndarray:
    """[ROWS, LENGTH] of a tempered law of which a share is uniform; the language at 1 and 0."""
    law = JUDGE ** (1.0 / temperature)
    law = (1.0 - noise) * law / law.sum() + noise / VOCABULARY
    return np.searchsorted(np.cumsum(law)[:-1], np.random.default_rng(seed).random((ROWS, LENGTH)))


def _add(store: Store, cell: Cell, tokens: np.ndarray, family: str) -> dict[str, object]:
    """A cell with its rows, measurements and scores, as a run writes them; returns its part of the suite record."""
    store.add_cell(cell)
    texts = [" ".join(map(str, row)) for row in tokens]
    store.write_shard(cell.id, RowRange(0, ROWS), text_table(RowRange(0, ROWS), texts), {"code": "c" * 64})
    nll = -np.log(JUDGE)[tokens].sum(axis=1)
    tables = {
        "unigram_entropy": {"ids": list(tokens.astype(np.int64)), "n_tokens": np.full(ROWS, LENGTH)},
        "gen_ppl": {
            "nll_nats": nll,
            "n_scored": np.full(ROWS, LENGTH),
            "n_bytes_scored": np.full(ROWS, LENGTH),
            "n_tokens": np.full(ROWS, LENGTH),
        },
    }
    for name, columns in tables.items():
        table = pa.table(columns)
        for i, key in enumerate(block_keys(MEASUREMENTS[name], texts)):
            if not store.has_measurement(key):
                store.write_measurement(key, table.slice(i * BLOCK_ROWS, BLOCK_ROWS), MEASUREMENTS[name])
        value = math.exp(nll.sum() / tokens.size) if name == "gen_ppl" else 2.9
        score = Score(
            cell=cell.id, metric=name, version=1, protocol={"measurement": MEASUREMENTS[name]}, fingerprint=f"f-{name}", value=value,
            low=value - 0.1, high=value + 0.1, level=0.95, n=ROWS, n_requested=ROWS, n_dropped=0, unit="", method="test", covers="rows",
            detail={}, rows_digest="r", reference_digest=None,
        )  # fmt: skip
        store.write_score(score, f"{cell.id[:40]}{name.encode().hex():0<24}"[:64])
    fields = {"model": cell.model, "family": family, "steps": cell.steps, "options": dict(cell.options)}
    return {"cell": cell.id, "label": cell.model, "n_rows": ROWS, "n_params": None, **fields}


def _cell(model: str, steps: int | None = None, **options: float) -> Cell:
    identity = {"revision": "1", "implementation": 1, "weights_digest": None, "tokenizer_digest": "t", "length": 8}
    return Cell(model=model, steps=steps, root_seed=0, options=options, **identity)


def _store(folder: Path, *, reference: bool = True, grid: tuple[float, ...] = GRID) -> Store:
    """The better model, ar, is warmer; mdlm is noisier, at two numbers of steps; elf has one temperature."""
    store = Store.create(folder)
    cells = [_add(store, _cell("real-text"), _tokens(1.0, 0.0, 1), "reference")] if reference else []
    for i, temperature in enumerate(grid):
        option = {} if temperature == 1.0 else {"temperature": temperature}
        cells.append(_add(store, _cell("ar", **option), _tokens(temperature, 0.0, 10 + i), "autoregressive"))
        for steps, noise in ((8, 0.4), (32, 0.3)):
            tokens = _tokens(temperature - 0.35, noise, 20 + 10 * steps + i)
            cells.append(_add(store, _cell("mdlm", steps, **option), tokens, "discrete"))
    cells.append(_add(store, _cell("elf", 8), _tokens(0.8, 0.1, 7), "continuous"))
    metrics = [
        {
            "metric": name, "version": 1, "title": name, "unit": "", "direction": "lower", "description": "", "fingerprint": f"f-{name}",
            "protocol": {"measurement": measurement, "parameters": {}, "interval": {"level": 0.95, "seed": 0}}, "n_requested": ROWS,
            "needs_reference": False,
        }
        for name, measurement in MEASUREMENTS.items()
    ]  # fmt: skip
    measure = {"view": "final", "window": LENGTH, "tokenizer": "words"}
    suite = {"suite": "test", "version": 1, "title": "A test", "description": "", "level": 0.95, "measure": measure}
    document = {"suite": suite, "command": "elfbench run test", "cells": cells, "metrics": metrics, "reference": None}
    store.write_suite("test", document)
    return store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return _store(tmp_path_factory.mktemp("frontier") / "S")


def _frontier(store: Store) -> Frontier | None:
    return frontier_of(store, load_sections(store, None)[0])


def test_curves_run_through_temperatures_and_not_through_steps(store: Store) -> None:
    frontier = _frontier(store)
    assert frontier is not None
    assert [(line.title, len(line.cells)) for line in frontier.lines] == [
        ("ar", 4),
        ("mdlm @ 8", 4),
        ("mdlm @ 32", 4),
        ("elf @ 8", 1),
    ]


def test_the_language_itself_has_the_languages_perplexity_at_its_entropy(store: Store) -> None:
    """ar at temperature 1 is the language: exp(H) exactly, known in closed form. The noisy model is worse there."""
    frontier = _frontier(store)
    assert frontier is not None
    values = {line.title: line.value for line in frontier.lines}
    exact = -float(JUDGE @ np.log(JUDGE))
    assert isinstance(values["ar"], Interval)
    assert values["ar"].low < exact < values["ar"].high
    assert isinstance(values["elf @ 8"], Missing)
    assert "one point" in values["elf @ 8"].reason


def test_models_are_ordered_at_matched_entropy_at_equal_steps_only(store: Store) -> None:
    frontier = _frontier(store)
    assert frontier is not None
    assert [(a.title, b.title, found.verdict) for a, b, found in frontier.contests] == [
        ("ar", "mdlm @ 8", "A"),
        ("ar", "mdlm @ 32", "A"),
    ]
    assert frontier.level_of_contests == pytest.approx(0.975)
    # As sampled, the worse model has the lower perplexity at every temperature.
    perplexity = {line.title: [cell.scores["gen_ppl"][1].value for cell in line.cells] for line in frontier.lines}
    assert all(b < a for a, b in zip(perplexity["ar"], perplexity["mdlm @ 32"], strict=True))


def test_suites_without_temperatures_or_reference(tmp_path: Path) -> None:
    assert _frontier(_store(tmp_path / "one", grid=(1.0,))) is None
    frontier = _frontier(_store(tmp_path / "none", reference=False))
    assert frontier is not None
    text = markdown_tables(frontier_tables(frontier))
    assert "no reference row" in text
    assert "ar is lower" in text


def test_the_report_has_the_figure_and_the_tables(store: Store, tmp_path: Path) -> None:
    files = write_report(store.root, tmp_path / "R")
    again = write_report(store.root, tmp_path / "R2")
    text = (tmp_path / "R" / "frontier.md").read_text()
    assert tmp_path / "R" / "frontier.md" in files.tables
    assert "| mdlm | 8 | 4 | 64 |" in text
    page = files.page.read_text()
    assert "At matched entropy" in page
    assert "ar is lower" in page
    for path in (*files.figures, *files.tables):
        assert path.read_bytes() == (tmp_path / "R2" / path.relative_to(tmp_path / "R")).read_bytes()
    rows = list(csv.DictReader(io.StringIO((tmp_path / "R" / "figures" / "frontier.csv").read_text())))
    assert {row["kind"] for row in rows} == {"point", "band"}
    assert all(
        float(row["low"]) <= float(row["gen_ppl"]) <= float(row["high"]) for row in rows if row["kind"] == "band"
    )
    assert len(again.figures) == len(files.figures)


def test_a_store_without_measurements_says_so_in_the_table(tmp_path: Path) -> None:
    store = _store(tmp_path / "S")
    for path in store.root.glob("measurements/**/*.parquet"):
        path.unlink()
    frontier = _frontier(store)
    assert frontier is not None
    reasons = [line.value.reason for line in frontier.lines if isinstance(line.value, Missing)]
    assert len(reasons) == len(frontier.lines)
    assert all("not in the store" in reason for reason in reasons)
    assert not frontier.contests
