from __future__ import annotations

from pathlib import Path

import pytest

import elfbench
from elfbench.core.errors import ConfigError

TEXTS = [
    "the cat sat on the mat",
    "a dog ran in the park",
    "the cat sat on a dog",
    "<script>alert(1)</script> =1+1 \\input{x}",
]


def test_a_frame_with_an_interval_and_a_protocol_for_every_number() -> None:
    frame = elfbench.score(TEXTS, metrics=["distinct", "unigram_entropy"])
    assert frame["metric"].tolist() == ["distinct_1", "distinct_2", "distinct_3", "distinct_4", "unigram_entropy"]
    assert (frame["low"] <= frame["value"]).all()
    assert (frame["value"] <= frame["high"]).all()
    assert frame["n"].tolist() == [4] * 5
    assert frame["fingerprint"].str.len().tolist() == [64] * 5


def test_the_store_keeps_it_and_scores_again_without_the_file(tmp_path: Path) -> None:
    first = elfbench.score(TEXTS, metrics=["distinct_1"], out=tmp_path / "S", label="mine <b>")
    again = elfbench.score(TEXTS, metrics=["distinct_1"], out=tmp_path / "S", label="mine <b>")
    assert first.equals(again)
    store = elfbench.open(tmp_path / "S")
    (cell_id,) = store.cell_ids()
    assert store.cell(cell_id).model == "imported:mine <b>"
    assert store.rows(cell_id).texts == TEXTS


def test_empty_texts_are_counted_and_left_out() -> None:
    frame = elfbench.score([*TEXTS, "", "  "], metrics=["unigram_entropy"])
    assert frame["n"].item() == 4
    assert frame["n_dropped"].item() == 2
    assert frame["n_requested"].item() == 6


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        ({"metrics": ["distinctt"]}, "did you mean"),
        ({"metrics": ["gen_ppl"]}, "no judge was named"),
        ({"metrics": ["mauve"]}, "reference|featurizer"),
        ({"metrics": ["gen_ppl"], "judge": "smolm"}, "did you mean|unknown judge"),
    ],
)
def test_wrong_requests_leave_nothing_behind(tmp_path: Path, arguments: dict[str, object], hint: str) -> None:
    with pytest.raises(ConfigError, match=hint):
        elfbench.score(TEXTS, out=tmp_path / "S", **arguments)
    assert not (tmp_path / "S").exists()


def test_too_few_usable_texts_are_told() -> None:
    with pytest.raises(ConfigError, match="too few usable rows"):
        elfbench.score(["", ""], metrics=["unigram_entropy"])
    with pytest.raises(ConfigError, match="no texts"):
        elfbench.score([], metrics=["unigram_entropy"])
