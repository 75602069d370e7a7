"""Entropy, distinct-n and rep-n against brute force with Python's Counter."""

from __future__ import annotations

import math
from collections import Counter
from itertools import chain

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elfbench.core.errors import ConfigError
from elfbench.metrics import distinct as distinct_module
from elfbench.metrics.distinct import DISTINCT_1, DISTINCT_2, DISTINCT_3, DISTINCT_4
from elfbench.metrics.entropy import UNIGRAM_ENTROPY
from elfbench.metrics.ngrams import ngrams
from elfbench.metrics.repetition import REP_2, REP_3, REP_4
from elfbench.spec.metric import EstimateContext, Metric, Rows

# Ids of the tokenizer `words` fill 63 bits, so small ones alone would not do.
IDS = st.one_of(st.integers(0, 4), st.sampled_from([2**62 + 1, 2**62 + 2, 2**63 - 1]))
TEXTS = st.lists(st.lists(IDS, min_size=5, max_size=12), min_size=2, max_size=7)
ALL = (UNIGRAM_ENTROPY, DISTINCT_1, DISTINCT_2, DISTINCT_3, DISTINCT_4, REP_2, REP_3, REP_4)
QUICK = settings(deadline=None, max_examples=40)


def _rows(texts: list[list[int]]) -> Rows:
    ids = [np.array(text, dtype=np.int64) for text in texts]
    columns = {"ids": ids, "n_tokens": np.array([len(text) for text in texts])}
    return Rows(columns, n=len(ids), n_requested=len(ids), n_dropped=0)


def _grams(text: list[int], order: int) -> list[tuple[int, ...]]:
    return [tuple(text[i : i + order]) for i in range(len(text) - order + 1)]


def _entropy(tokens: list[int]) -> float:
    shares = [count / len(tokens) for count in Counter(tokens).values()]
    return -math.fsum(share * math.log(share) for share in shares)


def _distinct(texts: list[list[int]], order: int) -> float:
    grams = list(chain.from_iterable(_grams(text, order) for text in texts))
    return len(set(grams)) / len(grams)


def _value(metric: Metric, texts: list[list[int]]) -> float:
    return metric.estimate(_rows(texts), None, EstimateContext()).value


def test_entropy_in_closed_form() -> None:
    assert _value(UNIGRAM_ENTROPY, [[7, 7, 8, 8, 8, 8]] * 2) == pytest.approx(0.636514, abs=1e-6)
    assert _value(UNIGRAM_ENTROPY, [list(range(9)), list(range(9, 18))]) == pytest.approx(math.log(9))
    assert _value(UNIGRAM_ENTROPY, [[3] * 9, [4] * 9]) == 0.0


@QUICK
@given(TEXTS)
def test_entropy_is_the_mean_over_rows_and_the_pool_is_beside_it(texts: list[list[int]]) -> None:
    estimate = UNIGRAM_ENTROPY.estimate(_rows(texts), None, EstimateContext())
    assert estimate.value == pytest.approx(np.mean([_entropy(text) for text in texts]), abs=1e-12)
    assert estimate.detail["pooled_entropy_nats"] == pytest.approx(_entropy(list(chain(*texts))), abs=1e-12)


@QUICK
@given(TEXTS, st.sampled_from([DISTINCT_1, DISTINCT_2, DISTINCT_3, DISTINCT_4]))
def test_distinct_and_its_leave_one_out_equal_recounting(texts: list[list[int]], metric: Metric) -> None:
    order = int(metric.parameters["order"])
    assert _value(metric, texts) == pytest.approx(_distinct(texts, order))
    found = distinct_module.leave_one_out(ngrams([np.array(text) for text in texts], order))
    expected = [_distinct(texts[:row] + texts[row + 1 :], order) for row in range(len(texts))]
    assert found == pytest.approx(expected)


@QUICK
@given(TEXTS, st.sampled_from([REP_2, REP_3, REP_4]))
def test_repetition_equals_recounting(texts: list[list[int]], metric: Metric) -> None:
    order = int(metric.parameters["order"])
    expected = [1 - len(set(_grams(text, order))) / len(_grams(text, order)) for text in texts]
    assert _value(metric, texts) == pytest.approx(np.mean(expected), abs=1e-12)


@settings(deadline=None, max_examples=15)
@given(st.sampled_from(ALL), TEXTS.flatmap(lambda texts: st.tuples(st.just(texts), st.permutations(texts))))
def test_the_order_of_rows_does_not_matter(metric: Metric, pair: tuple[list[list[int]], list[list[int]]]) -> None:
    first, second = (metric.estimate(_rows(texts), None, EstimateContext()) for texts in pair)
    assert (first.value, first.low, first.high) == pytest.approx((second.value, second.low, second.high))
    assert first.low <= first.value <= first.high


def test_a_repeated_text_lowers_distinct_and_neither_entropy_nor_repetition_notice() -> None:
    rng = np.random.default_rng(0)
    texts = rng.integers(0, 500, (20, 30)).tolist()
    tiled = [texts[0]] * 20
    assert _value(DISTINCT_2, tiled) == pytest.approx(_distinct(texts[:1], 2) / 20)
    assert _value(UNIGRAM_ENTROPY, tiled) == pytest.approx(_entropy(texts[0]))
    assert _value(REP_2, tiled) == pytest.approx(1 - _distinct(texts[:1], 2))
    assert "degenerate" in DISTINCT_2.estimate(_rows(tiled), None, EstimateContext()).method


def test_rows_too_short_are_left_out_and_counted() -> None:
    estimate = REP_3.estimate(_rows([[1, 1, 1, 1], [1, 2], [1, 2, 3, 4]]), None, EstimateContext())
    assert estimate.value == pytest.approx((0.5 + 0.0) / 2)
    assert estimate.detail["rows_too_short"] == 1
    for metric in (REP_3, DISTINCT_3):
        with pytest.raises(ConfigError, match="too few rows"):
            _value(metric, [[1, 2], [1, 2], [1, 2, 3]])


def test_the_jackknife_error_of_distinct_is_that_of_repeated_sampling() -> None:
    rng = np.random.default_rng(1)
    zipf = 1 / np.arange(1, 401)
    runs = [
        DISTINCT_1.estimate(_rows(rng.choice(400, (60, 20), p=zipf / zipf.sum()).tolist()), None, EstimateContext())
        for _ in range(150)
    ]
    spread = np.std([run.value for run in runs], ddof=1)
    claimed = np.mean([(run.high - run.low) / 2 / 2.0 for run in runs])  # t(59) is 2.00 at 95 %
    assert 0.75 < claimed / spread < 1.5


def test_metrics_are_quick_enough_for_tables() -> None:
    import time

    texts = np.random.default_rng(2).integers(0, 5000, (256, 128)).tolist()
    rows = _rows(texts)
    for metric in ALL:
        start = time.process_time()
        metric.estimate(rows, None, EstimateContext())
        assert time.process_time() - start < 2.0
