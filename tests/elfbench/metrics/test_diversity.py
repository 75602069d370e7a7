"""Diversity metrics on tokens against brute force, closed forms and scipy; what all of them must not depend on."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from itertools import chain

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.stats import binom, entropy

from elfbench.core.errors import ConfigError
from elfbench.metrics import compression, near_duplicates, zipf
from elfbench.metrics import self_bleu as self_bleu_module
from elfbench.metrics.compression import COMPRESSION_RATIO
from elfbench.metrics.ead import EAD, VOCABULARY, expected_distinct
from elfbench.metrics.mattr import MATTR, moving_ratio
from elfbench.metrics.near_duplicates import NEAR_DUPLICATES
from elfbench.metrics.ngram_entropy import NGRAM_ENTROPY_2, NGRAM_ENTROPY_3
from elfbench.metrics.ngrams import ngrams
from elfbench.metrics.self_bleu import SELF_BLEU
from elfbench.metrics.zipf import ZIPF
from elfbench.registry import catalog
from elfbench.spec.metric import Estimate, EstimateContext, Metric, Rows

ON_TOKENS = (NGRAM_ENTROPY_2, NGRAM_ENTROPY_3, EAD, SELF_BLEU, ZIPF, COMPRESSION_RATIO, NEAR_DUPLICATES, MATTR)
QUICK = settings(deadline=None, max_examples=40)
FEW = st.lists(st.lists(st.integers(0, 3), min_size=4, max_size=9), min_size=3, max_size=7)
Texts = list[list[int]]


def _rows(texts: Texts) -> Rows:
    ids = [np.array(text, dtype=np.int64) for text in texts]
    return Rows({"ids": ids}, n=len(ids), n_requested=len(ids), n_dropped=0)


def _estimate(metric: Metric, texts: Texts) -> Estimate:
    return metric.estimate(_rows(texts), None, EstimateContext())


def _zipf_texts(seed: int, n: int = 60, length: int = 60, types: int = 400) -> Texts:
    weights = 1.0 / np.arange(1, types + 1)
    return np.random.default_rng(seed).choice(types, (n, length), p=weights / weights.sum()).tolist()


def _grams(text: list[int], order: int) -> list[tuple[int, ...]]:
    return [tuple(text[i : i + order]) for i in range(len(text) - order + 1)]


def _sentence_bleu(references: Texts, hypothesis: list[int]) -> float:
    """NLTK's sentence_bleu without smoothing, word for word from its definition; in [0, 100]."""
    logs = 0.0
    for order in range(1, 5):
        counts, largest = Counter(_grams(hypothesis, order)), Counter[tuple[int, ...]]()
        for reference in references:
            largest |= Counter(_grams(reference, order))
        matched = sum(min(count, largest[gram]) for gram, count in counts.items())
        if matched == 0:
            return 0.0
        logs += 0.25 * math.log(matched / max(1, sum(counts.values())))
    length = len(hypothesis)
    nearest = min((len(reference) for reference in references), key=lambda other: (abs(other - length), other))
    penalty = 1.0 if length > nearest else math.exp(1 - nearest / length)
    return 100.0 * penalty * math.exp(logs)


def _self_bleu(texts: Texts) -> list[float]:
    return [_sentence_bleu(texts[:i] + texts[i + 1 :], text) for i, text in enumerate(texts)]


@QUICK
@given(FEW)
def test_self_bleu_is_that_of_every_row_against_all_others(texts: Texts) -> None:
    scores, without = self_bleu_module.self_bleu_rows([np.array(text) for text in texts])
    assert scores == pytest.approx(_self_bleu(texts), abs=1e-9)
    again = [np.mean(_self_bleu(texts[:i] + texts[i + 1 :])) for i in range(len(texts))] if len(texts) > 3 else None
    assert again is None or without == pytest.approx(again, abs=1e-9)


def test_self_bleu_in_figures() -> None:
    # Two texts that differ in the last of five tokens: 4/5, 3/4, 2/3, 1/2 -> (1/5)^(1/4); the third has no match.
    texts = [[1, 2, 3, 4, 5], [1, 2, 3, 4, 6], [7, 8, 9, 10, 11]]
    scores, without = self_bleu_module.self_bleu_rows([np.array(text) for text in texts])
    assert scores == pytest.approx([100 * 0.2**0.25, 100 * 0.2**0.25, 0.0])
    assert without == pytest.approx([0.0, 0.0, 100 * 0.2**0.25])


@QUICK
@given(st.lists(st.integers(1, 9), min_size=3, max_size=8))
def test_the_nearest_other_length_with_and_without_its_holder(lengths: list[int]) -> None:
    found = self_bleu_module.nearest(np.array(lengths))
    for row, own in enumerate(lengths):
        others = {other: length for other, length in enumerate(lengths) if other != row}
        expected = min(others.values(), key=lambda length: (abs(length - own), length))
        assert found.length[row] == expected == others.pop(int(found.holder[row]))
        assert found.otherwise[row] == min(others.values(), key=lambda length: (abs(length - own), length))


def test_self_bleu_leaves_out_short_rows_and_refuses_few() -> None:
    texts = _zipf_texts(0, n=20, types=30)
    estimate = _estimate(SELF_BLEU, [*texts, [1, 2, 3], [4]])
    assert estimate.value == pytest.approx(np.mean(_self_bleu(texts)))
    assert estimate.detail["rows_too_short"] == 2
    with pytest.raises(ConfigError, match="at least 16"):
        _estimate(SELF_BLEU, [*texts[:15], [1, 2, 3]])


@QUICK
@given(st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=9), min_size=2, max_size=6), st.sampled_from([2, 3]))
def test_ngram_entropy_is_scipys_entropy_of_the_pooled_counts(texts: Texts, order: int) -> None:
    metric = {2: NGRAM_ENTROPY_2, 3: NGRAM_ENTROPY_3}[order]
    if sum(len(text) >= order for text in texts) < 2:
        with pytest.raises(ConfigError, match="too few rows"):
            _estimate(metric, texts)
        return
    counts = Counter(chain.from_iterable(_grams(text, order) for text in texts))
    estimate = _estimate(metric, texts)
    assert estimate.value == pytest.approx(entropy(list(counts.values())), abs=1e-12)
    assert estimate.low <= estimate.value <= estimate.high <= math.log(counts.total()) + 1e-12


def test_closed_forms_of_equiprobable_tokens() -> None:
    once = np.arange(40).reshape(4, 10).tolist()
    assert _estimate(NGRAM_ENTROPY_2, once).value == pytest.approx(math.log(36))
    assert _estimate(NGRAM_ENTROPY_3, once).value == pytest.approx(math.log(32))
    assert _estimate(EAD, once).value == pytest.approx(40 / (VOCABULARY * (1 - (1 - 1 / VOCABULARY) ** 40)))
    assert _estimate(ZIPF, [list(range(60))] * 16).value == 0.0
    assert _estimate(NEAR_DUPLICATES, once).value == 0.0


def test_expected_distinct_is_the_mean_of_uniform_draws() -> None:
    rng = np.random.default_rng(0)
    drawn = [len(np.unique(rng.integers(0, 50, 80))) for _ in range(4000)]
    assert expected_distinct(80, 50) == pytest.approx(np.mean(drawn), abs=4 * np.std(drawn) / math.sqrt(4000))
    # So EAD of uniform tokens is 1 at every length, where distinct-1 falls.
    for n in (20, 80):
        assert _estimate(EAD, rng.integers(0, VOCABULARY, (n, 200)).tolist()).value == pytest.approx(1.0, abs=0.01)


@QUICK
@given(FEW)
def test_the_jackknife_of_ead_equals_recounting(texts: Texts) -> None:
    from elfbench.statistics.jackknife import jackknife

    def counted(some: Texts) -> float:
        return len(set(chain(*some))) / float(expected_distinct(sum(map(len, some))))

    expected = jackknife(counted(texts), [counted(texts[:i] + texts[i + 1 :]) for i in range(len(texts))])
    estimate = _estimate(EAD, texts)
    assert estimate.value == pytest.approx(expected.value)
    assert estimate.low == pytest.approx(max(0.0, expected.low), abs=1e-9)


@pytest.mark.parametrize("exponent", [0.0, 0.7, 1.0, 1.6])
def test_the_zipf_exponent_of_an_exact_law_is_its_own(exponent: float) -> None:
    ranks = np.arange(10, 800)
    assert zipf.zipf_exponent(ranks**-exponent, first=10) == pytest.approx(exponent, abs=1e-8)


def test_the_zipf_exponent_maximizes_the_likelihood_and_its_jackknife_ranks_anew() -> None:
    texts = _zipf_texts(1, n=20)

    def fitted(some: Texts) -> float:
        counts = np.array(sorted(Counter(chain(*some)).values(), reverse=True)[9:5000])
        logs = np.log(np.arange(10, 10 + len(counts)))
        loss = minimize_scalar(
            lambda s: s * counts @ logs + counts.sum() * np.log(np.exp(-s * logs).sum()),
            bounds=(0, 5),
            method="bounded",
            options={"xatol": 1e-9},
        )
        return float(loss.x)

    value = _estimate(ZIPF, texts).value
    assert value == pytest.approx(fitted(texts), abs=1e-5)
    found = zipf.leave_one_out(ngrams([np.array(text) for text in texts], 1), value)
    assert found == pytest.approx([fitted(texts[:i] + texts[i + 1 :]) for i in range(len(texts))], abs=1e-5)


def test_zipf_keeps_only_ranks_that_can_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = _zipf_texts(2, n=20)
    monkeypatch.setattr(zipf, "LAST_RANK", 40)
    found = zipf.leave_one_out(ngrams([np.array(text) for text in texts], 1), 1.0)
    for row in (0, 7):
        counts = np.array(sorted(Counter(chain(*texts[:row], *texts[row + 1 :])).values(), reverse=True)[9:40])
        assert found[row] == pytest.approx(zipf.zipf_exponent(counts, first=10), abs=1e-8)


def test_zipf_refuses_too_few_types() -> None:
    with pytest.raises(ConfigError, match="too few distinct tokens"):
        _estimate(ZIPF, [list(range(49))] * 20)


@QUICK
@given(st.lists(st.integers(0, 4), min_size=1, max_size=20), st.integers(1, 20))
def test_the_moving_ratio_is_that_of_walked_windows(text: list[int], window: int) -> None:
    if window > len(text):
        window = len(text)
    walked = [len(set(text[place : place + window])) / window for place in range(len(text) - window + 1)]
    assert moving_ratio(np.array(text), window) == pytest.approx(np.mean(walked), abs=1e-12)


def test_mattr_does_not_depend_on_length_and_counts_short_rows() -> None:
    rng = np.random.default_rng(6)
    short, long = (rng.integers(0, 100, (40, length)).tolist() for length in (60, 600))
    expected = 100 * (1 - 0.99**50) / 50
    for texts in (short, long):
        estimate = _estimate(MATTR, [*texts, [1, 2, 3]])
        assert estimate.value == pytest.approx(expected, abs=0.02)
        assert estimate.detail["rows_too_short"] == 1
    with pytest.raises(ConfigError, match="50 or more tokens"):
        _estimate(MATTR, [short[0], short[1][:49]])


def _with_copies(seed: int, changed: int) -> Texts:
    """40 random texts of 104 tokens (100 5-grams), the last 10 copies of the first with `changed` last tokens new."""
    texts = np.random.default_rng(seed).integers(0, 5000, (40, 104))
    texts[30:] = texts[:10]
    texts[30:, 104 - changed :] += 5000
    return texts.tolist()


def test_planted_near_duplicates_are_found_and_others_are_not() -> None:
    # k changed last tokens leave 100 - k of 100 + k: 0.82 at 10, 0.79 at 12.
    found = _estimate(NEAR_DUPLICATES, _with_copies(0, 10))
    assert found.value == 20 / 40
    assert found.detail["rows_with_a_near_duplicate"] == 20
    for seed in range(5):
        assert _estimate(NEAR_DUPLICATES, _with_copies(seed, 12)).value == 0.0


def test_minhash_estimates_jaccard_and_rarely_overlooks_a_pair() -> None:
    texts = _with_copies(3, 30)
    grams = ngrams([np.array(text) for text in texts], 5)
    runs = [near_duplicates.signatures(grams, rng=np.random.default_rng(seed)) for seed in range(20)]
    agreement = np.mean([(run[0] == run[30]).mean() for run in runs])
    sets = [set(_grams(text, 5)) for text in texts]
    jaccard = len(sets[0] & sets[30]) / len(sets[0] | sets[30])
    assert agreement == pytest.approx(jaccard, abs=4 * math.sqrt(jaccard * (1 - jaccard) / 128 / 20))
    least = math.ceil(near_duplicates.PROPOSED * near_duplicates.HASHES)
    assert binom.cdf(least - 1, near_duplicates.HASHES, near_duplicates.THRESHOLD) < 0.003


@QUICK
@given(st.lists(st.integers(0, 4), min_size=3, max_size=9))
def test_near_duplicates_without_a_row_equal_counting_again(kinds: list[int]) -> None:
    from elfbench.statistics.jackknife import jackknife

    texts = [list(range(10 * kind, 10 * kind + 9)) for kind in kinds]

    def share(some: list[int]) -> float:
        return float(np.mean([Counter(some)[kind] > 1 for kind in some]))

    expected = jackknife(share(kinds), [share(kinds[:i] + kinds[i + 1 :]) for i in range(len(kinds))])
    estimate = _estimate(NEAR_DUPLICATES, texts)
    assert estimate.value == share(kinds)
    assert estimate.low == pytest.approx(max(0.0, expected.low))
    assert estimate.high == pytest.approx(min(1.0, expected.high))


def test_compression_finds_the_entropy_of_incompressible_tokens_and_repetition_across_rows() -> None:
    rng = np.random.default_rng(0)
    bits = _estimate(COMPRESSION_RATIO, rng.integers(0, 2**12, (60, 400)).tolist()).detail["bits_per_token"]
    assert 12.0 < float(bits) < 14.5
    # 40 rows of 4 kB: copies lie 160 kB apart, beyond gzip's window.
    rows = rng.integers(0, 2**12, (40, 1000)).tolist()
    once, twice = (compression.ratio([np.array(row) for row in texts]) for texts in (rows, rows + rows))
    assert 1.9 < twice / once < 2.05
    with pytest.raises(ConfigError, match="too few rows"):
        _estimate(COMPRESSION_RATIO, rows[:39])


@pytest.mark.parametrize("metric", ON_TOKENS, ids=lambda metric: metric.name)
def test_neither_order_nor_names_nor_padding_nor_batches_matter(metric: Metric) -> None:
    texts = _zipf_texts(4)
    rng = np.random.default_rng(5)
    known = _estimate(metric, texts)
    shuffled = _estimate(metric, [texts[place] for place in rng.permutation(len(texts))])
    padded = np.full((len(texts), 90), -1, order="F")
    padded[:, :60] = texts
    views = _rows(texts)
    views.columns["ids"][:] = [row[:60] for row in padded]
    cut = metric.estimate(views, None, EstimateContext())
    halves = [_rows(half).columns["ids"] for half in (texts[:7], texts[7:])]
    views.columns["ids"][:] = [*halves[0], *halves[1]]
    joined = metric.estimate(views, None, EstimateContext())
    increasing = np.sort(rng.integers(0, 2**62, 400))
    renamed = _estimate(metric, increasing[np.array(texts)].tolist())
    for other in (shuffled, cut, joined, renamed):
        assert (other.value, other.low, other.high) == pytest.approx((known.value, known.low, known.high), rel=1e-9)
    assert known.low <= known.value <= known.high
    assert known == _estimate(metric, texts)


@pytest.mark.parametrize("seed", [0, 1])
def test_what_doubling_all_rows_does(seed: int) -> None:
    texts = _zipf_texts(seed)
    for metric in (NGRAM_ENTROPY_2, NGRAM_ENTROPY_3, ZIPF, MATTR):
        assert _estimate(metric, texts + texts).value == pytest.approx(_estimate(metric, texts).value, abs=1e-9)
    assert _estimate(SELF_BLEU, texts + texts).value == pytest.approx(100.0)
    assert _estimate(NEAR_DUPLICATES, texts + texts).value == 1.0
    assert _estimate(EAD, texts + texts).value < 0.6 * _estimate(EAD, texts).value
    assert _estimate(COMPRESSION_RATIO, texts + texts).value > 1.3 * _estimate(COMPRESSION_RATIO, texts).value


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 1000))
def test_another_row_raises_nobodys_distance_from_the_others(seed: int) -> None:
    texts = _zipf_texts(seed, n=20, length=12, types=40)
    ids = [np.array(text) for text in texts]
    fewer, more = (self_bleu_module.self_bleu_rows(some)[0][:19] for some in (ids[:19], ids))
    assert (more >= fewer - 1e-9).all()
    tiled = [texts[0]] * 3 + texts[3:]
    assert _estimate(NEAR_DUPLICATES, tiled).value >= 3 / 20
    assert _estimate(EAD, tiled).value <= _estimate(EAD, texts).value


@pytest.mark.parametrize("metric", ON_TOKENS, ids=lambda metric: metric.name)
def test_intervals_have_the_width_of_repeated_sampling(metric: Metric) -> None:
    if metric is NEAR_DUPLICATES:

        def draw(seed: int) -> Texts:
            rng = np.random.default_rng(seed)
            return [list(range(9 * kind, 9 * kind + 9)) for kind in rng.integers(0, 60, 60)]
    else:

        def draw(seed: int) -> Texts:
            return _varied(seed)

    _assert_width(metric, draw)


def _varied(seed: int) -> Texts:
    """Rows that differ in how much they repeat themselves, as texts do."""
    rng = np.random.default_rng(seed)
    weights = 1.0 / np.arange(1, 201)
    weights /= weights.sum()
    rows = []
    for spread in rng.uniform(0.3, 1.0, 50):
        words = rng.choice(200, 60, p=weights)
        rows.append(np.where(rng.random(60) < spread, words, words[0]).tolist())
    return rows


def _assert_width(metric: Metric, draw: Callable[[int], Texts]) -> None:
    runs = [_estimate(metric, draw(seed)) for seed in range(60)]
    spread = np.std([run.value for run in runs], ddof=1)
    claimed = np.mean([(run.high - run.low) / 2 / 2.0 for run in runs])
    # Subsampling has nine degrees of freedom: its interval is wider by t(9) / t(49). Near-duplicates are pairs, of which
    # the jackknife's variance is too large (Efron and Stein 1981), by up to a factor of 4 where pairs are rare.
    assert 0.7 < claimed / spread < (2.8 if metric is NEAR_DUPLICATES else 1.8)


@pytest.mark.parametrize("metric", ON_TOKENS, ids=lambda metric: metric.name)
def test_registered_with_a_fingerprint_and_a_least_number_of_rows(metric: Metric) -> None:
    assert catalog.metrics().get(metric.name) is metric
    assert metric.parameters
    assert metric.min_rows >= 2
    with pytest.raises(ConfigError):
        _estimate(metric, [[1, 2, 3, 4, 5, 6]])
