"""The card of a model entry: what it is, what it can do, which options it takes, where its weights come from.

A card is data. Numbers that a paper printed about the model live in `suites/published/`, not here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeGuard

from pydantic import Field

from elfbench.core.errors import ConfigError, unknown
from elfbench.spec.record import Record

Family = Literal["continuous", "discrete", "autoregressive", "reference", "control"]
Task = Literal["unconditional", "prefix", "infill", "seq2seq", "likelihood"]
OptionType = Literal["int", "float", "str", "bool"]
OptionValue = str | int | float | bool

_PYTHON: dict[str, type[Any]] = {"int": int, "float": float, "str": str, "bool": bool}


class TokenizerSpec(Record):
    """A tokenizer by content. Ids are None where the tokenizer has no such token."""

    name: str
    digest: str
    """sha256 of the tokenizer's definition file."""
    eos_id: int | None = None
    pad_id: int | None = None
    mask_id: int | None = None


class OptionSpec(Record):
    """One option of an entry: type, range, default and meaning."""

    type: OptionType
    default: OptionValue
    meaning: str
    choices: tuple[str, ...] | None = None
    minimum: float | None = None
    maximum: float | None = None
    per_batch: tuple[str, ...] = ()
    """Values under which the rows of a batch share randomness, so that they are not independent: batches are whole shards then."""

    def coerce(self, name: str, value: Any) -> OptionValue:
        """`value` as the declared type, so that 1 and 1.0 are one value. Raises ConfigError with the allowed range."""
        wanted = _PYTHON[self.type]
        coerced: Any = float(value) if wanted is float and _is_number(value) else value
        if wanted is int and isinstance(value, float) and value.is_integer():
            coerced = int(value)
        if not isinstance(coerced, wanted) or (wanted is int and isinstance(coerced, bool)):
            raise ConfigError(
                "option of the wrong type", key=name, found=repr(value), allowed=self.type, remedy=self._told(name)
            )
        if self.choices is not None and coerced not in self.choices:
            raise unknown(f"value of {name}", str(coerced), self.choices, key=name, remedy=self._told(name))
        low, high = self.minimum, self.maximum
        if _is_number(coerced) and ((low is not None and coerced < low) or (high is not None and coerced > high)):
            raise ConfigError(
                "option out of range", key=name, found=coerced, allowed=_range(low, high), remedy=self._told(name)
            )
        result: OptionValue = coerced
        return result

    def _told(self, name: str) -> str:
        """What a message says of the option beside what is allowed."""
        return f"{name.removeprefix('options.')}: {self.meaning} (default {self.default!r})"


class WeightsSpec(Record):
    """Where weights come from. `digest` identifies the content, whatever the place."""

    kind: Literal["packaged", "hub", "fitted", "none"]
    """packaged: a file in the wheel; hub: id@revision; fitted: estimated from a corpus split at load; none: nothing to load."""
    source: str | None = None
    digest: str | None = None


class ModelCard(Record):
    """Everything that is known of an entry without loading it."""

    name: str
    revision: str
    implementation: int = Field(ge=1)
    """Raised whenever the same seeds give other ids."""
    title: str
    summary: str
    family: Family
    tokenizer: TokenizerSpec
    vocab_size: int = Field(ge=1)
    max_length: int = Field(ge=1)
    n_params: int | None = None
    tasks: tuple[Task, ...] = ("unconditional",)
    options: Mapping[str, OptionSpec] = Field(default_factory=dict)
    has_steps: bool
    """False where there are none (autoregressive models, controls): a steps grid collapses to one cell."""
    max_steps: int | None = None
    stochastic: bool = True
    """False where the row alone decides: other seeds give the same ids."""
    batch_invariant: bool = True
    training_tokens: int | None = None
    """Tokens seen in training, epochs counted."""
    tuned_per_budget: bool = False
    training_seed_variance_known: bool = False
    licence: str
    citation: str
    weights: WeightsSpec

    def resolve_options(self, given: Mapping[str, object]) -> dict[str, OptionValue]:
        """Only the options that differ from their defaults, coerced; an unknown name is refused with the nearest one."""
        changed: dict[str, OptionValue] = {}
        for name, value in given.items():
            if name not in self.options:
                raise unknown(f"option of {self.name}", name, self.options, key=f"options.{name}")
            coerced = self.options[name].coerce(f"options.{name}", value)
            if coerced != self.options[name].default:
                changed[name] = coerced
        return changed

    def all_options(self, changed: Mapping[str, OptionValue]) -> dict[str, OptionValue]:
        """Every option with its value: the defaults, with `changed` on top. Raises ConfigError for an unknown or wrong one."""
        resolved = self.resolve_options(changed)
        return {name: resolved.get(name, spec.default) for name, spec in self.options.items()}


def _range(low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return f">= {low:g}" if low is not None else f"<= {high:g}"
    return f"{low:g} to {high:g}"


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
