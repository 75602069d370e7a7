"""Numbers that pages quote are those of the committed reports."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("system", ["elf", "mdlm"])
def test_the_seeds_of_the_oracle_page_are_the_report(system: str) -> None:
    with (ROOT / "reports" / f"{system}-oracle-seeds" / "results.csv").open(encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if "seed" in row["label"]]
    page = (ROOT / "docs" / "oracle-language.md").read_text(encoding="utf-8")
    for steps in ("8", "32"):
        cells = []
        for metric, digits in (("grammatical", 3), ("oracle_kl", 2)):
            found = {
                row["label"]: float(row["value"]) for row in rows if (row["steps"], row["metric"]) == (steps, metric)
            }
            assert len(found) == 3
            cells.append(" / ".join(f"{found[label]:.{digits}f}" for label in sorted(found)))
        assert f"| {steps} | {cells[0]} | {cells[1]} |" in page


_SEEN = {
    "real text": "real text",
    "words shuffled": "its words shuffled",
    "phrases shuffled": "its phrases shuffled",
    "AR": "AR, 1.2 M parameters",
    "trigram sampler": "trigrams",
    "one text, tiled": "one text, tiled",
}
_UNDER = ("", "@smollm2-135m-instruct-q4", "@smollm2-135m-instruct-q4#mean")


@pytest.mark.parametrize("metric", ["mauve", "c2st"])
def test_the_tables_of_the_featurizers_page_are_the_report(metric: str) -> None:
    with (ROOT / "reports" / "featurizers" / "results.csv").open(encoding="utf-8") as stream:
        found = {(row["label"], row["metric"]): row for row in csv.DictReader(stream)}
    page = (ROOT / "docs" / "featurizers.md").read_text(encoding="utf-8")
    for label, shown in _SEEN.items():
        cells = []
        for under in _UNDER:
            value, low, high = (float(found[label, metric + under][key]) for key in ("value", "low", "high"))
            cells.append(f"{value:.3f} [{low:.2f}, {high:.2f}]")
        assert f"| {shown} | {' | '.join(cells)} |" in page
