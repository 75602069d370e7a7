"""Unigram and bigram laws of the oracle language, and what texts drawn from them score: closed forms, no sampling.

They are the controls that a model has to beat, and they test the scorer: the sampled controls must score as told here.
Legend: S states, V words, L words in a window.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from elfbench.language.oracle import LENGTH, OracleLanguage

FloatArray = NDArray[np.float64]


class NgramLaw(NamedTuple):
    """first: [V] law of the first word; then: [V, V] p(next word | word), rows sum to 1."""

    first: FloatArray
    then: FloatArray


class Expected(NamedTuple):
    """oracle_nll: nats per word; grammatical: expected grammatical sentences / expected sentences; unigram_entropy: of all words
    together, in nats; oracle_kl: nats per word, the divergence given the law that the grammar's state has."""

    oracle_nll: float
    grammatical: float
    unigram_entropy: float
    oracle_kl: float


def unigram_law(language: OracleLanguage, length: int = LENGTH) -> NgramLaw:
    """Independent words with their shares in windows of the language."""
    share = language.unigram(length)
    return NgramLaw(share, np.broadcast_to(share, (len(share), len(share))))


def bigram_law(language: OracleLanguage, length: int = LENGTH) -> NgramLaw:
    """The language's first word, then words by its pairs of neighbours in windows."""
    probs = language.automaton.probs
    states, words = np.nonzero(probs)
    visits = language.state_shares(length)[:-1].sum(axis=0)
    pairs = np.zeros((probs.shape[1], probs.shape[1]))
    weights = visits[states] * probs[states, words]
    np.add.at(pairs, words, weights[:, None] * probs[language.automaton.follow[states, words]])
    totals = pairs.sum(axis=1, keepdims=True)
    # A word that is never followed by another is never drawn either; its row only has to be a law.
    return NgramLaw(probs[0], np.where(totals > 0, pairs / np.where(totals > 0, totals, 1.0), 1.0 / len(pairs)))


def expected_scores(language: OracleLanguage, law: NgramLaw, length: int = LENGTH) -> Expected:
    """What windows drawn from `law` score on average: the joint law of (state, word, rule broken in this sentence) is carried along."""
    n_states, n_words = language.automaton.probs.shape
    nll = -np.log(language.smoothed)
    stop = language.stop_id
    # [2, S, V]: the state before a word and the word; slice 0 while the sentence is clean, 1 behind a broken rule.
    joint = np.zeros((2, n_states, n_words))
    joint[0, 0] = law.first
    total_nll, sentences, grammatical = 0.0, 0.0, 0.0
    visited = np.zeros((n_states, n_words))
    for position in range(length):
        here = joint.sum(axis=0)
        visited += here
        total_nll += float((here * nll).sum())
        sentences += float(here[:, stop].sum())
        right = language.automaton.probs > 0
        grammatical += float(joint[0, :, stop][right[:, stop]].sum())
        if position + 1 < length:
            joint = _advanced(language, joint, right) @ law.then
    endless = _share_without(law, stop, length)
    words = visited.sum(axis=0) / length
    by_law = np.zeros_like(visited)
    np.add.at(by_law, language.law_of_state, visited)
    conditional = float(_xlogx(by_law.sum(axis=1)).sum() - _xlogx(by_law).sum()) / length
    return Expected(
        oracle_nll=total_nll / length,
        grammatical=grammatical / (sentences + endless),
        unigram_entropy=-float(_xlogx(words).sum()),
        oracle_kl=total_nll / length - conditional,
    )


def _advanced(language: OracleLanguage, joint: FloatArray, right: NDArray[np.bool_]) -> FloatArray:
    """[2, S, V] mass by (clean?, state AFTER the word, the word): still without the next word."""
    after = np.zeros_like(joint)
    words = np.broadcast_to(np.arange(joint.shape[2]), joint.shape[1:])
    clean = np.where(right, joint[0], 0.0)
    dirty = joint[1] + np.where(right, 0.0, joint[0])
    # Behind a full stop a new sentence begins, and it is clean.
    stop = language.stop_id
    clean[:, stop] += dirty[:, stop]
    dirty[:, stop] = 0.0
    np.add.at(after[0], (language.follow, words), clean)
    np.add.at(after[1], (language.follow, words), dirty)
    return after


def _share_without(law: NgramLaw, stop: int, length: int) -> float:
    """Probability that a window has no full stop."""
    mass = law.first.copy()
    mass[stop] = 0.0
    for _ in range(length - 1):
        mass = mass @ law.then
        mass[stop] = 0.0
    return float(mass.sum())


def _xlogx(values: FloatArray) -> FloatArray:
    return np.where(values > 0, values * np.log(np.where(values > 0, values, 1.0)), 0.0)
