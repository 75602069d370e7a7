"""Conditional tasks on the oracle language: inputs with their outputs, the same on every machine, and none of the
training set's draws.

continuations: the first words of a window are given, its other words are the output: one true continuation of many,
so the language itself, which is the ceiling, stays far below 100. reversals: the words of a beginning, backwards: one
right answer.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from elfbench.language.oracle import LENGTH, IntArray, oracle

GIVEN = 12
"""Words of the input of a continuation; its output has LENGTH - GIVEN."""
REVERSED = LENGTH // 2
"""Words of the input, and of the output, of a reversal."""
EXAMPLES = 512
_KEY = 0x636F6E74  # not that of the training set, nor of any row


class Examples(NamedTuple):
    """[EXAMPLES] texts each."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def continuations() -> Examples:
    """Exact windows of the language, cut behind their first GIVEN words."""
    return _examples(_windows()[:, :GIVEN], _windows()[:, GIVEN:])


def reversals() -> Examples:
    """Beginnings of REVERSED words of exact windows, and the same words backwards."""
    beginnings = _windows()[:, :REVERSED]
    return _examples(beginnings, beginnings[:, ::-1])


def _windows() -> IntArray:
    generator = np.random.Generator(np.random.Philox(key=_KEY))
    return oracle().sample(generator.random((EXAMPLES, LENGTH)))


def _examples(inputs: IntArray, outputs: IntArray) -> Examples:
    return Examples(*(tuple(oracle().decode(row) for row in side) for side in (inputs, outputs)))
