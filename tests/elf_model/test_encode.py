"""The command that measures latents, against numpy on all latents at once."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_t5 import tiny_t5

from elf_model.contextual_encoder import ContextualConfig, build_contextual
from elf_model.encode import main
from elf_model.encoder import T5Encoder
from elf_model.latent_statistics import read_statistics
from elf_model.model import load_model, save_model
from elf_model.network import ElfNetwork

TEXTS = ["a b c d e", "b a", "e e d c b a a b c", "d"]
WINDOWS = np.random.Generator(np.random.Philox(key=3)).integers(2, 10, size=(13, 6))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random T5 and a tokenizer of words; its end token must not be added."""
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    path = tmp_path_factory.mktemp("t5")
    tiny_t5().save_pretrained(path)
    words = Tokenizer(models.WordLevel({"<pad>": 0, "</s>": 1, "a": 2, "b": 3, "c": 4, "d": 5, "e": 6}, "<pad>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    transformers.PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="</s>").save_pretrained(
        path
    )
    return path


def _hidden(folder: Path, rows: list[list[int]]) -> np.ndarray:
    """Every latent, each row by itself: without padding."""
    encoder = T5Encoder.from_folder(folder, mean=0.0, std=1.0)
    return np.concatenate([encoder.encode(torch.tensor([row]))[0].double().numpy() for row in rows])


def _pieces() -> list[list[int]]:
    rows = [["abcde".index(word) + 2 for word in text.split()] for text in TEXTS]
    return [row[start : start + 4] for row in rows for start in range(0, len(row), 4)]


def test_token_windows(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "w.npy", WINDOWS)
    out = tmp_path / "s.json"
    given = ["--statistics", str(out), "--t5", str(folder), "--windows", str(tmp_path / "w.npy"), "--batch-size", "4"]
    main(given)
    found, latents = read_statistics(out), _hidden(folder, WINDOWS.tolist())
    np.testing.assert_allclose(found.mean, [latents.mean()], atol=1e-6)
    np.testing.assert_allclose(found.std, [latents.std()], rtol=1e-5)
    assert found.tokens == WINDOWS.size
    assert found.source["text"] == "w.npy"
    assert "78 latents of width 6" in capsys.readouterr().out
    main([*given, "--per-channel", "--limit", "5"])
    found, latents = read_statistics(out), _hidden(folder, WINDOWS[:5].tolist())
    np.testing.assert_allclose(found.mean, latents.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(found.std, latents.std(axis=0), rtol=1e-5)


@pytest.mark.parametrize("form", ["jsonl", "datasets"])
def test_texts_of_unequal_length(folder: Path, tmp_path: Path, form: str) -> None:
    """Cut into pieces of 4 tokens, padded in a batch, no token added; padding has no part in the numbers."""
    rows = [{"body": text} for text in TEXTS]
    if form == "jsonl":
        path = tmp_path / "t.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        datasets = pytest.importorskip("datasets")
        path = tmp_path / "t"
        datasets.Dataset.from_list(rows).save_to_disk(path)
    out = tmp_path / "s.json"
    cut = ["--length", "4", "--batch-size", "3"]
    main(["--statistics", str(out), "--t5", str(folder), "--text", str(path), "--key", "body", *cut])
    found, latents = read_statistics(out), _hidden(folder, _pieces())
    assert found.tokens == len(latents) == 17
    np.testing.assert_allclose(found.mean, [latents.mean()], atol=1e-6)
    np.testing.assert_allclose(found.std, [latents.std()], rtol=1e-5)


def test_the_encoder_of_a_model_file(tiny_net: ElfNetwork, tmp_path: Path) -> None:
    encoder, _ = build_contextual(ContextualConfig(vocab_size=11, dim=6, max_length=6, hidden=8, heads=2), seed=0)
    save_model(tmp_path / "m.safetensors", tiny_net, encoder=encoder)
    np.save(tmp_path / "w.npy", WINDOWS)
    out = tmp_path / "s.json"
    main(["--statistics", str(out), "--model", str(tmp_path / "m.safetensors"), "--windows", str(tmp_path / "w.npy")])
    latents = encoder.encode(torch.from_numpy(WINDOWS)).double().numpy()
    np.testing.assert_allclose(read_statistics(out).std, [latents.std()], rtol=1e-5)


def test_a_model_file_gives_its_statistics_back(tiny_net: ElfNetwork, folder: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "w.npy", WINDOWS)
    out = tmp_path / "s.json"
    main(["--statistics", str(out), "--t5", str(folder), "--windows", str(tmp_path / "w.npy"), "--per-channel"])
    measured = read_statistics(out)
    save_model(tmp_path / "m.safetensors", tiny_net, notes={"latent_statistics": measured.to_dict()})
    assert load_model(tmp_path / "m.safetensors").statistics == measured
    save_model(tmp_path / "m.safetensors", tiny_net)
    assert load_model(tmp_path / "m.safetensors").statistics is None


def test_wrong_arguments_are_told(
    folder: Path,
    tiny_net: ElfNetwork,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    np.save(tmp_path / "w.npy", WINDOWS + 5)
    np.save(tmp_path / "float.npy", WINDOWS / 2)
    (tmp_path / "t.jsonl").write_text('{"title": "a"}\n')
    (tmp_path / "empty.jsonl").write_text("\n")
    (tmp_path / "bad.jsonl").write_text("\n{\n")
    save_model(tmp_path / "m.safetensors", tiny_net)
    cases = {
        "ids up to 14; allowed: \\[0, 12\\)": ["--t5", str(folder), "--windows", str(tmp_path / "w.npy")],
        "float64 \\(13, 6\\)": ["--t5", str(folder), "--windows", str(tmp_path / "float.npy")],
        "no.npy does not exist": ["--t5", str(folder), "--windows", str(tmp_path / "no.npy")],
        "no key 'text'; it has title": ["--t5", str(folder), "--text", str(tmp_path / "t.jsonl")],
        "no tokens": ["--t5", str(folder), "--text", str(tmp_path / "empty.jsonl")],
        "line 2 is not JSON": ["--t5", str(folder), "--text", str(tmp_path / "bad.jsonl")],
        "encoder.folder is": ["--t5", str(tmp_path / "none"), "--windows", str(tmp_path / "w.npy")],
        "none.safetensors": ["--model", str(tmp_path / "none.safetensors"), "--windows", str(tmp_path / "w.npy")],
        "--device is 'gpu'": ["--t5", str(folder), "--windows", str(tmp_path / "w.npy"), "--device", "gpu"],
        "holds no contextual encoder": [
            "--model",
            str(tmp_path / "m.safetensors"),
            "--windows",
            str(tmp_path / "w.npy"),
        ],
    }
    for message, arguments in cases.items():
        with pytest.raises(SystemExit) as stop:
            main(["--statistics", str(tmp_path / "s.json"), *arguments])
        assert stop.value.code == 2
        assert re.search(message, capsys.readouterr().err)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(SystemExit):
        main(["--statistics", str(tmp_path / "s.json"), "--t5", str(folder), "--windows", str(tmp_path / "w.npy")])
    assert "pip install transformers" in capsys.readouterr().err
    assert not (tmp_path / "s.json").exists()
