from __future__ import annotations

import csv
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

import elfbench
from elfbench.core.errors import ConfigError, StoreError
from elfbench.language.oracle import held_out_windows, oracle
from elfbench.reporting.report import write_report
from elfbench.running.held_out import held_out
from elfbench.running.likelihood import with_likelihoods
from elfbench.running.plan import planned_cells
from elfbench.running.run import run
from elfbench.spec.metric import Score
from elfbench.spec.sampling import LikelihoodBatch
from elfbench.spec.suite import Suite
from elfbench.store.likelihoods import likelihood_table, stored_likelihoods
from elfbench.store.shards import RowRange
from elfbench.store.store import Store

LIKELIHOOD = {"corpus": "oracle", "split": "test", "tokenizer": "oracle-words", "rows": 70, "length": 6}
SUITE: dict[str, Any] = {
    "suite": "test",
    "version": 1,
    "title": "Likelihoods",
    "length": 32,
    "rows": 2,
    "measure": {"tokenizer": "words", "window": 32, "short": "drop"},
    "likelihood": LIKELIHOOD,
    "models": [{"name": "exact-oracle"}, {"name": "ar-oracle"}],
    "metrics": [{"name": "nll_bits_per_byte"}],
}
METRIC = "nll_bits_per_byte"
PLAIN_SUITE = "651e63c4807a2c8eee0e6d4c94ed290ce2a69962f087c579852467d417441358"
EXACT_CELL = "7effb16a32041da06a724ee8800a55ef8d5bdb1a1f60e53e235edf3d3a30a662"


def _suite(**changes: object) -> Suite:
    return Suite.model_validate(SUITE | changes, strict=False)


def _cells(suite: Suite) -> dict[str, str]:
    """Model -> id of its likelihood cell."""
    assert suite.likelihood is not None
    planned = with_likelihoods(planned_cells(suite), held_out(suite.likelihood))
    return {item.cell.model: item.likelihood.id for item in planned if item.likelihood}


def _scores(store: Path) -> dict[str, Score]:
    opened = Store.open(store)
    return {opened.cell(score.cell).model: score for _, score in opened.scores() if score.metric == METRIC}


@pytest.fixture(scope="module")
def families(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of four families: exact, exact, an upper bound, and one without likelihood."""
    place = tmp_path_factory.mktemp("families") / "S"
    models = [*SUITE["models"], {"name": "mdlm-oracle", "steps": [1, 2]}, {"name": "elf-oracle", "steps": [1]}]
    summary = run(_suite(models=models, likelihood=LIKELIHOOD | {"rows": 20}), place)
    assert summary.texts_scored == 3 * 20
    assert [(gap["model"], gap["metric"], gap["why"]) for gap in summary.not_scored] == [
        ("elf-oracle", METRIC, "scores no text")
    ]
    return place


def test_the_score_is_the_pooled_ratio_of_the_stored_rows(families: Path) -> None:
    store = Store.open(families)
    for model, score in _scores(families).items():
        assert store.cell(score.cell).kind == "likelihood"
        stored = stored_likelihoods(store, score.cell, 20)
        texts = [oracle().decode(row) for row in held_out_windows(6)[:20]]
        n_bytes = np.array([len(text.encode()) for text in texts])
        assert stored.columns["n_bytes_scored"].tolist() == n_bytes.tolist()
        assert stored.columns["row"].tolist() == list(range(20))
        nll = stored.columns["nll_nats"]
        assert score.value == pytest.approx(nll.sum() / np.log(2) / n_bytes.sum(), rel=1e-12)
        assert (stored.columns["error_nats"] > 0).all() == (model == "mdlm-oracle")
        assert score.detail["bound"] == stored.bound == ("upper" if model == "mdlm-oracle" else "exact")
    assert set(_scores(families)) == {"exact-oracle", "ar-oracle", "mdlm-oracle"}


def test_rows_of_the_language_are_its_log_probabilities(families: Path) -> None:
    stored = stored_likelihoods(Store.open(families), _scores(families)["exact-oracle"].cell, 20)
    assert stored.columns["nll_nats"] == pytest.approx(-oracle().log_prob(held_out_windows(6)[:20]))


def test_tables_mark_upper_bounds_and_nothing_else(families: Path, tmp_path: Path) -> None:
    write_report(families, tmp_path / "R")
    lines = (tmp_path / "R" / "table.md").read_text().splitlines()
    rows = {
        line.split("|")[1].strip(): line for line in lines if (line.startswith("| ") and "[" in line) or "ELF" in line
    }
    assert "<= " in rows["MDLM"]
    assert "<= " not in rows["AR"] + rows["the language"]
    assert "**" not in rows["AR"] + rows["MDLM"]  # an exact value and a bound are in no contest
    assert "[" not in rows["ELF"]
    latex = (tmp_path / "R" / "table.tex").read_text()
    assert latex.count(r"$\leq$") == 2  # both rows of MDLM
    assert "&lt;= " in (tmp_path / "R" / "index.html").read_text()
    with (tmp_path / "R" / "results.csv").open() as stream:
        bounds = {(row["model"], row["bound"], bool(float(row["value"] or 0))) for row in csv.DictReader(stream)}
    assert bounds == {
        ("exact-oracle", "exact", True), ("ar-oracle", "exact", True), ("mdlm-oracle", "upper", True), ("elf-oracle", "", False)
    }  # fmt: skip


def test_json_of_a_score_has_the_bound(families: Path) -> None:
    key = next(key for key, score in Store.open(families).scores() if score.detail["bound"] == "upper")
    command = [sys.executable, "-m", "elfbench.cli.main", "show", key[:16], "--store", str(families), "--json"]
    document = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert document["detail"]["bound"] == "upper"
    assert document["cell"]["kind"] == "likelihood"


def test_comparisons_pair_texts_and_claim_nothing_of_a_looser_bound(families: Path) -> None:
    store = Store.open(families)
    scores = _scores(families)
    rows = {model: stored_likelihoods(store, score.cell, 20).columns for model, score in scores.items()}
    for worse, outcome in (("ar-oracle", "A"), ("mdlm-oracle", "differs")):
        found = elfbench.compare("exact-oracle", f"{worse}@2" if worse == "mdlm-oracle" else worse, store=families)
        one = next(one for one in found.compared if one.metric == METRIC)
        assert one.paired
        assert one.difference == pytest.approx(scores[worse].value - scores["exact-oracle"].value)
        # Bytes are equal by text, so the delta method is the paired t interval of the differences, over the mean bytes.
        gaps = (rows[worse]["nll_nats"] - rows["exact-oracle"]["nll_nats"]) / math.log(2.0)
        n_bytes = rows[worse]["n_bytes_scored"]
        spread = np.sqrt(20 / 19 * np.square(gaps - one.difference * n_bytes).sum()) / n_bytes.sum()
        assert (one.high - one.low) / 2 == pytest.approx(2.093 * spread, rel=0.01)  # t quantile, 19 degrees of freedom
        assert one.outcome in (outcome, "tie")
        assert (one.bound_a, one.bound_b) == ("exact", "upper" if worse == "mdlm-oracle" else "exact")


def test_a_resumed_run_equals_one_run(tmp_path: Path) -> None:
    def cells(store: Path) -> dict[str, bytes]:
        files = [path for path in sorted(store.glob("cells/*/*/*")) if not path.name.endswith(".run.json")]
        return {str(path.relative_to(store)): path.read_bytes() for path in files}

    whole = run(_suite(), tmp_path / "A")
    assert (whole.texts_scored, whole.nothing_to_do) == (140, False)
    again = run(_suite(), tmp_path / "A")
    assert (again.texts_scored, again.scores_made, again.nothing_to_do) == (0, 0, True)
    run(_suite(likelihood=LIKELIHOOD | {"rows": 30}), tmp_path / "B")
    assert run(_suite(), tmp_path / "B").texts_scored == 140  # a partial shard is made whole, in both cells
    assert cells(tmp_path / "A") == cells(tmp_path / "B")
    lost = next((tmp_path / "B").glob(f"cells/*/{_cells(_suite())['ar-oracle']}/rows-000064-000069.parquet"))
    lost.unlink()
    assert run(_suite(), tmp_path / "B").texts_scored == 6
    assert cells(tmp_path / "A") == cells(tmp_path / "B")
    found, others = (dict(Store.open(tmp_path / name).scores()) for name in "AB")
    assert found == {key: score for key, score in others.items() if score.n == 70}
    assert len(found) == 2


def test_a_damaged_shard_is_no_number(tmp_path: Path) -> None:
    run(_suite(models=[{"name": "exact-oracle"}]), tmp_path / "S")
    store, cell_id = Store.open(tmp_path / "S"), _cells(_suite())["exact-oracle"]
    shard = store.cell_folder(cell_id) / "rows-000064-000069.parquet"
    shard.write_bytes(shard.read_bytes()[:-20])
    with pytest.raises(StoreError, match="damaged"):
        stored_likelihoods(store, cell_id, 70)
    with pytest.raises(StoreError, match="rows are missing"):
        stored_likelihoods(store, cell_id, 71)


def test_the_cell_knows_the_texts_but_neither_steps_nor_options() -> None:
    cells = _cells(_suite())
    grid = [{"name": "ar-oracle", "options": {"temperature": 0.5}}, {"name": "mdlm-oracle", "steps": [1, 2]}]
    changed = _suite(models=grid)
    planned = with_likelihoods(planned_cells(changed), held_out(changed.likelihood))  # type: ignore[arg-type]
    assert len({item.likelihood.id for item in planned if item.likelihood}) == 2
    assert _cells(changed)["ar-oracle"] == cells["ar-oracle"]
    assert _cells(_suite(likelihood=LIKELIHOOD | {"rows": 5}))["ar-oracle"] == cells["ar-oracle"]
    assert _cells(_suite(likelihood=LIKELIHOOD | {"length": 7}))["ar-oracle"] != cells["ar-oracle"]
    assert _cells(_suite(seed=1))["ar-oracle"] != cells["ar-oracle"]


def test_suites_without_the_block_and_cells_of_samples_stay_what_they_were() -> None:
    plain = Suite.model_validate(
        {"suite": "test", "version": 1, "title": "t", "length": 32, "rows": 2}
        | {"models": [{"name": "exact-oracle"}], "metrics": [{"name": "oracle_nll"}]},
        strict=False,
    )
    # Both of the code before there was the block.
    assert plain.digest == PLAIN_SUITE
    assert [item.cell.id for item in planned_cells(plain)] == [EXACT_CELL]
    without = _suite(likelihood=None, metrics=[{"name": "oracle_nll"}])
    assert [item.cell.id for item in planned_cells(without)] == [item.cell.id for item in planned_cells(_suite())]
    assert all("likelihood" not in item.describe() for item in planned_cells(without))


def test_a_text_that_a_model_refuses_is_a_gap_and_the_others_go_on(tmp_path: Path) -> None:
    suite = _suite(likelihood=LIKELIHOOD | {"length": 33, "rows": 3})
    summary = run(suite, tmp_path / "S")
    assert summary.texts_scored == 0
    assert [gap["model"] for gap in summary.not_scored] == ["exact-oracle", "ar-oracle"]
    assert all("1 .. 32" in gap["why"] for gap in summary.not_scored)


def test_mistakes_name_their_key(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match=METRIC):
        _suite(metrics=[{"name": "oracle_nll"}])
    with pytest.raises(ConfigError, match="add 'likelihood:' to the suite"):
        run(_suite(likelihood=None), tmp_path / "S")
    with pytest.raises(ConfigError, match="held-out text"):
        elfbench.score(["some words", "and more"], [METRIC])
    for change, key in (
        ({"split": "train"}, "likelihood.split"),
        ({"tokenizer": "sotu-bpe2k"}, "likelihood.tokenizer"),
        ({"rows": 20_000}, "likelihood.rows"),
        ({"corpus": "nothing", "tokenizer": "sotu-bpe2k"}, "corpus"),
    ):
        with pytest.raises(ConfigError) as raised:
            run(_suite(likelihood=LIKELIHOOD | change), tmp_path / "S")
        assert raised.value.key == key
    assert not (tmp_path / "S").exists()


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_numbers_that_are_none_are_refused(value: float) -> None:
    ones = np.ones(2, dtype=np.int64)
    with pytest.raises(ConfigError, match="not a finite number"):
        likelihood_table(
            RowRange(0, 2), (1, 2), LikelihoodBatch(np.array([1.0, value]), np.zeros(2), ones, ones), "exact"
        )
    with pytest.raises(ConfigError, match="nothing was scored"):
        likelihood_table(RowRange(0, 2), (1, 2), LikelihoodBatch(np.ones(2), np.zeros(2), ones, 0 * ones), "exact")


def test_windows_of_a_corpus_are_text_of_the_split() -> None:
    spec = _suite(likelihood={"corpus": "sotu", "split": "test", "tokenizer": "sotu-bpe2k", "rows": 4, "length": 16})
    assert spec.likelihood is not None
    found, fewer = held_out(spec.likelihood), held_out(spec.likelihood, 2)
    assert fewer.texts == found.texts[:2]
    assert fewer.digest == found.digest
    from elfbench.loading.corpus import documents

    whole = "\n".join(document.text for document in documents("sotu", "test"))
    assert all(text in whole for text in found.texts)
