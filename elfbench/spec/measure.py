"""The measure: what part of a text a metric sees, so that texts of different tokenizers become comparable."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from elfbench.spec.record import Record


class Measure(Record):
    """Every metric sees the first `window` tokens of a text under one measuring tokenizer.

    Plug-in entropies and distinct-n depend on length: a comparison at unequal lengths or tokenizers is none (facts: Zipf simulation).
    """

    view: Literal["final", "raw"] = "final"
    """final: cut at the first end-of-text after position 0, specials removed; raw: specials written out."""
    tokenizer: str = "judge"
    """`judge`: the judge's own; `words`: words and punctuation marks, needs nothing installed; or a directory."""
    window: int | None = Field(default=None, ge=1)
    """First so many measuring tokens; None: the whole text."""
    short: Literal["drop", "keep"] = "drop"
    """What happens to rows with fewer tokens than the window; they are counted either way."""
