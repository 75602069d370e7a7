from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from elfbench.core.errors import ConfigError
from elfbench.metrics.throughput import (
    FLOP_UTILIZATION,
    LATENCY_BATCH_1,
    NFE_COUNTED,
    PEAK_MEMORY,
    THROUGHPUT_BATCH_1,
    THROUGHPUT_BEST,
)
from elfbench.spec.metric import Estimate, EstimateContext, Metric, Rows

CONTEXT = EstimateContext(level=0.95)


def _rows(**changes: Any) -> Rows:
    """Two batch sizes, 1 and 8, of three repeats each: 20 tokens a row."""
    batch = np.array([1, 1, 1, 8, 8, 8])
    columns: dict[str, Any] = {
        "batch": batch,
        "seconds": np.array([2.0, 1.0, 4.0, 4.0, 8.0, 5.0]),
        "tokens": 20 * batch,
        "nfe": 5 * batch,
        "passes": 5.0 * batch,
        "flops": 1e9 * batch,
        "flops_unseen": np.array([""] * 6),
        "matmul_rate": np.full(6, 1e10),
        "memory_before": np.array([1e8] * 6),
        "memory_peak": np.array([1.5e8] * 3 + [3e8] * 3),
        "memory_kind": np.array(["resident pages of the process"] * 6),
    }
    return Rows(columns | changes, n=3, n_requested=3, n_dropped=0)


def _estimate(metric: Metric, **changes: Any) -> Estimate:
    return metric.estimate(_rows(**changes), None, CONTEXT)


def test_rates_are_medians_with_least_and_most() -> None:
    one = _estimate(THROUGHPUT_BATCH_1)
    assert (one.value, one.low, one.high) == (10.0, 5.0, 20.0)
    assert one.covers == "run-to-run on one machine"
    assert "75.00%" in one.method  # three repeats: 1 - 2 / 2^3
    best = _estimate(THROUGHPUT_BEST)
    assert (best.value, best.low, best.high) == (32.0, 20.0, 40.0)
    assert best.detail == {"batch": 8, "batch_1": 10.0, "batch_8": 32.0}


def test_the_best_batch_is_where_the_median_rate_is_highest_and_of_equals_the_smallest() -> None:
    slow = _estimate(THROUGHPUT_BEST, seconds=np.array([1.0, 1.0, 1.0, 4.0, 90.0, 90.0]))
    assert (slow.detail["batch"], slow.value) == (1, 20.0)
    equal = _estimate(THROUGHPUT_BEST, seconds=np.array([1.0, 1.0, 1.0, 8.0, 8.0, 8.0]))
    assert equal.detail["batch"] == 1


def test_latency_is_of_one_text() -> None:
    found = _estimate(LATENCY_BATCH_1)
    assert (found.value, found.low, found.high, found.detail["tokens"]) == (2.0, 1.0, 4.0, 20.0)


def test_memory_is_growth_at_the_largest_batch_in_millions_of_bytes() -> None:
    found = _estimate(PEAK_MEMORY)
    assert (found.value, found.low, found.high) == (200.0, 200.0, 200.0)
    assert found.detail == {"batch": 8, "runs": 1, "kind": "resident pages of the process", "before_mb": 100.0}
    with pytest.raises(ConfigError, match="peak memory is unknown"):
        _estimate(PEAK_MEMORY, memory_peak=np.full(6, math.nan))


def test_utilization_is_work_over_what_products_alone_would_do() -> None:
    found = _estimate(FLOP_UTILIZATION)
    assert found.value == pytest.approx(8e9 / 5.0 / 1e10)
    assert (found.low, found.high) == pytest.approx((0.1, 0.2))
    assert found.detail == {"batch": 8, "flops": 8e9, "matmul_flops_per_second": 1e10}
    with pytest.raises(ConfigError, match=r"FLOPs are unknown(.|\n)*mine\.secret"):
        _estimate(FLOP_UTILIZATION, flops=np.full(6, math.nan), flops_unseen=np.array(["mine.secret"] * 6))


def test_counted_passes_are_per_row_and_a_lie_is_no_number() -> None:
    found = _estimate(NFE_COUNTED)
    assert (found.value, found.low, found.high, found.detail["runs"]) == (5.0, 5.0, 5.0, 6)
    with pytest.raises(ConfigError, match=r"nfe is not what ran(.|\n)*40 forward passes(.|\n)*batch of 8(.|\n)*41"):
        _estimate(NFE_COUNTED, passes=np.array([5.0, 5.0, 5.0, 41.0, 40.0, 40.0]))
    with pytest.raises(ConfigError, match="names no network"):
        _estimate(NFE_COUNTED, passes=np.full(6, math.nan))


def test_without_batch_1_there_is_no_latency() -> None:
    only = {name: values[3:] for name, values in _rows().columns.items()}
    rows = Rows(only, n=3, n_requested=3, n_dropped=0)
    assert THROUGHPUT_BEST.estimate(rows, None, CONTEXT).value == 32.0
    for metric in (LATENCY_BATCH_1, THROUGHPUT_BATCH_1):
        with pytest.raises(ConfigError, match="not timed at batch 1"):
            metric.estimate(rows, None, CONTEXT)
