"""Sampling by MDLM, Duo and the autoregressive baseline on one CPU core: ours against the authors' loops (`plain_discrete`).

Same random weights; `test_plain_discrete` shows that the laws are the same. Loops of the 12-block, 768-wide network
are timed on slices, their first, middle and last steps, and extrapolated: a step with a pass and one without are timed
apart and multiplied by how many of each the whole loop has, which is counted by walking all of it. What a whole loop
costs is measured on a network of 4 blocks, 256 wide. Times are CPU seconds of one thread. Peak memory is the largest
resident set of a forked process, weights and Python included. Legend: B rows, L tokens, V vocabulary.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator
from statistics import fmean
from typing import Any

import torch
from elf import matmul_rate, peak_memory
from plain_discrete import plain_ar, plain_duo, plain_mdlm
from slices import Gated, PlainClock, Steps, spans_of
from timing import Line, seconds
from torch import Tensor

from dlm_baselines import ar, mdlm_sampler
from dlm_baselines.chain import Move, Reverse, run_chain, uniform_start
from dlm_baselines.dit import Dit, DitConfig, build_dit
from dlm_baselines.duo_sampler import DuoSettings, duo_steps
from dlm_baselines.schedule import log_linear
from elf_model.training.noise import RowNoise

_VOCAB = 50_258
_MASK = _VOCAB - 1
_STEPS, _SPAN, _SPAN_OF_BATCH = 1024, 16, 4  # a plain step of batch 8 takes seconds
_THAN = "the authors' loop, written plainly"


def random_dit(*, hidden: int, depth: int, causal: bool = False, size: int = _VOCAB) -> Dit:
    """A DiT with heads of 64 and random numbers also where initialization has zeros."""
    config = DitConfig(vocab_size=size, hidden=hidden, depth=depth, heads=hidden // 64, causal=causal)
    net = build_dit(config, seed=0).eval()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.02)
    return net


def mdlm_slices(net: Dit, rows: int, length: int, span: int, dtype: torch.dtype) -> tuple[Steps, Steps]:
    """Ours and the plain loop of 1,024 steps; the plain slices start from our states."""
    gated = Gated(net, spans_of(_STEPS, span))
    gated.states[0] = torch.full((rows, length), _MASK)
    settings = mdlm_sampler.SamplerSettings(steps=_STEPS)
    start, noise = gated.states[0], RowNoise(range(rows))
    mdlm_sampler.sample(gated, start, mask_id=_MASK, settings=settings, noise=noise, on_step=gated.on_step)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(1)
    timed: list[tuple[int, float]] = []
    for first, end in spans_of(_STEPS, span):
        clock = PlainClock(rows)
        options: dict[str, Any] = {"span": (first, end), "on_step": clock.on_step, "dtype": dtype}
        plain_mdlm(net, gated.states[first], mask_id=_MASK, steps=_STEPS, generator=generator, **options)
        timed += clock.timed
    counted = PlainClock(rows)
    plain_mdlm(
        lambda ids, _: torch.zeros(*ids.shape, 3),
        torch.full((rows, length), 2),
        mask_id=2,
        steps=_STEPS,
        generator=generator,
        on_step=counted.on_step,
    )
    row_passes = [passes for passes, _ in counted.timed]
    return gated.steps(), Steps(timed, row_passes.count(0), sum(row_passes))


def duo_slices(net: Dit, rows: int, length: int, span: int) -> tuple[Steps, Steps]:
    """Ours and the plain loop of 1,024 steps and one more, every one of which has a pass of all rows."""
    gated, reverse = Gated(net, spans_of(_STEPS, span)), duo_steps(DuoSettings())
    start = uniform_start(rows, length, _VOCAB, noise=RowNoise(range(rows)))
    gated.states[0] = start

    def gated_reverse(logits: Tensor, x_t: Tensor, move: Move, uniforms: Tensor) -> Tensor:
        return reverse(logits, x_t, move, uniforms) if gated.live else x_t

    _chain(gated, start, gated_reverse, _STEPS, on_step=gated.on_step)
    timed: list[tuple[int, float]] = []
    generator = torch.Generator().manual_seed(1)
    for first, end in spans_of(_STEPS, span):
        clock = PlainClock(rows)
        options: dict[str, Any] = {"span": (first, end), "on_step": clock.on_step}
        plain_duo(net, gated.states[first], steps=_STEPS, generator=generator, **options)
        timed += clock.timed
    return gated.steps(), Steps(timed, 0, rows * (_STEPS + 1))


def _chain(net: Any, start: Tensor, reverse: Reverse, steps: int, **options: Any) -> Tensor:
    noise = RowNoise(range(len(start)))
    return run_chain(net, start, reverse, steps=steps, schedule=log_linear, noise=noise, mask_id=None, **options).ids


def ar_tasks(net: Dit, length: int) -> tuple[Callable[[], Tensor], Callable[[], Tensor]]:
    """Whole samples of one row."""

    def ours() -> Tensor:
        settings = ar.SamplerSettings()
        return ar.sample(net, length=length, start_id=_MASK, settings=settings, noise=RowNoise([0]), rows=1).ids

    def other() -> Tensor:
        generator = torch.Generator().manual_seed(1)
        return plain_ar(net, rows=1, length=length, start_id=_MASK, size=net.config.vocab_size, generator=generator)

    return ours, other


def plain_ar_seconds(net: Dit, length: int, span: int) -> float:
    """The plain autoregressive loop, extrapolated: its noise once, and all passes at the mean of the slices."""
    clock, generator = PlainClock(1), torch.Generator().manual_seed(1)
    options: dict[str, Any] = {"spans": spans_of(length, span), "on_step": clock.on_step}
    plain_ar(net, rows=1, length=length, start_id=_MASK, size=net.config.vocab_size, generator=generator, **options)
    return clock.timed[0][1] + length * fmean(cost for _, cost in clock.timed[1:])


def mdlm_tasks(net: Dit, rows: int, length: int, steps: int) -> tuple[Callable[[], Tensor], Callable[[], Tensor]]:
    """Whole trajectories."""
    start = torch.full((rows, length), _MASK)

    def ours() -> Tensor:
        settings = mdlm_sampler.SamplerSettings(steps=steps)
        return mdlm_sampler.sample(net, start, mask_id=_MASK, settings=settings, noise=RowNoise(range(rows))).ids

    def other() -> Tensor:
        return plain_mdlm(net, start, mask_id=_MASK, steps=steps, generator=torch.Generator().manual_seed(1))

    return ours, other


def duo_tasks(net: Dit, rows: int, length: int, steps: int) -> tuple[Callable[[], Tensor], Callable[[], Tensor]]:
    """Whole trajectories."""
    start = uniform_start(rows, length, _VOCAB, noise=RowNoise(range(rows)))
    return (
        lambda: _chain(net, start, duo_steps(DuoSettings()), steps),
        lambda: plain_duo(net, start, steps=steps, generator=torch.Generator().manual_seed(1)),
    )


def flops(config: DitConfig, *, rows: int, tokens: int, attended: int, projected: int) -> int:
    """Multiplications and additions of passes: matrix products and attention, nothing elementwise.

    rows: row passes, each conditioned once; tokens: through the blocks; attended: keys seen, summed over queries;
    projected: positions onto the vocabulary.
    """
    h, c = config.hidden, config.cond_dim
    blocks = config.depth * ((4 + 2 * config.mlp_ratio) * h * h * tokens + 2 * h * attended)
    condition = 0 if config.causal else rows * (256 * c + c * c + (6 * config.depth + 2) * c * h)
    return 2 * (blocks + condition + h * config.vocab_size * projected)


def _row_flops(net: Dit, passes: int, length: int, projected: int) -> int:
    return flops(net.config, rows=passes, tokens=passes * length, attended=passes * length**2, projected=projected)


def _ar_flops(net: Dit, length: int) -> int:
    attended = length * (length + 1) // 2
    return flops(net.config, rows=length, tokens=length, attended=attended, projected=length)


def _memory() -> Iterator[Line]:
    """Batch 2 of 1,024 tokens in one step: ours has all positions to decide at once, the plain loop holds as much in any step."""
    net = random_dit(hidden=256, depth=4)
    for name, (ours, other) in (("MDLM", mdlm_tasks(net, 2, 1024, 1)), ("Duo", duo_tasks(net, 2, 1024, 1))):
        (mine, peak), (theirs, other_peak) = _forked(ours), _forked(other)
        name = f"{name} of 4 blocks, 256 wide: batch 2 of 1024 tokens, 1 step"
        yield Line(name, mine, theirs, _THAN, None, (peak, other_peak))


def _forked(task: Callable[[], object]) -> tuple[float, float]:
    """CPU seconds and peak memory in MB of a forked process that runs the task once."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    peak = peak_memory(task)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, peak


def _trajectories(rate: float) -> Iterator[Line]:
    """Whole loops of the small network."""
    net, causal = random_dit(hidden=256, depth=4), random_dit(hidden=256, depth=4, causal=True)
    for name, tasks in (
        ("MDLM of 4 blocks, 256 wide: batch 1 of 128 tokens, 32 steps", mdlm_tasks(net, 1, 128, 32)),
        ("MDLM of 4 blocks, 256 wide: batch 8 of 128 tokens, 4 steps", mdlm_tasks(net, 8, 128, 4)),
        ("Duo of 4 blocks, 256 wide: batch 1 of 128 tokens, 16 steps", duo_tasks(net, 1, 128, 16)),
    ):
        mine, theirs = seconds(*tasks, repeats=1, clock=time.process_time)
        yield Line(name, mine, theirs, _THAN)
    mine, theirs = seconds(*ar_tasks(causal, 256), repeats=1, clock=time.process_time)
    name = "autoregressive, 4 blocks, 256 wide: batch 1 of 256 tokens"
    yield Line(name, mine, theirs, f"{_THAN}, without a cache", _ar_flops(causal, 256) / (rate * mine))


def _slices(rate: float) -> Iterator[Line]:
    """The loops of the network that is published, 12 blocks and 768 wide."""
    net = random_dit(hidden=768, depth=12)
    net(torch.zeros(1, 128, dtype=torch.int64))
    for rows, span, dtype, race in (
        (1, _SPAN, torch.float64, ""),
        (1, _SPAN, torch.float32, ", its race in float32, which has another law"),
        (8, _SPAN_OF_BATCH, torch.float64, ""),
    ):
        ours, other = mdlm_slices(net, rows, 128, span, dtype)
        used = _row_flops(net, ours.passes, 128, rows * 128) / (rate * ours.seconds)
        name = f"MDLM of 12 blocks, 768 wide: batch {rows} of 128 tokens, {_STEPS} steps"
        yield Line(name, ours.seconds, other.seconds, f"{_THAN}{race}; {_extrapolated(ours, other, span)}", used)
    ours, other = duo_slices(net, 1, 128, _SPAN)
    used = _row_flops(net, ours.passes, 128, ours.passes * 128) / (rate * ours.seconds)
    name = f"Duo of 12 blocks, 768 wide: batch 1 of 128 tokens, {_STEPS} steps"
    yield Line(name, ours.seconds, other.seconds, f"{_THAN}; {_extrapolated(ours, other, _SPAN)}", used)
    net = random_dit(hidden=768, depth=12, causal=True)
    (mine,) = seconds(ar_tasks(net, 256)[0], repeats=1, clock=time.process_time)
    theirs = plain_ar_seconds(net, 256, _SPAN)
    name, than = "autoregressive, 12 blocks, 768 wide: batch 1 of 256 tokens", f"{_THAN}, without a cache; extrapolated"
    yield Line(name, mine, theirs, f"{than} from 3 x {_SPAN} passes", _ar_flops(net, 256) / (rate * mine))


def _extrapolated(ours: Steps, other: Steps, span: int) -> str:
    return f"both extrapolated from 3 x {span} steps: {ours.passes} and {other.passes} row passes"


@torch.no_grad()
def discrete_sampling() -> Iterator[Line]:
    """Peak memory while this process is small, whole trajectories, then slices."""
    torch.set_num_threads(1)
    yield from _memory()
    rate = matmul_rate()
    yield from _trajectories(rate)
    yield from _slices(rate)
