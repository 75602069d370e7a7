"""Measurements by block: 32 rows of texts under one protocol are one file, whose key is the digest of both.

Equal blocks of any cell or suite share a file, and asking for more rows measures only the new blocks. Reading needs no instrument: the
suite record of a store holds the full protocol.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from elfbench.core.canonical import digest, text_digest
from elfbench.core.errors import StoreError
from elfbench.store.store import Store

BLOCK_ROWS = 32


@dataclass(frozen=True, slots=True)
class Columns:
    """Measured columns of rows [0, n), in row order."""

    values: dict[str, Any]
    n: int


def identity(protocol: Mapping[str, Any]) -> dict[str, Any]:
    """A protocol without the names of what it knows by digest: renaming a judge's folder changes no fingerprint."""
    return {
        key: {"digest": part["digest"]}
        if isinstance(part, Mapping) and "digest" in part
        else identity(part)
        if isinstance(part, Mapping)
        else part
        for key, part in protocol.items()
    }


def block_keys(protocol: Mapping[str, Any], texts: Sequence[str]) -> list[str]:
    """The key of every block of `texts` under a measurement's protocol."""
    return [
        digest(
            {"protocol": identity(protocol), "texts": [text_digest(text) for text in texts[start : start + BLOCK_ROWS]]}
        )
        for start in range(0, len(texts), BLOCK_ROWS)
    ]


def stored_columns(store: Store, protocol: Mapping[str, Any], texts: Sequence[str]) -> Columns:
    """The columns of a measurement that was made. Raises StoreError when a block of it was not."""
    keys = block_keys(protocol, texts)
    gone = sum(not store.has_measurement(key) for key in keys)
    if gone or not keys:
        raise StoreError(
            f"the measurement {protocol.get('measurement')!r} is not in the store",
            key=str(store.root),
            found=f"{gone} of {len(keys)} blocks missing",
            remedy="run the suite again: what is there is not computed twice",
        )
    return columns(pa.concat_tables([store.measurement(key) for key in keys]))


def columns(table: pa.Table) -> Columns:
    """Dense columns as arrays [n] or [n, D], lists of integers as lists of arrays."""
    values: dict[str, Any] = {}
    for name in table.column_names:
        column = table.column(name)
        if pa.types.is_list(column.type):
            rows = [np.asarray(row) for row in column.to_numpy()]
            values[name] = np.stack(rows) if pa.types.is_floating(column.type.value_type) else rows
        else:
            values[name] = column.to_numpy()
    return Columns(values, table.num_rows)
