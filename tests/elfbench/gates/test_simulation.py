from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from elfbench.gates import simulation
from elfbench.gates.simulation import ALPHA, GATES, PAIRED_SPREAD, SCENARIOS, Scenario, aims, draw_suite, main, simulate

ROOT = Path(__file__).resolve().parents[3]


def test_the_rows_follow_their_law() -> None:
    rng = np.random.default_rng(0)
    before, after = draw_suite(Scenario("", (40_000,), loss=0.05, correlation=0.5), rng)
    assert before.shape == after.shape == (GATES, 40_000)
    assert before.std(axis=1) == pytest.approx(np.full(GATES, 0.3), rel=0.02)
    moved = after.mean(axis=1) - before.mean(axis=1)
    assert moved == pytest.approx([np.log(1.05)] + [0.0] * (GATES - 1), abs=0.01)
    assert np.corrcoef(before)[0, 1:] == pytest.approx(np.full(GATES - 1, 0.5), abs=0.03)
    assert np.corrcoef(before[1], after[1])[0, 1] == pytest.approx(0.0, abs=0.03)
    before, after = draw_suite(Scenario("", (40_000,), paired=True), rng)
    assert (after - before).std(axis=1) == pytest.approx(np.full(GATES, PAIRED_SPREAD), rel=0.02)


def test_decisions_are_those_of_direct_welch_tests() -> None:
    """At a large alpha and few rows all outcomes occur; scipy decides the same suites by the rule's own words."""
    scenario, alpha, suites = Scenario("", (300,), loss=0.05), 0.05, 60
    found = simulate(scenario, suites, np.random.default_rng(3), alpha=alpha)
    rng, expected = np.random.default_rng(3), {"PASS": 0, "FAIL": 0, "INCONCLUSIVE": 0, "caught": 0}
    for _ in range(suites):
        before, after = draw_suite(scenario, rng)
        p = stats.ttest_ind(after, before, axis=1, equal_var=False, alternative="greater").pvalue
        upper = [
            stats.ttest_ind(y, x, equal_var=False, alternative="less").confidence_interval(1 - alpha).high
            for x, y in zip(before, after, strict=True)
        ]
        rejected, places = set(), np.argsort(p)
        for step, place in enumerate(places):
            if p[place] * (GATES - step) > alpha:
                break
            rejected.add(int(place))
        fails = {i for i in rejected if (after[i] - before[i]).mean() >= 0.01}
        status = "FAIL" if fails else "PASS" if max(upper) < np.log(1.05) else "INCONCLUSIVE"
        expected[status] += 1
        expected["caught"] += 0 in fails
    assert {name: found[name] for name in expected} == expected
    assert found["caught"] > 5
    assert found["INCONCLUSIVE"] > 5


def test_the_closed_forms_meet_simulated_t_tests() -> None:
    caught = next(aim.theory for aim in aims() if aim.outcome == "caught")
    sure = simulation._pass_share(2640)
    rng, n = np.random.default_rng(5), 20_000
    for rows, theory, alpha, power in ((1320, caught, ALPHA / GATES, 1), (2640, sure, ALPHA, GATES)):
        error = 0.3 * np.sqrt(stats.chi2.rvs(2 * rows - 2, size=n, random_state=rng) / (2 * rows - 2) * 2 / rows)
        estimate = rng.normal(np.log(1.05), 0.3 * np.sqrt(2 / rows), n)
        share = np.mean(estimate / error > stats.t.isf(alpha, 2 * rows - 2)) ** power
        assert share == pytest.approx(theory, abs=0.01)


def test_a_small_table_is_written_and_seeded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    codes = [main(["--out", str(tmp_path / name), "--suites", "6", "--seed", "4"]) for name in "ab"]
    assert codes[0] == codes[1]
    for name in ("simulation.md", "simulation.csv"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    rows = list(csv.DictReader(io.StringIO((tmp_path / "a" / "simulation.csv").read_text())))
    assert len(rows) == len(aims())
    for row in rows:
        assert float(row["share"]) == pytest.approx(int(row["count"]) / 6, abs=1e-6)
        assert float(row["low"]) <= float(row["share"]) <= float(row["high"])
        assert (row["suites"], row["seed"]) == ("6", "4")
        assert (row["met"] in ("yes", "no")) == bool(row["aim"])
    assert codes[0] == int(any(row["met"] == "no" for row in rows))
    text = (tmp_path / "a" / "simulation.md").read_text()
    assert "`python -m elfbench.gates.simulation --out DIR --suites 6 --seed 4`" in text
    shown = capsys.readouterr()
    assert shown.out == ""
    assert f"{len(SCENARIOS)}/{len(SCENARIOS)} no loss, four looks" in shown.err


def test_the_committed_table_is_of_2000_suites_and_meets_its_aims() -> None:
    rows = list(csv.DictReader(io.StringIO((ROOT / "reports" / "gates" / "simulation.csv").read_text())))
    assert [(row["outcome"], row["aim"]) for row in rows] == [(aim.outcome, aim.text) for aim in aims()]
    assert {row["suites"] for row in rows} == {"2000"}
    assert "no" not in {row["met"] for row in rows}
    for row in rows:
        interval = stats.binomtest(int(row["count"]), 2000).proportion_ci(0.95, "exact")
        assert (float(row["low"]), float(row["high"])) == pytest.approx((interval.low, interval.high), rel=1e-4)
        if row["theory"] and row["outcome"] != "FAIL":
            assert float(row["low"]) <= float(row["theory"]) <= float(row["high"])
