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
