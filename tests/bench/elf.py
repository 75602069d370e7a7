"""Sampling at ELF-B's size on one CPU core: ours against the authors' loop written the plain way (`plain_elf`).

Same random weights, start and grid; ids and latents must be equal before anything is timed. Two steps and a decode
pass; longer runs are extrapolated from the counted passes. Times are CPU seconds of one thread, so that another
process on the machine counts less. Peak memory is the largest resident set of a forked process that samples once,
weights and Python included. Legend: B rows, L tokens, N = L + 12 with ELF's own tokens.
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import NamedTuple

import torch
from plain_elf import PlainElf, plain_sample
from timing import Line, seconds
from torch import Tensor
from torch.nn import functional as F

from elf_model.config import ElfConfig
from elf_model.linear import linear
from elf_model.network import ElfNetwork, build_network
from elf_model.noise import DRAW_GRID, DRAW_START
from elf_model.prefix import Prefix
from elf_model.sampler import Sample, SamplerSettings, sample

_STEPS, _SELF_COND_CFG, _LONG = 2, 3.0, (32, 64)
_THAN = "the authors' loop, written plainly"


class Setting(NamedTuple):
    """One run to time: a prefix of half the length and guidance by it where input_cfg is not 1."""

    rows: int
    length: int
    input_cfg: float = 1.0

    @property
    def name(self) -> str:
        """For the table."""
        guided = "" if self.input_cfg == 1.0 else f", guided by a prefix of {self.length // 2} tokens"
        return f"ELF-B: batch {self.rows} of {self.length} tokens{guided}"

    @property
    def passes_per_step(self) -> int:
        """Rows of a forward pass per row of the batch."""
        return 1 if self.input_cfg == 1.0 else 2


SETTINGS = (Setting(1, 128), Setting(8, 128), Setting(1, 1024), Setting(1, 128, 2.0), Setting(4, 128, 2.0))


class FixedNoise:
    """The same normals for every draw: only the start and the time grid are drawn here."""

    def __init__(self, rows: int) -> None:
        self.rows = rows

    def normal(self, draw: int, shape: tuple[int, ...]) -> Tensor:
        """[B, *shape] float32; one grid for all rows, as the authors have."""
        rows = self.rows if draw == DRAW_START else 1
        normals = torch.randn(rows, *shape, generator=torch.Generator().manual_seed(draw))
        return normals.expand(self.rows, *shape)

    def uniform(self, draw: int, shape: tuple[int, ...]) -> Tensor:
        """Not asked for: decoding takes the most probable token."""
        raise NotImplementedError


def flops(config: ElfConfig, rows: int, length: int, *, decode: bool) -> int:
    """Multiplications and additions of one forward pass: matrix products and attention, nothing elementwise."""
    c, h, n = config.latent_dim, config.hidden, length + config.num_prefix_tokens
    per_text_token = 2 * c * c + c * config.bottleneck_dim + config.bottleneck_dim * h + h * c
    per_token = config.depth * (4 * h * h + 3 * h * config.mlp_dim)
    per_row = 2 * (256 * h + h * h) + config.depth * 2 * n * n * h
    head = length * (h * c + c * config.vocab_size) if decode else 0
    return 2 * rows * (length * per_text_token + n * per_token + per_row + head)


def run_flops(config: ElfConfig, setting: Setting, steps: int) -> int:
    """FLOPs of sampling, decoding included, as the plain loop does it."""
    rows, length = setting.rows, setting.length
    denoising = steps * setting.passes_per_step * flops(config, rows, length, decode=False)
    return denoising + flops(config, rows, length, decode=True)


def tasks(net: ElfNetwork, setting: Setting) -> tuple[Callable[[], Sample], Callable[[], tuple[Tensor, Tensor]]]:
    """Our sampling and the plain one, of the same numbers."""
    config, noise = net.config, FixedNoise(setting.rows)
    settings = SamplerSettings.for_config(
        config, steps=_STEPS, self_cond_cfg=_SELF_COND_CFG, input_cfg=setting.input_cfg
    )
    guided = setting.input_cfg != 1.0
    clean = torch.randn(setting.rows, setting.length, config.latent_dim, generator=torch.Generator().manual_seed(7))
    mask = (torch.arange(setting.length) < setting.length // 2).expand(setting.rows, -1)
    prefix = Prefix(clean, mask) if guided else None
    plain = PlainElf(config, dict(net.state_dict()), length=config.max_length)

    def ours() -> Sample:
        return sample(net, length=setting.length, settings=settings, noise=noise, prefix=prefix)

    def other() -> tuple[Tensor, Tensor]:
        z = settings.noise_scale * noise.normal(DRAW_START, (setting.length, config.latent_dim))
        interior = torch.sigmoid(settings.grid_mean + settings.grid_std * noise.normal(DRAW_GRID, (_STEPS - 1,))[0])
        grid = torch.cat([torch.zeros(1), interior.sort().values, torch.ones(1)])
        guidance = {"input_cfg": setting.input_cfg, "clean": clean, "mask": mask[..., None]} if guided else {}
        return plain_sample(plain, z, grid, self_cond_cfg=_SELF_COND_CFG, **guidance)

    return ours, other


def check_equal(net: ElfNetwork, setting: Setting) -> None:
    """Raises AssertionError unless both give the same ids and, up to rounding, the same latents."""
    ours, other = tasks(net, setting)
    mine, (ids, z) = ours(), other()
    torch.testing.assert_close(mine.z, z, atol=2e-4, rtol=1e-4)
    # Random weights leave near-ties among 32,100 tokens, which rounding may decide either way.
    different = int((mine.ids != ids).sum())
    assert different == 0, f"{setting.name}: {different} of {ids.numel()} token ids differ"


def peak_memory(task: Callable[[], object]) -> float:
    """Largest resident set, in MB, of a forked process that runs the task once."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_report_peak, args=(task, sender))
    process.start()
    peak: float = receiver.recv()
    process.join()
    return peak


def _report_peak(task: Callable[[], object], sender: Connection) -> None:
    task()
    unit = 1 if sys.platform == "darwin" else 1024
    sender.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6)


def matmul_rate() -> float:
    """FLOPs per second of the matrix product of ELF-B's largest layer, the faster of two libraries."""
    x, weight, bias = torch.randn(1024, 768), torch.randn(4096, 768), torch.randn(4096)
    with torch.no_grad():
        times = seconds(
            lambda: F.linear(x, weight, bias), lambda: linear(x, weight, bias), repeats=10, clock=time.process_time
        )
    return 2 * x.shape[0] * weight.numel() / min(times)


def counted_passes(net: ElfNetwork, task: Callable[[], Sample]) -> int:
    """Forward passes of one run."""
    calls: list[int] = []
    handle = net.register_forward_hook(lambda *_: calls.append(1))
    task()
    handle.remove()
    return len(calls)


def random_network() -> ElfNetwork:
    """ELF-B with random numbers also where initialization has zeros."""
    net = build_network(ElfConfig.preset("ELF-B"), seed=0).eval()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.02)
    return net


def elf_sampling() -> Iterator[Line]:
    """All settings, then longer runs of the first two."""
    torch.set_num_threads(1)
    net = random_network()
    peaks = {s: tuple(peak_memory(task) for task in tasks(net, s)) for s in SETTINGS}
    rate = matmul_rate()
    for setting in SETTINGS:
        check_equal(net, setting)
        repeats = 5 if setting.rows * setting.length <= 128 else 3
        ours, other = seconds(*tasks(net, setting), repeats=repeats, clock=time.process_time)
        used = run_flops(net.config, setting, _STEPS) / (rate * ours)
        what = f"{setting.name}, {_STEPS} steps"
        yield Line(what, ours, other, _THAN, used, peaks[setting])
        if setting in SETTINGS[:2]:
            passes = counted_passes(net, tasks(net, setting)[0])
            for steps in _LONG:
                factor = (steps + 1) / passes
                used = run_flops(net.config, setting, steps) / (rate * ours * factor)
                than = f"{_THAN}; both extrapolated: {steps + 1} passes at the speed of {passes}"
                yield Line(f"{setting.name}, {steps} steps", factor * ours, factor * other, than, used)
