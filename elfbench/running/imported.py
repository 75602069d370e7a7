"""Texts that were not made here, as a cell of a store: `imported:<label>`."""

from __future__ import annotations

from collections.abc import Sequence

from elfbench.core.canonical import digest, text_digest
from elfbench.spec.cell import Cell
from elfbench.store.shards import text_table
from elfbench.store.store import Store


def imported_cell(texts: Sequence[str], label: str) -> Cell:
    """The cell of these texts; its revision is their digest."""
    return Cell(
        model=f"imported:{label}",
        revision=digest([text_digest(text) for text in texts]),
        implementation=1,
        weights_digest=None,
        tokenizer_digest="imported",
        length=max(1, max(len(text) for text in texts)),
        root_seed=0,
    )


def import_texts(store: Store, texts: Sequence[str], label: str) -> Cell:
    """Writes `texts` as a cell of the store, if they are not in it."""
    cell = imported_cell(texts, label)
    store.add_cell(cell)
    for part in store.missing(cell.id, len(texts)):
        store.write_shard(cell.id, part, text_table(part, list(texts[part.start : part.stop])), {"imported": True})
    return cell
