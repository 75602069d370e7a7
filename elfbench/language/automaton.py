"""A grammar of bounded depth as a deterministic automaton: one state per distinct future of a prefix.

A state is a weighted set of stacks of symbols that may still be written (the forward algorithm's belief, normalized), so that next-word
probabilities are exact even while a prefix is ambiguous; equal beliefs are one state. After a full stop the next sentence begins.
Legend: S states, V words.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from elfbench.core.errors import ConfigError
from elfbench.language.grammar import Grammar, Symbol

_MOST_STATES = 10_000
Stack = tuple[Symbol, ...]
Belief = tuple[tuple[Stack, float], ...]
_Heads = dict[tuple[str, Stack], float]


@dataclass(frozen=True)
class Automaton:
    """Tables of a compiled grammar; state 0 is the beginning of a sentence.

    probs: [S, V] float64, p(word | state); rows sum to 1. follow: [S, V] int64, the next state, -1 where the word can't come.
    """

    probs: NDArray[np.float64]
    follow: NDArray[np.int64]

    @property
    def n_states(self) -> int:
        """S."""
        return len(self.probs)


def compile_grammar(grammar: Grammar) -> Automaton:
    """The automaton. Raises ConfigError for a grammar without bound on its depth."""
    place = {word: number for number, word in enumerate(grammar.words)}
    heads = _Heading(grammar)
    start: Belief = (((grammar.start,), 1.0),)
    states: dict[Belief, int] = {start: 0}
    waiting = deque([start])
    rows: list[tuple[int, int, float, int]] = []
    while waiting:
        belief = waiting.popleft()
        for word, (probability, following) in _transitions(belief, heads, start).items():
            if following not in states:
                states[following] = len(states)
                waiting.append(following)
                if len(states) > _MOST_STATES:
                    raise ConfigError(
                        "a grammar of unbounded depth", key=grammar.name, found=f"> {_MOST_STATES} states"
                    )
            rows.append((states[belief], place[word], probability, states[following]))
    origin, words, probabilities, targets = (np.array(column) for column in zip(*rows, strict=True))
    probs = np.zeros((len(states), len(place)))
    follow = np.full(probs.shape, -1, dtype=np.int64)
    probs[origin, words] = probabilities
    follow[origin, words] = targets
    return Automaton(probs / probs.sum(axis=1, keepdims=True), follow)


class _Heading:
    """Which words can begin a symbol, with probability and what is left of the symbol behind the word."""

    def __init__(self, grammar: Grammar) -> None:
        self._grammar = grammar
        self._known: dict[Symbol, tuple[_Heads, float]] = {}

    def of(self, symbol: Symbol) -> tuple[_Heads, float]:
        """(first word, rest) -> probability, and the probability of writing nothing."""
        if symbol not in self._known:
            if symbol.name == "'":
                self._known[symbol] = ({(symbol.arguments[0], ()): 1.0}, 0.0)
            elif symbol in self._grammar.classes:
                words: Mapping[str, float] = self._grammar.classes[symbol]
                self._known[symbol] = ({(word, ()): p for word, p in words.items()}, 0.0)
            else:
                self._known[symbol] = self._of_alternatives(symbol)
        return self._known[symbol]

    def of_stack(self, stack: Iterable[Symbol]) -> tuple[_Heads, float]:
        """The same for several symbols in a row."""
        symbols = tuple(stack)
        heads: _Heads = {}
        empty = 1.0
        for number, symbol in enumerate(symbols):
            own, nothing = self.of(symbol)
            rest = symbols[number + 1 :]
            for (word, left), probability in own.items():
                heads[word, left + rest] = heads.get((word, left + rest), 0.0) + empty * probability
            empty *= nothing
            if not empty:
                break
        return heads, empty

    def _of_alternatives(self, symbol: Symbol) -> tuple[_Heads, float]:
        heads: _Heads = {}
        empty = 0.0
        for alternative in self._grammar.rules[symbol]:
            own, nothing = self.of_stack(alternative.symbols)
            for head, probability in own.items():
                heads[head] = heads.get(head, 0.0) + alternative.probability * probability
            empty += alternative.probability * nothing
        return heads, empty


def _transitions(belief: Belief, heads: _Heading, start: Belief) -> dict[str, tuple[float, Belief]]:
    """word -> (probability, the belief after it)."""
    found: dict[str, dict[Stack, float]] = {}
    for stack, weight in belief:
        for (word, rest), probability in heads.of_stack(stack)[0].items():
            after = found.setdefault(word, {})
            after[rest] = after.get(rest, 0.0) + weight * probability
    result = {}
    for word, after in found.items():
        total = sum(after.values())
        # A stack without symbols is a finished sentence: the next one begins.
        normalized = sorted((rest or start[0][0], round(weight / total, 12)) for rest, weight in after.items())
        result[word] = (total, tuple(normalized))
    return result
