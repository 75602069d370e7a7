"""Packed windows against their rules: first and last id, the document stream as payload, and a held-out end."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elfbench.core.errors import ConfigError
from elfbench.loading.packing import pack_bos_eos, packed_windows, without_last
from elfbench.loading.tokenizer import packaged, train_byte_bpe, training_tokenizer
from elfbench.running.train import training_windows

EOS = 9
DOCUMENTS = st.lists(
    st.lists(st.integers(0, 8), max_size=7).map(lambda ids: np.array(ids, dtype=np.int64)), max_size=30
)


@given(DOCUMENTS, st.integers(3, 6))
def test_windows_are_the_document_stream_between_two_ends(documents: list[np.ndarray], length: int) -> None:
    found = pack_bos_eos(iter(documents), length=length, eos_id=EOS)
    assert (found[:, 0] == EOS).all()
    assert (found[:, -1] == EOS).all()
    stream = [int(token) for document in documents for token in (*document, EOS)]
    payload = found[:, 1:-1].ravel().tolist()
    assert payload == stream[: len(payload)]
    assert 0 <= len(stream) - len(payload) < length - 2
    assert found.shape[1] == length


def test_the_rest_of_a_thousand_documents_is_not_dropped() -> None:
    documents = [np.array([1, 2]) for _ in range(2001)]  # 6,003 ids with their ends: 1,500 windows of 4, and 3 left
    assert pack_bos_eos(documents, length=6, eos_id=EOS).shape == (1500, 6)


@given(st.lists(st.text(max_size=3)), st.integers(0, 8))
def test_the_last_documents_are_held_out(texts: list[str], holdout: int) -> None:
    assert list(without_last(iter(texts), holdout)) == texts[: max(0, len(texts) - holdout)]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    lines = [json.dumps({"text": f"Document {number} speaks of nothing but {number * 7}."}) for number in range(40)]
    (tmp_path / "corpus.jsonl").write_text("\n".join(lines))
    (tmp_path / "words").mkdir()
    train_byte_bpe(lines, 300, tmp_path / "words" / "tokenizer.json")
    return tmp_path


def test_a_file_and_a_folder_with_a_tokenizer_are_packed(corpus: Path) -> None:
    data = {
        "corpus": str(corpus / "corpus.jsonl"), "split": "all", "length": 16, "pack": "bos_eos", "holdout": 10,
        "tokenizer": str(corpus / "words"),
    }  # fmt: skip
    found = training_windows(data)
    tokenizer = training_tokenizer(str(corpus / "words"))
    text = tokenizer.decode(found[:, 1:-1].ravel(), specials=True)
    assert text.startswith("Document 0 speaks of nothing but 0.<|endoftext|>Document 1 speaks of nothing but 7.")
    assert "Document 29 " in text
    assert "Document 30" not in text
    assert (found[:, [0, -1]] == tokenizer.eos_id).all()


def test_a_saved_data_set_is_packed(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    rows = datasets.Dataset.from_dict({"text": ["We the people of the United States"] * 12})
    datasets.DatasetDict({"train": rows}).save_to_disk(str(tmp_path / "set"))
    found = packed_windows(f"datasets:{tmp_path / 'set'}", "train", "sotu-bpe2k", 12, holdout=2)
    ids = packaged("sotu-bpe2k").encode("We the people of the United States").tolist()
    stream = [*ids, 0] * 10
    assert found[:, 1:-1].ravel().tolist() == stream[: len(stream) // 10 * 10]


def test_what_cannot_be_packed_is_told(corpus: Path) -> None:
    data = {"corpus": str(corpus / "corpus.jsonl"), "split": "all", "length": 16, "pack": "bos_eos"}
    with pytest.raises(ConfigError, match=r"data\.pack(.|\n)*found: +eos(.|\n)*bos_eos"):
        training_windows({**data, "pack": "eos"})
    with pytest.raises(ConfigError, match=r"data\.holdout(.|\n)*-1"):
        training_windows({**data, "holdout": -1})
    with pytest.raises(ConfigError, match=r"data\.holdout(.|\n)*pack: bos_eos"):
        training_windows({"corpus": "oracle", "length": 16, "holdout": 1})
    with pytest.raises(ConfigError, match="a corpus with no windows"):
        training_windows({**data, "holdout": 40})
    with pytest.raises(ConfigError, match=r"data\.length(.|\n)*2"):
        training_windows({**data, "length": 2})
    with pytest.raises(ConfigError, match=r"data\.tokenizer(.|\n)*put the tokenizer\.json into a folder gpt-none"):
        training_windows({**data, "tokenizer": "gpt-none"})
