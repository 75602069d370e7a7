from __future__ import annotations

import csv
import io
import itertools
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm, ttest_ind, ttest_rel

from elfbench.reporting.ranks import Ranking, rankings_of, ranks_csv, ranks_table
from elfbench.reporting.section import load_sections
from elfbench.statistics.ranks import both_directions, rank_bounds
from elfbench.store.store import Store
from tests.elfbench.reporting.made_up import synthetic

N = 64


def _rankings(store: Store) -> dict[str, Ranking]:
    (section,) = load_sections(store, None)
    return rankings_of(store, section)


def _named(store: Store, ranking: Ranking) -> dict[str, tuple[float, int, int, str]]:
    names = {store.cell(cell).id: store.cell(cell).model for cell in store.cell_ids()}
    return {names[cell]: (one.rank, one.low, one.high, one.letters) for cell, one in ranking.standings.items()}


@pytest.fixture
def rows() -> dict[tuple[str, str, int | None], np.ndarray]:
    """Four models of strongly shared noise; a and b are equally good, c is a little worse, d by far."""
    rng = np.random.default_rng(7)
    noise = rng.normal(40.0, 4.0, N)
    return {
        (name, "discrete", 8): noise + shift + rng.normal(0.0, 0.5, N)
        for name, shift in (("a", 0.0), ("b", 0.05), ("c", 0.8), ("d", 5.0))
    }


def test_pairs_of_rows_tell_apart_what_intervals_cannot(
    rows: dict[tuple[str, str, int | None], np.ndarray], tmp_path: Path
) -> None:
    store = synthetic(tmp_path / "S", rows)
    ranking = _rankings(store)["gen_ppl"]
    assert ranking.by_rows
    values = list(rows.values())
    p = np.ones((4, 4))
    for i, j in itertools.combinations(range(4), 2):
        p[i, j] = p[j, i] = ttest_rel(values[i], values[j]).pvalue / 2
    lows, highs = rank_bounds(np.array([row.mean() for row in values]), both_directions(p), level=0.95)
    found = _named(store, ranking)
    for place, name in enumerate("abcd"):
        assert found[name][1:3] == (lows[place], highs[place])
    # Paired, c is surely third; its noise is ten times the gap, so that two samples would show nothing.
    assert {name: found[name][1:] for name in "abcd"} == {
        "a": (1, 2, "a"), "b": (1, 2, "a"), "c": (3, 3, "b"), "d": (4, 4, "c"),
    }  # fmt: skip
    assert ttest_ind(values[0], values[2]).pvalue > 0.1
    assert ranking.best() == {cell for cell, one in ranking.standings.items() if one.letters == "a"}


def test_other_seeds_are_two_samples(rows: dict[tuple[str, str, int | None], np.ndarray], tmp_path: Path) -> None:
    store = synthetic(tmp_path / "S", rows, seeds=dict(zip("abcd", range(4), strict=True)))
    found = _named(store, _rankings(store)["gen_ppl"])
    assert {found[name][1:] for name in "abc"} == {(1, 3, "a")}
    assert found["d"][1:] == (4, 4, "b")


def test_pooled_metrics_rest_on_intervals_and_unequal_rows_stay_together(
    rows: dict[tuple[str, str, int | None], np.ndarray], tmp_path: Path
) -> None:
    values = {"a": (0.1, 0.02), "b": (0.2, 0.02), "c": (0.3, 0.02), "d": (0.9, 0.02), "real": (0.15, 0.001)}
    fewer = {key: row if key[0] != "d" else row[:32] for key, row in rows.items()}
    store = synthetic(tmp_path / "S", {**fewer, ("real", "reference", None): rows["a", "discrete", 8]}, pooled=values)
    ranking = _rankings(store)["pooled"]
    found = _named(store, ranking)
    assert not ranking.by_rows
    # The aim is 0.15: a and b are equally far from it on either side, c is farther; d has half the rows and is told apart from nobody.
    assert {name: found[name][1:3] for name in "abcd"} == {"a": (1, 3), "b": (1, 3), "c": (3, 4), "d": (1, 4)}
    assert found["a"][3] == found["b"][3] == "a"
    error = np.hypot(0.02, 0.02) / norm.isf(0.025)
    assert norm.sf(0.1 / error) * 2 * 12 < 0.05, "b and c differ by themselves"


def test_clusters_are_the_units(rows: dict[tuple[str, str, int | None], np.ndarray], tmp_path: Path) -> None:
    """Four rows of each cluster are copies: as rows they say four times too much."""
    rng = np.random.default_rng(0)
    copies = {
        (name, "discrete", 8): np.repeat(rng.normal(mean, 1.0, 12), 4)
        for name, mean in (("a", 40.0), ("b", 40.9), ("c", 41.2))
    }
    rankings = []
    for clusters in (1, 4):
        store = synthetic(tmp_path / f"S{clusters}", copies, clusters=clusters)
        rankings.append(_named(store, _rankings(store)["gen_ppl"]))
    assert rankings[0]["a"][1:3] == (1, 1)
    assert rankings[1]["a"][1:3] != (1, 1)


def test_the_table_and_its_csv(rows: dict[tuple[str, str, int | None], np.ndarray], tmp_path: Path) -> None:
    hostile = {("=x|<b>" if name == "d" else name, *rest): row for (name, *rest), row in rows.items()}
    store = synthetic(tmp_path / "S", hostile)  # type: ignore[arg-type]
    (section,) = load_sections(store, None)
    rankings = rankings_of(store, section)
    table = ranks_table(section, rankings)
    assert table is not None
    assert [row[2] for row in table.rows][2:] == ["3 [3, 3] b", "4 [4, 4] c"]
    assert "By rows, paired where they share a seed: gen ppl" in table.caption
    lines = list(csv.DictReader(io.StringIO(ranks_csv(section, rankings))))
    assert {line["metric"] for line in lines} == {"gen_ppl", "bits_per_byte"}
    assert all(line["label"] == "'=x|<b>" for line in lines if line["rank"] == "4.0")
    two = synthetic(tmp_path / "T", dict(list(rows.items())[:2]))
    (section,) = load_sections(two, None)
    assert ranks_table(section, rankings_of(two, section)) is None, "two rows need no ranks"
