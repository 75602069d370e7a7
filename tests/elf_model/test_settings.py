"""Every field of the sampler's settings is checked, and the message says what is allowed."""

from __future__ import annotations

import math
from typing import Any

import pytest

from elf_model.config import ElfConfig
from elf_model.settings import SamplerSettings


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"steps": 0}, "steps is 0; allowed: an integer of at least 1"),
        ({"steps": 2.0}, "steps is 2.0"),
        ({"steps": True}, "steps is True"),
        ({"method": "dpm"}, "'dpm'; allowed: ode, heun"),
        ({"grid": "cosine"}, "'cosine'; allowed: logit_normal, logit_normal_batch"),
        ({"self_cond_guidance": "three_pass"}, "'three_pass'; allowed: token, two_pass"),
        ({"guidance_schedule": "cosine"}, "'cosine'; allowed: constant, linear, interval"),
        ({"guidance_low": -0.1}, "-0.1, 1.0; allowed: 0 <= guidance_low < guidance_high <= 1"),
        ({"guidance_high": 1.1}, "0.0, 1.1; allowed"),
        ({"guidance_low": 0.5, "guidance_high": 0.5}, "0.5, 0.5; allowed"),
        ({"guidance_low": math.nan}, "nan, 1.0; allowed"),
        ({"gamma": -1.0}, "gamma is -1.0; allowed: 0 or more"),
        ({"self_cond_cfg": math.nan}, "self_cond_cfg is nan"),
        ({"input_cfg": math.inf}, "input_cfg is inf"),
        ({"grid_mean": math.inf}, "grid_mean is inf"),
        ({"grid_std": 0.0}, "grid_std is 0.0; allowed: above 0"),
        ({"noise_scale": 0.0}, "noise_scale is 0.0"),
        ({"t_eps": 1.0}, "t_eps is 1.0"),
        ({"decode_temperature": -0.1}, "decode_temperature is -0.1"),
        ({"decode_temperature": math.inf}, "decode_temperature is inf"),
        ({"decode_top_p": 0.0}, "decode_top_p is 0.0"),
        ({"decode_top_p": 1.5}, "decode_top_p is 1.5; allowed: above 0, at most 1"),
    ],
)
def test_bad_settings_are_refused(choices: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SamplerSettings(**{"steps": 1, **choices})


def test_settings_follow_the_config_unless_told_otherwise() -> None:
    config = ElfConfig(denoiser_p_mean=-1.0, denoiser_p_std=0.5, noise_scale=3.0, t_eps=0.01)
    settings = SamplerSettings.for_config(config, steps=4, grid_std=0.7)
    found = (settings.grid_mean, settings.grid_std, settings.noise_scale, settings.t_eps)
    assert found == (-1.0, 0.7, 3.0, 0.01)
