"""Verdicts on the sentences of windows: grammatical or not, which rule broke first, and whether the training set holds the sentence.

A sentence ends with a full stop; the cut one at the end of a window is not judged. A window without any full stop is one sentence that
breaks the word order: no sentence of the language is as long as a window.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from elfbench.language.oracle import IntArray, OracleLanguage, oracle, training_windows

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


class Verdicts(NamedTuple):
    """Per window [N]. broken [N, R]: sentences by the first rule that they break, in the order of `OracleLanguage.rules`."""

    n_words: IntArray
    nll_nats: NDArray[np.float64]
    n_sentences: IntArray
    n_grammatical: IntArray
    n_novel: IntArray
    broken: IntArray


def judge(language: OracleLanguage, rows: Sequence[IntArray], *, known: NDArray[np.uint64] | None = None) -> Verdicts:
    """The verdicts on rows of ids, each [n]; `known` are the hashes of the training sentences, by default of the committed set."""
    known = training_hashes() if known is None else known
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    verdicts = Verdicts(
        n_words=lengths,
        nll_nats=np.zeros(len(rows)),
        n_sentences=np.zeros(len(rows), dtype=np.int64),
        n_grammatical=np.zeros(len(rows), dtype=np.int64),
        n_novel=np.zeros(len(rows), dtype=np.int64),
        broken=np.zeros((len(rows), len(language.rules)), dtype=np.int64),
    )
    for length in np.unique(lengths[lengths > 0]):
        chosen = np.flatnonzero(lengths == length)
        part = _judge_windows(language, language.checked(np.stack([rows[int(i)] for i in chosen])), known)
        for whole, own in zip(verdicts[1:], part[1:], strict=True):
            whole[chosen] = own
    return verdicts


def _judge_windows(language: OracleLanguage, ids: IntArray, known: NDArray[np.uint64]) -> Verdicts:
    walk = language.walk(ids)
    stops = ids == language.stop_id
    first = first_broken(walk.broken, stops)
    endless = ~stops.any(axis=1)
    broken = np.stack([(stops & (first == 1 + rule)).sum(axis=1) for rule in range(len(language.rules))], axis=1)
    broken[endless, -1] += 1
    novel = stops & ~np.isin(sentence_hashes(ids, stops), known)
    return Verdicts(
        n_words=np.full(len(ids), ids.shape[1]),
        nll_nats=walk.nll_nats.sum(axis=1),
        n_sentences=stops.sum(axis=1) + endless,
        n_grammatical=(stops & (first == 0)).sum(axis=1),
        n_novel=novel.sum(axis=1) + endless,
        broken=broken,
    )


def first_broken(broken: IntArray, stops: NDArray[np.bool_]) -> IntArray:
    """[N, L]: at each word, the first rule broken in its sentence so far, 0 for none. broken [N, L] as `Walk` has it."""
    found = np.zeros_like(broken)
    so_far = np.zeros(len(broken), dtype=np.int64)
    for position in range(broken.shape[1]):
        so_far = np.where(so_far > 0, so_far, broken[:, position])
        found[:, position] = so_far
        so_far = np.where(stops[:, position], 0, so_far)
    return found


def sentence_hashes(ids: IntArray, stops: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """[N, L]: a 64-bit hash of the words of the sentence so far; the sentence's own at its full stop."""
    hashes = np.zeros(ids.shape, dtype=np.uint64)
    so_far = np.zeros(len(ids), dtype=np.uint64)
    for position in range(ids.shape[1]):
        mixed = (so_far ^ (so_far >> np.uint64(29))) * _MULTIPLIER
        so_far = mixed + ids[:, position].astype(np.uint64) + np.uint64(1)
        hashes[:, position] = so_far
        so_far = np.where(stops[:, position], np.uint64(0), so_far)
    return hashes


@cache
def training_hashes() -> NDArray[np.uint64]:
    """[M] sorted hashes of all whole sentences of the training set."""
    windows = training_windows()
    stops = windows == oracle().stop_id
    return np.unique(sentence_hashes(windows, stops)[stops])
