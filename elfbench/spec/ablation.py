"""An ablation: one recipe, and what becomes of its samples when one thing at a time is changed in training or in sampling; or several recipes,
trained for equally many steps."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pydantic import Field

from elfbench.spec.card import OptionValue
from elfbench.spec.measure import Measure
from elfbench.spec.record import Record
from elfbench.spec.suite import SuiteMetric, SuiteModel

_SEEDED = re.compile(r"(.+), seed (\d+)")


def seeded_label(label: str, seed: int) -> str:
    """What a row is called where a variant has several training seeds."""
    return f"{label}, seed {seed}"


def training_seed(label: str) -> tuple[str, int] | None:
    """(variant, seed) of a `seeded_label`, or None."""
    found = _SEEDED.fullmatch(label)
    return (found[1], int(found[2])) if found else None


class Variant(Record):
    """One row of the table: recipe keys (dotted) and sampling options that differ. Equal training is done once."""

    label: str
    recipe: str | None = None
    """Another recipe than the ablation's, where systems are compared and not settings; then `entry` is its own too."""
    entry: str | None = None
    train: Mapping[str, OptionValue] = Field(default_factory=dict)
    options: Mapping[str, OptionValue] = Field(default_factory=dict)


class Ablation(Record):
    """A whole ablation; `models` are other entries shown beside it, e.g. the language itself."""

    ablation: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    version: int = Field(ge=1)
    title: str
    description: str = ""
    recipe: str
    entry: str
    """The registered entry that loads the weights."""
    training_steps: int = Field(ge=1)
    seeds: tuple[int, ...] = Field(default=(1,), min_length=1)
    """Training seeds; each is a row of its own."""
    length: int = Field(ge=1)
    rows: int = Field(ge=2)
    steps: tuple[int, ...] = Field(min_length=1)
    measure: Measure
    models: tuple[SuiteModel, ...] = ()
    variants: tuple[Variant, ...] = Field(min_length=1)
    metrics: tuple[SuiteMetric, ...] = Field(min_length=1)
