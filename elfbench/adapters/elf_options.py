"""The options of the ELF entries, and the sampler's settings that they mean."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from elfbench.core.errors import ConfigError
from elfbench.spec.card import OptionSpec
from elfbench.spec.cell import SHARD_ROWS

if TYPE_CHECKING:
    from elf_model.config import ElfConfig
    from elf_model.settings import SamplerSettings

OPTIONS: Mapping[str, OptionSpec] = {
    "method": OptionSpec(
        type="str",
        default="ode",
        choices=("ode", "heun", "sde", "sde_exact", "sde_paper"),
        meaning="Euler ODE; Heun's ODE of two passes per step; the authors' SDE; the same with noise that keeps the path's "
        "variance; the paper's algorithm 6",
    ),
    "gamma": OptionSpec(
        type="float",
        default=0.0,
        minimum=0.0,
        maximum=64.0,
        meaning="noise added back per unit of time by the SDE methods",
    ),
    "self_cond_cfg": OptionSpec(
        type="float", default=1.0, minimum=0.0, maximum=10.0, meaning="guidance scale w of self-conditioning; 1 is none"
    ),
    "self_cond_guidance": OptionSpec(
        type="str",
        default="token",
        choices=("token", "two_pass"),
        meaning="how w guides: as an input of the network, in one pass; or by the difference of a pass with and a pass "
        "without self-conditioning",
    ),
    "guidance_schedule": OptionSpec(
        type="str",
        default="constant",
        choices=("constant", "linear", "interval"),
        meaning="guidance scales over time t (0 noise, 1 data): constant; 1 + (w - 1) t; or w within guidance_interval "
        "and 1 elsewhere",
    ),
    "guidance_interval": OptionSpec(
        type="str",
        default="0,1",
        meaning="times of guidance_schedule interval as LOW,HIGH, both included, e.g. 0.1,0.6; no effect otherwise",
    ),
    "input_cfg": OptionSpec(
        type="float",
        default=1.0,
        minimum=0.0,
        maximum=10.0,
        meaning="guidance scale of the prompt, for suites with prompts (the paper: 2); 1 is none, others double the passes",
    ),
    "truncate_prompt": OptionSpec(
        type="bool",
        default=False,
        meaning="cut a prompt that leaves less room than the length asks for, as the authors do; otherwise it is refused",
    ),
    "grid": OptionSpec(
        type="str",
        default="logit_normal",
        choices=("logit_normal", "logit_normal_batch", "logit_normal_quantile", "uniform"),
        per_batch=("logit_normal_batch",),
        meaning="time grid: random logit-normal drawn per row; the same drawn per batch as the authors do, which is not "
        f"batch invariant (batches must be whole shards of {SHARD_ROWS} rows, whose rows are not independent); its quantiles; "
        "or uniform",
    ),
    "grid_times": OptionSpec(
        type="str",
        default="trained",
        meaning="the grid's logit-normal as MEAN,STD, e.g. -0.5,1.2; 'trained': that of training",
    ),
    "decode_temperature": OptionSpec(
        type="float",
        default=0.0,
        minimum=0.0,
        maximum=10.0,
        meaning="temperature of the tokens drawn at the end; 0 takes the most probable",
    ),
    "decode_top_p": OptionSpec(
        type="float",
        default=1.0,
        minimum=1e-6,
        maximum=1.0,
        meaning="nucleus that the tokens are drawn from; no effect at decode_temperature 0",
    ),
}

_SETTINGS = (
    "method",
    "gamma",
    "self_cond_cfg",
    "self_cond_guidance",
    "guidance_schedule",
    "input_cfg",
    "grid",
    "decode_temperature",
    "decode_top_p",
)
"""Options that are settings of the sampler by the same name."""


def sampler_settings(config: ElfConfig, options: Mapping[str, Any], *, steps: int) -> SamplerSettings:
    """The settings that all `options` mean. Raises ConfigError for guidance that a network of this `config` can't have."""
    from elf_model.guidance import check_guidance
    from elf_model.settings import SamplerSettings

    settings = SamplerSettings.for_config(
        config,
        steps=steps,
        **{name: options[name] for name in _SETTINGS},
        **_grid_times(options["grid_times"]),
        **_guidance_interval(options["guidance_interval"]),
    )
    try:
        check_guidance(replace(settings, input_cfg=1.0), config, None)
    except ValueError as error:
        raise ConfigError(str(error), key="options.self_cond_cfg", found=options["self_cond_cfg"]) from None
    return settings


def _grid_times(text: str) -> dict[str, float]:
    """The option `grid_times` as settings of the sampler. Raises ConfigError for what is no mean and standard deviation."""
    if text == "trained":
        return {}
    mean, std = _two_numbers(text)
    if not (math.isfinite(mean) and 0.0 < std < math.inf):
        raise ConfigError(
            "no mean and standard deviation",
            key="options.grid_times",
            found=text,
            allowed="'trained', or MEAN,STD with STD > 0",
        )
    return {"grid_mean": mean, "grid_std": std}


def _guidance_interval(text: str) -> dict[str, float]:
    """The option `guidance_interval` as settings of the sampler. Raises ConfigError for what is no interval in [0, 1]."""
    low, high = _two_numbers(text)
    if not 0.0 <= low < high <= 1.0:
        raise ConfigError(
            "no interval of times",
            key="options.guidance_interval",
            found=text,
            allowed="LOW,HIGH with 0 <= LOW < HIGH <= 1",
        )
    return {"guidance_low": low, "guidance_high": high}


def _two_numbers(text: str) -> tuple[float, float]:
    """ "A,B" as numbers; NaN where it is something else."""
    try:
        first, second = (float(part) for part in text.split(","))
    except ValueError:
        return math.nan, math.nan
    return first, second


def check_whole_shard(rows: tuple[int, ...]) -> None:
    """Raises ConfigError unless a batch is a shard from its first row on: the first row's grid is that of the batch, so
    other batches would give other ids for the same cell."""
    if rows[0] % SHARD_ROWS or rows[-1] // SHARD_ROWS != rows[0] // SHARD_ROWS:
        raise ConfigError(
            "the grid 'logit_normal_batch' is that of a batch's first row, so a batch has to be a whole shard",
            key="options.grid",
            found=f"a batch of rows {rows[0]} .. {rows[-1]}",
            allowed=f"batches that start at a multiple of {SHARD_ROWS} and have at most {SHARD_ROWS} rows",
            remedy=f"--batch-size {SHARD_ROWS}; where memory is too small for it, grid=logit_normal",
        )
