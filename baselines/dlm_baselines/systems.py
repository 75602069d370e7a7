"""The discrete-diffusion systems of this package by name: what a recipe trains, what samples it, what bounds its likelihood.

A system is data: three functions and the state space. A new one on the shared network is one more entry here, one module for its formulas, and
one for its sampler. t=0 is data, t=1 is noise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from dlm_baselines.bounds import d3pm_bound, duo_bound, sedd_bound
from dlm_baselines.chain import Reverse, run_chain, uniform_start
from dlm_baselines.d3pm import d3pm_loss
from dlm_baselines.d3pm_sampler import ancestral
from dlm_baselines.dit import Dit
from dlm_baselines.duo import duo_loss
from dlm_baselines.duo_sampler import DuoSettings, duo_steps
from dlm_baselines.likelihood import Bound
from dlm_baselines.mdlm import mdlm_loss
from dlm_baselines.mdlm import nelbo as mdlm_bound
from dlm_baselines.mdlm_sampler import SamplerSettings as MdlmSettings
from dlm_baselines.mdlm_sampler import sample as sample_mdlm
from dlm_baselines.noise import Noise
from dlm_baselines.sampling import OnStep, Sample
from dlm_baselines.schedule import Schedule, geometric, log_linear
from dlm_baselines.sedd import sedd_loss
from dlm_baselines.sedd_sampler import score_steps
from elf_model.training.loop import LossFunction

State = Literal["absorbing", "uniform"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """One call of a sampler."""

    x_start: Tensor
    """[B, L] int64: noise where open."""
    given: Tensor | None
    """[B, L] bool, positions that stay, or None."""
    mask_id: int | None
    steps: int
    noise: Noise
    on_step: OnStep | None = None


class Sampler(Protocol):
    """options: the system's own, by name, all of them."""

    def __call__(self, net: Dit, chain: Chain, options: Mapping[str, Any]) -> Sample: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """An absorbing system has a mask id, by default the last of its vocabulary; a uniform one has None."""

    state: State
    loss: Callable[..., LossFunction]
    """mask_id -> the training loss."""
    sample: Sampler
    bound: Callable[..., Bound]
    """(net, x_data [B, L], *, mask_id, noise, settings) -> upper bounds of -log p."""

    def mask_id(self, net: Dit) -> int | None:
        """The id of the mask in networks that are trained here."""
        return net.config.vocab_size - 1 if self.state == "absorbing" else None


def start(net: Dit, rows: int, length: int, *, mask_id: int | None, noise: Noise) -> Tensor:
    """[rows, length] pure noise at t=1: masks, or uniform tokens where there is no mask."""
    device = net.vocab_embed.embedding.device
    if mask_id is not None:
        return torch.full((rows, length), mask_id, dtype=torch.int64, device=device)
    return uniform_start(rows, length, net.config.vocab_size, noise=noise).to(device)


def _mdlm(net: Dit, chain: Chain, options: Mapping[str, Any]) -> Sample:
    assert chain.mask_id is not None
    settings = MdlmSettings(steps=chain.steps, **options)
    return sample_mdlm(
        net, chain.x_start, mask_id=chain.mask_id, settings=settings, noise=chain.noise, on_step=chain.on_step
    )


def _by_chain(reverse: Callable[..., Reverse], schedule: Schedule) -> Sampler:
    """The sampler whose step is reverse(mask_id, **options)."""

    def sample(net: Dit, chain: Chain, options: Mapping[str, Any]) -> Sample:
        return run_chain(
            net,
            chain.x_start,
            reverse(chain.mask_id, **options),
            steps=chain.steps,
            schedule=schedule,
            noise=chain.noise,
            mask_id=chain.mask_id,
            given=chain.given,
            on_step=chain.on_step,
        )

    return sample


def _duo_steps(mask_id: int | None, **options: Any) -> Reverse:
    return duo_steps(DuoSettings(**options))


def _duo_loss(mask_id: int | None, *, schedule: Schedule) -> LossFunction:
    return duo_loss(schedule=schedule)


def _system(
    state: State,
    schedule: Schedule,
    *,
    loss: Callable[..., LossFunction],
    reverse: Callable[..., Reverse],
    bound: Callable[..., Bound],
) -> System:
    """A system that is trained, sampled and bounded under one schedule."""
    return System(
        state=state,
        loss=partial(loss, schedule=schedule),
        sample=_by_chain(reverse, schedule),
        bound=partial(bound, schedule=schedule),
    )


_D3PM: Mapping[str, Any] = {"loss": d3pm_loss, "reverse": ancestral, "bound": d3pm_bound}
_SEDD: Mapping[str, Any] = {"loss": sedd_loss, "reverse": score_steps, "bound": sedd_bound}

SYSTEMS: Mapping[str, System] = {
    "mdlm": System(state="absorbing", loss=mdlm_loss, sample=_mdlm, bound=mdlm_bound),
    "d3pm": _system("absorbing", log_linear, **_D3PM),
    "d3pm-uniform": _system("uniform", log_linear, **_D3PM),
    "sedd": _system("absorbing", log_linear, **_SEDD),
    "sedd-uniform": _system("uniform", geometric, **_SEDD),  # the authors' schedule for that graph
    "duo": _system("uniform", log_linear, loss=_duo_loss, reverse=_duo_steps, bound=duo_bound),
}
