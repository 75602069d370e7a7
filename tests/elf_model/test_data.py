"""Windows from data sets, against rows laid out by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from elf_model.data import DataRecipe, TextTokenizer, TokenRows, load_windows, open_table, pack

datasets = pytest.importorskip("datasets")


class Letters:
    """a is 2, b is 3, ...; 0 is padding and 1 the end of a text, as in T5."""

    def __call__(self, texts: list[str], **options: object) -> dict[str, list[list[int]]]:
        assert options["add_special_tokens"] is False
        return {"input_ids": [[ord(letter) - ord("a") + 2 for letter in text] for text in texts]}


TOKENS = TextTokenizer(Letters(), 0, 1)


def jsonl(path: Path, *rows: dict[str, object]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_documents_are_packed_with_an_end_each_and_the_rest_is_dropped() -> None:
    packed = pack([[5, 6], [7], [8, 9, 10, 11]], length=3, eos_id=1)
    assert packed.tolist() == [[5, 6, 1], [7, 1, 8], [9, 10, 11]]
    assert pack([[5, 6], [7]], length=2, eos_id=None).tolist() == [[5, 6]]
    assert pack([[5]], length=2, eos_id=None).shape == (0, 2)


def test_text_becomes_packed_windows(tmp_path: Path) -> None:
    corpus = jsonl(tmp_path / "text.jsonl", {"text": "ab"}, {"text": "cde"})
    windows = load_windows(DataRecipe(corpus=corpus, length=3), tokens=TOKENS)
    assert isinstance(windows, np.ndarray)
    assert windows.tolist() == [[2, 3, 1], [4, 5, 6]]
    with pytest.raises(ValueError, match="less than 99 tokens"):
        load_windows(DataRecipe(corpus=corpus, length=99), tokens=TOKENS)
    with pytest.raises(ValueError, match=r"--set data.tokenizer=FOLDER"):
        load_windows(DataRecipe(corpus=corpus, length=3), tokens=None)


@pytest.mark.parametrize(("policy", "filler"), [("pad", 0), ("eos", 1)])
def test_conditions_and_targets_are_laid_out_as_the_authors_do(tmp_path: Path, policy: str, filler: int) -> None:
    """condition[:max_input_length] ++ target, cut at the length, filled on the right; a long target survives."""
    corpus = jsonl(
        tmp_path / "pairs.jsonl",
        {"input": "abcdef", "output": "xy"},  # the condition is cut to 3
        {"input": "a", "output": "uvwxyz"},  # the target is cut to 5, not to 6 - 3
        {"input": "ab", "output": "z"},
    )
    data = DataRecipe(corpus=corpus, length=6, max_input_length=3, pad_token=policy)  # type: ignore[arg-type]
    rows = load_windows(data, tokens=TOKENS)
    assert isinstance(rows, TokenRows)
    columns = rows.take(np.array([2, 0, 1]))
    f, u = filler, 22
    assert isinstance(columns, dict)
    assert columns["ids"].tolist() == [[2, 3, 27, f, f, f], [2, 3, 4, 25, 26, f], [2, u, u + 1, u + 2, u + 3, u + 4]]
    assert columns["attention_mask"].sum(axis=1).tolist() == [3, 5, 6]
    assert columns["prefix_mask"].sum(axis=1).tolist() == [2, 3, 1]
    assert bool((columns["prefix_mask"] <= columns["attention_mask"]).all())


def test_a_row_without_a_target_is_refused_where_padding_does_not_count(tmp_path: Path) -> None:
    corpus = jsonl(tmp_path / "pairs.jsonl", {"input": "abc", "output": ""})
    for policy, refused in (("pad", True), ("eos", False)):
        rows = load_windows(
            DataRecipe(corpus=corpus, length=6, max_input_length=3, pad_token=policy),  # type: ignore[arg-type]
            tokens=TOKENS,
        )
        assert isinstance(rows, TokenRows)
        if refused:
            with pytest.raises(ValueError, match=r"row 0 of .* has no target token"):
                rows.take(np.array([0]))
        else:
            assert rows.take(np.array([0]))["ids"].shape == (1, 6)  # type: ignore[index]


def test_tokenized_sets_are_taken_as_they_are(tmp_path: Path) -> None:
    """The authors' columns, in a folder that `datasets` saved: full rows are ids alone, short ones have a mask."""
    own = datasets.Dataset.from_dict({"input_ids": [[5, 6, 7], [8, 9, 10, 11], [12]]})
    own.save_to_disk(str(tmp_path / "plain"))
    rows = load_windows(DataRecipe(corpus=str(tmp_path / "plain"), length=3), tokens=TOKENS)
    assert isinstance(rows, TokenRows)
    full, short = rows.take(np.array([1, 0])), rows.take(np.array([2, 0]))
    assert isinstance(full, np.ndarray)
    assert full.tolist() == [[8, 9, 10], [5, 6, 7]]
    assert isinstance(short, dict)
    assert short["ids"].tolist() == [[12, 0, 0], [5, 6, 7]]
    assert short["attention_mask"].tolist() == [[True, False, False], [True] * 3]
    pairs = datasets.DatasetDict(
        {"train": datasets.Dataset.from_dict({"input_ids": [[5]], "condition_input_ids": [[6, 7, 8]]})}
    )
    pairs.save_to_disk(str(tmp_path / "pairs"))
    own.save_to_disk(str(tmp_path / "upload" / "train"))
    assert len(open_table(str(tmp_path / "upload"))) == 3
    given = DataRecipe(corpus=str(tmp_path / "pairs"), length=4, max_input_length=2, pad_token="eos")
    columns = load_windows(given, tokens=TOKENS).take(np.array([0]))  # type: ignore[union-attr]
    assert columns["ids"].tolist() == [[6, 7, 5, 1]]
    with pytest.raises(ValueError, match=r"data.split is 'test'; .* has train"):
        open_table(str(tmp_path / "pairs"), split="test")


def test_files_that_datasets_reads_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "set").mkdir()
    datasets.Dataset.from_dict({"text": ["abc", "de"]}).to_parquet(str(tmp_path / "set" / "train.parquet"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    windows = load_windows(DataRecipe(corpus=str(tmp_path / "set"), length=3), tokens=TOKENS)
    assert isinstance(windows, np.ndarray)
    assert windows.tolist() == [[2, 3, 4], [1, 5, 6]]


def test_what_is_not_at_hand_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"data.corpus is 'a/b', which is no folder and is not at hand; .*--allow-download"
    ):
        open_table("a/b")
    with pytest.raises(ValueError, match="there is no such file"):
        open_table(str(tmp_path / "no.jsonl"))
    corpus = jsonl(tmp_path / "other.jsonl", {"body": "ab"})
    with pytest.raises(ValueError, match=r"data.target_column: the set has no column input_ids or text.*it has body"):
        load_windows(DataRecipe(corpus=corpus, length=2), tokens=TOKENS)
    assert load_windows(DataRecipe(corpus=corpus, length=2, target_column="body"), tokens=TOKENS).shape == (1, 2)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"corpus": "x"}, "data.length is missing"),
        ({"corpus": "x", "length": 4, "tokeniser": "y"}, "unknown key data.tokeniser; .*did you mean 'tokenizer'"),
        ({"corpus": "x", "length": 4, "max_input_length": 4}, r"data.max_input_length is 4; allowed: 1 .. 3"),
        ({"corpus": "x", "length": 4, "pad_token": "bos"}, "data.pad_token is 'bos'; allowed: pad, eos"),
        ({"corpus": "x", "length": 0}, "data.length is 0"),
    ],
)
def test_wrong_data_recipes_are_named(content: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DataRecipe.from_dict(content)
