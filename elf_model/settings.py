"""The choices of sampling an ELF (arXiv 2605.10938, algorithms 5 and 6 and appendix D.2), checked. Not a sampler."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

from elf_model.config import ElfConfig

Method = Literal["ode", "heun", "sde", "sde_exact", "sde_paper"]
Grid = Literal["logit_normal", "logit_normal_batch", "logit_normal_quantile", "uniform"]
SelfCondGuidance = Literal["token", "two_pass"]
GuidanceSchedule = Literal["constant", "linear", "interval"]

_CHOICES = {
    "method": get_args(Method),
    "self_cond_guidance": get_args(SelfCondGuidance),
    "guidance_schedule": get_args(GuidanceSchedule),
    "grid": get_args(Grid),
}
_RANGES = {
    "gamma": (lambda x: 0.0 <= x < math.inf, "0 or more, finite"),
    "self_cond_cfg": (math.isfinite, "a finite number"),
    "input_cfg": (math.isfinite, "a finite number"),
    "grid_mean": (math.isfinite, "a finite number"),
    "grid_std": (lambda x: 0.0 < x < math.inf, "above 0, finite"),
    "noise_scale": (lambda x: 0.0 < x < math.inf, "above 0, finite"),
    "t_eps": (lambda x: 0.0 <= x < 1.0, "0 or more, below 1"),
    "decode_temperature": (lambda x: 0.0 <= x < math.inf, "0 or more, finite"),
    "decode_top_p": (lambda x: 0.0 < x <= 1.0, "above 0, at most 1"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplerSettings:
    """One way of sampling. `for_config` fills what training fixed.

    steps: N >= 1. method: Euler ("ode"); Heun, two evaluations per step but the last; the authors' SDE ("sde"),
    the same with noise that keeps the marginal ("sde_exact"), the paper's algorithm 6 ("sde_paper"). gamma: noise
    added back per unit of time, for the SDE methods (paper, appendix D.2: 2 at 8 and 16 steps, 1.5 at 32, 1 at
    64).

    self_cond_cfg: guidance scale w of self-conditioning, fed to the network's guidance tokens ("token") or made of
    a pass with and a pass without self-conditioning ("two_pass"; see `guidance`). input_cfg: guidance scale g of
    the clean prefix. 1 is no guidance, for both. guidance_schedule: both scales as functions of time
    (`schedule.guidance_scale`); guidance_low, guidance_high: the times [low, high] of "interval".

    grid: "logit_normal" draws a time grid per row; "logit_normal_batch" draws the first row's for all rows, as the
    authors do, so that a row depends on the batch it is in; "logit_normal_quantile" and "uniform" draw none.
    grid_mean, grid_std: the logit-normal of the time grid. decode_temperature: 0 takes the most probable token;
    decode_top_p in (0, 1]: the nucleus that is drawn from, without effect at temperature 0.
    Raises ValueError for anything else.
    """

    steps: int
    method: Method = "ode"
    gamma: float = 0.0
    self_cond_cfg: float = 1.0
    self_cond_guidance: SelfCondGuidance = "token"
    input_cfg: float = 1.0
    guidance_schedule: GuidanceSchedule = "constant"
    guidance_low: float = 0.0
    guidance_high: float = 1.0
    grid: Grid = "logit_normal"
    grid_mean: float = -1.5
    grid_std: float = 0.8
    noise_scale: float = 2.0
    t_eps: float = 0.05
    decode_temperature: float = 0.0
    decode_top_p: float = 1.0

    def __post_init__(self) -> None:
        if isinstance(self.steps, bool) or not isinstance(self.steps, int) or self.steps < 1:
            raise ValueError(f"steps is {self.steps!r}; allowed: an integer of at least 1")
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} is {getattr(self, name)!r}; allowed: {', '.join(choices)}")
        for name, (holds, allowed) in _RANGES.items():
            if not holds(getattr(self, name)):
                raise ValueError(f"{name} is {getattr(self, name)}; allowed: {allowed}")
        low, high = self.guidance_low, self.guidance_high
        if not 0.0 <= low < high <= 1.0:
            raise ValueError(
                f"guidance_low, guidance_high are {low}, {high}; allowed: 0 <= guidance_low < guidance_high <= 1"
            )

    @classmethod
    def for_config(cls, config: ElfConfig, *, steps: int, **choices: Any) -> SamplerSettings:
        """Settings with the noise scale, time floor and grid of `config`, unless `choices` says otherwise."""
        trained = {
            "grid_mean": config.denoiser_p_mean,
            "grid_std": config.denoiser_p_std,
            "noise_scale": config.noise_scale,
            "t_eps": config.t_eps,
        }
        return cls(steps=steps, **{**trained, **choices})
