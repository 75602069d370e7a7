"""The held-out windows of a suite's `likelihood` block: text, the same for every model whatever its tokenizer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from elfbench.core.canonical import array_digest, digest
from elfbench.core.errors import ConfigError, unknown
from elfbench.language.oracle import held_out_windows, oracle
from elfbench.loading.tokenizer import packaged
from elfbench.loading.windows import windows
from elfbench.spec.suite import SuiteLikelihood

ORACLE_TOKENIZER = "oracle-words"


@dataclass(frozen=True, slots=True)
class HeldOut:
    """The first windows of a set. `digest` is that of the whole set, so that more rows extend a cell."""

    name: str
    digest: str
    length: int
    """Tokens of the set's tokenizer in a window."""
    texts: tuple[str, ...]

    def describe(self) -> dict[str, Any]:
        """What protocols and records keep of it."""
        return {"name": self.name, "length": self.length, "digest": self.digest}


def held_out(spec: SuiteLikelihood, rows: int | None = None) -> HeldOut:
    """The first `spec.rows` windows, or `rows` where that is fewer.

    Raises ConfigError for an unknown corpus, split or tokenizer, or when there are fewer windows than asked for.
    """
    name = f"{spec.corpus}:{spec.split}"
    found, tokenizer_digest = _oracle_windows(spec) if spec.corpus == oracle().name else _corpus_windows(spec)
    if len(found) < spec.rows:
        raise ConfigError(
            "more rows than windows",
            key="likelihood.rows",
            found=spec.rows,
            allowed=f"<= {len(found)} at length {spec.length}",
        )
    first = found[: min(spec.rows, rows or spec.rows)]
    if spec.corpus == oracle().name:
        texts = tuple(oracle().decode(row) for row in first)
    else:
        tokenizer = packaged(spec.tokenizer)
        texts = tuple(tokenizer.final_and_raw(row)[0] for row in first)
    # The texts are a function of ids and tokenizer; decoding a whole corpus to hash it would take minutes.
    content = digest({"windows": array_digest([found]), "tokenizer": tokenizer_digest})
    return HeldOut(name, content, spec.length, texts)


def _corpus_windows(spec: SuiteLikelihood) -> tuple[np.ndarray, str]:
    if spec.tokenizer == ORACLE_TOKENIZER:
        raise unknown(
            f"corpus for tokenizer {ORACLE_TOKENIZER!r}", spec.corpus, [oracle().name], key="likelihood.corpus"
        )
    return windows(spec.corpus, spec.split, spec.tokenizer, spec.length), packaged(spec.tokenizer).spec.digest


def _oracle_windows(spec: SuiteLikelihood) -> tuple[np.ndarray, str]:
    for key, allowed in (("split", "test"), ("tokenizer", ORACLE_TOKENIZER)):
        if getattr(spec, key) != allowed:
            raise ConfigError(
                f"held-out text of the oracle language has one {key}",
                key=f"likelihood.{key}",
                found=getattr(spec, key),
                allowed=allowed,
            )
    return held_out_windows(spec.length), oracle().digest
