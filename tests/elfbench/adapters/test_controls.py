from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest

from elfbench.adapters import sotu
from elfbench.adapters.adversarial import NGRAM_COPY, PREDICTABLE_NONSENSE
from elfbench.adapters.controls import PHRASE_BANK, REAL_TEXT, SHUFFLED, TILED
from elfbench.adapters.ngram import BIGRAM, TRIGRAM, UNIGRAM, NgramEntry, build_index
from elfbench.core.errors import ConfigError
from elfbench.core.seeds import row_seeds
from elfbench.running.sample import sample_request
from elfbench.spec.sampling import SampleRequest


def _request(n: int, length: int = 64, **options: object) -> SampleRequest:
    return SampleRequest(tuple(range(n)), row_seeds(0, 0, n), length, options=options)  # type: ignore[arg-type]


def test_real_text_is_the_window_of_the_row() -> None:
    batch = REAL_TEXT.load().sample(_request(5))
    assert np.array_equal(batch.tokens, sotu.pinned_windows("heldout", 64)[:5])
    assert batch.nfe.tolist() == [0] * 5
    assert batch.raw_texts[0].startswith(batch.texts[0])


def test_real_text_of_other_years_is_the_validation_split() -> None:
    batch = REAL_TEXT.load().sample(_request(5, split="validation"))
    assert np.array_equal(batch.tokens, sotu.pinned_windows("validation", 64)[:5])
    with pytest.raises(ConfigError, match="validation"):
        REAL_TEXT.load().sample(_request(1, split="train"))


def test_more_rows_than_windows_is_an_error() -> None:
    count = len(sotu.pinned_windows("heldout", 1024))
    request = SampleRequest((count,), (1,), 1024)
    with pytest.raises(ConfigError, match=f"<= {count} at length 1024"):
        REAL_TEXT.load().sample(request)


def test_shuffled_keeps_the_words_and_loses_their_order() -> None:
    real, shuffled = REAL_TEXT.load().sample(_request(8)), SHUFFLED.load().sample(_request(8))
    for before, after in zip(real.texts, shuffled.texts, strict=True):
        assert before != after
        kept = Counter(before.split()) & Counter(after.split())
        assert kept.total() > 0.75 * len(before.split())


def test_phrases_are_real_and_what_joins_them_is_not() -> None:
    windows = sotu.pinned_windows("heldout", 64)
    texts = "\n".join(" ".join(sotu.tokenizer().decode(row).split()) for row in windows)
    joined = []
    for text in PHRASE_BANK.load().sample(_request(16, words=4)).texts:
        # The last phrase may be cut by the row's end.
        words = text.split()[:-4]
        phrases = [" ".join(words[i : i + 4]) for i in range(0, len(words) - 3, 4)]
        assert len(phrases) >= 6
        assert all(phrase in texts for phrase in phrases)
        joined += [f"{one} {then}" in texts for one, then in itertools.pairwise(phrases)]
    assert np.mean(joined) < 0.02


def test_tiled_repeats_one_window() -> None:
    batch = TILED.load().sample(_request(4, window=3))
    assert len(set(batch.texts)) == 1
    assert np.array_equal(batch.tokens[0], sotu.pinned_windows("heldout", 64)[3])


def test_unigram_entropy_is_the_closed_form() -> None:
    """Mean negative log-probability of samples under the fitted frequencies estimates their entropy."""
    counts = np.bincount(sotu.pinned_windows("train", 64).reshape(-1), minlength=sotu.VOCAB_SIZE)
    probs = counts / counts.sum()
    log_probs = np.log(np.maximum(probs, 1e-300))
    entropy = -float((probs * log_probs).sum())
    nll = -log_probs[UNIGRAM.load().sample(_request(512)).tokens].mean(axis=1)
    error = nll.std(ddof=1) / math.sqrt(len(nll))
    assert abs(float(nll.mean()) - entropy) < 4 * error
    assert error < 0.02


def _followers(windows: np.ndarray) -> dict[tuple[int, ...], Counter[int]]:
    """How often each token follows each context of 0, 1 and 2 tokens."""
    counts: dict[tuple[int, ...], Counter[int]] = {}
    for row in windows.tolist():
        for position, token in enumerate(row):
            for k in range(min(2, position) + 1):
                counts.setdefault(tuple(row[position - k : position]), Counter())[token] += 1
    return counts


def _law(counts: dict[tuple[int, ...], Counter[int]], backoff: float, context: tuple[int, ...]) -> np.ndarray:
    """Next-token law [256] after `context` by the definition: the longest seen context, mixed with one order lower."""
    lower = _law(counts, backoff, context[1:]) if context else np.zeros(256)
    if context not in counts:
        return lower
    own = np.zeros(256)
    own[list(counts[context])] = list(counts[context].values())
    return own / own.sum() if not context else (1 - backoff) * own / own.sum() + backoff * lower


@pytest.mark.parametrize(("entry", "order"), [(BIGRAM, 2), (TRIGRAM, 3)])
def test_ngram_nll_is_the_closed_form_given_its_contexts(entry: NgramEntry, order: int) -> None:
    """On a toy language: the surprise of samples under the model's exact law equals that law's entropy, in the mean."""
    toy = entry.toy(0)
    counts = _followers(sotu.toy_windows(0, 32))
    batch = toy.sample(_request(300, length=6, backoff=0.3))
    laws: dict[tuple[int, ...], np.ndarray] = {}
    surprise, entropy = [], []
    for row in batch.tokens.tolist():
        for position in range(len(row)):
            context = tuple(row[max(0, position - order + 1) : position])
            law = laws.setdefault(context, _law(counts, 0.3, context))
            surprise.append(-math.log(law[row[position]]))
            entropy.append(-float((law[law > 0] * np.log(law[law > 0])).sum()))
    gap = np.array(surprise) - np.array(entropy)
    assert abs(gap.mean()) < 4 * gap.std(ddof=1) / math.sqrt(len(gap))
    assert np.mean(entropy) > 0.1


def test_context_index_draws_every_follower_evenly() -> None:
    index = build_index(np.array([[1, 2, 3], [1, 2, 4], [5, 2, 3]]), 2, 10)
    tokens, seen = index.draw(np.array([2, 2, 2, 7]), np.array([0.0, 0.4, 0.99, 0.5]))
    assert sorted(tokens[:3].tolist()) == [3, 3, 4]
    assert seen.tolist() == [True, True, True, False]


@pytest.mark.parametrize(
    "entry",
    [REAL_TEXT, SHUFFLED, PHRASE_BANK, TILED, UNIGRAM, BIGRAM, TRIGRAM, NGRAM_COPY, PREDICTABLE_NONSENSE],
    ids=lambda entry: entry.card.name,
)
def test_rows_do_not_depend_on_the_batch(entry: object) -> None:
    model = entry.load()  # type: ignore[attr-defined]
    whole = model.sample(_request(64)).tokens
    for size in (1, 8):
        parts = [model.sample(_request(64).part(start, start + size)).tokens for start in range(0, 64, size)]
        assert np.array_equal(np.concatenate(parts), whole)


def test_requests_are_checked_against_the_card() -> None:
    card = UNIGRAM.card
    for arguments, hint in (
        ((0, None, 0, None, {}), "at least one row"),
        ((1, None, 0, 99999, {}), "1 .. 1024"),
        ((1, None, 0, -4, {}), "tokens"),
        ((1, None, -1, None, {}), "seed"),
    ):
        with pytest.raises(ConfigError, match=hint):
            sample_request(card, *arguments)  # type: ignore[arg-type]
