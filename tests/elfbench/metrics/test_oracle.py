"""Oracle metrics against closed forms, brute force, and the law itself."""

from __future__ import annotations

import numpy as np
import pytest

from elfbench.adapters.oracle_controls import ngram_draw
from elfbench.language.ngram import bigram_law, expected_scores, unigram_law
from elfbench.language.oracle import LENGTH, oracle
from elfbench.metrics import oracle as metrics
from elfbench.metrics.entropy import CORPUS_ENTROPY
from elfbench.metrics.oracle import BROKEN, GRAMMATICAL, NOVEL_SENTENCES, ORACLE_KL, ORACLE_NLL
from elfbench.registry import catalog
from elfbench.running.instruments import Instruments
from elfbench.running.measuring import measured
from elfbench.running.reporter import Quiet
from elfbench.spec.measure import Measure
from elfbench.spec.metric import EstimateContext, Metric, Rows
from elfbench.store.store import Store

CONTEXT = EstimateContext(window=LENGTH)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store.create(tmp_path_factory.mktemp("oracle") / "S")


def rows_of(ids: np.ndarray, store: Store, metric: Metric = ORACLE_NLL) -> Rows:
    texts = [oracle().decode(row) for row in ids]
    instruments = Instruments(Measure(view="raw", tokenizer="words", window=LENGTH), None, None)
    columns = measured(metric.measurement, texts, instruments, store, Quiet())
    return Rows(columns.values, n=len(ids), n_requested=len(ids), n_dropped=0)


def exact(n: int, seed: int = 0) -> np.ndarray:
    return oracle().sample(np.random.default_rng(seed).random((n, LENGTH)))


def test_exact_samples_stand_at_the_language(store: Store) -> None:
    rows = rows_of(exact(1024), store)
    nll = ORACLE_NLL.estimate(rows, None, CONTEXT)
    assert nll.low < oracle().window_entropy() + 0.001 < nll.high
    assert nll.detail["entropy_of_the_language"] == oracle().window_entropy()
    assert GRAMMATICAL.estimate(rows, None, CONTEXT).value == 1.0
    assert all(metric.estimate(rows, None, CONTEXT).value == 0.0 for metric in BROKEN.values())
    assert 0.4 < NOVEL_SENTENCES.estimate(rows, None, CONTEXT).value < 0.95
    kl = ORACLE_KL.estimate(rows, None, CONTEXT)
    assert kl.low < 0.0 < kl.high, "exact samples do not diverge"
    assert kl.high < 0.1
    entropy = CORPUS_ENTROPY.estimate(rows_of(exact(1024), store, CORPUS_ENTROPY), None, CONTEXT)
    share = oracle().unigram()
    assert entropy.low < -(share[share > 0] * np.log(share[share > 0])).sum() < entropy.high


@pytest.mark.parametrize("order", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_controls_diverge_as_their_closed_forms_say(order: int, store: Store) -> None:
    law = unigram_law(oracle()) if order == 1 else bigram_law(oracle())
    expected = expected_scores(oracle(), law)
    ids = ngram_draw(law)(np.random.default_rng(7).random((1024, LENGTH)))
    rows = rows_of(ids, store)
    kl = ORACLE_KL.estimate(rows, None, CONTEXT)
    # The jackknife removes the first order of the bias; cells that were never seen leave a little.
    assert kl.value == pytest.approx(expected.oracle_kl, abs=0.06)
    nll = ORACLE_NLL.estimate(rows, None, CONTEXT)
    wide = 1.5 * (nll.high - nll.low)
    assert abs(nll.value - expected.oracle_nll) < wide


def test_a_collapse_is_seen_by_the_divergence_and_not_by_the_grammar(store: Store) -> None:
    ids = np.repeat(exact(4), 64, axis=0)
    rows = rows_of(ids, store)
    assert GRAMMATICAL.estimate(rows, None, CONTEXT).value == 1.0
    assert ORACLE_KL.estimate(rows, None, CONTEXT).low > 1.0


def test_divergence_leaves_rows_out_exactly() -> None:
    """The leave-one-out sums against recomputing without the row."""
    rng = np.random.default_rng(0)
    ids = [rng.integers(0, 6, size=9) for _ in range(7)]
    grams = metrics.ngrams(ids, 1)
    fast = metrics._xlogx_without(grams)
    for row in range(7):
        counts = np.bincount(np.concatenate([part for i, part in enumerate(ids) if i != row]))
        counts = counts[counts > 0]
        assert fast[row] == pytest.approx((counts * np.log(counts)).sum())


def test_rules_have_the_order_of_the_grammar() -> None:
    assert tuple(BROKEN) == oracle().rules
    assert catalog.expand_metrics("broken") == tuple(metric.name for metric in BROKEN.values())


def test_broken_rules_and_grammar_share_out_all_sentences(store: Store) -> None:
    ids = ngram_draw(bigram_law(oracle()))(np.random.default_rng(3).random((128, LENGTH)))
    rows = rows_of(ids, store)
    shares = [metric.estimate(rows, None, CONTEXT).value for metric in (GRAMMATICAL, *BROKEN.values())]
    assert sum(shares) == pytest.approx(1.0)
