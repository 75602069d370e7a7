"""The committed models of the oracle language against its exact law."""

from __future__ import annotations

import numpy as np
import pytest

import elfbench
from elfbench.language.oracle import LENGTH, oracle
from elfbench.language.sentences import judge
from elfbench.spec.sampling import LikelihoodModel, LikelihoodRequest


def test_exact_samples_are_those_of_the_row_seeds() -> None:
    many, few = elfbench.sample("exact-oracle", 6), elfbench.sample("exact-oracle", 2)
    assert many.texts[:2] == few.texts
    assert np.isfinite(oracle().log_prob(many.tokens)).all()


def test_the_autoregressive_model_bounds_the_entropy_from_above() -> None:
    """KL(language || model) = E[log p - log q] over exact windows is not negative, and this model's is small."""
    language = oracle()
    windows = language.sample(np.random.default_rng(11).random((256, LENGTH)))
    model = elfbench.load("ar-oracle")
    assert isinstance(model, LikelihoodModel)
    texts = tuple(language.decode(row) for row in windows)
    scored = model.nll(LikelihoodRequest(texts, tuple(range(len(texts)))))
    assert (scored.n_scored == LENGTH).all()
    excess = (scored.nll_nats + language.log_prob(windows)) / LENGTH
    error = excess.std() / np.sqrt(len(excess))
    assert excess.mean() > 3 * error, "no model is better than the law itself"
    assert excess.mean() < 0.2


@pytest.mark.parametrize(("name", "steps"), [("ar-oracle", None), ("mdlm-oracle", 32), ("elf-oracle", 32)])
def test_every_model_beats_the_bigram_law(name: str, steps: int | None) -> None:
    from elfbench.language.ngram import bigram_law, expected_scores

    batch = elfbench.sample(name, 64, steps)
    verdicts = judge(oracle(), list(batch.tokens))
    floor = expected_scores(oracle(), bigram_law(oracle()))
    assert verdicts.n_grammatical.sum() / verdicts.n_sentences.sum() > 2 * floor.grammatical
    assert verdicts.nll_nats.sum() / verdicts.n_words.sum() < floor.oracle_nll - 0.5


def test_the_exact_denoiser_in_one_step_draws_words_independently() -> None:
    """One step of masked diffusion gives every position its own marginal law: the nll of that product law is known exactly."""
    language = oracle()
    laws = language.state_shares(LENGTH) @ language.automaton.probs
    entropies = -(laws * np.log(np.where(laws > 0, laws, 1.0))).sum(axis=1)
    ids = elfbench.sample("mdlm-exact-oracle", 256, 1).tokens
    surprise = -np.log(laws[np.arange(LENGTH), ids])
    assert abs(surprise.mean() - entropies.mean()) < 3.5 * surprise.mean(axis=1).std() / np.sqrt(len(ids))


@pytest.mark.slow
def test_the_exact_flow_converges_to_the_language() -> None:
    language = oracle()
    ids = elfbench.sample("elf-exact-oracle", 128, 64).tokens
    verdicts = judge(language, list(ids))
    nll = verdicts.nll_nats / LENGTH
    assert verdicts.n_grammatical.sum() / verdicts.n_sentences.sum() > 0.99
    assert abs(nll.mean() - language.window_entropy()) < 3.5 * nll.std() / np.sqrt(len(nll)) + 0.03
