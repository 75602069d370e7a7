"""Measured columns of made-up rows, one maker a measurement: what property tests feed to every metric of the catalog."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from elfbench.metrics.bleu import COUNTS as BLEU_COUNTS
from elfbench.metrics.chrf import COUNTS as CHRF_COUNTS
from elfbench.metrics.judge_ranks import BINS
from elfbench.metrics.memorization import ORDERS
from elfbench.metrics.pairs import EXAMPLE
from elfbench.metrics.sanity import sanity_rows
from elfbench.metrics.surface import FEATURES
from elfbench.registry import catalog
from elfbench.spec.judging import BY_MEASUREMENT
from elfbench.spec.measure import Measure
from elfbench.spec.metric import Estimate, EstimateContext, Metric, Rows, usable_rows

ROWS = 64
"""What the distributional metrics need at least, and whole batches of every protocol."""
WIDTH = 8
WINDOW = 40
SHARDS = 12
Columns = dict[str, Any]
Maker = Callable[[int, np.random.Generator], Columns]


def metrics_that_can_be_fed() -> dict[str, Metric]:
    """All of the catalog whose measurement has a maker here, by name."""
    names = [name for name in catalog.metrics().names() if not name.endswith(":")]
    metrics = {name: catalog.metrics().get(name) for name in names}
    return {name: metric for name, metric in metrics.items() if metric.measurement in MAKERS}


def estimated(metric: Metric, columns: Mapping[str, Any], reference: Mapping[str, Any] | None = None) -> Estimate:
    """The estimate of measured columns as scoring makes it: empty rows dropped, the protocol's own rows prepared."""
    sides = [None if side is None else _rows(metric, side) for side in (columns, reference)]
    assert sides[0] is not None
    context = EstimateContext(window=WINDOW if metric.measurement == "sanity" else None)
    return metric.estimate(sides[0], sides[1] if metric.needs_reference else None, context)


def taken(columns: Mapping[str, Any], order: np.ndarray) -> Columns:
    """The rows `order`, which may repeat some; shards, which are fewer than rows, in the same order among themselves."""
    found: Columns = {}
    for name, values in columns.items():
        places = order[order < len(values)]
        found[name] = [values[place] for place in places] if isinstance(values, list) else values[places]
    return found


def doubled(columns: Mapping[str, Any]) -> Columns:
    """Every row twice; the second time as a draw of an example of its own."""
    n = _n(columns)
    found = taken(columns, np.concatenate([np.arange(n), np.arange(n)]))
    if EXAMPLE in found:
        found[EXAMPLE][n:] += int(found[EXAMPLE].max()) + 1
    return found


def _rows(metric: Metric, columns: Mapping[str, Any]) -> Rows:
    n = _n(columns)
    if metric.prepare is None and "n_tokens" not in columns:
        return Rows(columns, n=n, n_requested=n, n_dropped=0)
    return usable_rows(metric, columns, n, Measure())


def _n(columns: Mapping[str, Any]) -> int:
    return max(len(values) for values in columns.values())


def _tokens(n: int, rng: np.random.Generator) -> Columns:
    lengths = rng.integers(55, 70, n)
    ids = [np.minimum(rng.zipf(1.3, size), 200).astype(np.int64) for size in lengths]
    return {"ids": ids, "n_tokens": lengths}


def _judge_nll(n: int, rng: np.random.Generator) -> Columns:
    scored = rng.integers(20, 60, n)
    nll = scored * rng.uniform(2.0, 4.0, n)
    return {
        "nll_nats": nll,
        "n_scored": scored,
        "n_bytes_scored": 4 * scored + rng.integers(0, 9, n),
        "n_tokens": scored,
    }


def _judge_under(n: int, rng: np.random.Generator) -> Columns:
    columns = _judge_nll(n, rng)
    length = columns["n_scored"] + 1
    ends = {"end_nats": rng.uniform(1.0, 9.0, n), "end_scored": np.ones(n, dtype=np.int64)}
    seen = {"length": length, "n_tokens": length, "blank": np.zeros(n, dtype=np.int64)}
    return {**columns, **ends, **seen, "entropy": rng.uniform(2.0, 3.0, n)}


def _judge_ranks(n: int, rng: np.random.Generator) -> Columns:
    counts = rng.multinomial(WINDOW, 0.5 ** np.arange(1, BINS + 1) / (1.0 - 0.5**BINS), n)
    scored = np.full(n, WINDOW)
    return {"rank_counts": list(counts), "n_scored": scored, "n_tokens": scored}


def _judge_gradient(n: int, rng: np.random.Generator) -> Columns:
    scored = np.full(n, WINDOW)
    return {"gradient": rng.normal(size=(n, WIDTH)).astype(np.float32), "n_scored": scored, "n_tokens": scored}


def _likelihood(n: int, rng: np.random.Generator) -> Columns:
    columns = _judge_nll(n, rng)
    del columns["n_tokens"]
    return {**columns, "error_nats": rng.uniform(0.1, 0.5, n), "bound": ["upper"] * n}


def _features(n: int, rng: np.random.Generator) -> Columns:
    vectors = rng.normal(size=(n, WIDTH)) + 2.0 * rng.integers(0, 2, (n, 1))
    return {"vector": vectors.astype(np.float32), "n_tokens": np.full(n, WINDOW)}


def _surface(n: int, rng: np.random.Generator) -> Columns:
    return {"surface": rng.normal(size=(n, len(FEATURES))), "n_tokens": np.full(n, WINDOW)}


def _oracle(n: int, rng: np.random.Generator) -> Columns:
    sentences, words = rng.integers(3, 8, n), rng.integers(25, 40, n)
    broken = rng.multinomial(1, [0.5, *[0.5 / 7] * 7], n)[:, 1:]
    return {
        "nll_nats": words * rng.uniform(3.0, 5.0, n),
        "n_words": words,
        "n_sentences": sentences,
        "n_grammatical": sentences - broken.sum(axis=1),
        "n_novel": rng.integers(0, sentences + 1),
        "broken": list(broken),
        "ids": [rng.integers(0, 12, size) for size in words],
        "laws": [rng.integers(0, 5, size) for size in words],
        "n_tokens": words,
    }


def _memorization(n: int, rng: np.random.Generator) -> Columns:
    columns = {"longest": rng.integers(2, 9, n), "n_tokens": np.full(n, WINDOW)}
    for order in ORDERS:
        columns[f"grams_{order}"] = np.full(n, WINDOW - order + 1)
        columns[f"novel_{order}"] = rng.integers(3, 12, n) + order
    return columns


def _sanity(n: int, rng: np.random.Generator) -> Columns:
    endings = ["", " \ufffd", " \u0436", " \u4e16"]
    texts = ["" if rng.random() < 0.1 else "some words" + endings[int(rng.integers(4))] for _ in range(n)]
    return sanity_rows(texts, np.where([not text for text in texts], 0, rng.integers(WINDOW - 9, WINDOW + 9, n)))


def _leftovers(n: int, rng: np.random.Generator) -> Columns:
    return {"n_leftovers": rng.integers(0, 3, n)}


def _bleu(n: int, rng: np.random.Generator) -> Columns:
    sample, reference = rng.integers(8, 20, n), rng.integers(8, 20, n)
    totals = sample[:, None] - np.arange(4)
    matches = np.sort(rng.integers(0, totals - 3), axis=1)[:, ::-1]
    counts = np.concatenate([matches, totals, sample[:, None], reference[:, None]], axis=1)
    return {**{name: counts[:, place] for place, name in enumerate(BLEU_COUNTS)}, EXAMPLE: np.arange(n)}


def _mbr(n: int, rng: np.random.Generator) -> Columns:
    return {**_bleu(n, rng), "utility": rng.uniform(0.0, 100.0, n), EXAMPLE: np.arange(n) // 4}


def _rouge(n: int, rng: np.random.Generator) -> Columns:
    return {**{name: rng.uniform(5.0, 60.0, n) for name in ("rouge_1", "rouge_2", "rouge_l")}, EXAMPLE: np.arange(n)}


def _chrf(n: int, rng: np.random.Generator) -> Columns:
    both = rng.integers(30, 60, (n, 1)) - np.arange(6)
    counts = np.concatenate([both, both + rng.integers(0, 9, (n, 1)), rng.integers(0, 20, (n, 6))], axis=1)
    return {**{name: counts[:, place] for place, name in enumerate(CHRF_COUNTS)}, EXAMPLE: np.arange(n)}


def _exact(n: int, rng: np.random.Generator) -> Columns:
    return {"exact_match": rng.integers(0, 2, n), EXAMPLE: np.arange(n)}


def _oracle_given(n: int, rng: np.random.Generator) -> Columns:
    columns = {
        name: value.astype(np.float64) for name, value in _oracle(n, rng).items() if name.startswith(("nll", "n_"))
    }
    return {
        **{name: columns[name] for name in ("nll_nats", "n_words", "n_sentences", "n_grammatical")},
        EXAMPLE: np.arange(n),
    }


def _cost(n: int, rng: np.random.Generator) -> Columns:
    shards = {"shard_seconds": rng.uniform(1.0, 2.0, SHARDS), "shard_tokens": rng.integers(900, 1100, SHARDS)}
    return {
        "nfe": rng.integers(8, 65, n),
        "positions": rng.integers(500, 900, n),
        "n_new_tokens": rng.integers(9, 60, n),
        **shards,
    }


def _timing(n: int, rng: np.random.Generator) -> Columns:
    batch = np.array([1, 16, 64, 64])[np.arange(n) % 4]
    passes = batch * rng.integers(8, 10, n).astype(np.float64)
    return {
        "batch": batch,
        "seconds": rng.uniform(1.0, 1.2, n) * np.sqrt(batch),
        "tokens": batch * 60,
        "passes": passes,
        "nfe": passes,
        "flops": batch * 1e9,
        "flops_unseen": np.array([""] * n),
        "matmul_rate": np.full(n, 1e11),
        "memory_before": np.full(n, 1e8),
        "memory_peak": 1e8 + batch * 1e6,
        "memory_kind": np.array(["resident"] * n),
    }


MAKERS: dict[str, Maker] = {
    "tokens": _tokens,
    "judge_nll": _judge_nll,
    "judge_ranks": _judge_ranks,
    "judge_gradient": _judge_gradient,
    **dict.fromkeys(BY_MEASUREMENT, _judge_under),
    "likelihood": _likelihood,
    "features": _features,
    "surface": _surface,
    "oracle": _oracle,
    "memorization": _memorization,
    "sanity": _sanity,
    "leftovers": _leftovers,
    **dict.fromkeys(("bleu_mixed", "bleu_lc"), _bleu),
    "bleu_mbr": _mbr,
    "rouge": _rouge,
    "chrf": _chrf,
    "exact": _exact,
    "oracle_given": _oracle_given,
    "cost": _cost,
    "timing": _timing,
}
