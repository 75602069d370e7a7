from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elfbench.core.errors import ConfigError
from elfbench.judges.measuring import open_tokenizer
from elfbench.spec.instruments import MeasuringTokenizer

JUDGE = Path(__file__).resolve().parents[2] / "golden" / "metrics" / "judge"
TOKENIZERS = {name: open_tokenizer(name) for name in ("words", str(JUDGE))}
any_text = st.text(alphabet=st.one_of(st.sampled_from("ab cé😀\u0301’.,1\n\t"), st.characters()), max_size=40)
any_tokenizer = st.sampled_from(sorted(TOKENIZERS)).map(TOKENIZERS.__getitem__)


@settings(max_examples=150, deadline=None)
@given(any_tokenizer, st.lists(any_text, max_size=4), st.integers(1, 12))
def test_limits_are_prefixes_and_cuts_are_prefixes(
    tokenizer: MeasuringTokenizer, texts: list[str], window: int
) -> None:
    whole, limited = tokenizer.encode(texts), tokenizer.encode(texts, limit=window)
    for text, ids, first, cut in zip(texts, whole, limited, tokenizer.truncate(texts, window), strict=True):
        assert ids.dtype == first.dtype == np.int64
        assert first.tolist() == ids[:window].tolist()
        assert text.startswith(cut)
        if len(ids) <= window:
            assert cut == text


@settings(max_examples=150, deadline=None)
@given(any_tokenizer, st.lists(any_text, min_size=2, max_size=4), st.integers(1, 12))
def test_a_text_has_the_same_tokens_alone_and_among_others(
    tokenizer: MeasuringTokenizer, texts: list[str], window: int
) -> None:
    for text, ids, cut in zip(texts, tokenizer.encode(texts), tokenizer.truncate(texts, window), strict=True):
        assert tokenizer.encode([text])[0].tolist() == ids.tolist()
        assert tokenizer.truncate([text], window) == [cut]


@settings(max_examples=150, deadline=None)
@given(any_text, st.integers(1, 12))
def test_words_of_a_cut_text_are_its_first_words(text: str, window: int) -> None:
    words = TOKENIZERS["words"]
    cut = words.truncate([text], window)
    assert words.encode(cut)[0].tolist() == words.encode([text], limit=window)[0].tolist()
    assert words.truncate(cut, window) == cut


def test_words_are_words_and_single_marks_with_stable_ids() -> None:
    words = TOKENIZERS["words"]
    first, second = words.encode(["The year 1990, the year!!", "the The"])
    assert len(first) == 8
    assert first[0] == second[1]
    assert first[4] == second[0]
    assert first[-1] == first[-2]
    assert (first >= 0).all()
    assert words.encode(["the"])[0].tolist() == [6682135403314728525]
    assert words.truncate(["One,  two. "], 2) == ["One,"]
    assert len(words.digest) == 64


def test_a_character_split_over_the_edge_is_left_out() -> None:
    tokenizer = TOKENIZERS[str(JUDGE)]
    text = "small 😀 cat"
    counts = [len(ids) for ids in tokenizer.encode(["small ", "small 😀"])]
    assert counts[1] - counts[0] > 1, "the tiny tokenizer must split this character"
    for window in range(counts[0], counts[1]):
        assert tokenizer.truncate([text], window)[0].rstrip() == "small"
    assert tokenizer.truncate([text], counts[1]) == ["small 😀"]


def test_lone_surrogates_do_not_break_tokenizers() -> None:
    for tokenizer in TOKENIZERS.values():
        assert len(tokenizer.encode(["a \ud800 b"])[0]) >= 3
        assert "a \ud800 b".startswith(tokenizer.truncate(["a \ud800 b"], 2)[0])


def test_what_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such measuring tokenizer") as refused:
        open_tokenizer("wurds")
    assert "words" in str(refused.value)
    with pytest.raises(ConfigError, match=r"no tokenizer\.json"):
        open_tokenizer(str(tmp_path))
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ConfigError, match="cannot read"):
        open_tokenizer(tmp_path).encode(["a"])


def test_names_and_digests() -> None:
    tokenizer = TOKENIZERS[str(JUDGE)]
    assert tokenizer.name == "judge"
    assert tokenizer.digest != TOKENIZERS["words"].digest
