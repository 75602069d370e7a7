from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from elfbench.reporting.caption import caption
from elfbench.reporting.report import write_report
from elfbench.reporting.section import load_sections
from elfbench.reporting.training_seeds import seeds_table, trainings
from elfbench.spec.ablation import seeded_label, training_seed
from tests.elfbench.reporting.made_up import TOKENS, synthetic


def _nll(seeds: int) -> dict[tuple[str, str, int | None], np.ndarray]:
    rng = np.random.default_rng(0)
    rows = {
        (seeded_label("ELF", seed), "continuous", 8): rng.normal(40.0 + seed, 3.0, 40) for seed in range(1, seeds + 1)
    }
    return {**rows, ("MDLM", "discrete", 8): rng.normal(40.0, 3.0, 40)}


def test_means_over_training_seeds_have_students_bars(tmp_path: Path) -> None:
    nll = _nll(3)
    store = synthetic(tmp_path / "S", nll)
    (section,) = load_sections(store, None)
    assert {place: sorted(cells) for place, cells in trainings(section).items()} == {("ELF", 8): [1, 2, 3]}
    table = seeds_table(section)
    assert table is not None
    ((label, steps, count, shown, *_),) = table.rows
    assert (label, steps, count) == ("ELF", "8", "3")
    values = np.array([math.exp(rows.mean() / TOKENS) for (name, *_), rows in nll.items() if name != "MDLM"])
    low, high = stats.t.interval(0.95, 2, values.mean(), values.std(ddof=1) / math.sqrt(3))
    # The made-up scores have bars of 1 on either side.
    spread, rows = values.std(ddof=1), 1.0 / stats.norm.isf(0.025)
    assert shown == f"{values.mean():.1f} [{low:.1f}, {high:.1f}] sd {spread:.2g} / {rows:.2g}"
    text = caption(section)
    assert "training-seed variance unknown" not in text
    assert "the table over training seeds has their means" in text
    write_report(store.root, tmp_path / "R")
    assert (tmp_path / "R" / "seeds.md").read_text().startswith("| model | steps | training seeds |")
    assert "<h2>Over training seeds</h2>" in (tmp_path / "R" / "index.html").read_text()


@pytest.mark.parametrize(
    ("label", "found"), [("ELF, seed 12", ("ELF", 12)), ("ELF", None), ("a, b, seed 3", ("a, b", 3))]
)
def test_labels_tell_the_seed(label: str, found: tuple[str, int] | None) -> None:
    assert training_seed(label) == found
    if found is not None:
        assert seeded_label(*found) == label


def test_every_table_says_what_its_bars_cover(tmp_path: Path) -> None:
    (section,) = load_sections(synthetic(tmp_path / "one", _nll(1)), None)
    assert seeds_table(section) is None
    assert "not training: training-seed variance unknown (one training seed per model)." in caption(section)
    rows = {("real", "reference", None): np.full(4, 40.0)}
    (controls,) = load_sections(synthetic(tmp_path / "none", rows), None)
    assert "training" not in caption(controls)
    imported = {("x", "imported", None): np.full(4, 40.0)}
    (section,) = load_sections(synthetic(tmp_path / "imported", imported), None)
    assert "unknown (of the models behind imported samples)" in caption(section)
