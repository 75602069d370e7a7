"""Speed of sampling from timing cells: tokens per second, latency, memory, use of the machine, forward passes by hook.

Columns of a repeat [N], over all batch sizes: batch, seconds, tokens (valid ids, prompt excluded), passes (rows that went through the
network, summed over its calls; NaN where it could not be hooked), nfe (what the model reported, summed over rows), flops (NaN: unknown),
flops_unseen, matmul_rate (FLOPs per second of large matrix products), memory_before and memory_peak (bytes, NaN: unknown), memory_kind.
Numbers of one machine: device, threads, torch, batches and warm-up are in the protocol, so tables of two machines do not mix.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from elfbench.core.errors import ConfigError
from elfbench.metrics.estimate import as_estimate
from elfbench.spec.metric import Direction, Estimate, EstimateContext, Metric, Rows, column
from elfbench.statistics.median import median

COVERS = "run-to-run on one machine"
_MB = 1e6


def throughput_best(rows: Rows, reference: Rows | None, context: EstimateContext) -> Estimate:
    """Median tokens per second at the batch where it is highest. Detail: that batch, the median at every batch."""
    best = _best_batch(rows)
    rates = {f"batch_{batch}": float(np.median(_rates(rows, batch))) for batch in _batches(rows)}
    found = median(_rates(rows, best), level=context.level, name="throughput_best")
    return as_estimate(found, COVERS, {"batch": best, **rates})


def throughput_batch_1(rows: Rows, reference: Rows | None, context: EstimateContext) -> Estimate:
    """Median tokens per second with one row at a time."""
    found = median(_rates(rows, _one(rows)), level=context.level, name="throughput_batch_1")
    return as_estimate(found, COVERS, {"batch": 1})


def latency_batch_1(rows: Rows, reference: Rows | None, context: EstimateContext) -> Estimate:
    """Median seconds of a text that is sampled alone."""
    found = median(_at(rows, "seconds", _one(rows)), level=context.level, name="latency_batch_1")
    return as_estimate(found, COVERS, {"batch": 1, "tokens": float(np.median(_at(rows, "tokens", 1)))})


def peak_memory(rows: Rows, reference: Rows | None, context: EstimateContext) -> Estimate:
    """MB (10^6 bytes) at the largest batch beyond what was in use before it. Detail: what was counted, and what was in use before."""
    batch = _batches(rows)[-1]
    before, peak = _at(rows, "memory_before", batch), _at(rows, "memory_peak", batch)
    if np.isnan(peak).any():
        raise ConfigError(
            "peak memory is unknown: this system does not tell it",
            key="peak_memory",
            allowed="an accelerator, or Linux with /proc/self/clear_refs",
        )
    # One untimed run was watched, so all repeats hold the same number.
    value = float(peak[0] - before[0]) / _MB
    detail: dict[str, float | int | str] = {
        "batch": batch,
        "runs": 1,
        "kind": str(_at(rows, "memory_kind", batch)[0]),
        "before_mb": float(before[0]) / _MB,
    }
    return Estimate(value, value, value, "one run of its own; no interval", "nothing: one run", detail)


def flop_utilization(rows: Rows, reference: Rows | None, context: EstimateContext) -> Estimate:
    """Median of FLOPs / seconds / matrix-product rate at the batch of `throughput_best`. Detail: the three at that batch."""
    batch = _best_batch(rows)
    flops, seconds, rate = (_at(rows, name, batch) for name in ("flops", "seconds", "matmul_rate"))
    if np.isnan(flops).any():
        raise ConfigError(
            "FLOPs are unknown: operators ran whose work is not known",
            key="flop_utilization",
            found=str(_at(rows, "flops_unseen", batch)[0]),
        )
    found = median(flops / seconds / rate, level=context.level, name="flop_utilization")
    detail = {"batch": batch, "flops": float(np.median(flops)), "matmul_flops_per_second": float(rate[0])}
    return as_estimate(found, COVERS, detail)


def nfe_counted(rows: Rows, reference: Rows | None, context: EstimateContext) -> Estimate:
    """Forward passes per row by a hook on the network, over all timed runs. Raises ConfigError where the model reported others."""
    passes, nfe, batches = (column(rows, name) for name in ("passes", "nfe", "batch"))
    if np.isnan(passes).any():
        raise ConfigError("the model names no network to hook, so its passes were not counted", key="nfe_counted")
    if (passes != nfe).any():
        wrong = int(np.argmax(passes != nfe))
        raise ConfigError(
            "the model's nfe is not what ran",
            key="nfe",
            found=f"{nfe[wrong]:g} forward passes of rows in a batch of {batches[wrong]}, a hook counted {passes[wrong]:g}",
        )
    value = float(passes.sum() / batches.sum())
    per_row = passes / batches
    return Estimate(
        value,
        float(per_row.min()),
        float(per_row.max()),
        f"total over {len(passes)} runs; least and most of a run",
        "all timed runs; the counts themselves are exact",
        {"runs": len(passes)},
    )


def _batches(rows: Rows) -> list[int]:
    return sorted({int(batch) for batch in column(rows, "batch")})


def _at(rows: Rows, name: str, batch: int) -> np.ndarray:
    """[repeats] a column at one batch size."""
    at: np.ndarray = column(rows, name)[column(rows, "batch") == batch]
    return at


def _rates(rows: Rows, batch: int) -> np.ndarray:
    """[repeats] tokens per second."""
    rates: np.ndarray = _at(rows, "tokens", batch) / _at(rows, "seconds", batch)
    return rates


def _best_batch(rows: Rows) -> int:
    """The batch of the highest median rate; of equal ones the smallest."""
    return max(_batches(rows), key=lambda batch: (float(np.median(_rates(rows, batch))), -batch))


def _one(rows: Rows) -> int:
    if 1 not in _batches(rows):
        raise ConfigError("not timed at batch 1", key="timing.batches", found=_batches(rows), allowed="1 among them")
    return 1


def _metric(
    name: str, title: str, unit: str, direction: Direction, estimate: Callable[..., Estimate], description: str
) -> Metric:
    return Metric(
        name=name,
        version=1,
        title=title,
        unit=unit,
        direction=direction,
        measurement="timing",
        estimate=estimate,
        min_rows=3,
        length_sensitive=False,
        description=description,
    )


_ALL: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        _metric(
            "throughput_best", "tokens/s, best batch", "tokens per second", "higher", throughput_best,
            "Generated tokens per second, prompts excluded, at the batch size where they are most; timed alone, after warm-up, median of repeats.",
        ),
        _metric(
            "throughput_batch_1", "tokens/s, batch 1", "tokens per second", "higher", throughput_batch_1,
            "Generated tokens per second, prompts excluded, one row at a time; timed alone, after warm-up, median of repeats.",
        ),
        _metric(
            "latency_batch_1", "s/text, batch 1", "seconds", "lower", latency_batch_1,
            "Seconds from request to text, one row at a time; timed alone, after warm-up, median of repeats.",
        ),
        _metric(
            "peak_memory", "peak memory, MB", "MB", "lower", peak_memory,
            "Peak memory of sampling one batch of the largest size beyond what the loaded model and the process held before, in 10^6 bytes.",
        ),
        _metric(
            "flop_utilization", "FLOP utilization", "of matrix products", "higher", flop_utilization,
            "FLOPs of a batch of the best size, counted by operator, over its seconds and over the rate of large matrix products in the same number format on the same device.",
        ),
        _metric(
            "nfe_counted", "NFE, by hook", "forward passes per row", "lower", nfe_counted,
            "Rows that went through the network, counted by a hook on its calls, per row sampled; no number where the model reports others.",
        ),
    )
}  # fmt: skip
THROUGHPUT_BEST, THROUGHPUT_BATCH_1 = _ALL["throughput_best"], _ALL["throughput_batch_1"]
LATENCY_BATCH_1, PEAK_MEMORY = _ALL["latency_batch_1"], _ALL["peak_memory"]
FLOP_UTILIZATION, NFE_COUNTED = _ALL["flop_utilization"], _ALL["nfe_counted"]
