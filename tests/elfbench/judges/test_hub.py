"""Judges by their plain names: at hand or not, without a connection."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from elfbench.core.errors import PrerequisiteError
from elfbench.judges.causal import open_judge
from elfbench.judges.hub import GPT2, HubJudge
from elfbench.registry import catalog
from elfbench.spec.judging import ELF

JUDGE = Path(__file__).resolve().parents[2] / "golden" / "metrics" / "judge"
TEXTS = ["a small idea", "the cat", ""]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty Hugging Face cache."""
    pytest.importorskip("transformers", reason="judges need transformers")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    return tmp_path


def test_a_judge_that_is_not_at_hand_says_what_to_type(cache: Path) -> None:
    for name in ("gpt2", "gpt2-large"):
        with pytest.raises(
            PrerequisiteError, match=rf"judge {name} is not whole(.|\n)*hf download openai-community/{name} config.json"
        ):
            _ = HubJudge(name, f"openai-community/{name}", "a size").digest
    assert {"gpt2", "gpt2-large", "entry:", "hf:"} <= set(catalog.judges().names())
    assert catalog.judges().get("gpt2") is GPT2


def test_one_that_is_at_hand_is_the_judge_of_its_folder(cache: Path) -> None:
    place = cache / "models--openai-community--gpt2"
    shutil.copytree(JUDGE, place / "snapshots" / "abc")
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text("abc")
    named, folder = HubJudge("gpt2", "openai-community/gpt2", "a size"), open_judge(str(JUDGE))
    assert named.name == named.title == "gpt2"
    assert named.digest == folder.digest
    assert named.context == folder.context
    for found, expected in (
        (named.score(TEXTS, window=4), folder.score(TEXTS, window=4)),
        (named.score_under(ELF, TEXTS, window=None), folder.score_under(ELF, TEXTS, window=None)),
        (named.gradients(TEXTS, window=4), folder.gradients(TEXTS, window=4)),
    ):
        for one, other in zip(found, expected, strict=True):
            assert np.array_equal(one, other)
    ranks = named.ranks(TEXTS, window=4)
    assert [one.tolist() for one in ranks.ranks] == [one.tolist() for one in folder.ranks(TEXTS, window=4).ranks]
    assert named.tokenizer().digest == folder.tokenizer().digest
