"""Controls built to please a metric: verbatim copies of training text, and cycles that a judge finds easy and nobody can read.

Both are fitted on the train split and need no judge to sample.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from elfbench.adapters import sotu
from elfbench.adapters.batches import sample_batch
from elfbench.adapters.ngram import ContextIndex, fitted_card, sorted_contexts
from elfbench.core.errors import ConfigError
from elfbench.core.seeds import row_generator
from elfbench.loading.tokenizer import Tokenizer
from elfbench.spec.card import ModelCard, OptionSpec, OptionValue
from elfbench.spec.sampling import SampleBatch, SampleRequest

Draw = Callable[[int, int, dict[str, OptionValue]], np.ndarray]
"""(row seed, length, options) -> ids [length]."""
Fit = Callable[[np.ndarray, Tokenizer], Draw]
"""(training windows [N, L] in text order, their tokenizer) -> the sampler."""
_MOST_PHRASES = 1000


@dataclass(frozen=True, slots=True)
class FittedModel:
    """A fitted control."""

    card: ModelCard
    tokenizer: Tokenizer
    draw: Draw

    def sample(self, request: SampleRequest) -> SampleBatch:
        start = time.perf_counter()
        options = self.card.all_options(request.options)
        tokens = np.stack([self.draw(seed, request.length, options) for seed in request.seeds])
        return sample_batch(tokens, self.tokenizer, nfe=0, positions=0, seconds=time.perf_counter() - start)


@dataclass(frozen=True, slots=True)
class FittedEntry:
    """A registered control that is fitted on the train split."""

    card: ModelCard
    fit: Fit

    def load(self, weights: Path | None = None, device: str = "cpu", dtype: str = "float32") -> FittedModel:
        """Fits on the train split (a few seconds); device and dtype do not matter."""
        if weights is not None:
            raise ConfigError("a control is fitted, it has no weights", key="--weights", found=weights.name)
        return FittedModel(self.card, sotu.tokenizer(), _fitted(self.fit))

    def toy(self, seed: int) -> FittedModel:
        windows, tokenizer = sotu.toy_windows(seed, 32), sotu.toy_tokenizer()
        card = self.card.model_copy(update={"tokenizer": tokenizer.spec, "vocab_size": tokenizer.vocab_size})
        return FittedModel(card, tokenizer, self.fit(windows, tokenizer))


@cache
def _fitted(fit: Fit) -> Draw:
    return fit(sotu.pinned_windows("train", sotu.LENGTH), sotu.tokenizer())


def stitched_copies(windows: np.ndarray, tokenizer: Tokenizer) -> Draw:
    """Copies of `span` tokens; each goes on from a random place where its predecessor's last two tokens stand, so that no trigram is new.

    The windows count as one text: where two of them do not touch, a copy has a seam of its own.
    """
    text = windows.reshape(-1)
    index = ContextIndex(*sorted_contexts(text[None], 3, tokenizer.vocab_size))

    def draw(seed: int, length: int, options: dict[str, OptionValue]) -> np.ndarray:
        span = int(options["span"])
        uniforms = row_generator(seed, 0).random(-(-length // span))
        start = int(uniforms[0] * len(text))
        copies: list[np.ndarray] = []
        for uniform in uniforms:
            if copies:
                context = copies[-1][-2] * tokenizer.vocab_size + copies[-1][-1]
                places, seen = index.draw(np.array([context]), np.array([uniform]))
                # Only the text's very last two tokens may have nothing behind them.
                start = int(places[0]) if seen[0] else 0
            copies.append(text[(start + np.arange(span)) % len(text)])
        return np.concatenate(copies)[:length]

    return draw


def frequent_trigrams(windows: np.ndarray, tokenizer: Tokenizer, most: int) -> np.ndarray:
    """[P, 3], P <= most: the most frequent trigrams of tokens that read as words with a space in front, most frequent first."""
    vocab_size = tokenizer.vocab_size
    keys = (windows[:, :-2] * vocab_size + windows[:, 1:-1]) * vocab_size + windows[:, 2:]
    found, counts = np.unique(keys, return_counts=True)
    phrases: list[np.ndarray] = []
    for key in found[np.argsort(-counts, kind="stable")]:
        ids = np.array([key // vocab_size**2, key // vocab_size % vocab_size, key % vocab_size])
        words = tokenizer.decode(ids)
        if words.startswith(" ") and words.replace(" ", "").isalpha():
            phrases.append(ids)
        if len(phrases) == most:
            break
    return np.stack(phrases)


def frequent_cycles(windows: np.ndarray, tokenizer: Tokenizer) -> Draw:
    """A row draws `cycle` of the `pool` most frequent trigrams and repeats them: from its second round on, a judge has read it all before."""
    phrases = frequent_trigrams(windows, tokenizer, _MOST_PHRASES)

    def draw(seed: int, length: int, options: dict[str, OptionValue]) -> np.ndarray:
        pool = phrases[: int(options["pool"])]
        picked = row_generator(seed, 0).integers(len(pool), size=int(options["cycle"]))
        return np.resize(pool[picked], length)

    return draw


NGRAM_COPY = FittedEntry(
    fitted_card(
        "ngram-copy",
        "training text, stitched",
        "Verbatim copies of training text, stitched where two tokens agree: a memorizer.",
        {"span": OptionSpec(type="int", default=16, minimum=2, maximum=1024, meaning="tokens in a copy")},
    ),
    stitched_copies,
)
PREDICTABLE_NONSENSE = FittedEntry(
    fitted_card(
        "predictable-nonsense",
        "predictable nonsense",
        "A few of the most frequent trigrams, repeated: easy for a judge, and not to be read.",
        {
            "cycle": OptionSpec(type="int", default=4, minimum=1, maximum=64, meaning="trigrams until it repeats"),
            "pool": OptionSpec(
                type="int", default=200, minimum=1, maximum=_MOST_PHRASES, meaning="most frequent trigrams to draw from"
            ),
        },
    ),
    frequent_cycles,
)
