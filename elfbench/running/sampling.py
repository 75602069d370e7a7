"""Sampling: missing shards of planned cells are made one by one; what is there is never computed again.

A batch never crosses a shard. After an out-of-memory the batch is halved and the same rows are tried again: seeds are per row, so the ids
do not change.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from elfbench.core import provenance
from elfbench.core.errors import ConfigError
from elfbench.core.seeds import row_seeds
from elfbench.registry import catalog
from elfbench.running.plan import PlannedCell
from elfbench.running.reporter import Reporter
from elfbench.spec.cell import SHARD_ROWS
from elfbench.spec.sampling import Model, SampleBatch, SampleRequest
from elfbench.store.shards import RowRange, batch_table
from elfbench.store.store import Store

Refresh = Literal["none", "stale", "all"]


@dataclass(frozen=True, slots=True)
class Resources:
    """How to compute, not what: nothing here changes a cell's id."""

    device: str = "cpu"
    batch_size: int = SHARD_ROWS

    def __post_init__(self) -> None:
        if not 1 <= self.batch_size <= SHARD_ROWS:
            raise ConfigError(
                "a batch never crosses a shard", key="batch_size", found=self.batch_size, allowed=f"1 .. {SHARD_ROWS}"
            )


@dataclass(frozen=True, slots=True)
class Sampled:
    """What sampling did."""

    rows_made: int
    rows_kept: int
    rows_stale: int
    """Kept rows that another code digest made."""
    seconds: float
    """Inside the models."""


def sample_cells(
    planned: list[PlannedCell], store: Store, resources: Resources, reporter: Reporter, refresh: Refresh = "none"
) -> Sampled:
    """Makes the missing shards of all cells. Ctrl-C leaves finished shards in place."""
    kept = stale = made = 0
    seconds = 0.0
    for item in planned:
        store.add_cell(item.cell)
        discard(item.cell.id, item.name, store, refresh, reporter)
        missing = store.missing(item.cell.id, item.n_rows)
        missing_rows = sum(part.stop - part.start for part in missing)
        kept += item.n_rows - missing_rows
        stale += sum(part.stop - part.start for part in stale_ranges(item.cell.id, store))
        if not missing:
            continue
        # The stage is announced before loading, so that a slow load is not a silent one.
        reporter.stage(f"sampling {item.name}", missing_rows)
        model = (
            catalog.models()
            .get(item.cell.model)
            .load(weights=item.weights, device=resources.device, dtype=item.cell.numerics.dtype)
        )
        for part in missing:
            taken = sample_shard(model, item, part, store, resources, reporter)
            made += part.stop - part.start
            seconds += taken
    return Sampled(made, kept, stale, seconds)


def sample_shard(
    model: Model, item: PlannedCell, part: RowRange, store: Store, resources: Resources, reporter: Reporter
) -> float:
    """Samples one shard and stores it; returns the seconds inside the model."""
    cell = item.cell
    request = SampleRequest(
        rows=tuple(range(part.start, part.stop)),
        seeds=row_seeds(cell.root_seed, part.start, part.stop),
        length=cell.length,
        steps=cell.steps,
        prompts=item.prompts.prompts(part.start, part.stop, cell.length) if item.prompts else None,
        options=cell.options,
    )
    batch, batch_size = sample_in_batches(model, request, resources.batch_size, reporter)
    made = how_made(batch.seconds, batch_size, resources.device)
    store.write_shard(cell.id, part, batch_table(part, request.seeds, batch), made)
    reporter.note(f"made {cell.id[:12]} rows {part.start}-{part.stop - 1} of {item.name} in {batch.seconds:.1f} s")
    return batch.seconds


def sample_in_batches(
    model: Model, request: SampleRequest, batch_size: int, reporter: Reporter
) -> tuple[SampleBatch, int]:
    """The whole request in batches of at most `batch_size` rows, and the batch size that went through."""
    parts: list[SampleBatch] = []
    done = 0
    while done < len(request.rows):
        size = min(batch_size, len(request.rows) - done)
        try:
            start = time.perf_counter()
            batch = model.sample(request.part(done, done + size))
            elapsed = time.perf_counter() - start
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error) or size == 1:
                raise
            batch_size = max(1, size // 2)
            reporter.note(f"out of memory at batch {size}: going on with {batch_size}; ids do not change")
            continue
        parts.append(_timed(batch, elapsed))
        done += size
        reporter.advance(size)
    return _joined(parts), batch_size


def stale_ranges(cell_id: str, store: Store) -> list[RowRange]:
    """Stored ranges that another code digest made."""
    ours = provenance.code_digest()
    return [part for part in store.ranges(cell_id) if store.made(cell_id, part).get("code", ours) != ours]


def how_made(seconds: float, batch_size: int, device: str) -> dict[str, Any]:
    """What a shard's record says of its making."""
    return {
        "seconds": seconds,
        "batch_size": batch_size,
        "device": _device_name(device),
        "code": provenance.code_digest(),
        "versions": provenance.versions(),
        "platform": provenance.numeric_platform(),
        **dict(zip(("commit", "dirty"), provenance.commit(), strict=True)),
    }


def discard(cell_id: str, name: str, store: Store, refresh: Refresh, reporter: Reporter) -> None:
    """Throws a cell's stored rows away as `refresh` says, and tells how many."""
    if refresh == "all" or (refresh == "stale" and stale_ranges(cell_id, store)):
        gone = store.drop_shards(cell_id)
        if gone:
            reporter.note(f"{name}: {gone} stored rows thrown away ({refresh})")


def out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that memory ran out, on any device."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "out of memory" in str(error).lower()
    )


def _timed(batch: SampleBatch, seconds: float) -> SampleBatch:
    return SampleBatch(
        batch.tokens, batch.lengths, batch.texts, batch.raw_texts, batch.nfe, batch.positions, batch.seconds or seconds
    )


def _joined(parts: list[SampleBatch]) -> SampleBatch:
    if len(parts) == 1:
        return parts[0]
    width = max(part.tokens.shape[1] for part in parts)
    return SampleBatch(
        tokens=np.concatenate([np.pad(part.tokens, ((0, 0), (0, width - part.tokens.shape[1]))) for part in parts]),
        lengths=np.concatenate([part.lengths for part in parts]),
        texts=tuple(text for part in parts for text in part.texts),
        raw_texts=tuple(text for part in parts for text in part.raw_texts),
        nfe=np.concatenate([part.nfe for part in parts]),
        positions=np.concatenate([part.positions for part in parts]),
        seconds=sum(part.seconds for part in parts),
    )


def _device_name(device: str) -> str:
    torch: Any = sys.modules.get("torch")
    if torch is not None and device.startswith("cuda"):
        return str(torch.cuda.get_device_name(device))
    return device
