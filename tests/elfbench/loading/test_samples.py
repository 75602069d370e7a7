from __future__ import annotations

import csv
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from elfbench.core.errors import ConfigError
from elfbench.loading.samples import load_texts

TEXTS = ["plain", "<b>html</b>", "=1+1", "two\nlines", "", "\u2028 separator"]


def test_every_kind_of_file_gives_the_same_texts(tmp_path: Path) -> None:
    (tmp_path / "s.jsonl").write_text(
        "".join(json.dumps({"generated": text}, ensure_ascii=False) + "\n" for text in TEXTS), encoding="utf-8"
    )
    (tmp_path / "s.json").write_text(json.dumps(TEXTS))
    pq.write_table(pa.table({"text": TEXTS}), tmp_path / "s.parquet")
    with (tmp_path / "s.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, ["text"])
        writer.writeheader()
        writer.writerows({"text": text} for text in TEXTS)
    for suffix in ("jsonl", "json", "parquet", "csv"):
        assert load_texts(tmp_path / f"s.{suffix}") == TEXTS, suffix


def test_text_comes_before_generated_and_field_before_both(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    path.write_text(json.dumps({"text": "a", "generated": "b", "out": "c"}))
    assert load_texts(path) == ["a"]
    assert load_texts(path, "out") == ["c"]


@pytest.mark.parametrize(
    ("content", "field", "hint"),
    [
        ('{"text": 1}', None, "--field"),
        ('{"txt": "a"}', "text", "did you mean 'txt'"),
        ("{", None, "line 1"),
        ("", None, "without rows"),
        ("3", None, "neither a text nor an object"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, content: str, field: str | None, hint: str) -> None:
    path = tmp_path / "s.jsonl"
    path.write_text(content)
    with pytest.raises(ConfigError, match=hint):
        load_texts(path, field)


def test_missing_and_unknown_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such samples file"):
        load_texts(tmp_path / "none.jsonl")
    (tmp_path / "s.docx").write_text("")
    with pytest.raises(ConfigError, match=r"\.jsonl"):
        load_texts(tmp_path / "s.docx")
