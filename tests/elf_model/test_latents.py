"""The static table against hand counts and numpy's own SVD."""

from __future__ import annotations

import numpy as np
import pytest

from elf_model.latents import cooccurrence, effective_rank, positive_pmi, ppmi_svd_table, random_table

WINDOWS = np.random.Generator(np.random.Philox(key=3)).zipf(1.5, size=(200, 12)) % 30


def test_counts_by_hand() -> None:
    counts = cooccurrence(np.array([[0, 1, 2], [1, 1, 0]]), vocab_size=3, reach=1)
    assert counts.tolist() == [[0, 2, 0], [2, 2, 1], [0, 1, 0]]


def test_independent_tokens_have_no_information() -> None:
    shares = np.array([0.5, 0.3, 0.2])
    assert np.allclose(positive_pmi(1000 * np.outer(shares, shares)), 0.0)


def test_table_spans_the_leading_singular_directions() -> None:
    made = ppmi_svd_table(WINDOWS, vocab_size=30, dim=5, random_share=0.0)
    left, values, _ = np.linalg.svd(positive_pmi(cooccurrence(WINDOWS, vocab_size=30, reach=4)))
    expected = left[:, :5] * values[:5]
    weights = np.bincount(WINDOWS.ravel(), minlength=30) / WINDOWS.size
    expected = expected - weights @ expected
    inner = made.table @ made.table.T  # free of signs and order
    assert np.corrcoef(inner.ravel(), (expected @ expected.T).ravel())[0, 1] > 1 - 1e-6


def test_table_is_centered_scaled_and_repeatable() -> None:
    made = ppmi_svd_table(WINDOWS, vocab_size=30, dim=8)
    tokens = made.table[WINDOWS.ravel()].astype(np.float64)
    assert np.allclose(tokens.mean(axis=0), 0.0, atol=1e-5)
    assert abs(np.square(tokens).mean() - 1.0) < 1e-5
    assert made.table.shape == (30, 8)
    assert 1.0 < made.effective_rank < 8.0
    assert np.array_equal(made.table, ppmi_svd_table(WINDOWS, vocab_size=30, dim=8).table)
    assert not np.array_equal(made.table, ppmi_svd_table(WINDOWS, vocab_size=30, dim=8, seed=1).table)


def test_random_table_is_centered_scaled_and_knows_no_order() -> None:
    made = random_table(WINDOWS, vocab_size=30, dim=8, seed=2)
    tokens = made.table[WINDOWS.ravel()].astype(np.float64)
    assert np.allclose(tokens.mean(axis=0), 0.0, atol=1e-5)
    assert abs(np.square(tokens).mean() - 1.0) < 1e-5
    shuffled = np.random.Generator(np.random.Philox(key=4)).permutation(WINDOWS.ravel()).reshape(WINDOWS.shape)
    assert np.array_equal(made.table, random_table(shuffled, vocab_size=30, dim=8, seed=2).table)
    assert not np.array_equal(made.table, random_table(WINDOWS, vocab_size=30, dim=8, seed=3).table)


def test_random_rows_are_nearly_orthogonal_and_factored_ones_are_not() -> None:
    """Independent rows of width 400 have cosines of deviation 1/20; so no token is a neighbor of another."""
    table = np.float64(random_table(np.arange(3000)[None] % 30, vocab_size=30, dim=400).table)
    unit = table / np.linalg.norm(table, axis=1, keepdims=True)
    cosines = (unit @ unit.T)[np.triu_indices(30, 1)]
    assert abs(cosines.std() - 0.05) < 0.01
    assert np.abs(cosines).max() < 0.25


def test_effective_rank_counts_equal_directions() -> None:
    corners = np.array([[3.0, 0, 0], [-3.0, 0, 0], [0, 3.0, 0], [0, -3.0, 0]])
    assert np.isclose(effective_rank(corners, np.full(4, 0.25)), 2.0)
    assert np.isclose(effective_rank(corners, np.array([0.5, 0.5, 0, 0])), 1.0)


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="dim is 0"):
        random_table(WINDOWS, vocab_size=30, dim=0)
    with pytest.raises(ValueError, match=r"\[0, 20\)"):
        random_table(WINDOWS, vocab_size=20, dim=5)
    with pytest.raises(ValueError, match="dim is 31"):
        ppmi_svd_table(WINDOWS, vocab_size=30, dim=31)
    with pytest.raises(ValueError, match=r"\[0, 20\)"):
        ppmi_svd_table(WINDOWS, vocab_size=20, dim=5)
    with pytest.raises(ValueError, match="constant"):
        ppmi_svd_table(np.zeros((2, 4), dtype=np.int64), vocab_size=3, dim=2, random_share=0.0)
