"""Atomic writes: a file is there whole or not at all, also after kill -9 or a full disk."""

from __future__ import annotations

import contextlib
import errno
import os
import uuid
from collections.abc import Callable
from pathlib import Path

from elfbench.core.errors import StoreError

_PREFIX = ".writing-"


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """`write(temporary path)`, then fsync and rename to `path`. Raises StoreError when the folder is unwritable or full."""
    temporary = path.parent / f"{_PREFIX}{uuid.uuid4().hex}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            raise _explained(error, path) from error
        raise


def write_bytes(path: Path, content: bytes) -> None:
    """Atomic write of bytes."""
    write_atomically(path, lambda temporary: temporary.write_bytes(content))


def sweep(folder: Path) -> int:
    """Removes what a killed writer left in `folder`; returns how many files."""
    leftovers = list(folder.glob(f"{_PREFIX}*"))
    for leftover in leftovers:
        leftover.unlink(missing_ok=True)
    return len(leftovers)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _explained(error: OSError, path: Path) -> StoreError:
    if error.errno == errno.ENOSPC:
        return StoreError(
            "no space left; nothing was lost, finished shards stay",
            key=str(path),
            remedy="free some space and run the same command again",
        )
    return StoreError(
        "cannot write",
        key=str(path),
        found=error.strerror or str(error),
        allowed="a writable folder",
        remedy="choose another --out",
    )
