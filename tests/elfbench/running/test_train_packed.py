"""The recipes of published sizes, made tiny: they train on packed text offline, and their weights open by `SYSTEM:FILE`."""

from __future__ import annotations

import json
import shutil
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml

import elfbench
from elfbench.core.errors import ConfigError
from elfbench.loading.tokenizer import train_byte_bpe
from elfbench.running.train import recipe_content, train_content

WORDS = 300
OWT = sorted(path.stem for path in (Path(str(files("dlm_baselines"))) / "recipes").glob("*-owt.yaml"))


@pytest.fixture
def text(tmp_path: Path) -> dict[str, Any]:
    lines = [json.dumps({"text": f"Line {number} speaks of {number * 7} and {number}."}) for number in range(60)]
    (tmp_path / "corpus.jsonl").write_text("\n".join(lines))
    (tmp_path / "words").mkdir()
    train_byte_bpe(lines, WORDS, tmp_path / "words" / "tokenizer.json")
    return {
        "corpus": str(tmp_path / "corpus.jsonl"),
        "split": "all",
        "tokenizer": str(tmp_path / "words"),
        "length": 16,
    }


def _tiny(name: str, text: dict[str, Any]) -> dict[str, Any]:
    content = recipe_content(name)
    model = {**content["model"], "vocab_size": WORDS + 1, "hidden": 64, "depth": 1, "heads": 1, "max_length": 16}
    small = {"steps": 2, "batch_size": 4, "grad_accum": 2, "log_every": 1}
    tiny = {**content, **small, "data": {**content["data"], **text, "holdout": 5}, "model": model}
    tiny["optimizer"] = {**content["optimizer"], "warmup_steps": 1}
    return tiny


@pytest.mark.parametrize("name", [name for name in OWT if name != "duo-owt"])
def test_a_recipe_trains_and_its_weights_sample(name: str, text: dict[str, Any], tmp_path: Path) -> None:
    result = train_content(_tiny(name, text), tmp_path / "out")
    assert result["steps"] == 2
    system = recipe_content(name)["system"]
    if system == "d3pm":  # no published weights, so no entry of that form
        return
    shutil.copy(Path(text["tokenizer"]) / "tokenizer.json", tmp_path / "out")
    options = {"steps": 2} if system != "ar" else {}
    batch = elfbench.sample(f"{system}:{result['weights']}", 2, length=16, **options)
    assert batch.tokens.shape == (2, 16)
    assert batch.tokens.max() < WORDS + (system == "duo")


def test_duo_goes_on_from_its_curriculum(text: dict[str, Any], tmp_path: Path) -> None:
    first = _tiny("duo-curriculum-owt", text)
    train_content(first, tmp_path / "first")
    second = {**_tiny("duo-owt", text), "init": str(tmp_path / "first")}
    log = train_content(second, tmp_path / "second")["log"]
    assert "nelbo" in Path(log).read_text().splitlines()[0]
    assert "curriculum" in (tmp_path / "first" / "log.csv").read_text().splitlines()[0]
    with pytest.raises(ConfigError, match=r"init is .*none.*no checkpoint\.pt"):
        train_content({**second, "init": str(tmp_path / "none")}, tmp_path / "third")


def test_text_with_the_mask_in_it_is_refused(text: dict[str, Any], tmp_path: Path) -> None:
    tiny = _tiny("mdlm-owt", text)
    tiny["model"] = {**tiny["model"], "vocab_size": 40}
    with pytest.raises(ConfigError, match=r"model\.vocab_size(.|\n)*the network has 39 words and a mask"):
        train_content(tiny, tmp_path / "out")


def test_the_values_are_the_authors() -> None:
    """Shared by MDLM's and Duo's configurations; the autoregressive model and each half of Duo take half the steps."""
    assert OWT == ["ar-owt", "d3pm-owt", "duo-curriculum-owt", "duo-owt", "mdlm-owt", "sedd-owt"]
    for name in OWT:
        content = yaml.safe_load((Path(str(files("dlm_baselines"))) / "recipes" / f"{name}.yaml").read_text())
        half = name.startswith(("ar", "duo"))
        assert content["steps"] == (500_000 if half else 1_000_000)
        assert content["batch_size"] == 512
        assert content["batch_size"] % content["grad_accum"] == 0
        assert content["optimizer"]["lr"] == 3e-4
        assert (content["model"]["vocab_size"], content["data"]["length"]) == (50_258, 1024)
