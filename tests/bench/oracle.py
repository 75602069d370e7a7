"""Scoring by the oracle language: our tables against a word-by-word walk over the same automaton in plain Python."""

from __future__ import annotations

import time

import numpy as np
from timing import Line, seconds

_N, _TIMED = 10_000, 500


def oracle_scoring() -> list[Line]:
    """10,000 windows of 32 words: their likelihood, equal to the walk's, and all verdicts alone."""
    from elfbench.language.oracle import LENGTH, oracle
    from elfbench.language.sentences import judge, training_hashes

    language = oracle()
    ids = language.sample(np.random.default_rng(0).random((_N, LENGTH)))
    rows = list(ids)
    training_hashes()
    automaton = language.automaton

    def plain() -> list[float]:
        found = []
        for words in rows[:_TIMED]:
            state, total = 0, 0.0
            for word in words:
                total += np.log(automaton.probs[state, word])
                state = automaton.follow[state, word]
            found.append(total)
        return found

    np.testing.assert_allclose(language.log_prob(ids)[:_TIMED], plain(), rtol=1e-12)
    ours, other = seconds(lambda: language.log_prob(ids), plain, clock=time.process_time)
    (verdicts,) = seconds(lambda: judge(language, rows), clock=time.process_time)
    than = f"word by word (extrapolated from {_TIMED})"
    return [
        Line(f"oracle: likelihood of {_N:,} windows", ours, _N / _TIMED * other, than),
        Line(f"oracle: all verdicts on {_N:,} windows", verdicts),
    ]
