"""The authors' files: every key accounted for, exact both ways, and nothing in them is run."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from elf_vectors import FOLDER
from torch import Tensor

from elf_model.config import PRESETS, ElfConfig
from elf_model.model import load_model, save_model
from elf_model.network import ElfNetwork
from elf_model.official import (
    OfficialFileError,
    config_of_checkpoint,
    official_config,
    read_official_checkpoint,
    read_official_config,
    read_whole_checkpoint,
    write_official_checkpoint,
)

CHECKPOINT = FOLDER / "checkpoint_7"
# Said by hand from the shapes in the file, which no preset has.
TINY: dict[str, Any] = {
    "vocab_size": 50,
    "text_encoder_dim": 16,
    "hidden_size": 32,
    "depth": 4,
    "num_heads": 2,
    "bottleneck_dim": 8,
}


class Hostile:
    """Its unpickling creates the file `mark`."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


def _document(**changes: object) -> dict[str, Any]:
    return {**torch.load(CHECKPOINT, weights_only=True), **changes}


def _saved(path: Path, **changes: object) -> Path:
    torch.save(_document(**changes), path)
    return path


def _same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(
        one[key].dtype == other[key].dtype and torch.equal(one[key], other[key]) for key in one
    )


def test_every_top_level_key_is_accounted_for() -> None:
    found = read_whole_checkpoint(CHECKPOINT)
    assert (found.step, found.epoch, found.table) == (7, 1, None)
    assert found.unread == ("params", "opt_state", "lr_scheduler", "dropout_rng", "grad_accum_buffers")
    assert config_of_checkpoint(read_official_config(TINY), found).mlp_dim == 85


def test_load_export_load_is_exact(tmp_path: Path) -> None:
    first = read_official_checkpoint(CHECKPOINT)
    write_official_checkpoint(tmp_path / "checkpoint_9", first, step=9, epoch=0.5)
    for weights in ("params", "ema_params1"):
        again = read_whole_checkpoint(tmp_path / "checkpoint_9", weights=weights)
        assert _same(first, dict(again.weights))
        assert (again.step, again.epoch) == (9, 0.5)
    # The authors' loader demands these.
    assert {"params", "opt_state", "step", "epoch"} <= set(torch.load(tmp_path / "checkpoint_9", weights_only=True))


def test_full_precision_files_are_exact(tmp_path: Path) -> None:
    found = read_whole_checkpoint(CHECKPOINT)
    net = ElfNetwork(config_of_checkpoint(read_official_config(TINY), found))
    save_model(tmp_path / "w.safetensors", net, weights=found.weights, dtype=torch.float32)
    assert _same(dict(found.weights), load_model(tmp_path / "w.safetensors").net.state_dict())


def test_half_precision_is_read_exactly_and_doubles_are_refused(tmp_path: Path) -> None:
    weights = read_official_checkpoint(CHECKPOINT)
    halves = {name: tensor.bfloat16() for name, tensor in weights.items()}
    assert _same(halves, read_official_checkpoint(_saved(tmp_path / "half", ema_params1=halves)))
    doubles = {name: tensor.double() for name, tensor in weights.items()}
    with pytest.raises(OfficialFileError, match=r"t_emb_tokens is no weight; found: torch\.float64"):
        read_official_checkpoint(_saved(tmp_path / "double", ema_params1=doubles))


def test_the_prefix_of_torch_compile_is_removed(tmp_path: Path) -> None:
    weights = read_official_checkpoint(CHECKPOINT)
    compiled = {f"_orig_mod.{name}": tensor for name, tensor in weights.items()}
    assert _same(weights, read_official_checkpoint(_saved(tmp_path / "compiled", ema_params1=compiled)))
    with pytest.raises(OfficialFileError, match=r"twice; found: proj_bias, _orig_mod\.proj_bias"):
        read_official_checkpoint(
            _saved(tmp_path / "both", ema_params1={**weights, "_orig_mod.proj_bias": weights["proj_bias"]})
        )


def test_code_in_a_file_does_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "it-ran"
    _saved(tmp_path / "zip", params=Hostile(mark))
    torch.save(_document(params=Hostile(mark)), tmp_path / "old", _use_new_zipfile_serialization=False)
    (tmp_path / "plain").write_bytes(pickle.dumps(_document(params=Hostile(mark))))
    for name in ("old", "plain"):
        with pytest.raises(OfficialFileError, match=r"not a readable checkpoint; found: not written by torch\.save"):
            read_official_checkpoint(tmp_path / name)
    with pytest.raises(OfficialFileError, match=r"asks to run code, which was not done; found: \w+\.mkdir"):
        read_official_checkpoint(tmp_path / "zip")
    assert not mark.exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"PK\x03\x04 cut off", b"no checkpoint"])
def test_other_bytes_are_no_checkpoint(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bytes").write_bytes(content)
    with pytest.raises(OfficialFileError, match="bytes is not a readable checkpoint"):
        read_official_checkpoint(tmp_path / "bytes")


def test_a_file_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cut").write_bytes(CHECKPOINT.read_bytes()[:300_000])
    with pytest.raises(OfficialFileError, match="cut is not a readable checkpoint"):
        read_official_checkpoint(tmp_path / "cut")


def test_other_documents_are_refused(tmp_path: Path) -> None:
    torch.save([1], tmp_path / "list")
    with pytest.raises(OfficialFileError, match="it holds a list"):
        read_official_checkpoint(tmp_path / "list")
    torch.save(_document()["params"], tmp_path / "bare")
    with pytest.raises(OfficialFileError, match=r"no 'ema_params1'.*t_emb_tokens, .*\.\.\. \(\d+ in all\)"):
        read_official_checkpoint(tmp_path / "bare")
    raw = _document()
    del raw["ema_params1"]
    torch.save(raw, tmp_path / "raw")
    with pytest.raises(OfficialFileError, match="--weights params"):
        read_official_checkpoint(tmp_path / "raw")
    with pytest.raises(OfficialFileError, match="step is no count"):
        read_whole_checkpoint(_saved(tmp_path / "step", step="7"))
    broken = {**_document()["params"], "proj_bias": torch.full((16,), float("nan"))}
    with pytest.raises(OfficialFileError, match="proj_bias is not finite"):
        read_official_checkpoint(_saved(tmp_path / "nan", ema_params1=broken))


def test_left_out_keys_have_the_authors_class_defaults() -> None:
    """Their class never trained a published model, so an absent key is not the released value."""
    said = read_official_config({"model": "ELF-M", "latent_std": 0.2, "denoiser_noise_scale": 2.0})
    assert said.fields["denoiser_p_mean"] == 0.8
    assert said.fields["noise_scale"] == 2.0
    assert said.fields["max_length"] == 128
    assert (said.fields["hidden"], said.fields["vocab_size"], said.fields["latent_dim"]) == (1056, 32_100, 512)
    assert "denoiser_p_mean" in said.defaulted
    assert "latent_std" not in said.defaulted


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("denoiser_p_maen", "denoiser_p_mean"),
        ("ema_decay", "ema_decay1"),
        ("sampling_configs", "sampling_configs_path"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest(key: str, near: str) -> None:
    with pytest.raises(OfficialFileError, match=f"unknown configuration key '{key}'.*did you mean '{near}'"):
        read_official_config({key: 1.0})


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"model": "ELF-XL"}, "model"),
        ({"model": ["ELF-B"]}, "model"),
        ({"latent_std": 0.0}, "latent_std"),
        ({"latent_mean": float("nan")}, "latent_mean"),
        ({"denoiser_noise_scale": "2"}, "denoiser_noise_scale"),
        ({"max_length": None}, "max_length"),
        ({"hidden_size": 30}, "hidden_size"),
        ({"num_self_cond_cfg_tokens": -1}, "num_self_cond_cfg_tokens"),
        ({"time_schedule": "cosine"}, "time_schedule"),
    ],
)
def test_wrong_values_name_the_authors_key(values: dict[str, Any], key: str) -> None:
    with pytest.raises(OfficialFileError) as refused:
        read_official_config(values)
    assert refused.value.key == key


@pytest.mark.parametrize(
    "config",
    [
        ElfConfig(),
        ElfConfig(gelu="erf", depth=3, vocab_size=7, latent_dim=6, hidden=16, heads=2, max_length=5, noise_scale=3.0),
        *(ElfConfig.preset(name, latent_dim=768, label_drop_prob=0.1) for name in PRESETS),
    ],
)
def test_configurations_there_and_back(config: ElfConfig) -> None:
    assert ElfConfig(**read_official_config(official_config(config)).fields) == config


@pytest.mark.parametrize(
    ("change", "found", "wanted"),
    [
        ({"vocab_size": 51}, "vocabulary 50", "vocabulary 51"),
        ({"hidden_size": 64, "num_heads": 4}, "width 32", "width 64"),
        ({"depth": 3}, "depth 4", "depth 3"),
        ({"num_heads": 4}, "head width 16", "head width 8"),
        ({"bottleneck_dim": 9}, "bottleneck width 8", "bottleneck width 9"),
        ({"num_model_mode_tokens": 3}, "mode tokens 4", "mode tokens 3"),
    ],
)
def test_another_size_names_both(change: dict[str, int], found: str, wanted: str) -> None:
    with pytest.raises(OfficialFileError, match="another size") as refused:
        config_of_checkpoint(read_official_config({**TINY, **change}), read_whole_checkpoint(CHECKPOINT))
    assert refused.value.found == found
    assert str(refused.value.allowed).startswith(wanted)


def test_a_vocabulary_that_the_configuration_does_not_tell_comes_from_the_file() -> None:
    values = {key: value for key, value in TINY.items() if key not in ("vocab_size", "text_encoder_dim")}
    said = read_official_config({**values, "encoder_model_name": "of-our-own"})
    assert "vocab_size" not in said.fields
    config = config_of_checkpoint(said, read_whole_checkpoint(CHECKPOINT))
    assert (config.vocab_size, config.latent_dim) == (50, 16)


def test_missing_and_unexpected_weights_are_named_and_counted(tmp_path: Path) -> None:
    weights = read_official_checkpoint(CHECKPOINT)
    weights["blocks.0.norm3.weight"] = weights.pop("blocks.0.norm2.weight")
    weights["rope.cos"] = torch.zeros(2)
    found = read_whole_checkpoint(_saved(tmp_path / "renamed", ema_params1=weights))
    with pytest.raises(
        ValueError,
        match=r"1 missing: blocks\.0\.norm2\.weight; 2 unexpected: blocks\.0\.norm3\.weight, rope\.cos",
    ):
        config_of_checkpoint(read_official_config(TINY), found)
    nothing = read_whole_checkpoint(_saved(tmp_path / "nothing", ema_params1={}))
    with pytest.raises(ValueError, match=r"\d\d missing: .*, \.\.\."):
        config_of_checkpoint(read_official_config(TINY), nothing)


def test_the_time_schedule_is_the_distribution_of_training_times() -> None:
    assert read_official_config({"time_schedule": "uniform"}).fields["time_distribution"] == "uniform"
    assert official_config(ElfConfig(time_distribution="uniform"))["time_schedule"] == "uniform"


@pytest.mark.parametrize(
    ("name", "value"), [("prediction", "v"), ("conditioning", "adaln_zero"), ("decoder", "separate")]
)
def test_what_the_authors_code_cannot_build_is_not_written(name: str, value: str) -> None:
    with pytest.raises(OfficialFileError, match=f"{name} is '{value}', which the authors' code cannot build"):
        official_config(ElfConfig.from_dict({name: value}))
