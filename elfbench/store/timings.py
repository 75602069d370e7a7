"""Shards of timing cells: repeats [0, n) of one batch size. Laid out, verified and replaced as shards of samples, a repeat being a row.

What could not be measured is null, never 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from elfbench.core.errors import StoreError
from elfbench.store.shards import RowRange
from elfbench.store.store import Store
from elfbench.store.table import read_table

_SCHEMA = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),
        pa.field("batch", pa.int64(), nullable=False),
        pa.field("seconds", pa.float64(), nullable=False),
        pa.field("tokens", pa.int64(), nullable=False),
        pa.field("nfe", pa.int64(), nullable=False),
        pa.field("passes", pa.int64()),
        pa.field("flops", pa.int64()),
        pa.field("flops_unseen", pa.string(), nullable=False),
        pa.field("matmul_rate", pa.float64(), nullable=False),
        pa.field("memory_before", pa.int64()),
        pa.field("memory_peak", pa.int64()),
        pa.field("memory_kind", pa.string(), nullable=False),
    ]
)


def timing_table(columns: Mapping[str, Any]) -> pa.Table:
    """A shard's table from the columns of a batch size [repeats]."""
    n = len(columns["seconds"])
    return pa.table({"row": np.arange(n), **columns}, schema=_SCHEMA)


def stored_timings(store: Store, cell_ids: Sequence[str], repeats: int) -> dict[str, np.ndarray]:
    """The first `repeats` repeats of every cell, one cell after the other; null numbers are NaN.

    Raises StoreError when some are missing or a shard is damaged.
    """
    parts = []
    for cell_id in cell_ids:
        have = store.n_rows(cell_id)
        if have < repeats:
            raise StoreError(
                "timed runs are missing",
                key=f"cell {cell_id[:12]}",
                found=f"{have} repeats",
                allowed=f"{repeats} repeats",
                remedy="run the same command again to finish them",
            )
        path = store.cell_folder(cell_id) / RowRange(0, have).filename
        table, _ = read_table(path)
        if table.schema.names != _SCHEMA.names:
            raise StoreError(
                "a shard of another schema", key=str(path), found=table.schema.names, allowed=_SCHEMA.names
            )
        parts.append(table.slice(0, repeats))
    whole = pa.concat_tables(parts)
    return {name: _column(whole.column(name)) for name in _SCHEMA.names}


def _column(values: pa.ChunkedArray) -> np.ndarray:
    """Numbers that may be null as float64."""
    if values.null_count or pa.types.is_floating(values.type):
        return np.array([np.nan if value is None else value for value in values.to_pylist()], dtype=np.float64)
    return np.array(values.to_pylist())
