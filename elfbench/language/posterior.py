"""The exact denoiser: the law of every word of a window, given noisy evidence on all of them, by the forward-backward algorithm.

It is what a perfect network would predict, so a sampler that uses it shows what its own steps cost: the best that any model can do with
them. Legend: N windows, L words, V vocabulary, S states, C classes of words that behave alike, T possible (state, class) pairs.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from elfbench.language.oracle import FloatArray, IntArray, OracleLanguage


class _Compressed(NamedTuple):
    """The automaton over classes of words: T transitions instead of one per word."""

    class_of: IntArray
    """[V]; -1 for a word that the language never writes."""
    within: FloatArray
    """[V] p(word | class), the same in every state."""
    state: IntArray
    """[T] where a transition begins."""
    classes: IntArray
    """[T] its class."""
    probability: FloatArray
    """[T] p(class | state)."""
    follow: IntArray
    """[T] where it ends."""


def posterior(language: OracleLanguage, log_likelihood: FloatArray) -> FloatArray:
    """[N, L, V] p(word i is v | evidence), rows sum to 1; log_likelihood [N, L, V] in nats, up to a constant per word; -inf excludes.

    Raises FloatingPointError when the evidence excludes every window of the language.
    """
    automaton = _compressed(language)
    n_states = language.automaton.n_states
    windows, length, _ = log_likelihood.shape
    evidence = np.exp(log_likelihood - log_likelihood.max(axis=-1, keepdims=True)) * automaton.within
    n_classes = int(automaton.class_of.max()) + 1
    words = np.flatnonzero(automaton.class_of >= 0)
    gather = csr_matrix(
        (np.ones(len(words)), (words, automaton.class_of[words])), shape=(len(automaton.class_of), n_classes)
    )
    by_class = np.stack([evidence[:, i] @ gather for i in range(length)], axis=1)  # [N, L, C]
    size = len(automaton.state)
    ends = csr_matrix((np.ones(size), (np.arange(size), automaton.follow)), shape=(size, n_states))
    begins = csr_matrix((np.ones(size), (np.arange(size), automaton.state)), shape=(size, n_states))
    to_class = csr_matrix((np.ones(size), (np.arange(size), automaton.classes)), shape=(size, n_classes))

    forward = np.zeros((length, windows, n_states))
    forward[0, :, 0] = 1.0
    for i in range(length - 1):
        mass = (forward[i][:, automaton.state] * automaton.probability * by_class[:, i, automaton.classes]) @ ends
        forward[i + 1] = _normalized(mass)
    backward = np.ones((windows, n_states))
    result = np.empty_like(evidence)
    for i in reversed(range(length)):
        later = automaton.probability * by_class[:, i, automaton.classes] * backward[:, automaton.follow]
        share = _normalized((forward[i][:, automaton.state] * later) @ to_class)  # [N, C]
        inside = np.where(by_class[:, i] > 0, share / np.where(by_class[:, i] > 0, by_class[:, i], 1.0), 0.0)
        result[:, i] = np.where(automaton.class_of >= 0, inside[:, automaton.class_of], 0.0) * evidence[:, i]
        backward = _normalized(later @ begins)
    denoised: FloatArray = result
    return denoised


def _normalized(mass: FloatArray) -> FloatArray:
    total = mass.sum(axis=1, keepdims=True)
    if not (total > 0).all():
        raise FloatingPointError("the evidence excludes every window of the language")
    normalized: FloatArray = mass / total
    return normalized


@cache
def _compressed(language: OracleLanguage) -> _Compressed:
    """Words are one class when they lead to the same states with proportional probabilities."""
    probs, follow = language.automaton.probs, language.automaton.follow
    totals = probs.sum(axis=0)
    shape = np.where(totals > 0, probs / np.where(totals > 0, totals, 1.0), 0.0)
    signature = np.concatenate([shape.round(9), follow], axis=0).T  # [V, 2S]
    alike: NDArray[np.int64] = np.unique(signature, axis=0, return_inverse=True)[1].reshape(-1)
    class_of = np.full(len(totals), -1, dtype=np.int64)
    ever = totals > 0
    class_of[ever] = np.unique(alike[ever], return_inverse=True)[1].reshape(-1)
    n_classes = int(class_of.max()) + 1
    mass = np.bincount(class_of[ever], weights=totals[ever], minlength=n_classes)
    within = np.zeros(len(totals))
    within[ever] = totals[ever] / mass[class_of[ever]]
    by_class = np.zeros((len(probs), n_classes))
    for word in np.flatnonzero(ever):
        by_class[:, class_of[word]] += probs[:, word]
    state, classes = np.nonzero(by_class)
    first_word = np.array([np.flatnonzero(class_of == number)[0] for number in range(n_classes)])
    return _Compressed(class_of, within, state, classes, by_class[state, classes], follow[state, first_word[classes]])
