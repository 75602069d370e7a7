"""Which measured blocks a score of samples beside references was made of, so that two such scores compare example by
example. References themselves are not stored, and a block's key can't be found without them.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from elfbench.core.canonical import digest
from elfbench.spec.metric import Score
from elfbench.store.blocks import Columns, block_keys, columns, identity
from elfbench.store.store import Store


def write_rows_of_score(store: Store, score: Score, texts: Sequence[str]) -> None:
    """Keeps the keys of the blocks of `texts`, the joined texts that `score` reads, all measured."""
    measurement = score.protocol["measurement"]
    table = pa.table({"block": pa.array(block_keys(measurement, texts), type=pa.string())})
    store.write_measurement(_key(score), table, {"measurement": "blocks", "of": measurement["measurement"]})


def rows_of_score(store: Store, score: Score) -> Columns | None:
    """The measured columns that `score` was made of; None where they are not in the store, or it was scored before
    stores kept track."""
    key = _key(score)
    if not store.has_measurement(key):
        return None
    blocks = store.measurement(key).column("block").to_pylist()
    if not blocks or not all(store.has_measurement(block) for block in blocks):
        return None
    return columns(pa.concat_tables([store.measurement(block) for block in blocks]))


def _key(score: Score) -> str:
    return digest(
        {
            "blocks": identity(score.protocol["measurement"]),
            "rows": score.rows_digest,
            "reference": score.reference_digest,
            "draws": score.protocol.get("draws", 1),
        }
    )
