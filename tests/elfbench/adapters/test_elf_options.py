"""Options of the ELF entries as settings of the sampler."""

from __future__ import annotations

from typing import get_args

import pytest

from elf_model import settings as allowed
from elf_model.config import ElfConfig
from elf_model.settings import SamplerSettings
from elfbench.adapters.elf_options import OPTIONS, check_whole_shard, sampler_settings
from elfbench.core.errors import ConfigError

DEFAULTS = {name: option.default for name, option in OPTIONS.items()}


def test_defaults_and_choices_are_those_of_the_sampler() -> None:
    config = ElfConfig()
    assert sampler_settings(config, DEFAULTS, steps=7) == SamplerSettings.for_config(config, steps=7)
    for name, choices in (
        ("method", allowed.Method),
        ("grid", allowed.Grid),
        ("self_cond_guidance", allowed.SelfCondGuidance),
        ("guidance_schedule", allowed.GuidanceSchedule),
    ):
        assert OPTIONS[name].choices == get_args(choices)
    named = {**DEFAULTS, "guidance_schedule": "interval", "guidance_interval": "0.1,0.6", "grid_times": "-0.5,1.2"}
    found = sampler_settings(config, named, steps=7)
    assert (found.guidance_low, found.guidance_high, found.grid_mean, found.grid_std) == (0.1, 0.6, -0.5, 1.2)


def test_guidance_that_the_weights_cannot_have_is_refused() -> None:
    options = {**DEFAULTS, "self_cond_cfg": 2.0}
    config = ElfConfig(num_self_cond_cfg_tokens=0)
    with pytest.raises(ConfigError, match="no guidance tokens"):
        sampler_settings(config, options, steps=1)
    assert sampler_settings(config, {**options, "self_cond_guidance": "two_pass"}, steps=1).self_cond_cfg == 2.0
    with pytest.raises(ConfigError, match="no self-conditioning"):
        sampler_settings(ElfConfig(self_cond_prob=0.0), options, steps=1)


@pytest.mark.parametrize(
    ("start", "stop", "whole"),
    [(0, 64, True), (0, 3, True), (64, 128, True), (128, 150, True), (1, 64, False), (32, 64, False), (0, 65, False)],
)
def test_a_batch_that_shares_a_grid_starts_with_its_shard(start: int, stop: int, whole: bool) -> None:
    rows = tuple(range(start, stop))
    if whole:
        check_whole_shard(rows)
    else:
        with pytest.raises(ConfigError, match=f"rows {start} .. {stop - 1}"):
            check_whole_shard(rows)
