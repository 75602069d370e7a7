"""The oracle language: exact samples, probabilities, entropies and verdicts for windows of packed sentences.

A window begins at the beginning of a sentence; its last sentence is cut. All numbers are exact: sums over the states of the grammar's
automaton, no Monte Carlo. Legend: N windows, L words, S states, V words of the vocabulary. Word ids are positions in `words`; id 0 is the
end of text, which the language never writes.

Models write sentences that the grammar can't. `nll_nats` therefore scores with the smoothed law (1 - e) p(w | state) + e / V, e = 0.001, a
proper distribution over all windows; behind a word that can't come the state is that of the word that agreement asks for, or else the
most likely state behind that word.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from elfbench.core.errors import ConfigError, unknown
from elfbench.language.automaton import Automaton, compile_grammar
from elfbench.language.grammar import Grammar, load_grammar

LENGTH = 32
"""Words in a window of the committed entries and suites; longer than any sentence."""
TRAINING_WINDOWS = 100_000
"""Size of the training set that recipes and novelty refer to."""
TEST_WINDOWS = 10_000
"""Size of the held-out set."""
SMOOTHING = 1e-3
_HELD_OUT_KEY = 0x74657374  # not that of the training set, of the examples, nor of any row
WORD_ORDER = "word-order"
"""The rule that is broken where no agreement explains a word."""
IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]


class Walk(NamedTuple):
    """What each word of windows [N, L] met.

    states: [N, L] the state before the word; nll_nats: [N, L] under the smoothed law; broken: [N, L] 0 where the grammar allows the word,
    else 1 + the index of the rule in `rules`.
    """

    states: IntArray
    nll_nats: FloatArray
    broken: IntArray


class OracleLanguage:
    """A grammar and what follows from it, computed when first asked for; compiling takes well under a second."""

    def __init__(self, grammar: Grammar) -> None:
        self.grammar = grammar
        self.words = grammar.words
        self.stop_id = self.words.index(grammar.full_stop)

    @cached_property
    def automaton(self) -> Automaton:
        """The compiled grammar."""
        return compile_grammar(self.grammar)

    @property
    def name(self) -> str:
        """The grammar's name."""
        return self.grammar.name

    @property
    def digest(self) -> str:
        """sha256 of the definition."""
        return self.grammar.digest

    @cached_property
    def rules(self) -> tuple[str, ...]:
        """What can be broken: the agreements of the grammar, and word order."""
        return (*self.grammar.agreement, WORD_ORDER)

    @cached_property
    def _place(self) -> dict[str, int]:
        return {word: number for number, word in enumerate(self.words)}

    def encode(self, text: str) -> IntArray:
        """[n] ids of the words of `text`, separated by white space. Raises ConfigError naming a word that is not of the language."""
        words = text.split()
        strange = next((word for word in words if word not in self._place), None)
        if strange is not None:
            raise unknown("word of the oracle language", strange, self.words, key="text")
        return np.array([self._place[word] for word in words], dtype=np.int64)

    def decode(self, ids: Sequence[int] | IntArray) -> str:
        """The words of ids [n]."""
        return " ".join(self.words[int(number)] for number in ids)

    def sample(self, uniforms: ArrayLike) -> IntArray:
        """Exact windows [N, L] by inverse distribution function; uniforms [N, L] in [0, 1), one per word."""
        draws = np.asarray(uniforms, dtype=np.float64)
        state = np.zeros(len(draws), dtype=np.int64)
        ids = np.empty(draws.shape, dtype=np.int64)
        for position in range(draws.shape[1]):
            bounds = self._bounds[state]
            ids[:, position] = (bounds <= draws[:, position, None]).sum(axis=1)
            state = self.automaton.follow[state, ids[:, position]]
        return ids

    def log_prob(self, windows: ArrayLike) -> FloatArray:
        """[N] exact log-probability in nats of windows [N, L] of ids; -inf where the grammar allows no such window."""
        ids = self.checked(windows)
        walk = self.walk(ids)
        with np.errstate(divide="ignore"):
            terms = np.log(self.automaton.probs[walk.states, ids])
        return np.where((walk.broken > 0).any(axis=1), -np.inf, terms.sum(axis=1))

    def next_word(self, prefixes: ArrayLike, *, smoothed: bool = False) -> FloatArray:
        """[N, V] p(next word | prefix) of prefixes [N, L] of ids, L >= 0; behind a broken rule it goes on as `nll_nats` does."""
        ids = self.checked(prefixes)
        state = np.zeros(len(ids), dtype=np.int64)
        for position in range(ids.shape[1]):
            state = self.follow[state, ids[:, position]]
        return (self.smoothed if smoothed else self.automaton.probs)[state]

    def walk(self, windows: ArrayLike) -> Walk:
        """State, smoothed nll and broken rule at every word of windows [N, L]."""
        ids = self.checked(windows)
        states = np.empty(ids.shape, dtype=np.int64)
        state = np.zeros(len(ids), dtype=np.int64)
        for position in range(ids.shape[1]):
            states[:, position] = state
            state = self.follow[state, ids[:, position]]
        return Walk(states, self._nll[states, ids], self._repairs[1][states, ids])

    def checked(self, windows: ArrayLike) -> IntArray:
        """`windows` as [N, L] int64. Raises ConfigError for another shape, or ids that are none of the vocabulary."""
        try:
            ids = np.asarray(windows)
        except ValueError:
            ids = np.empty(0)
        if ids.ndim != 2 or not np.issubdtype(ids.dtype, np.integer):
            raise ConfigError(
                "windows are rows of word ids, all of one length",
                key="windows",
                found=f"{ids.dtype} of shape {ids.shape}",
                allowed="integers [N, L]",
            )
        if ids.size and (ids.min() < 0 or ids.max() >= len(self.words)):
            raise ConfigError(
                "an id that is no word of the language",
                key="windows",
                found=f"{ids.min()} .. {ids.max()}",
                allowed=f"0 .. {len(self.words) - 1}",
            )
        return ids.astype(np.int64)

    @cached_property
    def smoothed(self) -> FloatArray:
        """[S, V] the smoothed law of the next word."""
        return (1.0 - SMOOTHING) * self.automaton.probs + SMOOTHING / len(self.words)

    @property
    def follow(self) -> IntArray:
        """[S, V] the next state, for words that can't come as well."""
        return self._repairs[0]

    @cached_property
    def law_of_state(self) -> IntArray:
        """[S] number of the state's next-word law, the same for states that differ in their memory only."""
        laws: IntArray = np.unique(self.automaton.probs.round(9), axis=0, return_inverse=True)[1].reshape(-1)
        return laws.astype(np.int64)

    @cached_property
    def _nll(self) -> FloatArray:
        return -np.log(self.smoothed)

    @cached_property
    def _bounds(self) -> FloatArray:
        return distribution_functions(self.automaton.probs)

    @cached_property
    def _repairs(self) -> tuple[IntArray, IntArray]:
        """(next state, broken rule) [S, V]: agreements first, in their order; then word order."""
        allowed = self.automaton.probs > 0
        follow = self.automaton.follow.copy()
        broken = np.zeros(follow.shape, dtype=np.int64)
        for number, partners in enumerate(self.grammar.agreement.values(), start=1):
            for word, others in partners.items():
                place = self._place[word]
                chances = self.automaton.probs[:, [self._place[other] for other in others]]
                best = np.array([self._place[other] for other in others])[chances.argmax(axis=1)] if others else None
                if best is None:
                    continue
                here = ~allowed[:, place] & (broken[:, place] == 0) & (chances.max(axis=1) > 0)
                broken[here, place] = number
                follow[here, place] = self.automaton.follow[here, best[here]]
        lost = ~allowed & (broken == 0)
        broken[lost] = len(self.rules)
        return np.where(lost, self._likeliest_states, follow), broken

    @cached_property
    def _likeliest_states(self) -> IntArray:
        """[V] the most likely state behind each word in running text; a sentence begins behind a word that never occurs."""
        flow = self.stationary[:, None] * self.automaton.probs
        mass = np.zeros((len(self.words), self.automaton.n_states))
        origin, word = np.nonzero(flow)
        np.add.at(mass, (word, self.automaton.follow[origin, word]), flow[origin, word])
        return np.where(mass.any(axis=1), mass.argmax(axis=1), 0)

    @cached_property
    def transition(self) -> FloatArray:
        """[S, S] p(next state | state) of the language itself."""
        matrix = np.zeros((self.automaton.n_states, self.automaton.n_states))
        origin, word = np.nonzero(self.automaton.probs)
        np.add.at(matrix, (origin, self.automaton.follow[origin, word]), self.automaton.probs[origin, word])
        return matrix

    @cached_property
    def stationary(self) -> FloatArray:
        """[S] share of each state in endless text: expected visits per sentence, normalized."""
        loose = self.transition.copy()
        loose[:, 0] = 0.0
        unit = np.zeros(len(loose))
        unit[0] = 1.0
        visits = np.linalg.solve(np.eye(len(loose)) - loose.T, unit)
        share: FloatArray = visits / visits.sum()
        return share

    @cached_property
    def state_entropy(self) -> FloatArray:
        """[S] entropy in nats of the next word."""
        probs = self.automaton.probs
        entropy: FloatArray = -(probs * np.log(np.where(probs > 0, probs, 1.0))).sum(axis=1)
        return entropy

    @cached_property
    def entropy_rate(self) -> float:
        """Nats per word of endless text."""
        return float(self.stationary @ self.state_entropy)

    def state_shares(self, length: int = LENGTH) -> FloatArray:
        """[length, S] law of the state before each word of a window."""
        shares = np.zeros((length, self.automaton.n_states))
        shares[0, 0] = 1.0
        for position in range(1, length):
            shares[position] = shares[position - 1] @ self.transition
        return shares

    def window_entropy(self, length: int = LENGTH) -> float:
        """Nats per word of windows: above the rate, as they begin where sentences begin."""
        return float((self.state_shares(length) @ self.state_entropy).mean())

    def unigram(self, length: int = LENGTH) -> FloatArray:
        """[V] share of each word in windows of the language."""
        share: FloatArray = self.state_shares(length).mean(axis=0) @ self.automaton.probs
        return share


def distribution_functions(laws: FloatArray) -> FloatArray:
    """[N, V] running sums of laws [N, V], exactly 1 from the last word of positive probability on, whatever the rounding."""
    last = laws.shape[1] - 1 - (laws[:, ::-1] > 0).argmax(axis=1)
    bounds: FloatArray = np.where(np.arange(laws.shape[1]) >= last[:, None], 1.0, np.cumsum(laws, axis=1))
    return bounds


@cache
def oracle() -> OracleLanguage:
    """The oracle language of the committed grammar."""
    return OracleLanguage(load_grammar(Path(__file__).resolve().parent / "oracle.yaml"))


@cache
def training_windows(length: int = LENGTH) -> IntArray:
    """[TRAINING_WINDOWS, length] the training set of the committed entries: exact samples, the same on every machine."""
    generator = np.random.Generator(np.random.Philox(key=0))
    parts = [oracle().sample(generator.random((1000, length))) for _ in range(TRAINING_WINDOWS // 1000)]
    windows = np.concatenate(parts)
    windows.setflags(write=False)
    return windows


@cache
def held_out_windows(length: int = LENGTH) -> IntArray:
    """[TEST_WINDOWS, length] exact samples that no entry was trained on, the same on every machine."""
    generator = np.random.Generator(np.random.Philox(key=_HELD_OUT_KEY))
    windows = oracle().sample(generator.random((TEST_WINDOWS, length)))
    windows.setflags(write=False)
    return windows
