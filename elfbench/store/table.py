"""Parquet files with a content digest in the footer: a truncated or changed file is an error, never a number."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from elfbench.core.canonical import canonical_json
from elfbench.core.errors import StoreError
from elfbench.store.atomic import write_atomically

_DIGEST = b"elfbench_digest"
_DOCUMENT = b"elfbench_document"


def content_digest(table: pa.Table) -> str:
    """sha256 of column names, types and values in order; independent of parquet's and arrow's encodings."""
    state = hashlib.sha256()
    for name in table.column_names:
        column = table.column(name)
        state.update(canonical_json([name, str(column.type).replace("element", "item"), column.to_pylist()]))
    return state.hexdigest()


def write_table(path: Path, table: pa.Table, document: object = None) -> str:
    """Writes `table` atomically with its digest (returned) and a JSON document in the footer."""
    value = content_digest(table)
    metadata = {_DIGEST: value.encode(), _DOCUMENT: canonical_json(document)}
    stamped = table.replace_schema_metadata(metadata)
    write_atomically(path, lambda temporary: pq.write_table(stamped, temporary, compression="zstd"))
    return value


def read_table(path: Path) -> tuple[pa.Table, str]:
    """The table and its digest. Raises StoreError when the file is unreadable or its digest is not that of its content."""
    try:
        table = pq.read_table(path, memory_map=False)
    except (OSError, pa.ArrowException) as error:
        raise _damaged(path, str(error).splitlines()[0]) from error
    recorded = (table.schema.metadata or {}).get(_DIGEST, b"").decode()
    plain = table.replace_schema_metadata(None)
    if not recorded or content_digest(plain) != recorded:
        raise _damaged(path, "content does not match the digest in its footer")
    return plain, recorded


def footer_digest(path: Path) -> str:
    """The digest that the footer records, without reading the columns."""
    try:
        recorded = (pq.read_schema(path).metadata or {}).get(_DIGEST, b"").decode()
    except (OSError, pa.ArrowException) as error:
        raise _damaged(path, str(error).splitlines()[0]) from error
    if not recorded:
        raise _damaged(path, "no digest in its footer")
    return str(recorded)


def _damaged(path: Path, why: str) -> StoreError:
    return StoreError(
        "a file of the store is damaged",
        key=str(path),
        found=why,
        remedy="delete that file and run the same command again: only it is computed anew",
    )
