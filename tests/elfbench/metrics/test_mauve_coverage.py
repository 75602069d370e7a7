"""The simulation of MAUVE's bars: its laws, its counting, and the committed table beside the labels that bars carry."""

from __future__ import annotations

import csv
import itertools
from pathlib import Path

import numpy as np
import pytest

from elfbench.metrics import mauve_coverage
from elfbench.metrics.mauve import MAUVE
from elfbench.metrics.mauve_coverage import LAWS, METRICS, SIZES, embeddings, simulated
from elfbench.metrics.quantization import COVERED_CLUSTERS, covers, n_clusters
from elfbench.spec.metric import EstimateContext, Rows

REPORT = Path(__file__).parents[3] / "reports" / "statistics"
LINES = list(csv.DictReader((REPORT / "mauve-coverage.csv").read_text(encoding="utf-8").splitlines()))


def test_laws_differ_from_the_references_as_they_say() -> None:
    n = 40_000
    references = embeddings(n, None, np.random.default_rng(0))
    for number, law in enumerate(LAWS):
        samples = embeddings(n, law, np.random.default_rng(number + 1))
        # A mode's mean is that of the rows nearest to it in the references, far apart as modes are.
        moved = samples.mean(axis=0) - references.mean(axis=0)
        if law.modes == mauve_coverage.MODES:
            assert moved == pytest.approx(np.full(mauve_coverage.WIDTH, law.shift), abs=0.06)
        else:
            assert np.abs(moved).max() > 0.1


def test_a_line_counts_the_bars_that_the_metric_gives() -> None:
    law, n, draws = LAWS[2], 64, 12
    lines = simulated(law, n, "both anew", draws=draws, seed=3)
    assert lines == simulated(law, n, "both anew", draws=draws, seed=3)
    bars = []
    for draw in range(draws):
        rng = np.random.default_rng([3, 2, n, 0, draw])
        sides = [embeddings(n, side, rng) for side in (law, None)]
        rows = [Rows({"vector": side, "n_tokens": np.full(n, 9)}, n=n, n_requested=n, n_dropped=0) for side in sides]
        bars.append(MAUVE.estimate(rows[0], rows[1], EstimateContext()))
    line = lines[0]
    mean = sum(bar.value for bar in bars) / draws
    assert (line.metric, line.k, line.expectation) == ("mauve", n_clusters(n, n), pytest.approx(mean))
    assert line.held == sum(bar.low <= mean <= bar.high for bar in bars)
    assert line.below * draws == pytest.approx(sum(bar.high < mean for bar in bars))
    assert line.width == pytest.approx(np.mean([bar.high - bar.low for bar in bars]))
    assert line.low <= line.coverage <= line.high


def test_a_fixed_reference_is_the_same_in_all_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    drawn = embeddings

    def spy(n: int, law: mauve_coverage.Law | None, rng: np.random.Generator) -> np.ndarray:
        found = drawn(n, law, rng)
        seen.append((law is None, found))
        return found

    monkeypatch.setattr(mauve_coverage, "embeddings", spy)
    simulated(LAWS[0], 64, "reference fixed", draws=3, seed=0)
    anew = [is_reference for is_reference, _ in seen[1:]]
    # One reference before the draws; what is drawn for "both anew" after the samples is not drawn at all.
    assert seen[0][0]
    assert anew == [False] * 3
    assert not np.array_equal(seen[1][1], seen[2][1])


def test_a_small_run_writes_both_files_to_the_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mauve_coverage, "SIZES", (64,))
    monkeypatch.setattr(mauve_coverage, "LAWS", LAWS[1:3])
    for name in ("one", "two"):
        assert mauve_coverage.main(["--out", str(tmp_path / name), "--draws", "2", "--seed", "7"]) == 0
    for file in ("mauve-coverage.md", "mauve-coverage.csv"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    lines = (tmp_path / "one" / "mauve-coverage.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 1 + 3 * len(METRICS)
    assert lines[0].split(",") == list(LINES[0])


def test_the_committed_table_is_whole() -> None:
    kinds = sum(2 if law.fixed else 1 for law in LAWS)
    places = {(line["law"], line["sides"], line["rows"], line["metric"]) for line in LINES}
    assert len(LINES) == len(places) == kinds * len(SIZES) * len(METRICS)
    assert {line["draws"] for line in LINES} == {"500"}
    text = (REPORT / "mauve-coverage.md").read_text(encoding="utf-8")
    assert sum(line.startswith("| ") for line in text.splitlines()) == len(LINES) + 1
    assert "Command: `python -m elfbench.metrics.mauve_coverage --out DIR --draws 500 --seed 0`" in text
    for line in LINES:
        assert line["bar"] == ("interval" if float(line["coverage"]) >= 0.9 else "spread")
        assert float(line["low"]) <= float(line["coverage"]) <= float(line["high"])


def test_bars_are_labelled_as_the_table_finds_them() -> None:
    """Where every law of a number of clusters holds 90 %, covers says so; where one law does not, the bar is a spread."""
    by_k = itertools.groupby(sorted(LINES, key=lambda line: int(line["k"])), key=lambda line: int(line["k"]))
    for k, lines in by_k:
        anew = [line for line in lines if line["sides"] == "both anew"]
        assert covers(k).startswith("spread: ") == any(line["bar"] == "spread" for line in anew)
    assert n_clusters(255, 256) == COVERED_CLUSTERS
    assert n_clusters(254, 256) < COVERED_CLUSTERS


@pytest.mark.parametrize("metric", METRICS)
def test_the_label_is_on_the_estimate(metric: mauve_coverage.Metric) -> None:
    rng = np.random.default_rng(5)
    for n, label in ((64, True), (256, False)):
        sides = [embeddings(n, side, rng) for side in (LAWS[0], None)]
        rows = [Rows({"vector": side, "n_tokens": np.full(n, 9)}, n=n, n_requested=n, n_dropped=0) for side in sides]
        assert metric.estimate(rows[0], rows[1], EstimateContext()).covers.startswith("spread: ") == label
