"""`python -m elf_model.train`: the packaged recipes against the authors' files, and tiny runs of each from end to end."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_t5 import tiny_t5

from elf_model.config import ElfConfig
from elf_model.model import load_model
from elf_model.network import ElfNetwork
from elf_model.official_config import read_official_config
from elf_model.train import main, read_recipe, recipe_path

# What the authors' training files say of network and loss; the rest is the same in all of them.
COMMON = {
    "encoder_model_name": "t5-small",
    "latent_mean": 0.0,
    "latent_std": 0.2,
    "denoiser_p_mean": -1.5,
    "denoiser_noise_scale": 2.0,
    "decoder_prob": 0.2,
}
CONDITIONAL = {"decoder_noise_scale": 1.0, "label_drop_prob": 0.1, "model": "ELF-B"}
PACKAGED: dict[str, tuple[dict[str, Any], int, int]] = {  # keys of the file, parameters in millions, warm-up steps
    "elf-b-owt": ({"model": "ELF-B", "max_length": 1024, "decoder_noise_scale": 5.0}, 105, 9508),
    "elf-m-owt": ({"model": "ELF-M", "max_length": 1024, "decoder_noise_scale": 5.0}, 343, 9508),
    "elf-l-owt": ({"model": "ELF-L", "max_length": 1024, "decoder_noise_scale": 5.0}, 652, 9508),
    "elf-b-de-en": ({"max_length": 128, **CONDITIONAL}, 105, 5000),
    "elf-b-xsum": ({"max_length": 1088, **CONDITIONAL}, 105, 5000),
}
SMALL = {
    "data.length": 8,
    "model.max_length": 8,
    "model.vocab_size": 30,
    "model.latent_dim": 6,
    "model.hidden": 16,
    "model.depth": 1,
    "model.heads": 2,
    "model.bottleneck_dim": 4,
    "steps": 3,
    "batch_size": 4,
    "grad_accum": 2,
    "log_every": 1,
    "precision": "float32",
}
WORDS = ["we", "the", "people", "of", "these", "united", "states", "form", "a", "more", "perfect", "union", "and"]


@pytest.mark.parametrize("name", PACKAGED)
def test_packaged_recipes_are_the_authors(name: str) -> None:
    official, millions, warmup = PACKAGED[name]
    recipe = read_recipe(name)
    assert recipe.config == ElfConfig(**read_official_config({**COMMON, **official}).fields)
    assert recipe.data.length == recipe.config.max_length
    with torch.device("meta"):
        net = ElfNetwork(recipe.config)
    assert round(sum(parameter.numel() for parameter in net.parameters()) / 1e6) == millions
    train = recipe.train
    assert train.optimizer.lr == 1e-3 * train.batch_size / 256
    assert (train.optimizer.name, train.optimizer.warmup_steps, train.ema, train.seed) == ("muon", warmup, 0.9999, 42)
    conditional = name in ("elf-b-de-en", "elf-b-xsum")
    assert recipe.data.pad_token == ("eos" if conditional else "pad")
    budget = recipe.data.length - recipe.data.max_input_length if recipe.data.max_input_length else None
    assert budget == (64 if conditional else None)  # tokens of the target, in both tasks


@pytest.fixture(scope="module")
def assets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer of words, a random T5 and two data sets, on disk as their owners write them."""
    transformers, tokenizers = pytest.importorskip("transformers"), pytest.importorskip("tokenizers")
    folder = tmp_path_factory.mktemp("assets")
    vocabulary = {"<pad>": 0, "</s>": 1, "<unk>": 2, **{word: 3 + i for i, word in enumerate(WORDS)}}
    own = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<unk>"))
    own.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made = transformers.PreTrainedTokenizerFast(
        tokenizer_object=own, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )
    made.save_pretrained(folder / "tokenizer")
    tiny_t5(vocab_size=30).save_pretrained(folder / "t5")
    random = np.random.default_rng(0)
    texts = [" ".join(random.choice(WORDS, 12)) for _ in range(20)]
    (folder / "text.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    pairs = [{"input": " ".join(text.split()[:6]), "output": " ".join(text.split()[6:9])} for text in texts]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    return folder


def options(assets: Path, corpus: str, **changes: Any) -> list[str]:
    places = {
        "data.corpus": assets / corpus,
        "data.tokenizer": assets / "tokenizer",
        "encoder.folder": assets / "t5",
    }
    return [word for key, value in {**SMALL, **places, **changes}.items() for word in ("--set", f"{key}={value}")]


@pytest.mark.parametrize("name", PACKAGED)
def test_every_packaged_recipe_runs_when_made_small(name: str, assets: Path, tmp_path: Path) -> None:
    conditional = {"data.max_input_length": 4} if "owt" not in name else {"sample_every": 2}
    corpus = "pairs.jsonl" if "owt" not in name else "text.jsonl"
    main([name, "--out", str(tmp_path), *options(assets, corpus, **conditional)])
    loaded = load_model(tmp_path / "weights.safetensors")
    assert loaded.notes["steps"] == 3
    assert loaded.notes["tokens"] == 3 * 4 * 8
    assert loaded.config.hidden == 16
    if "owt" in name:
        texts = (tmp_path / "samples" / "step-0000002.txt").read_text().split("\n\n")
        assert len(texts) == 4
        assert all(set(text.split()) <= {*WORDS, "<pad>", "</s>", "<unk>"} for text in texts)


def test_a_dry_run_says_the_size_and_writes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="elf_model.train"):
        main(["elf-b-owt", "--out", str(tmp_path / "out"), "--dry-run"])
    assert "104,579,940 parameters, 95,085 steps" in caplog.text
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["elf-b-owtt"], "unknown recipe 'elf-b-owtt'; allowed: .*elf-b-owt"),
        (["none.yaml"], "there is no recipe file none.yaml"),
        (["elf-oracle-pd"], "`elfbench train elf-oracle-pd` runs it"),
        (["elf-oracle"], "data.corpus is 'oracle', of elfbench; `elfbench train elf-oracle` runs it"),
        (["HERE/broken.yaml"], "broken.yaml is no YAML"),
        (["HERE/list.yaml"], "list.yaml holds list; allowed: 'key: value' lines"),
        (["elf-b-owt", "--set", "data=3"], "data is 3; allowed: 'key: value' lines below 'data:'"),
        (["elf-b-owt", "--set", "steps.x=3"], "--set steps.x=3: steps is 95085 and holds no keys"),
        (["elf-b-owt", "--set", "encoder.kind=t6"], "encoder.kind is 't6'; allowed: .*t5"),
        (["elf-b-owt", "--device", "gpu"], "--device is 'gpu'; allowed here: cpu"),
        (["elf-b-owt", "--set", "steps"], "--set steps: expected key=value"),
        (["elf-b-owt", "--set", "stepz=3"], "unknown key stepz; .*did you mean 'steps'"),
        (["elf-b-owt", "--set", "data.length=2048"], "data.length is 2048; allowed: at most model.max_length, 1024"),
        (["elf-b-owt"], "data.tokenizer is 'google-t5/t5-small', .*--allow-download.*--set data.tokenizer=FOLDER"),
    ],
)
def test_errors_name_key_and_remedy(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.yaml").write_text("data: [1\n")
    (tmp_path / "list.yaml").write_text("- 1\n")
    out = tmp_path / "out"
    with pytest.raises(SystemExit) as stop:
        main([one.replace("HERE", str(tmp_path)) for one in arguments] + ["--out", str(out)])
    assert stop.value.code == 2
    assert re.search(message, capsys.readouterr().err)
    assert not out.exists()


def test_the_size_of_a_recipe_needs_no_folder(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level("INFO"):
        main(["elf-b-owt", "--dry-run"])
    assert "104,579,940 parameters, 95,085 steps" in caplog.text
    with pytest.raises(SystemExit) as stop:
        main(["elf-b-owt"])
    assert stop.value.code == 2
    assert "add --out DIR" in capsys.readouterr().err


def test_numbers_of_the_command_line_are_numbers() -> None:
    recipe = read_recipe("elf-b-owt", ["optimizer.lr=1e-3", "compile=false", "data.corpus=set", "optimizer.min_lr=0"])
    assert recipe.train.optimizer.lr == 0.001
    assert recipe.train.compile is False
    assert recipe.data.corpus == "set"
    assert recipe_path("elf-b-owt").is_file()
