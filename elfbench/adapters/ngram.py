"""Unigram, bigram and trigram samplers fitted on the train split: the least that a trained model has to beat.

An order-n model picks, with probability 1 - `backoff`, the token behind a random training occurrence of the last n-1 tokens (the maximum
likelihood estimate), and otherwise, or when that context was never seen, does the same one order lower. Order 1 draws a random token.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from elfbench.adapters import sotu
from elfbench.adapters.batches import sample_batch
from elfbench.core.errors import ConfigError
from elfbench.core.seeds import row_generator
from elfbench.loading.tokenizer import Tokenizer
from elfbench.spec.card import ModelCard, OptionSpec, WeightsSpec
from elfbench.spec.sampling import SampleBatch, SampleRequest


@dataclass(frozen=True, slots=True)
class ContextIndex:
    """Training occurrences of every context of `order` - 1 tokens, sorted by context."""

    keys: np.ndarray
    """[M] int64, sorted: the context as a number in base `vocab_size`."""
    followers: np.ndarray
    """[M] int64: the token behind each occurrence."""

    def draw(self, contexts: np.ndarray, uniforms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(tokens [B], seen [B]): a random follower of each context; where it was never seen the token means nothing."""
        low = np.searchsorted(self.keys, contexts, side="left")
        high = np.searchsorted(self.keys, contexts, side="right")
        picked = np.minimum(low + (uniforms * (high - low)).astype(np.int64), len(self.keys) - 1)
        return self.followers[picked], high > low


def sorted_contexts(windows: np.ndarray, order: int, vocab_size: int) -> tuple[np.ndarray, np.ndarray]:
    """(keys [M] sorted, places [M]) of all contexts of `order` - 1 tokens in `windows` [N, L]; contexts do not cross windows.

    A place counts through the flat windows and is that of the token behind the context.
    """
    length = windows.shape[1] - order + 1
    keys = np.zeros((len(windows), length), dtype=np.int64)
    for offset in range(order - 1):
        keys = keys * vocab_size + windows[:, offset : offset + length]
    places = np.arange(windows.size).reshape(windows.shape)[:, order - 1 :].reshape(-1)
    ranking = np.argsort(keys, axis=None, kind="stable")
    return keys.reshape(-1)[ranking], places[ranking]


def build_index(windows: np.ndarray, order: int, vocab_size: int) -> ContextIndex:
    """The index of `windows` [N, L]; contexts do not cross windows."""
    keys, places = sorted_contexts(windows, order, vocab_size)
    return ContextIndex(keys, windows.reshape(-1)[places])


@dataclass(frozen=True, slots=True)
class NgramModel:
    """A fitted sampler; `indices[k]` serves contexts of k tokens."""

    card: ModelCard
    tokenizer: Tokenizer
    indices: tuple[ContextIndex, ...]
    vocab_size: int

    def sample(self, request: SampleRequest) -> SampleBatch:
        start = time.perf_counter()
        backoff = float(self.card.all_options(request.options).get("backoff", 0.0))
        orders = len(self.indices)
        draws = np.stack([row_generator(seed, 0).random((request.length, orders, 2)) for seed in request.seeds])
        tokens = np.zeros((len(request.rows), request.length), dtype=np.int64)
        for position in range(request.length):
            chosen, _ = self.indices[0].draw(np.zeros(len(tokens), dtype=np.int64), draws[:, position, 0, 0])
            context = np.zeros(len(tokens), dtype=np.int64)
            for k in range(1, min(orders, position + 1)):
                context = context + tokens[:, position - k] * self.vocab_size ** (k - 1)
                higher, seen = self.indices[k].draw(context, draws[:, position, k, 0])
                # Level k is taken unless it backs off; levels above overwrite, so the highest that holds wins.
                chosen = np.where(seen & (draws[:, position, k, 1] >= backoff), higher, chosen)
            tokens[:, position] = chosen
        return sample_batch(tokens, self.tokenizer, nfe=0, positions=0, seconds=time.perf_counter() - start)


@dataclass(frozen=True, slots=True)
class NgramEntry:
    """A registered n-gram sampler."""

    card: ModelCard
    order: int

    def load(self, weights: Path | None = None, device: str = "cpu", dtype: str = "float32") -> NgramModel:
        """Fits on the train split (a few seconds); device and dtype do not matter."""
        if weights is not None:
            raise ConfigError("an n-gram sampler is fitted, it has no weights", key="--weights", found=weights.name)
        return NgramModel(self.card, sotu.tokenizer(), _fitted(self.order), sotu.VOCAB_SIZE)

    def toy(self, seed: int) -> NgramModel:
        windows, tokenizer = sotu.toy_windows(seed, 32), sotu.toy_tokenizer()
        indices = tuple(build_index(windows, order, tokenizer.vocab_size) for order in range(1, self.order + 1))
        card = self.card.model_copy(update={"tokenizer": tokenizer.spec, "vocab_size": tokenizer.vocab_size})
        return NgramModel(card, tokenizer, indices, tokenizer.vocab_size)


@cache
def _fitted(order: int) -> tuple[ContextIndex, ...]:
    windows = sotu.pinned_windows("train", sotu.LENGTH)
    return tuple(build_index(windows, k, sotu.VOCAB_SIZE) for k in range(1, order + 1))


def fitted_card(name: str, title: str, summary: str, options: dict[str, OptionSpec]) -> ModelCard:
    """The card of a control that is estimated from the train split at load."""
    return ModelCard(
        name=name,
        revision="1",
        implementation=1,
        title=title,
        summary=summary,
        family="control",
        tokenizer=sotu.tokenizer().spec,
        vocab_size=sotu.VOCAB_SIZE,
        max_length=1024,
        options=options,
        has_steps=False,
        licence="MIT (text), Apache-2.0 (code)",
        citation=sotu.CORPUS_CITATION,
        weights=WeightsSpec(kind="fitted", source="sotu train", digest=sotu.split_digest_pin("train")),
    )


_BACKOFF = OptionSpec(
    type="float", default=0.1, minimum=0.0, maximum=1.0, meaning="probability of using one token of context less"
)

UNIGRAM = NgramEntry(
    fitted_card("unigram", "unigram sampler", "Independent tokens with the train split's frequencies.", {}), order=1
)
BIGRAM = NgramEntry(
    fitted_card(
        "bigram",
        "bigram sampler",
        "Each token drawn from its training followers after the last token.",
        {"backoff": _BACKOFF},
    ),
    order=2,
)
TRIGRAM = NgramEntry(
    fitted_card(
        "trigram",
        "trigram sampler",
        "Each token drawn from its training followers after the last two tokens.",
        {"backoff": _BACKOFF},
    ),
    order=3,
)
