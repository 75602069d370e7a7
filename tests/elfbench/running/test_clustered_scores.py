"""Cells whose rows are not independent are scored by cluster, and compared and ranked so."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

import elfbench
from elfbench.running.plan import clusters_of, planned_cells
from elfbench.running.run import run
from elfbench.running.suites import load_suite
from elfbench.spec.suite import Suite, SuiteMetric, SuiteModel
from elfbench.store.store import Store


def _draws(rows: int, draws: int) -> Suite:
    suite = load_suite("oracle-continuation")
    assert suite.prompts is not None
    return suite.model_copy(
        update={
            "rows": rows,
            "prompts": suite.prompts.model_copy(update={"draws": draws}),
            "models": suite.models[:1],
            "metrics": tuple(
                SuiteMetric(name=name) for name in ("unigram_entropy", "distinct_2", "exact_match", "nfe")
            ),
        }
    )


def test_the_draws_of_an_example_are_a_cluster(tmp_path: Path) -> None:
    assert run(_draws(48, 4), tmp_path / "A").not_scored == []
    store = Store.open(tmp_path / "A")
    scores = {score.metric: score for _, score in store.scores()}
    entropy = scores["unigram_entropy"]
    assert (entropy.detail["cluster_rows"], entropy.detail["clusters"]) == (4, 12)
    assert entropy.covers.endswith("clustered by example")
    assert entropy.detail["design_effect"] > 0.0
    assert "without groups of examples" in scores["distinct_2"].method
    # Paired with its references it is over examples by itself; costs are what they are.
    assert "12 examples" in scores["exact_match"].method
    assert "cluster_rows" not in scores["nfe"].detail
    assert run(_draws(48, 4), tmp_path / "A").nothing_to_do
    other = _draws(48, 4).model_copy(update={"seed": 1})
    run(other, tmp_path / "B")
    (one,) = elfbench.compare(tmp_path / "A", tmp_path / "B", metrics=["unigram_entropy"]).compared
    assert (one.n_a, one.n_b) == (12, 12)
    assert one.method.startswith("delta method over clusters")
    assert "over clusters of 4 rows that are not independent" in one.notes


def test_scores_made_as_if_rows_were_independent_are_made_again(tmp_path: Path) -> None:
    suite = _draws(16, 4)
    run(suite, tmp_path / "S")
    store = Store.open(tmp_path / "S")
    ((key, score),) = [(key, score) for key, score in store.scores() if score.metric == "unigram_entropy"]
    old = {
        name: value for name, value in score.detail.items() if name not in ("cluster_rows", "clusters", "design_effect")
    }
    store.write_score(score.model_copy(update={"detail": old, "low": score.value, "high": score.value}), key)
    assert run(suite, tmp_path / "S").scores_made == 1
    again = store.score(key)
    assert again == score
    assert math.isfinite(score.low)


@pytest.mark.parametrize(("grid", "clustered"), [("logit_normal", False), ("logit_normal_batch", True)])
def test_elfs_grid_of_a_batch_makes_its_shard_a_cluster(grid: str, clustered: bool) -> None:
    suite = load_suite("oracle").model_copy(
        update={"models": (SuiteModel(name="elf-oracle", steps=(4,), options={"grid": grid}),)}
    )
    (planned,) = planned_cells(suite)
    found = clusters_of(planned)
    assert (found is not None) == clustered
    if found is not None:
        assert (found.kind, found.rows) == ("batch", 64)
