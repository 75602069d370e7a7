from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from elfbench.statistics import coverage
from elfbench.statistics.bootstrap import Resampling, bootstrap_ratio
from elfbench.statistics.mean import bca_mean, t_mean

REPORT = Path(__file__).parents[3] / "reports" / "statistics"
LINES = list(csv.DictReader((REPORT / "coverage.csv").read_text(encoding="utf-8").splitlines()))


def test_what_is_simulated_are_the_public_intervals() -> None:
    rng, draws = np.random.default_rng(1), Resampling()
    nll, tokens = coverage.draw_log_ppl(3, 40, rng)
    for method, intervals in coverage.law_intervals((nll, tokens), draws).items():
        if method in ("percentile", "BCa"):
            for row, interval in enumerate(intervals):
                public = bootstrap_ratio(nll[row], tokens[row], method=method)  # type: ignore[arg-type]
                assert (interval.low, interval.high) == pytest.approx((public.low, public.high), rel=1e-12)
    rows = rng.exponential(size=(3, 40))
    found = coverage.law_intervals((rows, np.ones_like(rows)), draws)
    for name, public_mean in (("BCa", bca_mean), ("delta method, t", t_mean)):
        for row, interval in zip(rows, found[name], strict=True):
            mean = public_mean(row)
            assert (interval.low, interval.high) == pytest.approx((mean.low, mean.high), rel=1e-9)


def test_truths_are_those_of_large_samples() -> None:
    rng = np.random.default_rng(2)
    for law in coverage.laws():
        above, below = law.draw(1, 1_000_000, rng)
        assert above.sum() / below.sum() == pytest.approx(law.truth, abs=0.012)
    rows = coverage.clustered_rows(1, 1_000_000, rng).reshape(-1, coverage.CLUSTER_ROWS)
    assert np.corrcoef(rows[:, 0], rows[:, 3])[0, 1] == pytest.approx(coverage.CLUSTER_SHARE, abs=0.01)


def test_the_committed_table_is_whole() -> None:
    assert {int(line["rows"]) for line in LINES} == set(coverage.SIZES)
    assert {line["simulations"] for line in LINES} == {"2000"}
    assert (
        len(LINES)
        == len({(line["law"], line["rows"], line["method"]) for line in LINES})
        == 5 * 3 * 3 + 3 * 3 * 5 + 3 * 2
    )
    text = (REPORT / "coverage.md").read_text(encoding="utf-8")
    assert sum(line.startswith("| ") for line in text.splitlines()) == len(LINES) + 1


def test_the_documentation_quotes_the_table() -> None:
    shares = {(line["law"], line["method"], line["rows"]): f"{float(line['coverage']):.1%}" for line in LINES}
    page = (REPORT.parents[1] / "docs" / "statistics.md").read_text(encoding="utf-8")
    quoted = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line.endswith("% |")
    ]
    assert len(quoted) >= 15
    for law, method, *found in quoted:
        assert found == [shares[law, method, str(rows)] for rows in coverage.SIZES]


def test_simulated_shares_agree_with_exact_ones() -> None:
    """t intervals of normal rows and of normal clusters hold 95 % exactly; rates have theirs by summation. 4 standard errors: 54 lines."""
    exact = [(line, float(line["exact"])) for line in LINES if line["exact"]]
    normal = [
        (line, 0.95)
        for line in LINES
        if (line["law"], line["method"]) == ("mean, normal", "delta method, t") or line["method"] == "over clusters, t"
    ]
    assert len(exact) == 45
    assert len(normal) == 6
    for line, share in exact + normal:
        error = (share * (1 - share) / int(line["simulations"])) ** 0.5
        assert abs(float(line["coverage"]) - share) <= 4 * error


def test_a_small_run_writes_both_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coverage, "SIZES", (32,))
    assert coverage.main(["--out", str(tmp_path / "new"), "--simulations", "20"]) == 0
    lines = list(csv.DictReader((tmp_path / "new" / "coverage.csv").read_text(encoding="utf-8").splitlines()))
    assert len(lines) == 32
    assert "Command: `python -m elfbench.statistics.coverage" in (tmp_path / "new" / "coverage.md").read_text(
        encoding="utf-8"
    )
