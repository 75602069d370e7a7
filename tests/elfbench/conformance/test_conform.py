from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pytest

from elfbench.conformance.conform import GOLDEN, conform, conform_entry
from elfbench.core.errors import ConfigError
from elfbench.core.seeds import row_generator
from elfbench.loading.tokenizer import ByteTokenizer, Tokenizer
from elfbench.registry import catalog
from elfbench.spec.card import ModelCard, OptionSpec, WeightsSpec
from elfbench.spec.sampling import LikelihoodBatch, LikelihoodRequest, SampleBatch, SampleRequest, Trace

NAMES = [name for name in catalog.models().names() if not name.endswith(":")]
MASK = 200
GOOD_CARD = ModelCard(
    name="good",
    revision="1",
    implementation=1,
    title="A good entry",
    summary="Draws letters; a step is a forward pass of a pretended network.",
    family="discrete",
    tokenizer=ByteTokenizer().spec.model_copy(update={"mask_id": MASK}),
    vocab_size=256,
    max_length=32,
    options={"shift": OptionSpec(type="int", default=0, minimum=0, maximum=5, meaning="added to every id")},
    has_steps=True,
    max_steps=16,
    licence="Apache-2.0",
    citation="none",
    weights=WeightsSpec(kind="none"),
)


class Network:
    """Counts forward calls as torch modules do, without torch."""

    def __init__(self) -> None:
        self.hooks: list[Callable[..., None]] = []

    def register_forward_hook(self, hook: Callable[..., None]) -> Any:
        self.hooks.append(hook)
        network = self

        class Handle:
            def remove(self) -> None:
                network.hooks.remove(hook)

        return Handle()

    def forward(self) -> None:
        for hook in self.hooks:
            hook(self, (), None)


def inverse_cdf(probabilities: np.ndarray, uniforms: np.ndarray) -> np.ndarray:
    """Ids [N] at uniforms [N], in the arithmetic of probabilities [N, V]."""
    cumulative = probabilities.cumsum(axis=1)
    ids = (cumulative <= uniforms[:, None] * cumulative[:, -1:]).sum(axis=1)
    return np.minimum(ids, probabilities.shape[1] - 1)


@dataclass(frozen=True)
class Good:
    """A model that keeps every promise; broken ones change one thing."""

    card: ModelCard
    counted: Network
    bound: Literal["exact"] = "exact"

    @property
    def tokenizer(self) -> Tokenizer:
        return ByteTokenizer()

    def sample(self, request: SampleRequest) -> SampleBatch:
        shift = self.card.all_options(request.options)["shift"]
        for _ in range(request.steps or 1):
            self.counted.forward()
        rows = [row_generator(seed, 0).integers(97, 117, request.length) + int(shift) for seed in request.seeds]
        return self.batch(np.stack(rows).astype(np.int64), request)

    def batch(self, tokens: np.ndarray, request: SampleRequest) -> SampleBatch:
        texts = tuple(self.tokenizer.decode(row, specials=True) for row in tokens)
        n = len(tokens)
        steps = request.steps or 1
        return SampleBatch(
            tokens,
            np.full(n, tokens.shape[1]),
            texts,
            texts,
            np.full(n, steps),
            np.full(n, steps * request.length),
            0.1,
        )

    def trace(self, request: SampleRequest, frames: int) -> Trace:
        tokens = self.sample(request).tokens
        texts = tuple(self.tokenizer.decode(row) for row in tokens)
        return Trace(np.array([0.5, 1.0]), np.stack([np.full_like(tokens, -1), tokens]), (texts, texts))

    def draw(self, probabilities: np.ndarray, uniforms: np.ndarray) -> np.ndarray:
        return inverse_cdf(probabilities, uniforms)

    def nll(self, request: LikelihoodRequest) -> LikelihoodBatch:
        lengths = np.array([len(text.encode()) for text in request.texts])
        return LikelihoodBatch(lengths * np.log(256.0), np.zeros(len(lengths)), lengths, lengths)


class BadShapes(Good):
    def batch(self, tokens: np.ndarray, request: SampleRequest) -> SampleBatch:
        good = super().batch(tokens, request)
        return replace(good, nfe=good.nfe.astype(np.int32))


class TooLong(Good):
    def batch(self, tokens: np.ndarray, request: SampleRequest) -> SampleBatch:
        return super().batch(np.concatenate([tokens, tokens[:, :1]], axis=1), request)


class OutOfVocabulary(Good):
    """Its card says that ids end at 110."""

    def __init__(self, card: ModelCard, counted: Network) -> None:
        super().__init__(card.model_copy(update={"vocab_size": 110}), counted)


class LeavesMasks(Good):
    def batch(self, tokens: np.ndarray, request: SampleRequest) -> SampleBatch:
        tokens = tokens.copy()
        tokens[:, 3] = MASK
        return super().batch(tokens, request)


class Forgetful(Good):
    """Ids drift with the number of calls on one model (never below three, so that batches of one request agree)."""

    def sample(self, request: SampleRequest) -> SampleBatch:
        calls = self.counted.__dict__.setdefault("calls", {})
        seen = calls[request.rows, request.seeds, request.steps] = (
            calls.get((request.rows, request.seeds, request.steps), 0) + 1
        )
        moved = SampleRequest(
            request.rows, request.seeds, request.length, request.steps, options={**request.options, "shift": 1}
        )
        return super().sample(moved if seen == 2 and not request.options else request)


class IgnoresSeeds(Good):
    def sample(self, request: SampleRequest) -> SampleBatch:
        fixed = SampleRequest(request.rows, request.rows, request.length, request.steps, options=request.options)
        return super().sample(fixed)


class DependsOnBatch(Good):
    def sample(self, request: SampleRequest) -> SampleBatch:
        options = dict(request.options)
        if len(request.rows) == 3:
            options["shift"] = 2
        return super().sample(
            SampleRequest(request.rows, request.seeds, request.length, request.steps, options=options)
        )


class UsesGlobalRandom(Good):
    def sample(self, request: SampleRequest) -> SampleBatch:
        random.random()
        return super().sample(request)


class HidesPasses(Good):
    def sample(self, request: SampleRequest) -> SampleBatch:
        self.counted.forward()
        return super().sample(request)


class IgnoresSteps(Good):
    def sample(self, request: SampleRequest) -> SampleBatch:
        return super().sample(SampleRequest(request.rows, request.seeds, request.length, 4, options=request.options))


class AcceptsAnything(Good):
    def sample(self, request: SampleRequest) -> SampleBatch:
        known = {name: value for name, value in request.options.items() if name in self.card.options}
        return super().sample(SampleRequest(request.rows, request.seeds, request.length, request.steps, options=known))


class OtherRawTexts(Good):
    def batch(self, tokens: np.ndarray, request: SampleRequest) -> SampleBatch:
        good = super().batch(tokens, request)
        return replace(good, raw_texts=tuple(text.upper() for text in good.raw_texts))


class TraceElsewhere(Good):
    def trace(self, request: SampleRequest, frames: int) -> Trace:
        good = super().trace(request, frames)
        return replace(good, tokens=good.tokens[::-1])


class NoBound(Good):
    def nll(self, request: LikelihoodRequest) -> LikelihoodBatch:
        good = super().nll(request)
        return replace(good, nll_nats=good.nll_nats * 0.1)


class DrawsInFloat32(Good):
    def draw(self, probabilities: np.ndarray, uniforms: np.ndarray) -> np.ndarray:
        return inverse_cdf(probabilities.astype(np.float32), uniforms.astype(np.float32))


class HidesItsDraw(Good):
    draw = None


class DrawsTheImpossible(Good):
    """Its smallest uniform picks id 1, whose probability is 0."""

    def draw(self, probabilities: np.ndarray, uniforms: np.ndarray) -> np.ndarray:
        return np.where(uniforms == 0.0, 1, super().draw(probabilities, uniforms))


class HashesUniforms(Good):
    """Its law is right, but no uniform leads where its neighbours lead."""

    def draw(self, probabilities: np.ndarray, uniforms: np.ndarray) -> np.ndarray:
        scattered = [row_generator(int(uniform * 2**53), 0).random() for uniform in uniforms]
        return super().draw(probabilities, np.array(scattered))


@dataclass(frozen=True)
class Entry:
    card: ModelCard
    kind: type[Good] = Good

    def load(self, weights: object = None, device: str = "cpu", dtype: str = "float32") -> Good:
        return self.toy(0)

    def toy(self, seed: int) -> Good:
        return self.kind(self.card, Network())


BROKEN = [
    (Entry(GOOD_CARD.model_copy(update={"revision": "main"})), "card is complete"),
    (Entry(GOOD_CARD, BadShapes), "arrays have their shapes"),
    (Entry(GOOD_CARD, TooLong), "lengths are honest"),
    (Entry(GOOD_CARD, OutOfVocabulary), "ids are in the vocabulary"),
    (Entry(GOOD_CARD, LeavesMasks), "no mask or padding is valid"),
    (Entry(GOOD_CARD, Forgetful), "same seeds give the same ids"),
    (Entry(GOOD_CARD, IgnoresSeeds), "other seeds give other ids"),
    (Entry(GOOD_CARD, DependsOnBatch), "a row alone equals the row in a batch"),
    (Entry(GOOD_CARD, UsesGlobalRandom), "the global random state is untouched"),
    (Entry(GOOD_CARD, HidesPasses), "nfe is what ran"),
    (Entry(GOOD_CARD, AcceptsAnything), "an unknown option is refused"),
    (Entry(GOOD_CARD, OtherRawTexts), "raw texts are the valid ids"),
    (Entry(GOOD_CARD, TraceElsewhere), "a trace ends in the sample"),
    (Entry(GOOD_CARD, NoBound), "the nll bounds"),
    (Entry(GOOD_CARD, IgnoresSteps), "steps are honored"),
    (Entry(GOOD_CARD, DrawsInFloat32), "the draw is right in the tail"),
    (Entry(GOOD_CARD, DrawsTheImpossible), "the draw is right in the tail"),
    (Entry(GOOD_CARD, HashesUniforms), "the draw is right in the tail"),
]


def _toys() -> list[Any]:
    """Entries; those whose toy gives the ids of one before them, as the same network and sampler do, are slow tests."""
    ids, seen, found = json.loads(GOLDEN.read_text()), set[str](), []
    for name in NAMES:
        golden = ids[name]
        found.append(pytest.param(name, marks=pytest.mark.slow) if golden in seen else name)
        seen.add(golden)
    return found


@pytest.mark.parametrize("name", _toys())
def test_every_built_in_entry_conforms(name: str) -> None:
    verdicts = {verdict.check: verdict for verdict in conform(name)}
    assert [verdict for verdict in verdicts.values() if verdict.status == "failed"] == []
    assert verdicts["golden ids are unchanged"].status == "passed"
    assert verdicts["import is light"].status == "passed"
    drawing = name.startswith(("mdlm-", "ar-", "d3pm-", "sedd-", "duo-")) and "exact" not in name
    assert verdicts["the draw is right in the tail"].status == ("passed" if drawing else "skipped")


def test_the_good_entry_passes_all() -> None:
    verdicts = conform_entry(Entry(GOOD_CARD), "good")
    assert {verdict.status for verdict in verdicts} == {"passed", "skipped"}
    assert [verdict.check for verdict in verdicts if verdict.status == "skipped"] == [
        "import is light",
        "golden ids are unchanged",
    ]


@pytest.mark.parametrize(("entry", "check"), BROKEN, ids=[entry.kind.__name__ for entry, _ in BROKEN])
def test_a_broken_entry_fails_exactly_its_check(entry: Entry, check: str) -> None:
    failed = [verdict.check for verdict in conform_entry(entry, "broken") if verdict.status == "failed"]
    assert failed == [check]


def test_an_entry_without_a_draw_is_told_that_its_tail_was_not_audited() -> None:
    verdicts = {verdict.check: verdict for verdict in conform_entry(Entry(GOOD_CARD, HidesItsDraw), "hiding")}
    assert "failed" not in {verdict.status for verdict in verdicts.values()}
    tail = verdicts["the draw is right in the tail"]
    assert (tail.status, tail.message) == ("skipped", "the entry names no `draw`, so the tail was not audited")


def test_changed_golden_ids_and_heavy_imports_fail() -> None:
    golden = conform_entry(Entry(GOOD_CARD), "good", golden="1:0000000000000000")
    assert [verdict.check for verdict in golden if verdict.status == "failed"] == ["golden ids are unchanged"]
    heavy = conform_entry(Entry(GOOD_CARD), "good", module="dlm_baselines.dit")
    assert [verdict.check for verdict in heavy if verdict.status == "failed"] == ["import is light"]


def test_what_is_no_entry_is_told() -> None:
    with pytest.raises(ConfigError, match="not a model entry"):
        conform_entry(object(), "nothing")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="did you mean 'mdlm-sotu'"):
        conform("mdlm-sot")
