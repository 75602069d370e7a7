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
        ({"num_self_cond_cfg_tokens": -1}, "num_self_cond_cfg_tokens is -1; allowed: an integer of at least 0"),
        ({"num_time_tokens": 0}, "num_time_tokens is 0; allowed: an integer of at least 1"),
        ({"num_model_mode_tokens": True}, "num_model_mode_tokens is True"),
        ({"prediction": "score"}, "prediction is 'score'; allowed: 'x', 'v', 'eps'"),
        ({"conditioning": "film"}, "conditioning is 'film'; allowed: 'in_context', 'adaln_zero'"),
        ({"decoder": "none"}, "decoder is 'none'; allowed: 'shared', 'separate'"),
        ({"time_distribution": None}, "time_distribution is None; allowed: 'logit_normal', 'uniform'"),
        ({"conditionning": "adaln_zero"}, "'conditionning'; nearest allowed key: 'conditioning'"),
    ],
)
def test_bad_values_name_the_key(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ElfConfig.from_dict(values)


def test_a_config_stored_before_the_ablations_is_the_released_one() -> None:
    values = ElfConfig(hidden=64, heads=2).to_dict()
    for name in ("prediction", "conditioning", "decoder", "time_distribution"):
        del values[name]
    config = ElfConfig.from_dict(values)
    assert config == ElfConfig(hidden=64, heads=2)
    assert (config.prediction, config.conditioning, config.decoder) == ("x", "in_context", "shared")
    assert config.time_distribution == "logit_normal"


@pytest.mark.parametrize(
    ("changes", "prefix", "guidance", "mode"),
    [
        ({}, 12, True, True),
        ({"num_self_cond_cfg_tokens": 0}, 8, False, True),
        ({"num_model_mode_tokens": 0}, 8, True, False),
        ({"decoder": "separate"}, 8, True, False),
        ({"conditioning": "adaln_zero"}, 0, True, True),
        ({"conditioning": "adaln_zero", "num_self_cond_cfg_tokens": 0, "decoder": "separate"}, 0, False, False),
    ],
)
def test_what_is_an_input(changes: dict[str, object], prefix: int, guidance: bool, mode: bool) -> None:
    config = ElfConfig.preset("ELF-B", **changes)
    assert (config.num_prefix_tokens, config.guidance_input, config.mode_input) == (prefix, guidance, mode)
    assert ElfConfig.from_dict(config.to_dict()) == config


def test_unknown_preset_lists_the_known() -> None:
    with pytest.raises(ValueError, match="ELF-B, ELF-M, ELF-L"):
        ElfConfig.preset("ELF-S")


def test_importing_the_package_does_not_import_torch() -> None:
    code = "import sys, elf_model, elf_model.config, elf_model.noise; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
