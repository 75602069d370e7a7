"""The store on disk (layout in the README of the folder's owner): cells and their shards, measurements, scores, suite records.

STORE/store.json                                    schema version
STORE/cells/<id[:2]>/<id>/cell.json                 the identity document
STORE/cells/.../rows-000000-000063.parquet          deterministic columns, content digest in the footer
STORE/cells/.../rows-000000-000063.run.json         how that shard was made; no host or user names, no paths
STORE/measurements/<key[:2]>/<key>.parquet          per row, made once
STORE/scores/<key[:2]>/<key>.json                   one estimate with its interval and protocol
STORE/suites/<name>-<digest[:12]>.json              which cells and metrics a suite asked for
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import ValidationError

from elfbench.core.canonical import canonical_json, digest
from elfbench.core.errors import StoreError, unknown
from elfbench.spec.cell import Cell
from elfbench.spec.metric import Score
from elfbench.store import shards
from elfbench.store.atomic import sweep, write_bytes
from elfbench.store.shards import RowRange, StoredRows
from elfbench.store.table import read_table, write_table

SCHEMA = 1


class Store:
    """A folder of samples, measurements and scores. Make one with `Store.create` or `Store.open`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def open(cls, root: Path | str) -> Store:
        """An existing store. Raises StoreError when there is none, or it is of another schema."""
        root = Path(root)
        marker = root / "store.json"
        if not marker.is_file():
            raise StoreError(
                "not an elfbench store",
                key=str(root),
                found="no store.json",
                remedy="elfbench run SUITE --out STORE makes one",
            )
        schema = _read_json(marker).get("schema")
        if schema != SCHEMA:
            raise StoreError(
                "a store of another schema",
                key="schema",
                found=schema,
                allowed=str(SCHEMA),
                remedy="use the elfbench version that made it",
            )
        return cls(root)

    @classmethod
    def create(cls, root: Path | str) -> Store:
        """The store at `root`, made when the folder is new or empty. Refuses a folder that holds other things."""
        root = Path(root)
        if (root / "store.json").is_file():
            return cls.open(root)
        if root.is_file() or (root.is_dir() and any(root.iterdir())):
            raise StoreError(
                "the output folder holds something else",
                key=str(root),
                allowed="a new or empty folder, or a store",
                remedy="choose another --out",
            )
        write_bytes(root / "store.json", _pretty({"schema": SCHEMA}))
        return cls(root)

    # cells -----------------------------------------------------------------------------------------------------------

    def cell_folder(self, cell_id: str) -> Path:
        return self.root / "cells" / cell_id[:2] / cell_id

    def add_cell(self, cell: Cell) -> None:
        """Writes the identity document once and sweeps what a killed writer left."""
        folder = self.cell_folder(cell.id)
        if folder.is_dir():
            sweep(folder)
        if not (folder / "cell.json").is_file():
            write_bytes(folder / "cell.json", _pretty(cell.model_dump(mode="json")))

    def cell(self, cell_id: str) -> Cell:
        """The cell's identity document. Raises StoreError when it is missing, damaged, or another cell's."""
        path = self.cell_folder(cell_id) / "cell.json"
        if not path.is_file():
            raise StoreError("no such cell", key=cell_id, remedy="elfbench show STORE lists them")
        try:
            cell = Cell.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise StoreError(
                "a damaged cell document",
                key=str(path),
                found=str(error).splitlines()[0],
                remedy="delete the cell's folder and run again",
            ) from error
        if cell.id != cell_id:
            raise StoreError("a cell document that is not its folder's", key=str(path), found=cell.id, allowed=cell_id)
        return cell

    def cell_ids(self) -> list[str]:
        """All cells, sorted by id."""
        return sorted(path.parent.name for path in self.root.glob("cells/*/*/cell.json"))

    def find_cell(self, prefix: str) -> str:
        """The one cell whose id starts with `prefix`. Raises when there is none or several."""
        found = [cell_id for cell_id in self.cell_ids() if cell_id.startswith(prefix)]
        if len(found) == 1:
            return found[0]
        if not found:
            raise unknown("cell", prefix, [cell_id[:12] for cell_id in self.cell_ids()], key="cell")
        raise StoreError(
            "several cells begin so", key=prefix, found=len(found), allowed=[cell_id[:12] for cell_id in found]
        )

    # shards ----------------------------------------------------------------------------------------------------------

    def ranges(self, cell_id: str) -> list[RowRange]:
        """Stored row ranges of a cell."""
        return shards.present(self.cell_folder(cell_id))

    def missing(self, cell_id: str, n_rows: int) -> list[RowRange]:
        """Ranges of the first `n_rows` rows that are still to be made."""
        have = self.ranges(cell_id)
        return [wanted for wanted in shards.shard_plan(n_rows) if not shards.covers(have, wanted)]

    def write_shard(self, cell_id: str, rows: RowRange, table: pa.Table, made: Mapping[str, Any]) -> None:
        """Writes how it was made, then the shard: a shard that is there is complete."""
        folder = self.cell_folder(cell_id)
        write_bytes(folder / rows.filename.replace(".parquet", ".run.json"), _pretty(made))
        shards.write_shard(folder, rows, table)

    def drop_shards(self, cell_id: str) -> int:
        """Deletes all shards of a cell; returns how many rows went."""
        gone = 0
        for rows in self.ranges(cell_id):
            (self.cell_folder(cell_id) / rows.filename).unlink()
            (self.cell_folder(cell_id) / rows.filename.replace(".parquet", ".run.json")).unlink(missing_ok=True)
            gone += rows.stop - rows.start
        return gone

    def made(self, cell_id: str, rows: RowRange) -> dict[str, Any]:
        """How a shard was made; empty for a shard whose record is missing."""
        path = self.cell_folder(cell_id) / rows.filename.replace(".parquet", ".run.json")
        return _read_json(path) if path.is_file() else {}

    def n_rows(self, cell_id: str) -> int:
        """Rows [0, n) that are stored without a gap."""
        n = 0
        for rows in self.ranges(cell_id):
            if rows.start != n:
                break
            n = rows.stop
        return n

    def rows(self, cell_id: str, n_rows: int | None = None) -> StoredRows:
        """The first `n_rows` rows (default: all). Raises StoreError when some are missing or a shard is damaged."""
        have = self.n_rows(cell_id)
        wanted = have if n_rows is None else n_rows
        if have < wanted:
            raise StoreError(
                "rows are missing",
                key=f"cell {cell_id[:12]}",
                found=f"{have} rows",
                allowed=f"{wanted} rows",
                remedy="run the same command again to finish them",
            )
        parts, seconds, new_tokens = [], [], []
        for rows in self.ranges(cell_id):
            if rows.start >= wanted:
                break
            table, _ = shards.read_shard(self.cell_folder(cell_id), rows)
            parts.append(table)
            made = self.made(cell_id, rows)
            if "seconds" in made:
                seconds.append(float(made["seconds"]))
                new_tokens.append(int(np.sum(table.column("length").to_numpy())))
        if not parts:
            raise StoreError("a cell without rows", key=f"cell {cell_id[:12]}", remedy="run the same command again")
        table = pa.concat_tables(parts).slice(0, wanted)
        return StoredRows(
            rows=table.column("row").to_numpy(),
            seeds=np.array([seed or 0 for seed in table.column("seed").to_pylist()], dtype=np.int64),
            tokens=[np.array(ids, dtype=np.int64) for ids in table.column("tokens").to_pylist()],
            texts=table.column("text").to_pylist(),
            raw_texts=table.column("raw_text").to_pylist(),
            nfe=_optional(table, "nfe"),
            positions=_optional(table, "positions"),
            shard_seconds=np.array(seconds),
            shard_tokens=np.array(new_tokens, dtype=np.int64),
        )

    # measurements ----------------------------------------------------------------------------------------------------

    def has_measurement(self, key: str) -> bool:
        return self._measurement(key).is_file()

    def measurement(self, key: str) -> pa.Table:
        """A measurement's table, verified."""
        return read_table(self._measurement(key))[0]

    def write_measurement(self, key: str, table: pa.Table, protocol: Mapping[str, Any]) -> None:
        """Stores a measurement. NaN and infinity are refused; null says that there is no number, and reads back as NaN."""
        for name in table.column_names:
            values = table.column(name)
            flat = values.combine_chunks().flatten() if pa.types.is_list(values.type) else values
            if not pa.types.is_floating(flat.type) or not len(flat):
                continue
            numbers = flat.is_valid().to_numpy(zero_copy_only=False)
            bad = np.flatnonzero(numbers & ~np.isfinite(flat.to_numpy(zero_copy_only=False)))
            if len(bad):
                raise StoreError(
                    "a measurement holds NaN or infinity",
                    key=name,
                    found=f"{protocol.get('measurement')}: {len(bad)} of {len(flat)} numbers, the first is number {bad[0]}",
                    remedy="look at the texts that were measured, and at the instrument",
                )
        write_table(self._measurement(key), table, dict(protocol))

    def _measurement(self, key: str) -> Path:
        return self.root / "measurements" / key[:2] / f"{key}.parquet"

    # scores and suite records ----------------------------------------------------------------------------------------

    def write_score(self, score: Score, key: str) -> None:
        """Stores one estimate. NaN and infinity are refused."""
        for name in ("value", "low", "high"):
            if not math.isfinite(getattr(score, name)):
                raise StoreError(
                    "a score is not a finite number", key=f"{score.metric}.{name}", found=getattr(score, name)
                )
        write_bytes(self._score(key), _pretty(score.model_dump(mode="json")))

    def score(self, key: str) -> Score | None:
        """The estimate stored under `key`, or None."""
        path = self._score(key)
        return _load_score(path) if path.is_file() else None

    def scores(self) -> Iterator[tuple[str, Score]]:
        """All (key, score) of the store, sorted by key."""
        for path in sorted(self.root.glob("scores/*/*.json")):
            yield path.stem, _load_score(path)

    def _score(self, key: str) -> Path:
        return self.root / "scores" / key[:2] / f"{key}.json"

    def write_suite(self, name: str, document: Mapping[str, Any]) -> Path:
        """Records what a suite asked for: its document, its cells, its protocols. Content addressed."""
        path = self.root / "suites" / f"{name}-{digest(document)[:12]}.json"
        if not path.is_file():
            write_bytes(path, _pretty(document))
        return path

    def suites(self) -> list[dict[str, Any]]:
        """All suite records, sorted by file name."""
        return [_read_json(path) for path in sorted(self.root.glob("suites/*.json"))]


def _load_score(path: Path) -> Score:
    try:
        return Score.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise StoreError(
            "a damaged score",
            key=str(path),
            found=str(error).splitlines()[0],
            remedy="delete that file and score again",
        ) from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise StoreError(
            "an unreadable file in the store", key=str(path), found=str(error), remedy="delete that file and run again"
        ) from error
    if not isinstance(document, dict):
        raise StoreError(
            "an unreadable file in the store", key=str(path), found=type(document).__name__, allowed="a JSON object"
        )
    return document


def _pretty(document: object) -> bytes:
    """Indented canonical JSON: equal documents have equal bytes, and people can read them."""
    return (
        json.dumps(json.loads(canonical_json(document)), indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"
    )


def _optional(table: pa.Table, name: str) -> np.ndarray | None:
    column = table.column(name)
    return None if column.null_count else column.to_numpy()
