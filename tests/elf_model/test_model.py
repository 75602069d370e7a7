"""Model files: round trip in half precision, and refusals that name keys."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from elf_vectors import FOLDER
from safetensors.torch import save_file

from elf_model.model import load_model, save_model
from elf_model.network import ElfNetwork
from elf_model.official import config_from_official, read_official_checkpoint
from elf_model.weights import load_strictly


def test_round_trip(tiny_net: ElfNetwork, tmp_path: Path) -> None:
    path, table = (
        tmp_path / "tiny.safetensors",
        torch.randn(11, 6, generator=torch.Generator().manual_seed(0)),
    )
    save_model(path, tiny_net, table=table, notes={"steps": 3})
    loaded = load_model(path)
    assert loaded.config == tiny_net.config
    assert loaded.notes == {"steps": 3}
    assert torch.equal(loaded.table, table.half().float())
    for name, tensor in tiny_net.state_dict().items():
        assert torch.equal(loaded.net.state_dict()[name], tensor.half().float())


def test_wrong_keys_are_named_and_counted(tiny_net: ElfNetwork) -> None:
    weights = dict(tiny_net.state_dict())
    weights["proj_bais"] = weights.pop("proj_bias")
    weights["mode_tokens"] = torch.zeros(1, 3, 16)
    with pytest.raises(
        ValueError,
        match=r"1 missing: proj_bias; 1 unexpected: proj_bais; 1 mis-shaped: mode_tokens \(found \(1, 3",
    ):
        load_strictly(tiny_net, weights)


def test_other_files_are_refused(tiny_net: ElfNetwork, tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="elf format None"):
        load_model(tmp_path / "other.safetensors")
    (tmp_path / "text.safetensors").write_text("not safetensors")
    with pytest.raises(ValueError, match="not a safetensors file"):
        load_model(tmp_path / "text.safetensors")
    with pytest.raises(ValueError, match="no 'ema_params9'"):
        read_official_checkpoint(FOLDER / "checkpoint_7", weights="ema_params9")  # type: ignore[arg-type]


def test_numbers_beyond_half_precision_are_refused(tiny_net: ElfNetwork, tmp_path: Path) -> None:
    with torch.no_grad():
        tiny_net.proj_bias[0] = 1e6
    with pytest.raises(ValueError, match="proj_bias is not finite"):
        save_model(tmp_path / "big.safetensors", tiny_net)
    assert not (tmp_path / "big.safetensors").exists()


def test_official_names_and_unknown_ones() -> None:
    assert config_from_official({"hidden_size": 32, "num_heads": 2}).hidden == 32
    with pytest.raises(ValueError, match="'hidden_sice'"):
        config_from_official({"hidden_sice": 32})
