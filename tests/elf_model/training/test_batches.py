"""Every epoch sees every window once, in an order of its own."""

from __future__ import annotations

import numpy as np

from elf_model.training.batches import batch_examples, batches
from elf_model.training.recipe import TrainRecipe


def test_epochs_are_permutations_and_examples_are_never_repeated() -> None:
    recipe = TrainRecipe(steps=1, batch_size=4, seed=3)
    seen = np.concatenate([batch_examples(recipe, step, 10) for step in range(5)])  # two epochs of 10 windows
    assert sorted(seen[:10]) == list(range(10))
    assert sorted(seen[10:]) == list(range(10, 20))
    assert not np.array_equal(seen[:10], seen[10:] - 10)


def test_starting_later_gives_the_same_batches() -> None:
    recipe = TrainRecipe(steps=1, batch_size=4, seed=3)
    windows = np.arange(30).reshape(10, 3)
    whole, late = batches(windows, recipe, 0), batches(windows, recipe, 2)
    next(whole), next(whole)
    for _ in range(4):
        a, b = next(whole), next(late)
        assert np.array_equal(a.ids, b.ids)
        assert np.array_equal(a.examples, b.examples)
