"""Official weights as entries: hub folders made here, with the tokenizer of the reference vectors' judge."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from dlm_baselines.dit import DitConfig, build_dit
from elfbench.adapters.official import open_official
from elfbench.adapters.trained import randomized
from elfbench.cli.main import main
from elfbench.core.errors import ConfigError
from elfbench.loading.tokenizer import ForeignTokenizer
from elfbench.spec.sampling import LikelihoodRequest, Prompt, SampleRequest

JUDGE = Path(__file__).resolve().parents[2] / "golden" / "metrics" / "judge"
WORDS = ForeignTokenizer(JUDGE / "tokenizer.json", "judge", None).vocab_size


def _folder(place: Path, size: int, *, causal: bool = False) -> Path:
    place.mkdir()
    config = DitConfig(vocab_size=size, hidden=16, depth=1, heads=2, cond_dim=8, max_length=48, causal=causal)
    net = randomized(build_dit(config, seed=0), 0)
    save_file(
        {f"backbone.{name}": value.contiguous() for name, value in net.state_dict().items()},
        place / "model.safetensors",
    )
    (place / "config.json").write_text(json.dumps({"n_heads": 2, "model_length": 48}))
    shutil.copy(JUDGE / "tokenizer.json", place)
    return place


@pytest.mark.parametrize(("system", "extra"), [("mdlm", 1), ("sedd", 1), ("duo", 0), ("ar", 1)])
def test_every_kind_samples_continues_and_scores(system: str, extra: int, tmp_path: Path) -> None:
    entry = open_official(system, str(_folder(tmp_path / system, WORDS + extra, causal=system == "ar")))
    model = entry.load()
    steps = 4 if entry.card.has_steps else None
    batch = model.sample(SampleRequest((0, 1), (5, 6), 12, steps))
    assert batch.tokens.max() < WORDS, "the mask, or the causal network's output for it, is never drawn"
    prompts = (Prompt(None, ("the fox", 12)), Prompt(None, ("a dog and a cat", 12)))
    assert model.sample(SampleRequest((0, 1), (5, 6), 12, steps, prompts)).tokens.shape == (2, 12)
    scores = model.nll(LikelihoodRequest(("the fox", "a dog"), (1, 2)))  # type: ignore[attr-defined]
    assert np.isfinite(scores.nll_nats).all()
    assert (scores.error_nats == 0).all() == (system == "ar")
    assert entry.card.name == f"{system}:{system}"


def test_the_command_line_reads_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = _folder(tmp_path / "weights", WORDS + 1)
    with pytest.raises(SystemExit) as ended:
        main(["sample", f"mdlm:{folder}", "--n", "1", "--length", "8", "--steps", "2", "--json"])
    assert not ended.value.code
    assert json.loads(capsys.readouterr().out)["samples"][0]["length"] == 8


@pytest.mark.parametrize(
    ("system", "size", "causal", "message"),
    [
        ("mdlm", WORDS, False, "no mask token"),
        ("sedd", WORDS + 7, False, "no mask token"),
        ("mdlm", WORDS + 1, True, "not of mdlm"),
        ("ar", WORDS, False, "not of ar"),
    ],
)
def test_weights_of_another_kind_are_refused(
    system: str, size: int, causal: bool, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        open_official(system, str(_folder(tmp_path / "x", size, causal=causal)))


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such weights"):
        open_official("mdlm", str(tmp_path / "nowhere"))
    folder = _folder(tmp_path / "x", WORDS + 1)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ConfigError, match="tokenizer is missing"):
        open_official("mdlm", str(folder))


def test_a_prompt_that_holds_the_mask_is_refused(tmp_path: Path) -> None:
    """BERT's vocabulary has its mask inside, so that a text can spell it."""
    entry = open_official("mdlm", str(_folder(tmp_path / "x", WORDS + 1)))
    spelled = WORDS - 1
    spec = entry.card.tokenizer.model_copy(update={"mask_id": spelled})
    model = type(entry)(
        entry.card.model_copy(update={"tokenizer": spec}), "mdlm", entry.official, entry.tokenizer
    ).load()
    text = entry.tokenizer.decode([spelled], specials=True)
    assert entry.tokenizer.encode(text).tolist() == [spelled]
    with pytest.raises(ConfigError, match="holds the mask"):
        model.sample(SampleRequest((0,), (1,), 4, 2, (Prompt(None, (text, 4)),)))


def test_toys_conform_like_the_packaged_entries(tmp_path: Path) -> None:
    entry = open_official("mdlm", str(_folder(tmp_path / "x", WORDS + 1)))
    assert isinstance(entry.toy(0).sample(SampleRequest((0,), (1,), 4, 2)).tokens, np.ndarray)
    assert torch.is_grad_enabled()
