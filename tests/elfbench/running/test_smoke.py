from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from elfbench.cli.main import main
from elfbench.core.errors import ConfigError
from elfbench.core.provenance import package_roots
from elfbench.language.oracle import held_out_windows, oracle
from elfbench.running import smoke as smoking
from elfbench.running.smoke import smoke


def _weights(name: str) -> Path:
    return package_roots("dlm_baselines")[0] / "weights" / f"{name}.safetensors"


def _garbled(name: str, target: Path) -> Path:
    """The same file with the numbers of every tensor in random order."""
    generator = np.random.Generator(np.random.Philox(key=1))
    with safe_open(str(_weights(name)), "numpy") as source:
        tensors = {key: source.get_tensor(key) for key in source.keys()}  # noqa: SIM118 - a file, no mapping
        metadata = source.metadata()
    mixed = {key: generator.permutation(value.ravel()).reshape(value.shape) for key, value in tensors.items()}
    save_file(mixed, str(target), metadata)
    return target


def _doctor(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main(["doctor", *arguments])
    return int(stop.value.code or 0)


def test_the_doctor_passes_good_weights_and_says_what_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert _doctor("ar-oracle") == 0
    shown = capsys.readouterr().out
    assert "as in the card" in shown
    assert "uniform ids" in shown


@pytest.mark.parametrize("name", ["ar-oracle", "mdlm-oracle"])
def test_garbled_weights_end_with_1(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _doctor(name, "--weights", str(_garbled(name, tmp_path / "w.safetensors")), "--json") == 1
    shown = capsys.readouterr()
    document = json.loads(shown.out)
    assert not document["passed"]
    assert document["likelihood"]["nats_per_token"] > document["likelihood"]["uniform"]["nats_per_token"]
    assert "garbled" in document["problems"][0]
    assert "above uniform ids" in shown.err


def test_the_likelihood_of_the_language_is_that_of_its_grammar() -> None:
    found = smoke("exact-oracle")["likelihood"]
    windows = held_out_windows()[:12]
    nats = -float(oracle().log_prob(windows).sum())
    n_bytes = sum(len(oracle().decode(row).encode()) for row in windows)
    assert found["nats_per_token"] == pytest.approx(nats / windows.size)
    assert found["bits_per_byte"] == pytest.approx(nats / math.log(2.0) / n_bytes)
    assert found["uniform"]["nats_per_token"] == pytest.approx(math.log(201))  # 200 words and the end of text
    assert found["uniform"]["bits_per_byte"] == pytest.approx(windows.size * math.log2(201) / n_bytes)


def test_word_frequencies_alone_are_not_garbled() -> None:
    assert smoke("unigram-oracle")["passed"]


def test_a_model_that_scores_no_text_is_sampled_only() -> None:
    found = smoke("elf-oracle")
    assert found["passed"]
    assert found["likelihood"] is None
    assert len(found["samples"]["texts"]) == 2


def test_another_models_weights_are_a_problem_not_a_crash() -> None:
    found = smoke("ar-oracle", _weights("ar-sotu"))
    assert not found["passed"]
    assert "another model" in found["problems"][0]


def test_a_packaged_file_that_is_not_the_cards_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = _garbled("ar-oracle", tmp_path / "w.safetensors")
    monkeypatch.setattr(smoking, "_packaged_file", lambda card: other)
    assert "not the file of the card" in smoke("ar-oracle")["problems"][0]


def test_a_long_text_is_cut_to_what_the_model_takes() -> None:
    """48 words of English are more than the 64 tokens of ar-sotu."""
    found = smoke("ar-sotu")["likelihood"]
    assert found["texts"] == "12 x sotu:test"
    assert 12 * 3 <= found["tokens"] <= 12 * 64


def test_texts_where_no_corpus_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    from elfbench.core.errors import PrerequisiteError
    from elfbench.registry import catalog

    def missing(corpus: str, split: str) -> None:
        raise PrerequisiteError("not installed")

    monkeypatch.setattr(smoking, "documents", missing)
    name, cut = smoking._texts(catalog.models().get("ar-sotu").card)
    assert name == "a fixed paragraph"
    assert len(set(cut(8))) == 12
    assert all(len(text.split()) == 8 for text in cut(8))


def test_weights_need_a_model_and_must_be_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match="no such weights file"):
        smoke("ar-oracle", tmp_path / "none.safetensors")
    assert _doctor("--weights", "x") == 2
    assert "weights of which model" in capsys.readouterr().err
