from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from elfbench.adapters import sotu
from elfbench.adapters.adversarial import NGRAM_COPY, PREDICTABLE_NONSENSE, frequent_trigrams
from elfbench.core.seeds import row_seeds
from elfbench.spec.sampling import SampleRequest


def _request(n: int, length: int = 64, **options: object) -> SampleRequest:
    return SampleRequest(tuple(range(n)), row_seeds(0, 0, n), length, options=options)  # type: ignore[arg-type]


def _spelled(ids: np.ndarray) -> str:
    """One character an id, so that a run of ids is a substring."""
    return "".join(map(chr, ids.tolist()))


@pytest.mark.parametrize("span", [pytest.param(2, marks=pytest.mark.slow), 16, 1024])
def test_copies_are_runs_of_the_training_text_without_a_new_trigram(span: int) -> None:
    text = sotu.pinned_windows("train", 64).reshape(-1)
    spelled = _spelled(text)
    starts = []
    for row in NGRAM_COPY.load().sample(_request(6, span=span)).tokens:
        copies = [row[start : start + span] for start in range(0, len(row), span)]
        assert all(_spelled(copy) in spelled for copy in copies)
        assert all(_spelled(row[start : start + 3]) in spelled for start in range(len(row) - 2))
        starts.append(spelled.find(_spelled(row[:span])))
    assert len(set(starts)) == 6


def test_a_copy_goes_on_elsewhere() -> None:
    """Rows of several copies are no run of the training text."""
    spelled = _spelled(sotu.pinned_windows("train", 64).reshape(-1))
    rows = NGRAM_COPY.load().sample(_request(8, length=256, span=16)).tokens
    assert not any(_spelled(row) in spelled for row in rows)


def test_where_a_copy_goes_on_is_any_place_of_its_last_two_tokens() -> None:
    """On a text in which two tokens have two continuations, copies of two tokens take both evenly."""
    text = np.array([[1, 2, 3, 4, 1, 2, 5, 4]])
    draw = NGRAM_COPY.fit(text, sotu.toy_tokenizer())
    followers = Counter()
    for seed in row_seeds(0, 0, 2000):
        row = draw(seed, 4, {"span": 2})
        if row[:2].tolist() == [1, 2]:
            followers[tuple(row[2:].tolist())] += 1
    assert set(followers) == {(3, 4), (5, 4)}
    n = followers.total()
    assert abs(followers[3, 4] - n / 2) < 4 * (n / 4) ** 0.5


def test_the_most_frequent_trigrams_are_counted() -> None:
    texts = [" aa bb cc", " aa bb dd", " aa bb dd", "xx yy zz", "xx yy zz", "xx yy zz"]
    tokenizer = sotu.toy_tokenizer()
    windows = np.stack([np.resize(tokenizer.encode(text), 9) for text in texts])
    counts = Counter(text[i : i + 3] for text in map(tokenizer.decode, windows) for i in range(7))
    wanted = {text: n for text, n in counts.items() if text[0] == " " and text.strip().isalpha()}
    found = [tokenizer.decode(ids) for ids in frequent_trigrams(windows, tokenizer, 3)]
    assert found[0] in (" aa", " bb")
    assert [wanted[text] for text in found] == sorted(wanted.values(), reverse=True)[:3]
    assert set(wanted.values()) == {1, 2, 3}


def test_nonsense_repeats_frequent_phrases_of_whole_words() -> None:
    model = PREDICTABLE_NONSENSE.load()
    batch = model.sample(_request(32, cycle=4, pool=50))
    assert np.array_equal(batch.tokens[:, 12:], batch.tokens[:, :-12])
    assert len(set(batch.texts)) > 25
    phrases = {tuple(row[i : i + 3].tolist()) for row in batch.tokens for i in range(0, 12, 3)}
    assert 30 < len(phrases) <= 50
    assert all(text.replace(" ", "").isalpha() for text in batch.texts)
    alone = model.sample(_request(4, cycle=1, pool=1))
    assert set(alone.texts) == {alone.texts[0]}
