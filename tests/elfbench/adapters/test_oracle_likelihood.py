from __future__ import annotations

import contextlib

import numpy as np
import pytest

import elfbench
from elfbench.core.errors import ConfigError
from elfbench.language.oracle import held_out_windows, oracle, training_windows
from elfbench.spec.sampling import LikelihoodModel, LikelihoodRequest


def _nll(name: str, texts: list[str]) -> np.ndarray:
    return _scored(elfbench.load(name), texts)


def _scored(model: object, texts: list[str]) -> np.ndarray:
    assert isinstance(model, LikelihoodModel)
    assert model.bound == "exact"
    found = model.nll(LikelihoodRequest(tuple(texts), tuple(range(len(texts)))))
    assert found.n_bytes_scored.tolist() == [len(text.encode()) for text in texts]
    assert found.n_scored.tolist() == [len(text.split()) for text in texts]
    assert not found.error_nats.any()
    return found.nll_nats


@pytest.mark.parametrize("name", ["ar-oracle", "exact-oracle", "bigram-oracle", "unigram-oracle"])
def test_probabilities_of_all_next_words_sum_to_one(name: str) -> None:
    """exp(nll(prefix) - nll(prefix + word)) over the whole vocabulary; words of probability 0 are refused."""
    prefix, model = oracle().decode(held_out_windows()[0, :5]), elfbench.load(name)
    before, total = _scored(model, [prefix])[0], 0.0
    longer = [f"{prefix} {word}" for word in oracle().words]
    for texts in [longer] if name == "ar-oracle" else [[text] for text in longer]:
        with contextlib.suppress(ConfigError):
            total += float(np.exp(before - _scored(model, texts)).sum())
    assert total == pytest.approx(1.0, abs=1e-5 if name == "ar-oracle" else 1e-12)


def test_the_language_is_the_product_of_its_next_words() -> None:
    windows = held_out_windows()[:4, :7]
    terms = [
        [np.log(oracle().next_word(row[None, :place])[0, row[place]]) for place in range(len(row))] for row in windows
    ]
    found = _nll("exact-oracle", [oracle().decode(row) for row in windows])
    assert found == pytest.approx(-np.sum(terms, axis=1), rel=1e-12)


def test_the_mean_of_the_language_is_its_entropy() -> None:
    """Nats per word of 2000 held-out windows against the closed form over the states of the automaton."""
    rows = held_out_windows()[:2000]
    found = _nll("exact-oracle", [oracle().decode(row) for row in rows]) / rows.shape[1]
    assert found.mean() == pytest.approx(oracle().window_entropy(), abs=4 * found.std() / np.sqrt(len(found)))


def test_held_out_windows_are_none_of_the_training_set() -> None:
    trained = {row.tobytes() for row in training_windows()}
    assert not any(row.tobytes() in trained for row in held_out_windows())


def test_what_the_language_never_writes_is_refused() -> None:
    with pytest.raises(ConfigError, match="probability 0"):
        _nll("exact-oracle", ["the the ."])
    with pytest.raises(ConfigError, match="word of the oracle language"):
        _nll("exact-oracle", ["banana"])
