from __future__ import annotations

import numpy as np
import pytest

from elfbench.core.errors import ConfigError
from elfbench.language.oracle import oracle
from elfbench.metrics.oracle_given import GRAMMATICAL_GIVEN, ORACLE_NLL_GIVEN, given_rows
from elfbench.spec.metric import EstimateContext, Rows
from elfbench.statistics.rate import wilson

GIVEN = 5


def _windows(n: int, length: int) -> np.ndarray:
    return oracle().sample(np.random.default_rng(0).random((n, length)))


def _texts(ids: np.ndarray) -> list[str]:
    return [oracle().decode(row) for row in ids]


def test_the_chain_rule_holds() -> None:
    """nll of the whole = nll of the prompt + nll of the output given it; the parts behind an empty prompt are those of windows."""
    ids = _windows(20, 14)
    ids[3, 7] = ids[3, 8]  # a word that may not come there
    whole = oracle().walk(ids).nll_nats.sum(axis=1)
    before = oracle().walk(ids[:, :GIVEN]).nll_nats.sum(axis=1)
    found = given_rows(_texts(ids[:, GIVEN:]), _texts(ids[:, :GIVEN]))
    assert found["nll_nats"] == pytest.approx(whole - before, abs=1e-9)
    assert found["n_words"].tolist() == [14 - GIVEN] * 20


def test_likelihood_is_that_of_the_smoothed_law_of_the_next_word() -> None:
    ids = _windows(10, GIVEN + 1)
    law = oracle().next_word(ids[:, :GIVEN], smoothed=True)
    found = given_rows(_texts(ids[:, GIVEN:]), _texts(ids[:, :GIVEN]))
    assert np.exp(-found["nll_nats"]) == pytest.approx(law[np.arange(10), ids[:, -1]])


def test_only_sentences_that_end_in_the_output_count_with_their_words_in_the_prompt() -> None:
    ids = _windows(200, 32)
    assert oracle().stop_id in ids[:, GIVEN:]
    inputs, outputs = _texts(ids[:, :GIVEN]), _texts(ids[:, GIVEN:])
    found = given_rows(outputs, inputs)
    assert found["n_sentences"].tolist() == (ids[:, GIVEN:] == oracle().stop_id).sum(axis=1).tolist()
    assert found["n_grammatical"].tolist() == found["n_sentences"].tolist()
    # Behind the prompt of another row most first sentences are broken, and no later ones.
    moved = given_rows(outputs, inputs[1:] + inputs[:1])
    lost = moved["n_sentences"] - moved["n_grammatical"]
    assert (lost == 1).mean() > 0.3
    assert set(lost.tolist()) <= {0.0, 1.0}


def test_estimates_are_ratios_of_sums_and_empty_outputs_count_nothing() -> None:
    ids = _windows(30, 32)
    outputs, inputs = [*_texts(ids[:, GIVEN:]), ""], [*_texts(ids[:, :GIVEN]), "the"]
    columns = given_rows(outputs, inputs)
    rows = Rows(columns, 31, 31, 0)
    nll = ORACLE_NLL_GIVEN.estimate(rows, None, EstimateContext())
    assert nll.value == pytest.approx(columns["nll_nats"].sum() / (30 * (32 - GIVEN)))
    assert nll.low < nll.value < nll.high
    right = GRAMMATICAL_GIVEN.estimate(rows, None, EstimateContext())
    # All right in 30 rows: each counts as one trial, the empty one as none.
    assert (right.value, right.high) == (1.0, 1.0)
    assert 0.86 < right.low < wilson(30, 30).low


def test_a_word_of_another_language_is_an_error() -> None:
    with pytest.raises(ConfigError, match="unknown word of the oracle language"):
        given_rows(["qwerty"], ["the"])
