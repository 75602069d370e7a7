"""The discrete-diffusion systems of this package by name: what a recipe trains, what samples it, what bounds its likelihood.

A system is data: three functions and the state space. A new one on the shared network is one more entry here, one module for its formulas, and
one for its sampler. t=0 is data, t=1 is noise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from dlm_baselines.bounds import d3pm_bound, duo_bound, sedd_bound
from dlm_baselines.chain import run_chain, uniform_start
from dlm_baselines.d3pm import d3pm_loss
from dlm_baselines.d3pm_sampler import ancestral
from dlm_baselines.dit import Dit
from dlm_baselines.duo import duo_loss
from dlm_baselines.duo_sampler import DuoSettings, duo_steps
from dlm_baselines.likelihood import Bound, BoundSettings
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

    state: Literal["absorbing", "uniform"]
    loss: Callable[[int | None], LossFunction]
    sample: Sampler
    bound: Callable[[Dit, Tensor, int | None, Noise, BoundSettings], Bound]

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


def _d3pm(net: Dit, chain: Chain, options: Mapping[str, Any]) -> Sample:
    return _run(net, chain, ancestral(chain.mask_id, **options), log_linear)


def _sedd(net: Dit, chain: Chain, options: Mapping[str, Any]) -> Sample:
    return _run(net, chain, score_steps(chain.mask_id, **options), _sedd_schedule(chain.mask_id))


def _duo(net: Dit, chain: Chain, options: Mapping[str, Any]) -> Sample:
    return _run(net, chain, duo_steps(DuoSettings(**options)), log_linear)


def _run(net: Dit, chain: Chain, reverse: Any, schedule: Schedule) -> Sample:
    return run_chain(
        net,
        chain.x_start,
        reverse,
        steps=chain.steps,
        schedule=schedule,
        noise=chain.noise,
        mask_id=chain.mask_id,
        given=chain.given,
        on_step=chain.on_step,
    )


def _sedd_schedule(mask_id: int | None) -> Schedule:
    """The authors': log-linear for the absorbing graph, geometric for the uniform one."""
    return log_linear if mask_id is not None else geometric


def _mdlm_loss(mask_id: int | None) -> LossFunction:
    assert mask_id is not None
    return mdlm_loss(mask_id)


def _mdlm_bound(net: Dit, x_data: Tensor, mask_id: int | None, noise: Noise, settings: BoundSettings) -> Bound:
    assert mask_id is not None
    return mdlm_bound(net, x_data, mask_id=mask_id, noise=noise, settings=settings)


def _d3pm_bound(net: Dit, x_data: Tensor, mask_id: int | None, noise: Noise, settings: BoundSettings) -> Bound:
    return d3pm_bound(net, x_data, mask_id=mask_id, noise=noise, settings=settings, schedule=log_linear)


def _sedd_bound(net: Dit, x_data: Tensor, mask_id: int | None, noise: Noise, settings: BoundSettings) -> Bound:
    schedule = _sedd_schedule(mask_id)
    return sedd_bound(net, x_data, mask_id=mask_id, noise=noise, settings=settings, schedule=schedule)


def _duo_bound(net: Dit, x_data: Tensor, mask_id: int | None, noise: Noise, settings: BoundSettings) -> Bound:
    return duo_bound(net, x_data, mask_id=mask_id, noise=noise, settings=settings, schedule=log_linear)


_D3PM: Mapping[str, Any] = {"loss": d3pm_loss, "sample": _d3pm, "bound": _d3pm_bound}
_SEDD: Mapping[str, Any] = {
    "loss": lambda mask_id: sedd_loss(mask_id, schedule=_sedd_schedule(mask_id)),
    "sample": _sedd,
    "bound": _sedd_bound,
}

SYSTEMS: Mapping[str, System] = {
    "mdlm": System(state="absorbing", loss=_mdlm_loss, sample=_mdlm, bound=_mdlm_bound),
    "d3pm": System(state="absorbing", **_D3PM),
    "d3pm-uniform": System(state="uniform", **_D3PM),
    "sedd": System(state="absorbing", **_SEDD),
    "sedd-uniform": System(state="uniform", **_SEDD),
    "duo": System(state="uniform", loss=lambda mask_id: duo_loss(), sample=_duo, bound=_duo_bound),
}
