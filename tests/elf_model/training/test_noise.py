"""Rows depend on their key and the draw alone."""

from __future__ import annotations

import numpy as np
import torch
from scipy import stats

from elf_model.training.noise import RowNoise, epoch_order, example_keys


def test_a_row_is_philox_of_key_and_draw() -> None:
    noise = RowNoise([5, 2**53 - 1])
    expected = np.random.Generator(np.random.Philox(key=[2**53 - 1, 3])).random((4,))
    assert np.array_equal(noise.uniform(3, (4,))[1].numpy(), expected)
    assert noise.uniform(0, ()).dtype == torch.float64
    assert noise.normal(0, (2, 3)).shape == (2, 2, 3)
    assert noise.normal(0, ()).dtype == torch.float32


def test_rows_do_not_depend_on_the_batch_or_the_order_of_calls() -> None:
    together, alone = RowNoise([1, 2, 3]), RowNoise([2])
    together.normal(7, (5,))
    assert torch.equal(together.normal(1, (5,))[1], alone.normal(1, (5,))[0])
    assert not torch.equal(together.normal(1, (5,)), together.normal(2, (5,)))


def test_keys_are_stable_and_distinct() -> None:
    assert example_keys(0, 0, [0]) == [0xD1FE97EF518011F3]
    keys = {key for seed in range(3) for step in range(5) for key in example_keys(seed, step, range(20))}
    assert len(keys) == 300
    assert max(keys) < 2**64


def test_rows_are_uniform() -> None:
    draws = RowNoise(example_keys(1, 2, range(4000))).uniform(0, ()).numpy()
    assert stats.kstest(draws, "uniform").pvalue > 0.01


def test_epoch_order_is_a_permutation() -> None:
    assert sorted(epoch_order(0, 1, 9)) == list(range(9))
    assert not np.array_equal(epoch_order(0, 1, 9), epoch_order(0, 2, 9))
