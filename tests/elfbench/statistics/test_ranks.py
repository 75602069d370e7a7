from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from elfbench.core.errors import ConfigError
from elfbench.statistics.bootstrap import Resampling
from elfbench.statistics.ranks import bootstrap_ranks, letters, mean_ranks, rank_intervals, tie_groups


def _models(
    means: dict[str, float], n: int, seed: int = 0, spread: float = 1.0
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(seed)
    return {name: (rng.normal(mean, spread, n), np.ones(n)) for name, mean in means.items()}


def test_mean_ranks_are_scipys() -> None:
    values = np.random.default_rng(1).integers(0, 5, (6, 40)).astype(float)
    assert mean_ranks(values) == pytest.approx(stats.rankdata(values, axis=0))


def test_two_models_rank_by_the_normal_law_of_their_difference() -> None:
    """The share of resamples in which b is first is Phi of the difference over its error."""
    models = _models({"a": 0.0, "b": 0.15}, 400, seed=3)
    gap = models["b"][0].mean() - models["a"][0].mean()
    error = math.sqrt(sum(rows.var() / 400 for rows, _ in models.values()))
    for level in (0.5, 0.8, 0.95, 0.999):
        tail = (1 - level) / 2
        first, second = bootstrap_ranks(models, better="lower", level=level, draws=Resampling(20_000))
        swapped = stats.norm.cdf(-gap / error)
        assert abs(swapped - tail) > 0.004  # not on the edge
        expected = (1.0, 2.0) if swapped > tail else (1.0, 1.0)
        assert (first.model, first.low, first.high) == ("a", *expected)
        assert (second.model, second.rank) == ("b", 2.0)


def test_models_far_apart_have_certain_ranks_either_way() -> None:
    models = _models({"x": 3.0, "y": 1.0, "z": 2.0}, 200)
    for function in (bootstrap_ranks, rank_intervals):
        for better, order in (("lower", "yzx"), ("higher", "xzy")):
            ranks = function(models, better=better)  # type: ignore[operator]
            assert "".join(rank.model for rank in ranks) == order
            assert [(rank.low, rank.rank, rank.high) for rank in ranks] == [(k, k, k) for k in (1.0, 2.0, 3.0)]
            assert ranks[0].value == pytest.approx(models[order[0]][0].mean())
    assert tie_groups(models, better="lower") == [("y",), ("z",), ("x",)]


def test_equal_models_share_ranks_and_a_group() -> None:
    rows = (np.random.default_rng(0).normal(size=50), np.ones(50))
    models = {"b": rows, "a": rows, "c": rows}
    assert [(rank.model, rank.rank, rank.low, rank.high) for rank in rank_intervals(models, better="lower")] == [
        (name, 2.0, 1.0, 3.0) for name in "abc"
    ]
    assert tie_groups(models, better="lower") == [("a", "b", "c")]


def test_simultaneous_intervals_hold_all_true_ranks() -> None:
    """Means with ties and near ties: a tied model's ranks are all that it can have; errors stay within 5 %."""
    means = {"a": 0.0, "b": 0.0, "c": 0.1, "d": 0.4, "e": 1.0}
    wrong = 0
    for seed in range(400):
        for rank in rank_intervals(_models(means, 60, seed=seed + 1), better="lower"):
            better = sum(mean < means[rank.model] for mean in means.values())
            worse = sum(mean > means[rank.model] for mean in means.values())
            if rank.low > 1 + better or rank.high < len(means) - worse:
                wrong += 1
                break
    assert wrong / 400 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 400)


@pytest.mark.parametrize("seed", range(6))
def test_groups_are_the_largest_sets_without_a_significant_pair(seed: int) -> None:
    """By brute force over all sets, with statistics from scipy; spreads differ, so that groups are not always neighbours."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(5, 60, 7)
    models = {f"m{i}": (rng.normal(0.15 * i, rng.uniform(0.1, 2.0), n), np.ones(n)) for i, n in enumerate(sizes)}
    names, pairs = sorted(models), list(itertools.combinations(sorted(models), 2))
    p = np.array([stats.ttest_ind(models[a][0], models[b][0], equal_var=False).pvalue / 2 for a, b in pairs])
    one_sided = sorted(np.concatenate([p, 1 - p]))
    rejected = next((k for k, value in enumerate(one_sided) if value > 0.05 / (len(one_sided) - k)), len(one_sided))
    apart = {pair for pair, value in zip(pairs, p, strict=True) if value in one_sided[:rejected]}
    sets = [
        set(part)
        for size in range(1, 8)
        for part in itertools.combinations(names, size)
        if not any(pair in apart for pair in itertools.combinations(part, 2))
    ]
    largest = {frozenset(part) for part in sets if not any(part < other for other in sets)}
    groups = tie_groups(models, better="lower")
    assert {frozenset(group) for group in groups} == largest
    assert len(groups) == len(largest)
    shown = letters(groups)
    for a, b in pairs:
        assert ((a, b) in apart) == (not set(shown[a]) & set(shown[b]))


def test_letters_go_on_after_z() -> None:
    shown = letters([(str(number),) for number in range(28)])
    assert (shown["0"], shown["25"], shown["26"], shown["27"]) == ("a", "z", "a1", "b1")


def test_one_model_and_bad_levels_are_refused() -> None:
    models = _models({"a": 0.0, "b": 1.0}, 5)
    for function in (bootstrap_ranks, rank_intervals, tie_groups):
        with pytest.raises(ConfigError, match="two models"):
            function({"a": models["a"]}, better="lower")  # type: ignore[operator]
        with pytest.raises(ConfigError, match="confidence level"):
            function(models, better="lower", level=95.0)  # type: ignore[operator]
