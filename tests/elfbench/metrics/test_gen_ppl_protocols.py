from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from elfbench.core.errors import ConfigError
from elfbench.judges.protocols import row_entropy, times
from elfbench.metrics import gen_ppl_protocols as metrics
from elfbench.registry import catalog
from elfbench.spec.judging import BY_MEASUREMENT, ELF, HF_EVALUATE, MDLM_DUO, SDTT, SEDD, JudgingProtocol
from elfbench.spec.measure import Measure
from elfbench.spec.metric import EstimateContext, Metric, usable_rows

METRICS = [catalog.metrics().get(f"gen_ppl_{one.name}") for one in BY_MEASUREMENT.values()]


def _columns(nll: list[float], n_scored: list[int], **others: Any) -> dict[str, np.ndarray]:
    n = len(nll)
    columns = {
        "nll_nats": nll,
        "n_scored": n_scored,
        "n_bytes_scored": n_scored,
        "n_tokens": n_scored,
        "end_nats": [0.0] * n,
        "end_scored": [0] * n,
        "length": [9] * n,
        "blank": [0] * n,
        "entropy": [1.0] * n,
    }
    return {name: np.array(values) for name, values in (columns | others).items()}


def _value(metric: Metric, columns: dict[str, np.ndarray]) -> float:
    rows = usable_rows(metric, columns, len(columns["nll_nats"]), Measure())
    return metric.estimate(rows, None, EstimateContext()).value


def test_three_ways_from_rows_to_a_number() -> None:
    """Token NLLs [2, 4] and [1, 1, 1]."""
    columns = _columns([6.0, 3.0], [2, 3])
    assert _value(metrics.GEN_PPL_ELF, columns) == pytest.approx(math.exp(9 / 5))
    assert _value(metrics.GEN_PPL_MDLM_DUO, columns) == pytest.approx(6.04965, abs=1e-5)
    assert _value(metrics.GEN_PPL_HF_EVALUATE, columns) == pytest.approx(11.4019, abs=1e-4)
    assert _value(metrics.GEN_PPL_SEDD, columns) == pytest.approx((math.exp(3) + math.exp(1)) / 2)
    assert _value(metrics.GEN_PPL_SDTT, columns) == pytest.approx(math.exp(2))


@pytest.mark.parametrize("metric", METRICS, ids=lambda one: one.name)
def test_statistics_by_row_are_the_metric(metric: Metric) -> None:
    rng = np.random.default_rng(1)
    tokens = rng.integers(20, 40, 40)
    columns = _columns(list(rng.normal(3.0, 0.3, 40) * tokens), list(tokens))
    rows = usable_rows(metric, columns, 40, Measure())
    assert metric.per_row is not None
    above, below = metric.per_row(rows)
    ratio = above.sum() / below.sum()
    estimate = metric.estimate(rows, None, EstimateContext())
    assert estimate.value == pytest.approx(math.exp(ratio) if metric.per_row_scale == "log" else ratio)
    assert estimate.low < estimate.value < estimate.high
    assert rows.n + rows.n_dropped == rows.n_requested == 40


def test_the_ends_of_a_text() -> None:
    """End, a, end, b, end: a and b count, and a twice where masks are added as integers."""
    ids = np.array([0, 7, 0, 8, 0])
    assert times(MDLM_DUO, ids, 0).tolist() == [1, 0, 1, 0]
    assert times(ELF, ids, 0).tolist() == [2, 0, 1, 0]
    assert times(SEDD, ids, 0).tolist() == [1, 1, 1, 1]
    # The first end counts where it is not the first token; what follows up to the second is in both masks.
    ids = np.array([7, 0, 8, 8, 0, 0, 7])
    assert times(MDLM_DUO, ids, 0).tolist() == [1, 1, 1, 0, 0, 1]
    assert times(ELF, ids, 0).tolist() == [1, 2, 2, 0, 0, 1]


def test_entropy_of_a_row() -> None:
    assert row_entropy(np.array([3, 3, 5, 5, 5, 5]), 0.0) == pytest.approx(0.636514, abs=1e-6)
    assert row_entropy(np.arange(1024), 0.0) == pytest.approx(math.log(1024))
    assert row_entropy(np.zeros(9, dtype=np.int64), 1e-10) == pytest.approx(-1e-10, rel=1e-3)


def test_padding_is_counted_in_rows_shorter_than_the_longest() -> None:
    columns = _columns([6.0, 3.0, 5.0], [2, 3, 5], end_nats=[1.5, 9.0, 9.0], end_scored=[1, 1, 1], length=[3, 6, 6])
    for protocol in (ELF, MDLM_DUO):
        found, used = metrics.prepared(columns, protocol)
        assert found["nll_nats"].tolist() == [7.5, 3.0, 5.0]
        assert found["n_scored"].tolist() == [3, 3, 5]
        assert used.all()
    assert columns["nll_nats"].tolist() == [6.0, 3.0, 5.0]


def test_blank_rows_do_not_pad_others() -> None:
    """The longest text is white space, which ELF leaves out before it pads."""
    columns = _columns([6.0, 3.0], [2, 3], end_nats=[1.5, 0.0], end_scored=[1, 0], length=[3, 6], blank=[0, 1])
    found, used = metrics.prepared(columns, ELF)
    assert (found["nll_nats"][0], used.tolist()) == (6.0, [True, False])
    found, used = metrics.prepared(columns, MDLM_DUO)
    assert (found["nll_nats"][0], used.tolist()) == (7.5, [True, True])


@pytest.mark.parametrize(
    ("protocol", "n", "used"),
    [(MDLM_DUO, 21, 16), (MDLM_DUO, 16, 16), (MDLM_DUO, 5, 5), (SEDD, 70, 64), (SEDD, 21, 21), (SDTT, 21, 21), (ELF, 21, 21)],
)  # fmt: skip
def test_what_whole_batches_leave_out(protocol: JudgingProtocol, n: int, used: int) -> None:
    columns = _columns([2.0] * n, [2] * n, entropy=list(range(n)))
    found, kept = metrics.prepared(columns, protocol)
    assert np.flatnonzero(kept).tolist() == list(range(used))
    if protocol.entropy_guard is not None:
        assert found["mean_entropy"].tolist() == [(n - 1) / 2] * n


def test_nothing_to_score_is_an_error() -> None:
    columns = _columns([6.0, 0.0], [2, 0])
    for protocol in (SEDD, SDTT, HF_EVALUATE):
        with pytest.raises(ConfigError, match="1 of 2, the first is text 1"):
            metrics.prepared(columns, protocol)
    rows = usable_rows(metrics.GEN_PPL_MDLM_DUO, _columns([0.0, 0.0], [0, 0]), 2, Measure())
    with pytest.raises(ConfigError, match="scored nothing"):
        metrics.GEN_PPL_MDLM_DUO.estimate(rows, None, EstimateContext())
