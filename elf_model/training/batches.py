"""Which examples a step sees: a permutation of the windows per epoch, or batches that the caller makes.

Not a data loader: windows are arrays of token ids.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from elf_model.training.noise import epoch_order
from elf_model.training.recipe import TrainRecipe


class Batch(NamedTuple):
    """One step's examples."""

    examples: np.ndarray
    """[B] numbers that key the noise; every visit to a window has a number of its own."""
    ids: np.ndarray
    """[B, L] token ids."""


def batches(windows: np.ndarray | Iterable[np.ndarray], recipe: TrainRecipe, start: int) -> Iterator[Batch]:
    """Batches of steps `start`, `start` + 1, ...: endless for an array [N, L], else as many as the iterable has.

    An iterable is taken from its beginning, and its first `start` batches are passed over: so it must be the
    same on a resumed run.
    """
    if isinstance(windows, np.ndarray):
        if windows.ndim != 2 or not windows.size:
            raise ValueError(f"windows have shape {windows.shape}; expected [N, L] with N, L >= 1")
        return _permuted(windows, recipe, start)
    return _given(windows, start)


def batch_examples(recipe: TrainRecipe, step: int, size: int) -> np.ndarray:
    """[B] example numbers of step `step`: epoch * size + window, in the endless sequence of permuted epochs."""
    places = np.arange(step * recipe.batch_size, (step + 1) * recipe.batch_size)
    orders = {epoch: epoch_order(recipe.seed, epoch, size) for epoch in {int(place) // size for place in places}}
    return np.array([(place // size) * size + orders[int(place) // size][place % size] for place in places])


def _permuted(windows: np.ndarray, recipe: TrainRecipe, step: int) -> Iterator[Batch]:
    while True:
        examples = batch_examples(recipe, step, len(windows))
        yield Batch(examples, windows[examples % len(windows)])
        step += 1


def _given(made: Iterable[np.ndarray], start: int) -> Iterator[Batch]:
    first = 0
    for step, ids in enumerate(made):
        if step >= start:
            yield Batch(np.arange(first, first + len(ids)), ids)
        first += len(ids)
