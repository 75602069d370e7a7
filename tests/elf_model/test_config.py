"""Config: the paper's defaults, and refusals that name the key."""

from __future__ import annotations

import subprocess
import sys

import pytest

from elf_model.config import ElfConfig


def test_defaults_are_the_released_runs_and_round_trip() -> None:
    config = ElfConfig.preset("ELF-L", max_length=128)
    assert (config.denoiser_p_mean, config.noise_scale, config.latent_std, config.decoder_prob) == (
        -1.5,
        2.0,
        0.2,
        0.2,
    )
    assert (config.mlp_dim, config.head_dim, config.num_prefix_tokens) == (3413, 80, 12)
    assert ElfConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"hiden": 8}, "'hiden'; nearest allowed key: 'hidden'"),
        ({"hidden": "8"}, "hidden is '8'"),
        ({"depth": 0}, "depth is 0"),
        ({"decoder_prob": 1.5}, "decoder_prob is 1.5"),
        ({"gelu": "relu"}, "gelu is 'relu'"),
        ({"hidden": 30, "heads": 4}, "even width"),
        ({"t_eps": 0.0}, "t_eps is 0.0"),
        ({"self_cond_cfg_min": 6.0}, "self_cond_cfg_max"),
    ],
)
def test_bad_values_name_the_key(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ElfConfig.from_dict(values)


def test_unknown_preset_lists_the_known() -> None:
    with pytest.raises(ValueError, match="ELF-B, ELF-M, ELF-L"):
        ElfConfig.preset("ELF-S")


def test_importing_the_package_does_not_import_torch() -> None:
    code = "import sys, elf_model, elf_model.config, elf_model.noise; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
