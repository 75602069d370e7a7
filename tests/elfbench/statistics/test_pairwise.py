from __future__ import annotations

import itertools

import numpy as np
import pytest

from elfbench.core.errors import ConfigError
from elfbench.statistics.difference import paired_difference, unpaired_difference
from elfbench.statistics.pairwise import RatioRows, nearer_p, normal_p, pairwise_p
from elfbench.statistics.ranks import both_directions, rank_bounds


def _ratios(rng: np.random.Generator, sizes: list[int], noise: list[str | None]) -> list[RatioRows]:
    shared = rng.normal(size=max(sizes))
    return [
        RatioRows(np.arange(n), 2.0 + shared[:n] + rng.normal(size=n), rng.uniform(1.0, 3.0, n), name)
        for n, name in zip(sizes, noise, strict=True)
    ]


def _losses(models: list[RatioRows]) -> np.ndarray:
    return np.array([model.numerator.sum() / model.denominator.sum() for model in models])


def test_every_pair_is_the_paired_test_or_welchs() -> None:
    rng = np.random.default_rng(0)
    models = _ratios(rng, [60, 60, 60, 45, 80], ["seed 0", "seed 0", "seed 1", None, None])
    p = pairwise_p(models, _losses(models))
    for i, j in itertools.combinations(range(5), 2):
        pairs = models[i].noise is not None and models[i].noise == models[j].noise
        test = paired_difference if pairs else unpaired_difference
        left, right = ((model.numerator, model.denominator) for model in (models[i], models[j]))
        assert p[i, j] == p[j, i] == pytest.approx(test(left, right).p_two_sided() / 2.0, rel=1e-9)


def test_rows_of_one_side_only_count_by_themselves() -> None:
    """Of rows that pair in part, equal means differ at 5 % in about 5 % of samples; without the pairs it would be next to none."""
    rng = np.random.default_rng(1)
    simulations, n = 1500, 30
    shared = rng.normal(size=(simulations, n))
    a, b = shared + 0.5 * rng.normal(size=(simulations, n)), shared + 0.5 * rng.normal(size=(simulations, n))
    held = slice(10, n)  # b lacks the first ten rows
    rejected = sum(
        pairwise_p(
            [
                RatioRows(np.arange(n), one, np.ones(n), "seed 0"),
                RatioRows(np.arange(10, n), other[held], np.ones(n - 10), "seed 0"),
            ],
            np.array([one.mean(), other[held].mean()]),
        )[0, 1]
        < 0.025
        for one, other in zip(a, b, strict=True)
    )
    assert 0.025 < rejected / simulations < 0.065


def test_equal_rows_and_rows_without_spread() -> None:
    rng = np.random.default_rng(2)
    rows, ones = rng.normal(size=20), np.ones(20)
    places = np.arange(20)
    models = [
        RatioRows(places, rows, ones, "s"),
        RatioRows(places, rows, ones, "s"),
        RatioRows(places, ones, ones, "s"),
    ]
    p = pairwise_p(models, np.array([rows.mean(), rows.mean(), 1.0]))
    assert p[0, 1] == 1.0
    flat = [RatioRows(places, value * ones, ones, None) for value in (0.0, 1.0)]
    assert pairwise_p(flat, np.array([0.0, 1.0]))[0, 1] == 0.0
    with pytest.raises(ConfigError, match="every model has a loss"):
        pairwise_p(models, np.zeros(2))


@pytest.mark.parametrize("middle", [0.0, 2.0])
def test_nearer_to_an_uncertain_aim_errs_rarely(middle: float) -> None:
    """Two values equally far from the aim: both on it, on one side of it, or on either side. Told apart in at most 5 %."""
    rng = np.random.default_rng(3)
    errors = np.array([0.2, 1.0])
    for truth in ((middle, middle), (-middle, middle)):
        wrong = 0
        for values in rng.normal(truth, errors, (2000, 2)):
            aim = rng.normal(0.0, 0.3)
            p = nearer_p(values, errors, normal_p(values, errors), aim, 0.3)
            wrong += p[0, 1] <= 0.05
        assert wrong / 2000 < 0.062


def test_nearer_is_seen_when_it_is_sure() -> None:
    values, errors = np.array([1.0, 4.0, -9.0]), np.array([0.1, 0.1, 0.1])
    p = nearer_p(values, errors, normal_p(values, errors), 0.0, 0.1)
    assert (p[np.triu_indices(3, 1)] < 1e-6).all()
    lows, highs = rank_bounds(np.abs(values), both_directions(p), level=0.95)
    assert lows.tolist() == highs.tolist() == [1.0, 2.0, 3.0]
    # Equally far on either side: nobody is nearer, however precise the values are.
    opposite = np.array([-1.0, 1.0])
    assert nearer_p(opposite, errors[:2], normal_p(opposite, errors[:2]), 0.0, 0.1)[0, 1] == 1.0


def test_rank_intervals_hold_all_true_ranks_at_once() -> None:
    """Paired rows with strong shared noise and ties in truth: in at most 5 % of samples a true rank lies outside."""
    rng = np.random.default_rng(4)
    truth, n, simulations = np.array([0.0, 0.0, 0.0, 0.3, 0.3]), 40, 800
    out = 0
    ones, places = np.ones(n), np.arange(n)
    for _ in range(simulations):
        noise = rng.normal(size=n)
        rows = [mean + noise + 0.7 * rng.normal(size=n) for mean in truth]
        models = [RatioRows(places, row, ones, "s") for row in rows]
        losses = np.array([row.mean() for row in rows])
        lows, highs = rank_bounds(losses, both_directions(pairwise_p(models, losses)), level=0.95)
        # Of tied models every rank among them is a true one: the interval holds them all.
        out += bool((lows > [1, 1, 1, 4, 4]).any() or (highs < [3, 3, 3, 5, 5]).any())
    assert out / simulations < 0.065
