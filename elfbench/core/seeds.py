"""Seeds are per row, and every draw is keyed by (row seed, draw number).

So row i is the same whatever the batch size, the worker, the order of calls or the number of restarts. The cell is not part of the
seed: row i of two checkpoints or step counts shares its noise, and comparisons can be paired.
"""

from __future__ import annotations

import hashlib

import numpy as np

_BITS = 53  # exactly representable in JSON numbers and in float64


def row_seed(root_seed: int, row: int) -> int:
    """Seed of row `row` (>= 0) under `root_seed`: the first 53 bits of sha256("elfbench-row-1", root seed, row)."""
    state = hashlib.sha256(f"elfbench-row-1|{root_seed}|{row}".encode()).digest()
    return int.from_bytes(state[:8], "big") >> (64 - _BITS)


def row_seeds(root_seed: int, start: int, stop: int) -> tuple[int, ...]:
    """Seeds of rows [start, stop)."""
    return tuple(row_seed(root_seed, row) for row in range(start, stop))


def row_generator(seed: int, draw: int) -> np.random.Generator:
    """The generator of draw number `draw` of the row with `seed`; counter based, so any draw can be made alone."""
    return np.random.Generator(np.random.Philox(key=[seed, draw]))
