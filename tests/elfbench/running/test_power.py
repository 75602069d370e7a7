from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm

import elfbench
from elfbench.running.power import power
from elfbench.running.suites import load_suite

Z = norm.isf(0.025) + norm.isf(0.2)


def test_without_a_store_the_usual_spread_is_assumed() -> None:
    (one,) = power(load_suite("demo"))
    assert one.cell is None
    assert "assumed" in one.basis
    # Two samples of n rows: n = 2 (z s / d)^2, with d = ln(1 + share) nats.
    assert one.needed == {
        f"{share:.0%}": math.ceil(2 * (Z * 0.3 / math.log(1 + share)) ** 2) for share in (0.01, 0.02, 0.05, 0.10)
    }
    assert one.needed["10%"] == 156
    assert one.needed["1%"] == pytest.approx(14_200, rel=0.01)


def test_spreads_are_measured_in_the_store(tmp_path: Path) -> None:
    elfbench.run("controls", tmp_path / "S", rows=64)
    store = elfbench.open(tmp_path / "S")
    suite = load_suite("controls")
    found = power(suite, store, rows=1000)
    assert {one.metric for one in found} >= {"unigram_entropy"}
    assert "distinct_1" not in {one.metric for one in found}, "pooled metrics have no spread of a row"
    (one,) = (one for one in found if one.metric == "unigram_entropy" and store.cell(one.cell or "").model == "unigram")
    texts = next(store.rows(cell).texts for cell in store.cell_ids() if store.cell(cell).model == "unigram")
    rows = [re.findall(r"\w+|[^\w\s]", text)[:32] for text in texts]
    entropies = np.array([_entropy(row) for row in rows if len(row) == 32])
    spread = entropies.std(ddof=1) / entropies.mean()
    assert one.spread == pytest.approx(spread)
    assert one.scale == "relative"
    assert one.planned_rows == round(1000 * len(entropies) / 64)
    assert one.detectable == pytest.approx(Z * spread * math.sqrt(2 / one.planned_rows))
    assert one.needed["2%"] == math.ceil(2 * (Z * spread / 0.02) ** 2)


def _entropy(tokens: list[str]) -> float:
    share = np.array(list(Counter(tokens).values())) / len(tokens)
    return float(-(share * np.log(share)).sum())


def test_other_seeds_will_do_and_are_told(tmp_path: Path) -> None:
    elfbench.run("controls", tmp_path / "S", rows=64)
    suite = load_suite("controls").model_copy(update={"seed": 5})
    found = power(suite, elfbench.open(tmp_path / "S"))
    assert any("under other weights or seeds" in one.basis for one in found)


def test_what_was_not_measured_has_no_spread(tmp_path: Path) -> None:
    elfbench.score(["a b c", "b c d"], metrics=["unigram_entropy"], out=tmp_path / "S")
    found = power(load_suite("controls"), elfbench.open(tmp_path / "S"))
    assert found
    for one in found:
        assert one.spread is None
        assert one.detectable is None
        assert one.needed == {}
        assert "not measured" in one.basis


def test_the_verb(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "elfbench.cli.main", "plan", "controls", "--power"]
    shown = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "assumed: 0.3 nats of log-perplexity" in shown.stdout
    done = subprocess.run([*command, "--json"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["power"][0]["needed"]["10%"] == 156
