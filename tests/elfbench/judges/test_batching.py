from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from elfbench.judges.batching import batches, padded


@given(st.lists(st.integers(1, 40), max_size=60), st.integers(1, 100))
def test_batches_hold_every_row_once_within_the_budget_and_by_length(lengths: list[int], budget: int) -> None:
    found = list(batches(lengths, budget))
    assert sorted(number for group in found for number in group) == list(range(len(lengths)))
    in_order = [lengths[number] for group in found for number in group]
    assert in_order == sorted(lengths, reverse=True)
    for group in found:
        assert len(group) == 1 or len(group) * max(lengths[number] for number in group) <= budget
    # No two neighbors would have fit in one batch.
    for one, following in itertools.pairwise(found):
        assert (len(one) + 1) * lengths[one[0]] > budget, following


def test_sorting_keeps_padding_small() -> None:
    lengths = np.geomspace(16, 512, 100).round().astype(int).tolist()
    mixed = np.random.default_rng(0).permutation(lengths).tolist()
    through = sum(len(group) * max(mixed[number] for number in group) for group in batches(mixed, 1024))
    assert through < 1.1 * sum(mixed)


def test_padding_is_on_the_right_under_mask_0() -> None:
    ids, mask = padded([np.array([7, 8, 9]), np.array([5])])
    assert ids.tolist() == [[7, 8, 9], [5, 0, 0]]
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0]]
