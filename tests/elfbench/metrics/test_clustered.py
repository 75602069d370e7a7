from __future__ import annotations

import numpy as np
import pytest

from elfbench.metrics.clustered import Clusters, clustered_estimate
from elfbench.metrics.exact_match import EXACT_MATCH
from elfbench.metrics.gen_ppl import GEN_PPL
from elfbench.metrics.oracle import BROKEN_NAME, GRAMMATICAL
from elfbench.metrics.sanity import EMPTY_SHARE
from elfbench.metrics.unique import UNIQUE_SHARE
from elfbench.spec.metric import EstimateContext, Metric, Rows
from elfbench.statistics.clusters import clustered_ratio, design_effect
from elfbench.statistics.rate import clustered_wilson, wilson

CONTEXT = EstimateContext(window=8)


def _rows(**columns: object) -> Rows:
    n = len(next(iter(columns.values())))  # type: ignore[arg-type]
    return Rows(columns, n, n, 0, np.arange(n))


def test_a_ratio_of_sums_has_the_cluster_robust_interval_of_its_usable_rows() -> None:
    rng = np.random.default_rng(0)
    shared = np.repeat(rng.normal(0.0, 1.0, 20), 4)
    nll, tokens = 40.0 + 5.0 * shared + rng.normal(size=80), rng.integers(8, 12, 80)
    kept = np.sort(rng.permutation(80)[:70])
    rows = Rows({"nll_nats": nll[kept], "n_scored": tokens[kept], "n_bytes_scored": tokens[kept]}, 70, 80, 10, kept)
    found = clustered_estimate(GEN_PPL, rows, None, CONTEXT, Clusters("batch", 4))
    expected = clustered_ratio(nll[kept], tokens[kept], kept // 4, scale="exp")
    assert (found.value, found.low, found.high) == pytest.approx((expected.value, expected.low, expected.high))
    assert found.detail["design_effect"] == pytest.approx(design_effect(nll[kept], tokens[kept], kept // 4).effect)
    assert found.detail["design_effect"] > 2.0
    assert (found.detail["cluster_rows"], found.detail["clusters"]) == (4, 20)
    assert found.covers == "sampling of rows, for this judge, clustered by batch"
    assert "20 batches" in found.method
    plain = GEN_PPL.estimate(rows, None, CONTEXT)
    assert found.high - found.low > 1.3 * (plain.high - plain.low)
    assert found.detail["tokens_scored"] == plain.detail["tokens_scored"]


def test_rates_are_wilsons_over_clusters() -> None:
    rng = np.random.default_rng(1)
    flags = np.repeat(rng.random(24) < 0.3, 4)
    rows = _rows(n_grammatical=3 * flags, n_sentences=np.full(96, 3))
    found = clustered_estimate(GRAMMATICAL, rows, None, CONTEXT, Clusters("example", 4))
    expected = clustered_wilson(12 * flags[::4], np.full(24, 12))
    assert (found.low, found.high) == (expected.interval.low, expected.interval.high)
    # Not a ratio of sums by row: the jackknife over groups of clusters gives the same, here one cluster a group.
    sane = _rows(n_visible=np.where(flags, 0, 5), n_tokens=np.where(flags, 0, 3))
    share = clustered_estimate(EMPTY_SHARE, sane, None, CONTEXT, Clusters("example", 4))
    expected = clustered_wilson(4 * flags[::4], np.full(24, 4))
    assert (share.low, share.high) == pytest.approx((expected.interval.low, expected.interval.high))
    assert share.detail["design_effect"] == pytest.approx(expected.design_effect)
    none = clustered_estimate(
        EMPTY_SHARE, _rows(n_visible=np.ones(96), n_tokens=np.ones(96)), None, CONTEXT, Clusters("batch", 4)
    )
    assert (none.value, none.low) == (0.0, 0.0)
    assert none.high > wilson(0, 24).high


def test_pooled_metrics_leave_out_groups_of_whole_clusters() -> None:
    """Rows whose texts repeat within their cluster only: as rows they look twice as sure as they are."""
    rng = np.random.default_rng(2)
    ids = [np.array([c, rng.integers(0, 3)]) for c in range(100) for _ in range(4)]
    found = clustered_estimate(UNIQUE_SHARE, _rows(ids=ids), None, CONTEXT, Clusters("example", 4))
    by_cluster = np.array([len({tuple(row) for row in ids[4 * c : 4 * c + 4]}) / 4 for c in range(100)])
    # Clusters share no text: the share is their mean, whose error is known.
    assert found.value == pytest.approx(by_cluster.mean())
    half = (found.high - found.low) / 2 / 2.04
    assert half == pytest.approx(by_cluster.std(ddof=1) / 10, rel=0.35)
    assert "without groups of examples, 32 groups" in found.method
    assert 0.0 <= found.low < found.high <= 1.0


def test_one_cluster_has_no_spread_and_says_so() -> None:
    rows = _rows(nll_nats=np.arange(8.0), n_scored=np.ones(8), n_bytes_scored=np.ones(8))
    found = clustered_estimate(GEN_PPL, rows, None, CONTEXT, Clusters("batch", 64))
    plain = GEN_PPL.estimate(rows, None, CONTEXT)
    assert (found.low, found.high) == (plain.low, plain.high)
    assert found.covers.endswith("within one batch: what another would change is unknown")
    assert found.detail["clusters"] == 1


@pytest.mark.parametrize("metric", [EXACT_MATCH, BROKEN_NAME])
def test_a_share_of_none_has_a_bar(metric: Metric) -> None:
    nothing = np.zeros(50, dtype=np.int64)
    rows = _rows(exact_match=nothing, broken=[np.zeros(7)] * 50, n_sentences=np.full(50, 3))
    found = metric.estimate(rows, None, CONTEXT)
    assert (found.value, found.low) == (0.0, 0.0)
    assert wilson(0, 150).high < found.high < 0.1
    assert found.method.startswith("Wilson score interval over 50 rows")


def test_exact_matches_of_several_draws_count_by_example() -> None:
    flags = np.repeat([1, 0, 0, 1, 0, 1, 0, 0, 0, 0], 5)
    rows = _rows(exact_match=flags, example=np.arange(50) // 5)
    found = EXACT_MATCH.estimate(rows, None, CONTEXT)
    assert found.value == 0.3
    assert found.detail["design_effect"] == pytest.approx(5 * 10 / 9)
    single = EXACT_MATCH.estimate(_rows(exact_match=flags), None, CONTEXT)
    assert (single.low, single.high) == (wilson(15, 50).low, wilson(15, 50).high)
    assert found.high - found.low > 1.8 * (single.high - single.low)
