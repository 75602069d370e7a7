"""Controls made of real text: the held-out windows themselves, their words or phrases shuffled, one of them tiled.

They calibrate every table: a metric that can't tell them from a model, or ranks them above real text, says nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from elfbench.adapters import sotu
from elfbench.adapters.batches import sample_batch
from elfbench.core.errors import ConfigError
from elfbench.core.seeds import row_generator
from elfbench.loading.tokenizer import Tokenizer
from elfbench.spec.card import Family, ModelCard, OptionSpec, OptionValue, WeightsSpec
from elfbench.spec.sampling import SampleBatch, SampleRequest


class RealText(NamedTuple):
    """Text that no model was trained on: windows of a split and a length, and the tokenizer they are in."""

    windows: Callable[[str, int], np.ndarray]
    tokenizer: Tokenizer


HELD_OUT = "heldout"

Pick = Callable[[RealText, int, int, int, dict[str, OptionValue]], np.ndarray]
"""(text, row, seed, length, options) -> ids [length]."""


@dataclass(frozen=True, slots=True)
class RealTextModel:
    """A loaded control."""

    card: ModelCard
    text: RealText
    pick: Pick

    @property
    def tokenizer(self) -> Tokenizer:
        return self.text.tokenizer

    def sample(self, request: SampleRequest) -> SampleBatch:
        start = time.perf_counter()
        options = self.card.all_options(request.options)
        rows = zip(request.rows, request.seeds, strict=True)
        tokens = np.stack([self.pick(self.text, row, seed, request.length, options) for row, seed in rows])
        return sample_batch(tokens, self.text.tokenizer, nfe=0, positions=0, seconds=time.perf_counter() - start)


@dataclass(frozen=True, slots=True)
class RealTextEntry:
    """A registered control."""

    card: ModelCard
    pick: Pick

    def load(self, weights: Path | None = None, device: str = "cpu", dtype: str = "float32") -> RealTextModel:
        """Reads the held-out windows; a control has no weights and ignores device and dtype."""
        if weights is not None:
            raise ConfigError("a control has no weights", key="--weights", found=weights.name)
        return RealTextModel(self.card, RealText(sotu.pinned_windows, sotu.tokenizer()), self.pick)

    def toy(self, seed: int) -> RealTextModel:
        text = RealText(lambda split, length: sotu.toy_windows(seed, length), sotu.toy_tokenizer())
        card = self.card.model_copy(update={"tokenizer": text.tokenizer.spec, "vocab_size": text.tokenizer.vocab_size})
        return RealTextModel(card, text, self.pick)


def _window(text: RealText, row: int, seed: int, length: int, options: dict[str, OptionValue]) -> np.ndarray:
    available = text.windows(str(options.get("split", HELD_OUT)), length)
    if row >= len(available):
        raise ConfigError(
            "more rows than windows of real text",
            key="rows",
            found=row + 1,
            allowed=f"<= {len(available)} at length {length}",
            remedy="ask for fewer rows or a shorter length",
        )
    window: np.ndarray = available[row]
    return window


def _shuffled(text: RealText, row: int, seed: int, length: int, options: dict[str, OptionValue]) -> np.ndarray:
    """The window's words in random order, cut or padded back to `length` ids by the words' own tokens."""
    words = text.tokenizer.decode(_window(text, row, seed, length, options)).split()
    order = row_generator(seed, 0).permutation(len(words))
    ids = text.tokenizer.encode(" " + " ".join(words[i] for i in order))
    # Shuffling moves word boundaries, so the count of ids can shrink or grow: wrap around, then cut.
    return np.resize(ids, length)


def _tiled(text: RealText, row: int, seed: int, length: int, options: dict[str, OptionValue]) -> np.ndarray:
    return _window(text, int(options["window"]), seed, length, options)


def _phrases(text: RealText, row: int, seed: int, length: int, options: dict[str, OptionValue]) -> np.ndarray:
    """Runs of `words` words from random windows, one behind the other."""
    generator, size = row_generator(seed, 0), int(options["words"])
    bank = text.windows(HELD_OUT, sotu.LENGTH)
    words: list[str] = []
    # A word has one id or more.
    while len(words) < length:
        # The first and the last word of a window may be cut.
        whole = text.tokenizer.decode(bank[generator.integers(len(bank))]).split()[1:-1]
        start = int(generator.integers(max(1, len(whole) - size + 1)))
        words += whole[start : start + size]
    return text.tokenizer.encode(" " + " ".join(words))[:length]


def _card(
    name: str,
    title: str,
    summary: str,
    family: Family,
    options: dict[str, OptionSpec] | None = None,
    *,
    stochastic: bool,
) -> ModelCard:
    return ModelCard(
        name=name,
        revision="1",
        implementation=2,
        title=title,
        summary=summary,
        family=family,
        tokenizer=sotu.tokenizer().spec,
        vocab_size=sotu.VOCAB_SIZE,
        max_length=1024,
        options=options or {},
        has_steps=False,
        stochastic=stochastic,
        licence="MIT (text), Apache-2.0 (code)",
        citation=sotu.CORPUS_CITATION,
        weights=WeightsSpec(kind="fitted", source="sotu test, odd windows", digest=sotu.split_digest_pin("test")),
    )


REAL_TEXT = RealTextEntry(
    _card(
        "real-text",
        "real text",
        "Held-out real text: window number = row. The ceiling of every table.",
        "reference",
        {
            "split": OptionSpec(
                type="str",
                default=HELD_OUT,
                choices=(HELD_OUT, "validation"),
                meaning="validation: text of other years",
            )
        },
        stochastic=False,
    ),
    _window,
)
SHUFFLED = RealTextEntry(
    _card(
        "shuffled",
        "words shuffled",
        "The words of each held-out window in random order: right words, no order.",
        "control",
        stochastic=True,
    ),
    _shuffled,
)
PHRASE_BANK = RealTextEntry(
    _card(
        "phrase-bank",
        "phrases shuffled",
        "Runs of a few words from random held-out windows: right phrases, no sentence.",
        "control",
        {"words": OptionSpec(type="int", default=5, minimum=1, maximum=32, meaning="words in a phrase")},
        stochastic=True,
    ),
    _phrases,
)
TILED = RealTextEntry(
    _card(
        "tiled",
        "one text, tiled",
        "One real window in every row: perfect quality, no diversity.",
        "control",
        {"window": OptionSpec(type="int", default=0, minimum=0, meaning="which held-out window is repeated")},
        stochastic=False,
    ),
    _tiled,
)
