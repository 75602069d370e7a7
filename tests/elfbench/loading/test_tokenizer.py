from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elfbench.core.errors import ConfigError
from elfbench.loading.tokenizer import END_OF_TEXT, ByteTokenizer, packaged


@given(st.text())
def test_byte_level_bpe_is_lossless(text: str) -> None:
    tokenizer = packaged("sotu-bpe2k")
    assert tokenizer.decode(tokenizer.encode(text), specials=True) == text


def test_size_and_end_of_text() -> None:
    tokenizer = packaged("sotu-bpe2k")
    assert tokenizer.vocab_size == 2048
    assert tokenizer.decode([0], specials=True) == END_OF_TEXT
    assert tokenizer.decode([0]) == ""


@pytest.mark.parametrize("kind", ["bpe", "bytes"])
def test_final_view_is_cut_at_the_first_end_after_position_0(kind: str) -> None:
    tokenizer = packaged("sotu-bpe2k") if kind == "bpe" else ByteTokenizer()
    a, b = tokenizer.encode("abc"), tokenizer.encode("xyz")
    final, raw = tokenizer.final_and_raw(np.concatenate([[0], a, [0], b]))
    assert final == "abc"
    assert raw == f"{END_OF_TEXT}abc{END_OF_TEXT}xyz"


def test_an_unknown_tokenizer_is_told() -> None:
    with pytest.raises(ConfigError, match="sotu-bpe2k"):
        packaged("sotu-bpe")
