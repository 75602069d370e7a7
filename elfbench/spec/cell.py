"""A cell: one model under one setting. Its id is the sha256 of what can change the sampled ids, and of nothing else.

Not in it: suite, reference set, metrics, number of rows, labels, device, batch size, workers, paths, dates. So suites share samples,
and more rows extend a cell.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from elfbench.core.canonical import digest
from elfbench.spec.card import ModelCard, OptionValue
from elfbench.spec.record import Record

SHARD_ROWS = 64
"""The unit of work: rows [64k, 64k+64) of a cell."""


class Numerics(Record):
    """Number formats that change ids: network dtype, dtype of the categorical draw, compilation."""

    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    sampling_dtype: Literal["float64", "float32"] = "float64"
    compile: bool = False


class Timing(Record):
    """What changes the time of a batch and not its ids."""

    device: str
    """The processor's or accelerator's model; never a host name."""
    batch: int = Field(ge=1)
    threads: int = Field(ge=1)
    torch: str
    """Its version."""
    warmup: int = Field(ge=0)
    """Runs that went before and were not timed."""


class Cell(Record):
    """The identity document of a cell; `id` is its address in the store."""

    kind: Literal["sample", "likelihood", "timing"] = "sample"
    model: str
    revision: str
    implementation: int
    weights_digest: str | None
    tokenizer_digest: str
    prompts_digest: str | None = None
    length: int = Field(ge=1)
    steps: int | None = Field(default=None, ge=1)
    numerics: Numerics = Numerics()
    root_seed: int
    options: Mapping[str, OptionValue] = Field(default_factory=dict)
    """Only those that differ from the card's defaults, coerced to their declared types."""
    timing: Timing | None = None
    """Of timing cells only."""

    @model_serializer(mode="wrap")
    def _document(self, serialized: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """The fields; cells of other kinds have the document, and the id, of before there were timings."""
        document: dict[str, Any] = serialized(self)
        if self.timing is None:
            del document["timing"]
        return document

    @property
    def id(self) -> str:
        """64 hex digits."""
        return digest(self.model_dump(mode="json"))


def likelihood_cell(sample: Cell, *, texts_digest: str, length: int) -> Cell:
    """The cell in which the model of `sample` scores text: windows of `length` tokens from the set with `texts_digest`.

    Steps and sampling options are not in it: what a model makes of a text does not depend on how it samples.
    """
    return sample.model_copy(
        update={"kind": "likelihood", "prompts_digest": texts_digest, "length": length, "steps": None, "options": {}}
    )


def timing_cell(sample: Cell, timing: Timing) -> Cell:
    """The cell in which sampling of `sample` is timed: what is computed is the same, so all of its identity is in it."""
    return sample.model_copy(update={"kind": "timing", "timing": timing})


def sample_cell(
    card: ModelCard,
    *,
    length: int,
    steps: int | None,
    root_seed: int,
    options: Mapping[str, object],
    weights_digest: str | None = None,
    numerics: Numerics | None = None,
    prompts_digest: str | None = None,
) -> Cell:
    """The cell of `card` under a setting; `weights_digest` overrides the card's. Raises ConfigError on an unknown option."""
    return Cell(
        model=card.name,
        revision=card.revision,
        implementation=card.implementation,
        weights_digest=weights_digest or card.weights.digest,
        tokenizer_digest=card.tokenizer.digest,
        prompts_digest=prompts_digest,
        length=length,
        steps=steps if card.has_steps else None,
        numerics=numerics or Numerics(),
        root_seed=root_seed,
        options=card.resolve_options(options),
    )
