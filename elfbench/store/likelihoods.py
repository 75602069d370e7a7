"""Shards of likelihood cells: rows [64k, 64k+64) of a set of texts as a model scored them. Laid out, resumed and verified as shards of samples.

The bound is a column, so that no number can be read without the word that says what it is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from elfbench.core.errors import ConfigError, StoreError
from elfbench.spec.sampling import Bound, LikelihoodBatch
from elfbench.store.row_sums import RowSums
from elfbench.store.shards import RowRange
from elfbench.store.store import Store
from elfbench.store.table import read_table

_SCHEMA = pa.schema(
    [
        ("row", pa.int64()),
        ("seed", pa.int64()),
        ("nll_nats", pa.float64()),
        ("error_nats", pa.float64()),
        ("n_scored", pa.int64()),
        ("n_bytes_scored", pa.int64()),
        ("bound", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class StoredLikelihoods:
    """The first n rows of a likelihood cell: [n] arrays in row order, and what their nll is of the true one."""

    columns: dict[str, np.ndarray]
    bound: str


def likelihood_table(rows: RowRange, seeds: tuple[int, ...], batch: LikelihoodBatch, bound: Bound) -> pa.Table:
    """A shard's table. Raises ConfigError for an nll or an error that is not finite, or a row without tokens or bytes."""
    for name in ("nll_nats", "error_nats"):
        finite = np.isfinite(getattr(batch, name))
        if not finite.all():
            raise ConfigError(f"{name} is not a finite number", key="row", found=rows.start + int(np.argmin(finite)))
    for name in ("n_scored", "n_bytes_scored"):
        if (getattr(batch, name) <= 0).any():
            raise ConfigError("a row of which nothing was scored", key=name, found=0, allowed=">= 1")
    columns: dict[str, Any] = {
        "row": np.arange(rows.start, rows.stop),
        "seed": np.array(seeds, dtype=np.int64),
        "nll_nats": batch.nll_nats.astype(np.float64),
        "error_nats": batch.error_nats.astype(np.float64),
        "n_scored": batch.n_scored.astype(np.int64),
        "n_bytes_scored": batch.n_bytes_scored.astype(np.int64),
        "bound": [bound] * (rows.stop - rows.start),
    }
    return pa.table(columns, schema=_SCHEMA)


def stored_likelihoods(store: Store, cell_id: str, n_rows: int) -> StoredLikelihoods:
    """The first `n_rows` rows, verified. Raises StoreError when some are missing, a shard is damaged, or the bounds differ."""
    have = store.n_rows(cell_id)
    if have < n_rows:
        raise StoreError(
            "rows are missing",
            key=f"cell {cell_id[:12]}",
            found=f"{have} rows",
            allowed=f"{n_rows} rows",
            remedy="run the same command again to finish them",
        )
    parts = []
    for rows in store.ranges(cell_id):
        path = store.cell_folder(cell_id) / rows.filename
        table, _ = read_table(path)
        if table.schema.names != _SCHEMA.names:
            raise StoreError(
                "a shard of another schema", key=str(path), found=table.schema.names, allowed=_SCHEMA.names
            )
        parts.append(table)
    whole = pa.concat_tables(parts).slice(0, n_rows)
    bounds = sorted(set(whole.column("bound").to_pylist()))
    if len(bounds) != 1:
        raise StoreError("rows of different bounds in one cell", key=f"cell {cell_id[:12]}", found=bounds)
    return StoredLikelihoods({name: whole.column(name).to_numpy() for name in _SCHEMA.names[:-1]}, bounds[0])


def likelihood_sums(store: Store, cell_id: str, n_rows: int) -> RowSums:
    """Bits and UTF-8 bytes of the first `n_rows` texts of a likelihood cell: what comparisons rest on."""
    columns = stored_likelihoods(store, cell_id, n_rows).columns
    return RowSums(columns["row"], columns["nll_nats"] / math.log(2.0), columns["n_bytes_scored"].astype(np.float64))
