"""Controls of the oracle language: the language itself, and its unigram and bigram laws. What each scores is known in closed form."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from elfbench.adapters import oracle as words
from elfbench.adapters.batches import sample_batch
from elfbench.adapters.likelihood import RowScores, score_texts
from elfbench.adapters.prompts import continuation_batch, given_ids
from elfbench.core.errors import ConfigError
from elfbench.core.seeds import row_generator
from elfbench.language.ngram import NgramLaw, bigram_law, unigram_law
from elfbench.language.oracle import LENGTH, distribution_functions, oracle
from elfbench.loading.tokenizer import Tokenizer
from elfbench.spec.card import Family, ModelCard, Task, WeightsSpec
from elfbench.spec.sampling import LikelihoodBatch, LikelihoodRequest, SampleBatch, SampleRequest

Draw = Callable[[np.ndarray], np.ndarray]
"""uniforms [B, L] in [0, 1) -> ids [B, L]."""
LogProb = Callable[[np.ndarray], np.ndarray]
"""ids [B, L] -> [B] exact log-probabilities in nats, -inf for what the law never draws."""


@dataclass(frozen=True, slots=True)
class OracleControl:
    """A loaded control."""

    card: ModelCard
    tokenizer: Tokenizer
    draw: Draw

    def sample(self, request: SampleRequest) -> SampleBatch:
        self.card.resolve_options(request.options)
        start = time.perf_counter()
        uniforms = np.stack([row_generator(seed, 0).random(request.length) for seed in request.seeds])
        if request.prompts is not None:
            given = given_ids(request.prompts, self.tokenizer, length=request.length, max_length=self.card.max_length)
            none = np.zeros(len(given), dtype=np.int64)
            ids = exact_continuations(given, uniforms)
            seconds = time.perf_counter() - start
            return continuation_batch(ids, self.tokenizer, nfe=none, positions=none, seconds=seconds)
        seconds = time.perf_counter() - start
        return sample_batch(self.draw(uniforms), self.tokenizer, nfe=0, positions=0, seconds=seconds)


@dataclass(frozen=True, slots=True)
class ScoringControl:
    """A loaded control with its exact likelihood."""

    control: OracleControl
    log_prob: LogProb

    @property
    def card(self) -> ModelCard:
        return self.control.card

    @property
    def tokenizer(self) -> Tokenizer:
        return self.control.tokenizer

    @property
    def bound(self) -> Literal["exact"]:
        return "exact"

    def sample(self, request: SampleRequest) -> SampleBatch:
        return self.control.sample(request)

    def nll(self, request: LikelihoodRequest) -> LikelihoodBatch:
        """Exact, without smoothing. Raises ConfigError for a text that the law never draws, or with a word of no law."""
        return score_texts(request, self.tokenizer, self.card.max_length, self._score)

    def _score(self, ids: np.ndarray, seeds: Sequence[int]) -> RowScores:
        log_prob = self.log_prob(ids)
        if not np.isfinite(log_prob).all():
            text = self.tokenizer.decode(ids[int(np.argmin(log_prob))])
            raise ConfigError(f"a text of probability 0 under {self.card.name}", key="text", found=text)
        return RowScores(-log_prob, np.zeros(len(log_prob)))


@dataclass(frozen=True, slots=True)
class OracleControlEntry:
    """A registered control."""

    card: ModelCard
    make: Callable[[], Draw]
    make_log_prob: Callable[[], LogProb] | None = None

    def load(
        self, weights: Path | None = None, device: str = "cpu", dtype: str = "float32"
    ) -> OracleControl | ScoringControl:
        """Compiles the grammar; device and dtype do not matter."""
        if weights is not None:
            raise ConfigError("a control has no weights", key="--weights", found=weights.name)
        control = OracleControl(self.card, words.tokenizer(), self.make())
        return ScoringControl(control, self.make_log_prob()) if self.make_log_prob else control

    def toy(self, seed: int) -> OracleControl:
        """The control itself, as it has no weights that a toy could replace; without its likelihood, as the battery's texts are letters,
        which are no words of it."""
        return OracleControl(self.card, words.tokenizer(), self.make())


def exact_continuations(given: Sequence[Sequence[int]], uniforms: np.ndarray) -> np.ndarray:
    """Words [B, L] that go on from given ids by the law of the language, by inverse distribution functions of uniforms [B, L]."""
    ids = np.empty(uniforms.shape, dtype=np.int64)
    for size in {len(row) for row in given}:
        rows = np.array([number for number, row in enumerate(given) if len(row) == size])
        so_far = np.array([given[row] for row in rows], dtype=np.int64)
        for position in range(uniforms.shape[1]):
            bounds = distribution_functions(oracle().next_word(so_far))
            word = (bounds <= uniforms[rows, position, None]).sum(axis=1)
            ids[rows, position] = word
            so_far = np.concatenate([so_far, word[:, None]], axis=1)
    return ids


def ngram_draw(law: NgramLaw) -> Draw:
    """Draws words one after the other by inverse distribution functions."""
    first, then = distribution_functions(law.first[None])[0], distribution_functions(law.then)

    def draw(uniforms: np.ndarray) -> np.ndarray:
        ids = np.empty(uniforms.shape, dtype=np.int64)
        ids[:, 0] = (first <= uniforms[:, :1]).sum(axis=1)
        for position in range(1, uniforms.shape[1]):
            ids[:, position] = (then[ids[:, position - 1]] <= uniforms[:, position, None]).sum(axis=1)
        return ids

    return draw


def ngram_log_prob(law: NgramLaw) -> LogProb:
    """Sums the logarithms of the first word and of every pair of neighbours."""
    with np.errstate(divide="ignore"):
        first, then = np.log(law.first), np.log(law.then)

    def log_prob(ids: np.ndarray) -> np.ndarray:
        total: np.ndarray = first[ids[:, 0]] + then[ids[:, :-1], ids[:, 1:]].sum(axis=1)
        return total

    return log_prob


def _card(
    name: str, title: str, summary: str, family: Family, tasks: tuple[Task, ...] = ("unconditional", "likelihood")
) -> ModelCard:
    return ModelCard(
        name=name,
        revision=str(oracle().grammar.version),
        implementation=1,
        title=title,
        summary=summary,
        family=family,
        tokenizer=words.tokenizer().spec,
        vocab_size=words.VOCAB_SIZE,
        max_length=LENGTH,
        tasks=tasks,
        has_steps=False,
        licence="Apache-2.0",
        citation=words.CITATION,
        weights=WeightsSpec(kind="fitted", source="the grammar", digest=oracle().digest),
    )


EXACT = OracleControlEntry(
    _card(
        "exact-oracle",
        "the language",
        "Exact samples of the oracle language: the ceiling of its tables.",
        "reference",
        ("unconditional", "prefix", "likelihood"),
    ),
    lambda: oracle().sample,
    lambda: oracle().log_prob,
)
UNIGRAM = OracleControlEntry(
    _card("unigram-oracle", "unigram law", "Independent words with the oracle language's exact shares.", "control"),
    lambda: ngram_draw(unigram_law(oracle())),
    lambda: ngram_log_prob(unigram_law(oracle())),
)
BIGRAM = OracleControlEntry(
    _card("bigram-oracle", "bigram law", "Words drawn by the oracle language's exact pairs of neighbours.", "control"),
    lambda: ngram_draw(bigram_law(oracle())),
    lambda: ngram_log_prob(bigram_law(oracle())),
)
