"""Shards: rows [64k, 64k+64) of a cell as one parquet file, with a JSON beside it that says how it was made.

The last shard of a run may be partial (its name says so); extending the cell replaces it by the whole one, whose first rows are equal.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from elfbench.core.errors import StoreError
from elfbench.spec.cell import SHARD_ROWS
from elfbench.spec.sampling import SampleBatch
from elfbench.store.table import read_table, write_table

_NAME = re.compile(r"rows-(\d{6,})-(\d{6,})\.parquet")
_SCHEMA = pa.schema(
    [
        ("row", pa.int64()),
        ("seed", pa.int64()),
        ("tokens", pa.list_(pa.int32())),
        ("length", pa.int32()),
        ("text", pa.string()),
        ("raw_text", pa.string()),
        ("nfe", pa.int64()),
        ("positions", pa.int64()),
    ]
)


@dataclass(frozen=True, slots=True, order=True)
class RowRange:
    """Rows [start, stop) of a cell, inside one shard."""

    start: int
    stop: int

    @property
    def filename(self) -> str:
        return f"rows-{self.start:06d}-{self.stop - 1:06d}.parquet"


@dataclass(frozen=True, slots=True)
class StoredRows:
    """The first n rows of a cell. nfe and positions are None where the rows were imported."""

    rows: np.ndarray
    seeds: np.ndarray
    tokens: list[np.ndarray]
    """Valid ids of each row."""
    texts: list[str]
    raw_texts: list[str]
    nfe: np.ndarray | None
    positions: np.ndarray | None
    shard_seconds: np.ndarray
    """[shards] wall-clock seconds, NaN-free; empty where the rows were imported."""
    shard_tokens: np.ndarray
    """[shards] new tokens of each shard."""

    @property
    def lengths(self) -> np.ndarray:
        return np.array([len(ids) for ids in self.tokens], dtype=np.int64)


def shard_plan(n_rows: int) -> list[RowRange]:
    """The ranges that cover rows [0, n_rows); only the last may be partial."""
    return [RowRange(start, min(start + SHARD_ROWS, n_rows)) for start in range(0, n_rows, SHARD_ROWS)]


def present(folder: Path) -> list[RowRange]:
    """Ranges in a cell's folder; of two that start alike only the wider."""
    widest: dict[int, RowRange] = {}
    for path in sorted(folder.glob("rows-*.parquet")):
        match = _NAME.fullmatch(path.name)
        if match is None:
            raise StoreError("a file that is no shard lies among the shards", key=str(path), remedy="move it elsewhere")
        found = RowRange(int(match[1]), int(match[2]) + 1)
        if found.start not in widest or found.stop > widest[found.start].stop:
            widest[found.start] = found
    return sorted(widest.values())


def covers(ranges: list[RowRange], wanted: RowRange) -> bool:
    """Whether a stored range holds all rows of `wanted`."""
    return any(have.start == wanted.start and have.stop >= wanted.stop for have in ranges)


def batch_table(rows: RowRange, seeds: tuple[int, ...], batch: SampleBatch) -> pa.Table:
    """A shard's table from a sampled batch; ids behind a row's length are not stored."""
    n = rows.stop - rows.start
    tokens = [batch.tokens[i, : int(batch.lengths[i])].astype(np.int32) for i in range(n)]
    columns: dict[str, Any] = {
        "row": np.arange(rows.start, rows.stop),
        "seed": np.array(seeds, dtype=np.int64),
        "tokens": tokens,
        "length": batch.lengths.astype(np.int32),
        "text": list(batch.texts),
        "raw_text": list(batch.raw_texts),
        "nfe": batch.nfe,
        "positions": batch.positions,
    }
    return pa.table(columns, schema=_SCHEMA)


def text_table(rows: RowRange, texts: list[str]) -> pa.Table:
    """A shard's table from imported texts: no ids, no seeds, no forward passes."""
    n = rows.stop - rows.start
    return pa.table(
        {
            "row": np.arange(rows.start, rows.stop),
            "seed": pa.nulls(n, pa.int64()),
            "tokens": [[]] * n,
            "length": np.zeros(n, dtype=np.int32),
            "text": texts,
            "raw_text": texts,
            "nfe": pa.nulls(n, pa.int64()),
            "positions": pa.nulls(n, pa.int64()),
        },
        schema=_SCHEMA,
    )


def write_shard(folder: Path, rows: RowRange, table: pa.Table) -> str:
    """Writes the shard and removes a narrower one that it replaces. Returns its content digest."""
    digest = write_table(folder / rows.filename, table)
    for path in folder.glob(f"rows-{rows.start:06d}-*.parquet"):
        if path.name != rows.filename:
            path.unlink()
            path.with_suffix("").with_suffix(".run.json").unlink(missing_ok=True)
    return digest


def read_shard(folder: Path, rows: RowRange) -> tuple[pa.Table, str]:
    """The shard's table and content digest, verified."""
    table, digest = read_table(folder / rows.filename)
    if table.schema.names != _SCHEMA.names:
        raise StoreError(
            "a shard of another schema",
            key=str(folder / rows.filename),
            found=table.schema.names,
            allowed=_SCHEMA.names,
        )
    return table, digest
