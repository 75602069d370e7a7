"""Compression ratio (Shaib et al. 2024, arXiv 2403.00553): bytes before over bytes after compression of all rows in one
stream; the more phrases recur within and across rows, the larger.

DEVIATION(2403.00553, section 2): LZMA with a dictionary that spans the whole stream instead of gzip, whose window of
32 kB sees only neighboring texts; the ids of measuring tokens, counted as two bytes each, instead of UTF-8 text, so
that all rows have the same length; the mean over three random orders, because the order matters.
"""

from __future__ import annotations

import lzma
import math
from collections.abc import Sequence

import numpy as np

from elfbench.core.errors import ConfigError
from elfbench.metrics.estimate import as_estimate
from elfbench.spec.metric import Estimate, EstimateContext, Metric, Rows
from elfbench.statistics.interval import DEGENERATE, Interval, all_equal, t_quantile

ORDERS = 3
SUBSETS = 10
MIN_ROWS = 40
BYTES_PER_TOKEN = 2
_PRESET, _DEPTH, _NICE_LENGTH = 6, 4, 32
_LARGEST_DICTIONARY = 2**24
"""Four million tokens; the search for matches takes eleven times as much memory."""


def compressed_bytes(rows: Sequence[np.ndarray]) -> int:
    """Bytes of the raw LZMA2 stream of the rows' ids [n] uint32, one row after the other."""
    data = b"".join(row.astype("<u4").tobytes() for row in rows)
    size = min(max(2**16, len(data)), _LARGEST_DICTIONARY)
    # Positions modulo four: every id is four bytes, of which the upper two cost next to nothing.
    # A short search for matches: as small as the preset's own on ids, in half the time.
    search = {"depth": _DEPTH, "nice_len": _NICE_LENGTH}
    filters = [{"id": lzma.FILTER_LZMA2, "preset": _PRESET, "dict_size": size, "lc": 2, "lp": 2, "pb": 2, **search}]
    return len(lzma.compress(data, format=lzma.FORMAT_RAW, filters=filters))


def ratio(rows: Sequence[np.ndarray]) -> float:
    """Two bytes per token over the compressed bytes; > 0."""
    return BYTES_PER_TOKEN * sum(len(row) for row in rows) / compressed_bytes(rows)


def compression_ratio(rows: Rows, reference: Rows | None, context: EstimateContext) -> Estimate:
    """The mean ratio over `ORDERS` seeded orders of the rows.

    Its interval is by subsampling: the spread of the log ratio over ten disjoint tenths of the rows, over sqrt(10), as
    the variance falls with the number of rows.
    """
    if rows.n < MIN_ROWS:
        raise ConfigError(
            "too few rows", key="compression_ratio", found=rows.n, allowed=f">= {MIN_ROWS}", remedy="measure more rows"
        )
    ordered = _canonical(rows.columns["ids"])
    rng = np.random.default_rng(context.seed)
    shuffles = [[ordered[place] for place in rng.permutation(len(ordered))] for _ in range(ORDERS)]
    ratios = [ratio(shuffled) for shuffled in shuffles]
    value = math.fsum(ratios) / ORDERS
    detail: dict[str, float | int | str] = {
        "bits_per_token": 8 * BYTES_PER_TOKEN / value,
        "order_sd": float(np.std(ratios, ddof=1)),
    }
    return as_estimate(
        _interval(value, _log_ratios(shuffles[0]), context.level), "sampling of rows, at this number of rows", detail
    )


def _interval(value: float, logs: np.ndarray, level: float) -> Interval:
    half = t_quantile(level, SUBSETS - 1) * float(logs.std(ddof=1)) / math.sqrt(SUBSETS)
    if all_equal(logs):
        return Interval(value, value, value, DEGENERATE)
    method = f"subsampling: {SUBSETS} disjoint subsets of the rows, log scale"
    return Interval(value, value * math.exp(-half), value * math.exp(half), method)


def _log_ratios(shuffled: list[np.ndarray]) -> np.ndarray:
    """[SUBSETS] logarithms of the ratios of disjoint subsets of equal size."""
    return np.log([ratio(shuffled[number::SUBSETS]) for number in range(SUBSETS)])


def _canonical(ids: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Rows as ranks 0, 1, ... of their ids among all, sorted: neither tokenizer's numbers nor the order of rows matter."""
    flat = np.unique(np.concatenate(ids), return_inverse=True)[1].reshape(-1).astype(np.uint32)
    rows = np.split(flat, np.cumsum([len(row) for row in ids])[:-1])
    return sorted(rows, key=lambda row: row.tolist())


COMPRESSION_RATIO = Metric(
    name="compression_ratio",
    version=1,
    title="compression ratio",
    unit="ratio",
    direction="match",
    measurement="tokens",
    estimate=compression_ratio,
    parameters={
        "compressor": f"lzma2, preset {_PRESET}, depth {_DEPTH}, nice length {_NICE_LENGTH}, whole stream",
        "orders": ORDERS,
        "bytes_per_token": BYTES_PER_TOKEN,
    },
    min_rows=MIN_ROWS,
    description=(
        "Two bytes per measuring token over the LZMA-compressed bytes of all rows, mean over three random orders; it "
        "rises with repetition within and across rows, and with the number of rows."
    ),
)
