from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import elfbench
from elfbench.reporting.compared import Compared
from elfbench.running.run import run
from elfbench.running.suites import load_suite
from elfbench.spec.suite import Suite, SuiteMetric
from elfbench.store.store import Store

WORDS = ["the", "a", "cat", "dog", "sat", "ran", "on", "in", "mat", "park", "old", "red"]


def _spoiled(references: list[str], keep: float, seed: int) -> list[str]:
    rng = np.random.default_rng(seed)
    return [
        " ".join(word if rng.random() < keep else str(rng.choice(WORDS)) for word in text.split())
        for text in references
    ]


def _references(n: int) -> list[str]:
    rng = np.random.default_rng(9)
    return [" ".join(rng.choice(WORDS, rng.integers(6, 12))) for _ in range(n)]


def _by_metric(comparison: Any) -> dict[str, Compared]:
    return {one.metric: one for one in comparison.compared}


def test_imported_systems_compare_example_by_example(tmp_path: Path) -> None:
    sacrebleu = pytest.importorskip("sacrebleu")
    references = _references(70)
    systems = {"one": _spoiled(references, 0.7, 1), "two": _spoiled(references, 0.8, 2)}
    metrics = ["bleu", "chrf", "exact_match"]
    for label, texts in systems.items():
        elfbench.score(texts, metrics, reference=references, out=tmp_path / "S", label=label)
    found = _by_metric(elfbench.compare("one", "two", store=tmp_path / "S"))
    scorers = {"bleu": sacrebleu.BLEU(), "chrf": sacrebleu.CHRF()}
    for name, scorer in scorers.items():
        one, two = (scorer.corpus_score(texts, [references]).score for texts in systems.values())
        assert found[name].difference == pytest.approx(two - one, abs=1e-9)
        assert found[name].low < found[name].difference < found[name].high
        assert found[name].paired
        assert found[name].method.startswith("paired bootstrap over 70 examples, 2000 resamples")
    from sacrebleu.significance import PairedTest

    _, theirs = PairedTest(list(systems.items()), {"BLEU": sacrebleu.BLEU()}, [references], "ar", 2000)()
    expected = theirs["BLEU"][1].p_value
    assert found["bleu"].p == pytest.approx(expected, abs=4.0 * np.sqrt(max(expected, 1e-3) / 2000))
    hits = {name: np.mean([t == r for t, r in zip(texts, references, strict=True)]) for name, texts in systems.items()}
    assert found["exact_match"].difference == pytest.approx(hits["two"] - hits["one"])


def test_scores_without_their_rows_compare_by_their_intervals(tmp_path: Path) -> None:
    references = _references(20)
    for label, keep in (("one", 0.7), ("two", 0.8)):
        elfbench.score(_spoiled(references, keep, 3), ["chrf"], reference=references, out=tmp_path / "S", label=label)
    kept = list((tmp_path / "S" / "measurements").rglob("*.parquet"))
    for path in kept:
        path.unlink()
    assert kept
    found = _by_metric(elfbench.compare("one", "two", store=tmp_path / "S"))["chrf"]
    assert not found.paired
    assert found.method == "stored intervals as independent normals"


def _suite(seed: int, draws: int) -> Suite:
    suite = load_suite("oracle-continuation")
    assert suite.prompts is not None
    return suite.model_copy(
        update={
            "rows": 12,
            "seed": seed,
            "prompts": suite.prompts.model_copy(update={"draws": draws}),
            "models": suite.models[:1],
            "metrics": tuple(SuiteMetric(name=name) for name in ("bleu", "bleu_mbr")),
        }
    )


def test_the_draws_of_an_example_stay_together(tmp_path: Path) -> None:
    pytest.importorskip("sacrebleu")
    for name, seed in (("A", 0), ("B", 1)):
        assert run(_suite(seed, 3), tmp_path / name).not_scored == []
    found = _by_metric(elfbench.compare(tmp_path / "A", tmp_path / "B"))
    assert found["bleu"].method == (
        "paired bootstrap over 4 examples, 2000 resamples; p by approximate randomization, 16 arrangements, all"
    )
    # Of 16 arrangements each has a mirror image: p is a multiple of one eighth.
    assert (8 * found["bleu"].p) % 1 == 0
    assert found["bleu_mbr"].method == found["bleu"].method
    stored = {score.metric: score for _, score in Store.open(tmp_path / "A").scores()}
    assert stored["bleu_mbr"].protocol["draws"] == 3
    assert stored["bleu_mbr"].detail["examples"] == 4
    assert stored["bleu_mbr"].detail["bleu_of_all_draws"] == pytest.approx(stored["bleu"].value)
    assert found["bleu_mbr"].a == stored["bleu_mbr"].value


def test_one_draw_is_a_missing_score_with_its_reason(tmp_path: Path) -> None:
    pytest.importorskip("sacrebleu")
    (gap,) = run(_suite(0, 1), tmp_path / "S").not_scored
    assert gap["metric"] == "bleu_mbr"
    assert "set prompts.draws" in gap["why"]
