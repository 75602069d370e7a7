"""Which examples a step sees: a permutation of the windows per epoch, or batches that the caller makes.

Not a data loader: windows are arrays of token ids, alone or with masks beside them, or rows that are made when asked
for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from elf_model.training.noise import epoch_order
from elf_model.training.recipe import TrainRecipe

Columns = Mapping[str, np.ndarray]
"""Arrays [N, L] by name: "ids", and masks (bool) such as "prefix_mask" and "attention_mask"."""


@runtime_checkable
class Rows(Protocol):
    """Windows that are made when they are asked for: data too large to hold."""

    def __len__(self) -> int:
        """N."""
        ...

    def take(self, numbers: np.ndarray) -> np.ndarray | Columns:
        """The windows of these numbers [B]: ids [B, L], or columns of [B, L]."""
        ...


Windows = np.ndarray | Columns | Rows | Iterable[np.ndarray | Columns]


class Batch(NamedTuple):
    """Examples of one step, or a part of them."""

    examples: np.ndarray
    """[B] numbers that key the noise; every visit to a window has a number of its own."""
    ids: np.ndarray | Columns
    """[B, L] token ids; or columns [B, L], "ids" among them."""

    @property
    def tokens(self) -> int:
        """B * L."""
        return int((self.ids["ids"] if isinstance(self.ids, Mapping) else self.ids).size)

    def part(self, number: int, parts: int) -> Batch:
        """The `number`th of `parts` equal runs of its examples."""
        here, ids = _run(len(self.examples), number, parts), self.ids
        cut = {name: column[here] for name, column in ids.items()} if isinstance(ids, Mapping) else ids[here]
        return Batch(self.examples[here], cut)


def batches(windows: Windows, recipe: TrainRecipe, start: int, *, rank: int = 0, ranks: int = 1) -> Iterator[Batch]:
    """Batches of steps `start`, `start` + 1, ...: endless for N windows, else as many as the iterable has.

    rank, ranks: take the `rank`th of `ranks` equal runs of each batch; a batch that they do not divide is a ValueError. An iterable is taken from its beginning, and its first `start` batches are passed over: so it must be the
    same on a resumed run.
    """
    if isinstance(windows, np.ndarray):
        if windows.ndim != 2 or not windows.size:
            raise ValueError(f"windows have shape {windows.shape}; expected [N, L] with N, L >= 1")
        windows = _Array(windows)
    elif isinstance(windows, Mapping):
        windows = _Columns(windows)
    if isinstance(windows, Rows):
        if not len(windows):
            raise ValueError("there are no windows to train on")
        return _permuted(windows, recipe, start, rank, ranks)
    return (batch.part(rank, ranks) for batch in _given(windows, start))


def batch_examples(recipe: TrainRecipe, step: int, size: int) -> np.ndarray:
    """[B] example numbers of step `step`: epoch * size + window, in the endless sequence of permuted epochs."""
    places = np.arange(step * recipe.batch_size, (step + 1) * recipe.batch_size)
    epochs, offsets = np.divmod(places, size)
    orders = {int(epoch): _order(recipe.seed, int(epoch), size) for epoch in np.unique(epochs)}
    return np.array([epoch * size + orders[int(epoch)][offset] for epoch, offset in zip(epochs, offsets, strict=True)])


@lru_cache(maxsize=2)  # a permutation of millions of windows is not made again for every step
def _order(seed: int, epoch: int, size: int) -> np.ndarray:
    return epoch_order(seed, epoch, size)


class _Array:
    def __init__(self, ids: np.ndarray) -> None:
        self._ids = ids

    def __len__(self) -> int:
        return len(self._ids)

    def take(self, numbers: np.ndarray) -> np.ndarray:
        return self._ids[numbers]


class _Columns:
    def __init__(self, columns: Columns) -> None:
        shapes = {name: column.shape for name, column in columns.items()}
        if "ids" not in shapes or len(set(shapes.values())) != 1 or len(shapes["ids"]) != 2 or not columns["ids"].size:
            raise ValueError(f"windows have columns {shapes}; expected 'ids' and masks, all [N, L] with N, L >= 1")
        self._columns = columns

    def __len__(self) -> int:
        return len(self._columns["ids"])

    def take(self, numbers: np.ndarray) -> Columns:
        return {name: column[numbers] for name, column in self._columns.items()}


def _run(size: int, number: int, parts: int) -> slice:
    if size % parts:
        raise ValueError(
            f"a batch of {size} examples cannot be cut into {parts} equal parts; "
            "choose a batch_size that ranks x grad_accum divides"
        )
    return slice(number * size // parts, (number + 1) * size // parts)


def _permuted(windows: Rows, recipe: TrainRecipe, step: int, rank: int, ranks: int) -> Iterator[Batch]:
    while True:
        examples = batch_examples(recipe, step, len(windows))
        examples = examples[_run(len(examples), rank, ranks)]
        yield Batch(examples, windows.take(examples % len(windows)))
        step += 1


def _given(made: Iterable[np.ndarray | Columns], start: int) -> Iterator[Batch]:
    first = 0
    for step, ids in enumerate(made):
        size = len(ids["ids"] if isinstance(ids, Mapping) else ids)
        if step >= start:
            yield Batch(np.arange(first, first + size), ids)
        first += size
