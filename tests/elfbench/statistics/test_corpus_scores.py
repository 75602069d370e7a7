from __future__ import annotations

import itertools

import numpy as np
import pytest

from elfbench.core.errors import ConfigError
from elfbench.metrics.bleu import BLEU, COUNTS, bleu_counts
from elfbench.statistics.bootstrap import Resampling
from elfbench.statistics.corpus_scores import approximate_randomization, paired_bootstrap

WORDS = ["the", "a", "cat", "dog", "sat", "ran", "on", "in", "mat", "park", "old", "red"]


def _systems(n: int, keep_a: float, keep_b: float) -> tuple[list[str], list[str], list[str]]:
    """References, and two systems that keep each of their words with these probabilities."""
    rng = np.random.default_rng(5)
    references = [list(rng.choice(WORDS, rng.integers(6, 14))) for _ in range(n)]

    def spoiled(keep: float) -> list[str]:
        return [
            " ".join(word if rng.random() < keep else str(rng.choice(WORDS)) for word in words) for words in references
        ]

    return [" ".join(words) for words in references], spoiled(keep_a), spoiled(keep_b)


def _counts(texts: list[str], references: list[str]) -> np.ndarray:
    columns = bleu_counts(texts, references, lowercase=False)
    return np.stack([columns[name] for name in COUNTS], axis=1)


def _mean(sums: np.ndarray) -> np.ndarray:
    ratio: np.ndarray = sums[:, 0] / sums[:, 1]
    return ratio


@pytest.mark.parametrize("keep_b", [0.72, 0.8])
def test_p_values_of_bleu_are_those_of_sacrebleu(keep_b: float, monkeypatch: pytest.MonkeyPatch) -> None:
    sacrebleu = pytest.importorskip("sacrebleu")
    from sacrebleu.significance import PairedTest

    monkeypatch.setenv("SACREBLEU_SEED", "7")
    references, a, b = _systems(40, 0.7, keep_b)
    counts, corpus = (_counts(a, references), _counts(b, references)), BLEU.corpus
    assert corpus is not None
    theirs = {}
    for kind in ("ar", "bs"):
        _, found = PairedTest([("a", a), ("b", b)], {"BLEU": sacrebleu.BLEU()}, [references], kind, 2000)()
        theirs[kind] = found["BLEU"]
    swapped = approximate_randomization(*counts, corpus.of_sums, draws=Resampling(2000, 1))
    between = paired_bootstrap(*counts, corpus.of_sums, draws=Resampling(2000, 1))
    difference = theirs["ar"][1].score - theirs["ar"][0].score
    assert swapped.value == pytest.approx(difference, abs=1e-9)
    assert between.value == pytest.approx(difference, abs=1e-9)
    for ours, expected in ((swapped.p_value, theirs["ar"][1].p_value), (between.p_value, theirs["bs"][1].p_value)):
        # Both are shares of 2000 draws: four standard errors of their difference.
        assert abs(ours - expected) <= 4.0 * np.sqrt(2.0 * max(expected * (1 - expected), 1e-3) / 2000)


def test_few_examples_are_enumerated() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 9, (6, 2)) + 1.0, rng.integers(0, 9, (6, 2)) + 1.0
    every = []
    for swap in itertools.product((False, True), repeat=6):
        left = np.where(np.array(swap)[:, None], b, a).sum(axis=0)
        right = np.where(np.array(swap)[:, None], a, b).sum(axis=0)
        every.append(right[0] / right[1] - left[0] / left[1])
    found = approximate_randomization(a, b, _mean)
    assert found.exact
    assert found.arrangements == 64
    assert found.p_value == np.mean(np.abs(every) >= abs(every[0]) - 1e-12)


def test_the_interval_of_a_mean_is_that_of_its_normal_law() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=400), rng.normal(0.1, 1.0, 400)
    ones = np.ones(400)
    found = paired_bootstrap(np.stack([a, ones], 1), np.stack([b, ones], 1), _mean, draws=Resampling(4000))
    error = (b - a).std() / 20.0
    assert found.value == pytest.approx((b - a).mean())
    assert found.low == pytest.approx(found.value - 1.96 * error, abs=0.1 * error)
    assert found.high == pytest.approx(found.value + 1.96 * error, abs=0.1 * error)
    from scipy.stats import norm

    assert found.wins == pytest.approx(norm.cdf(found.value / error), abs=0.02)


def test_a_system_against_itself() -> None:
    rows = np.stack([np.arange(1.0, 31.0), np.ones(30)], 1)
    assert approximate_randomization(rows, rows, _mean).p_value == 1.0
    found = paired_bootstrap(rows, rows, _mean)
    assert (found.value, found.low, found.high, found.wins) == (0.0, 0.0, 0.0, 0.5)


@pytest.mark.parametrize("test", [paired_bootstrap, approximate_randomization])
def test_other_examples_are_refused(test: object) -> None:
    assert callable(test)
    with pytest.raises(ConfigError, match="same examples"):
        test(np.ones((3, 2)), np.ones((4, 2)), _mean)
    with pytest.raises(ConfigError, match="NaN"):
        test(np.ones((3, 2)), np.full((3, 2), np.nan), _mean)
