"""Timing one batch size of one loaded model: warm-up, timed runs, then one run that is watched for memory and one for FLOPs.

Every run samples rows of its own: run k has rows [k * batch, (k+1) * batch), so nothing is timed twice on the same noise.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from elfbench.core.errors import ConfigError
from elfbench.core.seeds import row_seeds
from elfbench.running.timing.flops import Flops, counted_flops, synchronize
from elfbench.running.timing.memory import Peak, peak_of
from elfbench.spec.cell import Cell
from elfbench.spec.prompts import PromptSet
from elfbench.spec.sampling import CountedModel, Model, SampleBatch, SampleRequest

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Run:
    """A timed run of one batch."""

    seconds: float
    tokens: int
    """Valid ids of all rows, prompts excluded."""
    nfe: int
    """Forward passes that the model reported, summed over rows."""
    passes: int | None
    """Rows that went through the network, summed over its calls; None where the model names no network."""
    flops: Flops


@dataclass(slots=True)
class TimedBatch:
    """All runs of one batch size."""

    runs: list[Run]
    memory: Peak


@dataclass(slots=True)
class _Passes:
    """Rows that went through a network."""

    rows: int = 0
    calls: list[str] = field(default_factory=list)
    """Calls without a tensor, whose rows are not known."""


def time_batch(
    model: Model,
    cell: Cell,
    repeats: int,
    *,
    prompts: PromptSet | None = None,
    device: str = "cpu",
    clock: Clock = time.perf_counter,
) -> TimedBatch:
    """Times `cell`, of kind timing, `repeats` times. Raises ConfigError where nothing was generated or no time passed."""
    assert cell.timing is not None
    batch = cell.timing.batch
    requests = [_request(cell, run * batch, batch, prompts) for run in range(cell.timing.warmup + repeats)]
    for request in requests[: cell.timing.warmup]:
        model.sample(request)
    timed = []
    gc.collect()
    for request in requests[cell.timing.warmup :]:
        with _hooked(model) as passes:
            synchronize(device)
            start = clock()
            sampled = model.sample(request)
            synchronize(device)
            seconds = clock() - start
        timed.append((seconds, sampled, passes.rows if passes is not None and not passes.calls else None))
    memory = peak_of(lambda: model.sample(requests[-1]), device)
    return TimedBatch(_runs(model, cell, requests[cell.timing.warmup :], timed), memory)


def _runs(
    model: Model, cell: Cell, requests: list[SampleRequest], timed: list[tuple[float, SampleBatch, int | None]]
) -> list[Run]:
    """FLOPs are counted afterwards, once for all runs that did the same work by row, once more for each that did not."""
    known: dict[tuple[tuple[int, ...], tuple[int, ...]], Flops] = {}
    runs = []
    for request, (seconds, sampled, passes) in zip(requests, timed, strict=True):
        if seconds <= 0.0:
            raise ConfigError("no time passed on the clock", key=cell.model, found=f"{seconds} s")
        if (tokens := int(sampled.lengths.sum())) == 0:
            raise ConfigError("nothing was generated", key=cell.model, found="0 tokens")
        work = tuple(sorted(sampled.nfe.tolist())), tuple(sorted(sampled.positions.tolist()))
        if work not in known:
            known[work] = _flops(model, cell, request)
        runs.append(Run(seconds, tokens, int(sampled.nfe.sum()), passes, known[work]))
    return runs


def _flops(model: Model, cell: Cell, request: SampleRequest) -> Flops:
    if not isinstance(model, CountedModel):
        return Flops(None, ("no network to look at",))
    if cell.numerics.compile:
        return Flops(None, ("compiled code",))
    with counted_flops() as tally:
        model.sample(request)
    return tally.flops if tally.flops.total != 0 else Flops(None, ("no matrix product was seen",))


def _request(cell: Cell, first: int, batch: int, prompts: PromptSet | None) -> SampleRequest:
    """Rows [first, first + batch); a prompt set that is too small begins anew."""
    given = None
    if prompts is not None:
        numbers = [row % prompts.n_rows for row in range(first, first + batch)]
        given = tuple(prompts.prompts(row, row + 1, cell.length)[0] for row in numbers)
    return SampleRequest(
        rows=tuple(range(first, first + batch)),
        seeds=row_seeds(cell.root_seed, first, first + batch),
        length=cell.length,
        steps=cell.steps,
        prompts=given,
        options=cell.options,
    )


@contextmanager
def _hooked(model: Model) -> Iterator[_Passes | None]:
    """Counts rows by a hook on the network: a batch doubled for guidance counts twice, a row that left the batch no more."""
    if not isinstance(model, CountedModel):
        yield None
        return
    import torch

    passes = _Passes()

    def count(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        given = next((one for one in (*args, *kwargs.values()) if isinstance(one, torch.Tensor)), None)
        if given is None or given.ndim == 0:
            passes.calls.append(type(module).__name__)
        else:
            passes.rows += len(given)

    handle = model.counted.register_forward_hook(count, with_kwargs=True)
    try:
        yield passes
    finally:
        handle.remove()


def as_columns(timed: TimedBatch, cell: Cell, matmul_rate: float) -> dict[str, np.ndarray | list[Any]]:
    """[repeats] columns, as the store takes them."""
    assert cell.timing is not None
    runs, n = timed.runs, len(timed.runs)
    return {
        "batch": np.full(n, cell.timing.batch),
        "seconds": np.array([run.seconds for run in runs]),
        "tokens": np.array([run.tokens for run in runs]),
        "nfe": np.array([run.nfe for run in runs]),
        "passes": [run.passes for run in runs],
        "flops": [run.flops.total for run in runs],
        "flops_unseen": [", ".join(run.flops.unseen) for run in runs],
        "matmul_rate": np.full(n, matmul_rate),
        "memory_before": [timed.memory.before] * n,
        "memory_peak": [timed.memory.peak] * n,
        "memory_kind": [timed.memory.kind] * n,
    }
