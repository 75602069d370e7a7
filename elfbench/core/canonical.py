"""Canonical JSON and sha256: identity is content.

Canonical means: UTF-8, keys sorted, no spaces, no NaN, and numbers as Python prints them; equal documents have equal bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

_CHUNK = 1 << 20


def canonical_json(document: object) -> bytes:
    """Bytes of `document` (JSON types, tuples, mappings). Raises ValueError on NaN or infinity, TypeError on other types."""
    return json.dumps(
        document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=_plain
    ).encode()


def digest(document: object) -> str:
    """sha256 (64 hex digits) of the canonical JSON of `document`."""
    return hashlib.sha256(canonical_json(document)).hexdigest()


def text_digest(text: str) -> str:
    """sha256 of the UTF-8 bytes of `text` (lone surrogates are kept as they are)."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def array_digest(arrays: Iterable[np.ndarray]) -> str:
    """sha256 over dtype, shape and little-endian bytes of arrays, in order."""
    state = hashlib.sha256()
    for array in arrays:
        little = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<")))
        state.update(f"{little.dtype.str}{little.shape}".encode())
        state.update(little.tobytes())
    return state.hexdigest()


def file_digest(path: Path) -> str:
    """sha256 of a file's bytes."""
    state = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            state.update(chunk)
    return state.hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} has no canonical JSON form")
