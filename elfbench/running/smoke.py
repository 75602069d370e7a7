"""What `elfbench doctor MODEL` finds: are the weights those of the card, does the model sample, and is held-out text likelier under it
than random ids? Garbled weights load and sample without complaint; their likelihood gives them away.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from elfbench.core.canonical import file_digest
from elfbench.core.errors import ConfigError, PrerequisiteError
from elfbench.core.provenance import package_roots
from elfbench.core.seeds import row_seeds
from elfbench.language.oracle import held_out_windows, oracle
from elfbench.loading.corpus import documents
from elfbench.registry import catalog
from elfbench.running.held_out import ORACLE_TOKENIZER
from elfbench.running.sample import load, sample_request
from elfbench.spec.card import ModelCard
from elfbench.spec.sampling import LikelihoodBatch, LikelihoodModel, LikelihoodRequest, Model

TEXTS = 12
WORDS = 48
"""Words of a text, halved until the model takes it."""
STEPS = 8
SKIPPED = 100
"""Words at the beginning of a document that are left out: salutations are too easy."""
GARBLED = 0.97
"""Share of ln V, the nats per token of random ids, from which on weights count as garbled. Logits that have nothing to do with the text cost
ln V or more on average (Jensen); the least training, such as word frequencies, pays more than three percent."""
# Lincoln, 1863: public domain.
_PARAGRAPH = (
    "Four score and seven years ago our fathers brought forth on this continent, a new nation, conceived in Liberty, and dedicated to the "
    "proposition that all men are created equal. Now we are engaged in a great civil war, testing whether that nation, or any nation so "
    "conceived and so dedicated, can long endure. We are met on a great battle-field of that war. We have come to dedicate a portion of "
    "that field, as a final resting place for those who here gave their lives that that nation might live. It is altogether fitting and "
    "proper that we should do this. But, in a larger sense, we can not dedicate, we can not consecrate, we can not hallow this ground. "
    "The brave men, living and dead, who struggled here, have consecrated it, far above our poor power to add or detract."
)


def smoke(name: str, weights: Path | None = None, device: str = "cpu") -> dict[str, Any]:
    """One document: model, weights, samples, likelihood (None where the model scores no text), problems, passed.

    Raises ConfigError for an unknown model or weights that are not its own, PrerequisiteError for what is not installed.
    """
    card = catalog.models().get(name).card
    found_weights, problems = _weights(card, weights)
    model = load(name, weights=weights, device=device)
    samples = likelihood = None
    try:
        samples = _samples(model, problems)
        likelihood = _likelihood(model, card, problems) if isinstance(model, LikelihoodModel) else None
    except (IndexError, RuntimeError, FloatingPointError) as error:
        # Weights of another vocabulary load, and break in the middle of a text.
        problems.append(f"it loads, but does not run ({type(error).__name__}: {error}): another model's weights?")
    return {
        "model": name,
        "title": card.title,
        "device": device,
        "weights": found_weights,
        "samples": samples,
        "likelihood": likelihood,
        "problems": problems,
        "passed": not problems,
    }


def _weights(card: ModelCard, given: Path | None) -> tuple[dict[str, Any], list[str]]:
    """The file's size, parameters and digest beside the card's; another digest is a problem unless the file was given."""
    file = given or _packaged_file(card)
    found: dict[str, Any] = {"file": None, "card": card.weights.digest}
    problems: list[str] = []
    if file is None:
        return found | {"source": card.weights.source}, problems
    if not file.is_file():
        raise ConfigError(f"{card.name}: no such weights file", key="--weights", found=str(file))
    digest, n_params = file_digest(file), _n_params(file)
    found |= {"file": file.name, "bytes": file.stat().st_size, "sha256": digest, "n_params": n_params}
    if given is None and digest != card.weights.digest:
        problems.append(f"weights: {file.name} is not the file of the card: install elfbench again")
    if n_params is not None and card.n_params is not None and n_params < card.n_params:
        problems.append(f"weights: {n_params:,} numbers in {file.name}, {card.n_params:,} parameters in the card")
    return found, problems


def _packaged_file(card: ModelCard) -> Path | None:
    if card.weights.kind != "packaged" or card.weights.source is None:
        return None
    package, *rest = card.weights.source.split("/")
    return package_roots(package)[0].joinpath(*rest)


def _n_params(file: Path) -> int | None:
    """Numbers in a safetensors file, by its header: 8 bytes of its length (little-endian), then JSON. None for another format."""
    with file.open("rb") as stream:
        try:
            (size,) = struct.unpack("<Q", stream.read(8))
            header = json.loads(stream.read(min(size, 100_000_000)))
            return int(sum(math.prod(part["shape"]) for key, part in header.items() if key != "__metadata__"))
        except (struct.error, ValueError, AttributeError, KeyError, TypeError):
            return None


def _samples(model: Model, problems: list[str]) -> dict[str, Any] | None:
    """Two short texts; None for an entry that only continues what it is given."""
    card = model.card
    if "unconditional" not in card.tasks:
        return None
    steps = min(STEPS, card.max_steps or STEPS) if card.has_steps else None
    batch = model.sample(sample_request(card, 2, steps, 0, min(32, card.max_length), {}))
    ids = np.concatenate([row[: int(length)] for row, length in zip(batch.tokens, batch.lengths, strict=True)])
    if len(ids) and not 0 <= ids.min() <= ids.max() < card.vocab_size:
        problems.append(f"samples: ids {ids.min()} .. {ids.max()} of a vocabulary of {card.vocab_size}")
    return {"steps": steps, "texts": list(batch.texts)}


def _likelihood(model: LikelihoodModel, card: ModelCard, problems: list[str]) -> dict[str, Any]:
    name, batch = _scored(model, card)
    nll, tokens, n_bytes = float(batch.nll_nats.sum()), int(batch.n_scored.sum()), int(batch.n_bytes_scored.sum())
    uniform = math.log(card.vocab_size)
    per_token, to_bits = nll / tokens, tokens / math.log(2.0) / n_bytes
    if not math.isfinite(nll):
        problems.append("likelihood: not a finite number: the weights hold NaN or infinity, or numbers far too large")
        return {"bound": model.bound, "texts": name, "nats_per_token": None, "bits_per_byte": None}
    if per_token >= GARBLED * uniform:
        beside = "above" if per_token > uniform else "hardly below"
        problems.append(
            f"likelihood: {per_token:.3f} nats per token is {beside} uniform ids ({uniform:.3f}): garbled or untrained weights, or another "
            "model's"
        )
    return {
        "bound": model.bound,
        "texts": name,
        "tokens": tokens,
        "bytes": n_bytes,
        "nats_per_token": per_token,
        "bits_per_byte": per_token * to_bits,
        "monte_carlo_error": float(np.sqrt(np.square(batch.error_nats).sum())) / tokens * to_bits,
        "uniform": {"nats_per_token": uniform, "bits_per_byte": uniform * to_bits},
        "garbled_from": {"nats_per_token": GARBLED * uniform, "bits_per_byte": GARBLED * uniform * to_bits},
    }


def _scored(model: LikelihoodModel, card: ModelCard) -> tuple[str, LikelihoodBatch]:
    """The texts' name and their likelihoods; texts are cut to what the model takes."""
    name, cut = _texts(card)
    words = WORDS
    while True:
        texts = cut(words)
        try:
            return f"{len(texts)} x {name}", model.nll(LikelihoodRequest(texts, row_seeds(0, 0, len(texts))))
        except ConfigError:
            if words <= 3:
                raise
            words //= 2


def _texts(card: ModelCard) -> tuple[str, Callable[[int], tuple[str, ...]]]:
    """What the texts are, and a function that gives them at so many words each."""
    if card.tokenizer.name == ORACLE_TOKENIZER:
        windows = held_out_windows()[:TEXTS]
        return "the oracle language", lambda words: tuple(oracle().decode(row[:words]) for row in windows)
    try:
        found = [document.text.split()[SKIPPED:] for document in documents("sotu", "test")[:TEXTS]]
        return "sotu:test", lambda words: tuple(" ".join(one[:words]) for one in found)
    except PrerequisiteError:
        every = _PARAGRAPH.split()
        size = len(every) // TEXTS
        pieces = [every[start : start + size] for start in range(0, size * TEXTS, size)]
        return "a fixed paragraph", lambda words: tuple(" ".join(piece[:words]) for piece in pieces)
