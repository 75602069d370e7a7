"""Tables of agreement on a section made by hand: which couples, which pairs swap, what is said where there is no interval."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import scipy.stats

from elfbench.reporting.agreement import agreement_csv, agreement_tables, agreements
from elfbench.reporting.real_text import JUDGED, real_text_sentences
from elfbench.reporting.section import ScoredCell, Section
from elfbench.spec.metric import Score
from elfbench.store.store import Store

A, B = (10.0, 30.0, 50.0, 20.0), (5.0, 9.0, 7.0, 8.0)
LABELS = {"real": "reference", "noise": "control", "one": "discrete", "two": "continuous"}


def _score(metric: str, value: float, half: float = 1.0) -> Score:
    return Score(
        cell="c", metric=metric, version=1, protocol={"measurement": {"measurement": "features"}}, fingerprint=metric, value=value,
        low=value - half, high=value + half, level=0.95, n=9, n_requested=9, n_dropped=0, unit="", method="test", covers="rows", detail={},
        rows_digest="r", reference_digest=None,
    )  # fmt: skip


def _metric(name: str, kind: str, instrument: str, measurement: str) -> dict[str, Any]:
    measured = {
        "measurement": measurement,
        "version": 1,
        kind: {"title": instrument, "name": instrument, "digest": instrument},
    }
    return {
        "metric": name, "title": name, "unit": "", "direction": "lower", "fingerprint": name, "version": 1, "n_requested": 9,
        "protocol": {"measurement": measured, "interval": {"level": 0.95}}, "needs_reference": False,
    }  # fmt: skip


def _section(metrics: list[dict[str, Any]], values: Mapping[str, tuple[float, ...]], **fields: Any) -> Section:
    cells = [
        ScoredCell(
            id=f"{number}" * 12, model=label, label=label, family=family, steps=None, options={}, n_rows=9, n_params=None,
            scores={name: ("key", _score(name, of[number])) for name, of in values.items()},
        )
        for number, (label, family) in enumerate(LABELS.items())
    ]  # fmt: skip
    base: dict[str, Any] = {"suite": {"suite": "s"}, "command": "", "reference": None, "id": "s-1"}
    return Section(cells=tuple(cells), metrics=tuple(metrics), **(base | fields))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "S")


FEATURES = [_metric("mauve", "featurizer", "X", "features"), _metric("mauve@Y", "featurizer", "Y", "features")]


def test_a_pooled_metric_has_a_permutation_test_and_no_interval(store: Store) -> None:
    (found,) = agreements(store, _section(FEATURES, {"mauve": A, "mauve@Y": B}))
    assert (found.kind, len(found.cells), found.titles) == ("all rows", 4, ("X", "Y"))
    tau, interval = found.ranks["tau"]
    expected = scipy.stats.kendalltau(A, B, method="exact")
    assert (tau.value, tau.p_value, interval) == (
        pytest.approx(expected.statistic),
        pytest.approx(expected.pvalue),
        None,
    )
    assert found.ranks["rho"][0].value == pytest.approx(scipy.stats.spearmanr(A, B).statistic)


def test_swapped_pairs_are_sure_under_both(store: Store) -> None:
    (found,) = agreements(store, _section(FEATURES, {"mauve": A, "mauve@Y": B}))
    # noise (30, 9) and one (50, 7): 9 +- 1 and 7 +- 1 touch, which is not apart; with 6.9 they are.
    assert found.pairs.swapped == ()
    (found,) = agreements(store, _section(FEATURES, {"mauve": A, "mauve@Y": (5.0, 9.0, 6.9, 8.0)}))
    assert found.pairs.swapped == ((1, 2),)
    summary, orders = agreement_tables([found])
    assert summary.rows[0][-1] == f"1 of {found.pairs.alike + 1} sure ones (6 in all)"
    marked = {row[0]: row for row in orders.rows}
    assert (marked["noise"][3], marked["one"][3], marked["real"][3]) == ("one", "noise", "\N{EN DASH}")
    assert marked["noise"][1].endswith("(3!)")
    assert [row[0] for row in orders.rows] == ["real", "two", "noise", "one"]


def test_only_one_metric_under_two_instruments_is_a_couple(store: Store) -> None:
    other = _metric("c2st", "featurizer", "Y", "features")
    assert agreements(store, _section([FEATURES[0], other], {"mauve": A, "c2st": B})) == []
    same = _metric("mauve@X", "featurizer", "X", "features")
    assert agreements(store, _section([FEATURES[0], same], {"mauve": A, "mauve@X": B})) == []
    third = _metric("mauve@Z", "featurizer", "Z", "features")
    assert len(agreements(store, _section([*FEATURES, third], {"mauve": A, "mauve@Y": B, "mauve@Z": A}))) == 3
    # Values that do not differ have no order, and rows without both scores do not count.
    assert agreements(store, _section(FEATURES, {"mauve": A, "mauve@Y": (1.0,) * 4})) == []
    assert agreements(store, _section(FEATURES, {"mauve": A})) == []
    assert agreement_tables([]) == []


def test_the_file_has_a_line_for_every_statistic(store: Store) -> None:
    lines = agreement_csv(agreements(store, _section(FEATURES, {"mauve": A, "mauve@Y": B}))).splitlines()
    assert lines[0].startswith("metric_a,metric_b,judge_a,judge_b,rows,n,statistic,value,low,high,level,p_value")
    assert lines[1].startswith("mauve,mauve@Y,X,Y,all rows,4,rho,")
    assert len(lines) == 3


# the judge's real text -----------------------------------------------------------------------------------------------

JUDGES = [_metric("gen_ppl", "judge", "J", "judge_nll"), _metric("gen_ppl@K", "judge", "K", "judge_nll")]


def test_real_text_is_the_reference_else_the_row_else_told_to_be_missing() -> None:
    values = {"gen_ppl": A, "gen_ppl@K": B}
    judged = {"gen_ppl": _score("gen_ppl", 122.0, 20.0)}
    section = _section(JUDGES, values, reference={"name": "sotu:reference", "rows": 9, JUDGED: judged})
    assert real_text_sentences(section) == [
        "Judge J: real text sotu:reference gen_ppl 122 [102, 142], n=9.",
        "Judge K: real text (row real) gen_ppl@K 5.0 [4.0, 6.0], n=9.",
    ]
    assert real_text_sentences(_section(JUDGES, {}))[0] == "Judge J: no real text was judged."
    assert real_text_sentences(_section(FEATURES, {"mauve": A})) == []
