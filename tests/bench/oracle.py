"""Scoring by the oracle language: our tables against a word-by-word walk over the same automaton in plain Python."""

from __future__ import annotations

import numpy as np
from timing import Line, seconds


def oracle_scoring() -> list[Line]:
    """10,000 windows of 32 words."""
    from elfbench.language.oracle import LENGTH, oracle
    from elfbench.language.sentences import judge, training_hashes

    language = oracle()
    ids = language.sample(np.random.default_rng(0).random((10_000, LENGTH)))
    rows = list(ids)
    training_hashes()
    automaton = language.automaton

    def plain() -> float:
        total = 0.0
        for words in rows[:500]:
            state = 0
            for word in words:
                total -= np.log(automaton.probs[state, word])
                state = automaton.follow[state, word]
        return total

    ours, other = seconds(lambda: judge(language, rows), plain)
    return [
        Line("oracle: verdicts on 10,000 windows", ours, 20 * other, "word by word, likelihood only (extrapolated)")
    ]
