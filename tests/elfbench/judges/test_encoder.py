"""Featurizers against one text at a time through transformers, on models of a few thousand weights that are made here."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elfbench.core.errors import ConfigError, PrerequisiteError
from elfbench.judges.encoder import Encoder, open_featurizer, parted
from elfbench.judges.gpt2_features import GPT2_LARGE
from elfbench.loading.model_folder import ModelFolder
from elfbench.registry import catalog

CAUSAL = Path(__file__).resolve().parents[2] / "golden" / "metrics" / "judge"
"""A GPT-2 of two layers, 96 positions and 300 byte-level tokens whose template adds none."""
WORDS = ["the", "of", "congress", "met", "report", "secretary", "treasury", "nations", "claims", "year", "peace", "war"]
RNG = np.random.default_rng(0)
TEXTS = [" ".join(RNG.choice(WORDS, size=size)) for size in (*RNG.integers(1, 14, size=62).tolist(), 1, 60)]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    pytest.importorskip("transformers", reason="featurizers need transformers")
    pytest.importorskip("torch").set_num_threads(1)


@pytest.fixture(scope="module")
def bert(tmp_path_factory: Any) -> Path:
    """A BERT saved from its masked language model, so without a pooler; 40 positions; template [CLS] text [SEP]."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertForMaskedLM

    folder: Path = tmp_path_factory.mktemp("encoders") / "tiny-bert"
    vocab = {token: number for number, token in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = BertConfig(vocab_size=len(vocab), max_position_embeddings=40, initializer_range=0.5, **sizes)
    BertForMaskedLM(config).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(scope="module")
def alone() -> Callable[..., np.ndarray]:
    """(model, rows of ids, pooling) -> [N, D] one row at a time, no padding, from the list of all layers' states."""
    import torch

    def compute(model: Any, rows: list[list[int]], pooling: str) -> np.ndarray:
        found = []
        for ids in rows:
            with torch.no_grad():
                state = model(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states[-1][0]
            found.append(state[-1] if pooling == "last" else state.mean(dim=0))
        return torch.stack(found).numpy()

    return compute


@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_a_causal_model_equals_one_text_at_a_time(alone: Any, pooling: str) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from elfbench.loading.backend import quiet

    with quiet():
        model = AutoModelForCausalLM.from_pretrained(str(CAUSAL)).eval()
        tokenizer = AutoTokenizer.from_pretrained(str(CAUSAL))
    featurizer = open_featurizer(str(CAUSAL) if pooling == "last" else f"{CAUSAL}#mean")
    steps: list[int] = []
    found = featurizer.features(TEXTS, progress=steps.append)
    rows = [tokenizer(text).input_ids[:96] for text in TEXTS]
    assert max(map(len, rows)) == 96, "one text is truncated"
    assert (found.dtype, sum(steps)) == (np.float32, len(TEXTS))
    np.testing.assert_allclose(found, alone(model, rows, pooling), atol=1e-5)


def test_a_masked_model_is_a_mean_over_its_template(bert: Path, alone: Any) -> None:
    from transformers import BertForMaskedLM

    from elfbench.loading.backend import quiet

    with quiet():
        model = BertForMaskedLM.from_pretrained(str(bert)).eval()
    featurizer = open_featurizer(str(bert))
    assert (featurizer.name, featurizer.title) == ("hf:tiny-bert", "tiny-bert (mean over at most 40 tokens)")
    rows = [[2, *(WORDS.index(word) + 4 for word in text.split()[:38]), 3] for text in [*TEXTS, ""]]
    assert max(map(len, rows)) == 40
    np.testing.assert_allclose(featurizer.features([*TEXTS, ""]), alone(model, rows, "mean"), atol=1e-5)


@pytest.mark.parametrize("kind", ["causal", "bert"])
@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_neither_batch_nor_padding_nor_order_matters(bert: Path, kind: str, pooling: str) -> None:
    """Batches of 1, 7 and 64 rows, as calls and as budgets within one call."""
    featurizer = open_featurizer(f"{CAUSAL if kind == 'causal' else bert}#{pooling}")
    whole = featurizer.features(TEXTS)
    for size in (1, 7, 64):
        parts = [featurizer.features(TEXTS[start : start + size]) for start in range(0, len(TEXTS), size)]
        np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-5)
    for budget in (1, 200):
        folder = ModelFolder(CAUSAL if kind == "causal" else bert)
        other = Encoder("other", "other", featurizer.reading, lambda folder=folder: folder, budget=budget)  # type: ignore[misc]
        np.testing.assert_allclose(other.features(TEXTS[::-1])[::-1], whole, atol=1e-5)


def test_text_beyond_the_limit_is_not_read(bert: Path) -> None:
    first = " ".join(WORDS * 3 + WORDS[:2])
    for source, longer in ((f"{bert}#last", f"{first} war war war"), (f"{bert}", f"{first} peace")):
        one, other = open_featurizer(source).features([first, longer])
        np.testing.assert_allclose(one, other, atol=1e-6)
    causal = open_featurizer(str(CAUSAL))
    text = "a" * 96
    assert causal.reading.max_tokens == 96
    np.testing.assert_allclose(*causal.features([text, text + "bcd"]), atol=1e-6)


def test_an_empty_text_is_the_beginning_of_one(alone: Any, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    from elfbench.loading.backend import quiet

    with quiet():
        model = AutoModelForCausalLM.from_pretrained(str(CAUSAL)).eval()
    found = open_featurizer(str(CAUSAL)).features(["", "peace"])
    np.testing.assert_allclose(found[:1], alone(model, [[0]], "last"), atol=1e-6)
    folder = _copy(tmp_path, bos_token_id=None, eos_token_id=None)
    for name in ("generation_config.json", "tokenizer_config.json"):
        (folder / name).unlink()
    with pytest.raises(ConfigError, match="empty text"):
        open_featurizer(str(folder)).features([""])


def test_an_encoder_decoder_is_its_encoder(bert: Path, alone: Any, tmp_path: Path) -> None:
    import torch
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(0)
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2}
    model = T5ForConditionalGeneration(T5Config(vocab_size=20, decoder_start_token_id=0, **sizes)).eval()
    model.save_pretrained(tmp_path / "t5")
    shutil.copy(bert / "tokenizer.json", tmp_path / "t5" / "tokenizer.json")
    featurizer = open_featurizer(str(tmp_path / "t5"))
    rows = [[2, *(WORDS.index(word) + 4 for word in text.split()), 3] for text in TEXTS[:5]]
    np.testing.assert_allclose(featurizer.features(TEXTS[:5]), alone(model.encoder, rows, "mean"), atol=1e-5)


def test_the_architecture_chooses_the_pooling_and_the_title_says_it(bert: Path, tmp_path: Path) -> None:
    """A folder's digest changes with pooling and files, not with its name."""
    causal, same = open_featurizer(str(CAUSAL)), open_featurizer(f"{CAUSAL}#last")
    assert (causal.title, causal.name, same.name) == ("judge (last of at most 96 tokens)", "hf:judge", "hf:judge#last")
    assert causal.digest == same.digest
    assert open_featurizer(f"{_copy(tmp_path)}").digest == causal.digest
    others = [open_featurizer(f"{CAUSAL}#mean"), open_featurizer(str(bert)), open_featurizer(f"{bert}#last")]
    assert len({one.digest for one in (causal, *others)}) == 4
    unsaid = _copy(tmp_path / "more", architectures=None)
    with pytest.raises(ConfigError, match="#mean, or hf:SOURCE#last"):
        open_featurizer(str(unsaid))
    assert open_featurizer(f"{unsaid}#last").reading.pooling == "last"


def test_a_pooling_is_the_part_after_the_last_mark() -> None:
    assert parted("some/model#mean") == ("some/model", "mean")
    assert parted("/models#1/bert") == ("/models#1/bert", None)
    assert parted("/models#1/bert#last") == ("/models#1/bert", "last")
    with pytest.raises(ConfigError, match="mean, last"):
        parted("some/model#max")


def test_what_is_not_at_hand_is_said_with_what_to_type(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ConfigError, match="no such featurizer folder"):
        open_featurizer("some/model#mean")
    missing = type(GPT2_LARGE)(GPT2_LARGE.name, GPT2_LARGE.title, GPT2_LARGE.reading, GPT2_LARGE._open)
    with pytest.raises(PrerequisiteError, match="hf download openai-community/gpt2-large"):
        _ = missing.digest


def test_named_featurizers_have_titles_before_anything_is_opened() -> None:
    registry = catalog.featurizers()
    titles = {name: registry.get(name).title for name in registry.names() if not name.endswith(":")}
    assert titles == {
        "minilm": "all-MiniLM-L6-v2 (mean pooling)",
        "smollm2-135m-instruct-q4": "SmolLM2-135M-Instruct Q4_1 (last of at most 1024 tokens)",
        "smollm2-135m-instruct-q4#mean": "SmolLM2-135M-Instruct Q4_1 (mean over at most 1024 tokens)",
        "gpt2-large": "gpt2-large (last of at most 1024 tokens)",
    }
    assert all(registry.get(name).name == name for name in titles)
    assert registry.get(f"hf:{CAUSAL}").name == "hf:judge"


def _copy(parent: Path, **changes: Any) -> Path:
    """The causal model's folder with other entries in its config.json; None takes one out."""
    folder = parent / "copy"
    shutil.copytree(CAUSAL, folder)
    config = json.loads((folder / "config.json").read_text()) | changes
    config = {key: value for key, value in config.items() if value is not None}
    (folder / "config.json").write_text(json.dumps(config) if changes else (CAUSAL / "config.json").read_text())
    return folder
