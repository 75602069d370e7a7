from __future__ import annotations

import errno
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from elfbench.core.errors import StoreError
from elfbench.spec.cell import Cell
from elfbench.spec.metric import Score
from elfbench.spec.sampling import SampleBatch
from elfbench.store import atomic
from elfbench.store.shards import RowRange, batch_table, shard_plan, text_table
from elfbench.store.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "store")


def _cell(**changes: object) -> Cell:
    fields = {
        "model": "toy",
        "revision": "1",
        "implementation": 1,
        "weights_digest": "w",
        "tokenizer_digest": "t",
        "length": 4,
        "root_seed": 0,
    }
    return Cell(**(fields | changes))  # type: ignore[arg-type]


def _batch(start: int, stop: int) -> SampleBatch:
    rows = np.arange(start, stop)
    tokens = np.stack([rows, rows + 1, rows + 2, rows + 3], axis=1)
    texts = tuple(f"row {i} \N{SNOWMAN}" for i in rows)
    return SampleBatch(tokens, np.full(len(rows), 3), texts, texts, rows * 0 + 5, rows * 0 + 20, seconds=0.5)


def _write(store: Store, cell: Cell, start: int, stop: int) -> None:
    part = RowRange(start, stop)
    table = batch_table(part, tuple(range(start, stop)), _batch(start, stop))
    store.write_shard(cell.id, part, table, {"seconds": 0.5, "code": "abc"})


def test_rows_read_back_as_written(store: Store) -> None:
    cell = _cell()
    store.add_cell(cell)
    _write(store, cell, 0, 64)
    _write(store, cell, 64, 70)
    rows = Store.open(store.root).rows(cell.id, 66)
    assert rows.texts[65] == "row 65 \N{SNOWMAN}"
    assert rows.tokens[65].tolist() == [65, 66, 67], "ids behind a row's length are not stored"
    assert rows.nfe is not None
    assert rows.nfe.tolist() == [5] * 66
    assert rows.shard_tokens.tolist() == [192, 18]
    assert store.cell(cell.id) == cell


def test_more_rows_extend_a_cell_and_replace_a_partial_shard(store: Store) -> None:
    cell = _cell()
    store.add_cell(cell)
    _write(store, cell, 0, 64)
    _write(store, cell, 64, 70)
    assert store.missing(cell.id, 70) == []
    assert store.missing(cell.id, 32) == [], "fewer rows are there as well"
    assert store.missing(cell.id, 200) == [RowRange(64, 128), RowRange(128, 192), RowRange(192, 200)]
    _write(store, cell, 64, 128)
    names = sorted(path.name for path in store.cell_folder(cell.id).glob("rows-*"))
    assert names == [
        "rows-000000-000063.parquet",
        "rows-000000-000063.run.json",
        "rows-000064-000127.parquet",
        "rows-000064-000127.run.json",
    ]
    assert store.n_rows(cell.id) == 128


def test_shards_cover_the_rows_and_only_the_last_is_partial() -> None:
    assert shard_plan(130) == [RowRange(0, 64), RowRange(64, 128), RowRange(128, 130)]
    assert shard_plan(0) == []


def test_missing_rows_are_an_error_with_what_to_do(store: Store) -> None:
    cell = _cell()
    store.add_cell(cell)
    _write(store, cell, 0, 10)
    with pytest.raises(StoreError, match="run the same command again"):
        store.rows(cell.id, 11)


@pytest.mark.parametrize("damage", ["truncate", "flip"])
def test_a_damaged_shard_is_refused(store: Store, damage: str) -> None:
    cell = _cell()
    store.add_cell(cell)
    _write(store, cell, 0, 64)
    path = store.cell_folder(cell.id) / "rows-000000-000063.parquet"
    content = bytearray(path.read_bytes())
    if damage == "truncate":
        path.write_bytes(content[: len(content) // 2])
    else:
        # The rows of another shard under this name: a valid file whose digest is right is still another range.
        content[40] ^= 0xFF
        path.write_bytes(content)
    with pytest.raises(StoreError, match="damaged"):
        store.rows(cell.id)


def test_a_killed_writer_leaves_no_shard(store: Store) -> None:
    cell = _cell()
    store.add_cell(cell)

    def killed(path: Path) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    target = store.cell_folder(cell.id) / "rows-000000-000063.parquet"
    with pytest.raises(KeyboardInterrupt):
        atomic.write_atomically(target, killed)
    assert not target.exists()
    leftover = store.cell_folder(cell.id) / ".writing-dead"
    leftover.write_bytes(b"half")
    assert store.ranges(cell.id) == []
    store.add_cell(cell)
    assert not leftover.exists(), "what kill -9 left is swept"


def test_no_space_is_a_clear_error(tmp_path: Path) -> None:
    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(StoreError, match="no space left"):
        atomic.write_atomically(tmp_path / "x", full)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_other_things_is_not_made_a_store(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("text")
    with pytest.raises(StoreError, match="holds something else"):
        Store.create(tmp_path)
    with pytest.raises(StoreError, match="not an elfbench store"):
        Store.open(tmp_path)


def test_another_schema_is_refused(store: Store) -> None:
    (store.root / "store.json").write_text(json.dumps({"schema": 99}))
    with pytest.raises(StoreError, match="another schema"):
        Store.open(store.root)
    (store.root / "store.json").write_text("{")
    with pytest.raises(StoreError, match="unreadable"):
        Store.open(store.root)


def test_a_cell_document_of_another_cell_is_refused(store: Store) -> None:
    cell, other = _cell(), _cell(length=5)
    store.add_cell(cell)
    (store.cell_folder(cell.id) / "cell.json").write_text(other.model_dump_json())
    with pytest.raises(StoreError, match="not its folder's"):
        store.cell(cell.id)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_nan_is_refused_on_write(store: Store, bad: float) -> None:
    with pytest.raises(StoreError, match="NaN"):
        store.write_measurement("ab" * 32, pa.table({"x": [1.0, bad]}), {"measurement": "test"})
    vectors = pa.array([[1.0], [bad]], type=pa.list_(pa.float32()))
    with pytest.raises(StoreError, match="NaN"):
        store.write_measurement("ab" * 32, pa.table({"x": vectors}), {"measurement": "test"})
    fields = {
        "cell": "c",
        "metric": "m",
        "version": 1,
        "protocol": {},
        "fingerprint": "f",
        "low": 0.0,
        "high": 1.0,
        "level": 0.95,
        "n": 1,
    }
    rest = {
        "n_requested": 1,
        "n_dropped": 0,
        "unit": "",
        "method": "",
        "covers": "",
        "detail": {},
        "rows_digest": "",
        "reference_digest": None,
    }
    with pytest.raises((StoreError, ValueError)):
        store.write_score(Score.model_validate(fields | rest | {"value": bad}), "cd" * 32)
    assert not list(store.root.glob("measurements/*/*"))
    assert not list(store.root.glob("scores/*/*"))


def test_imported_rows_have_no_cost(store: Store) -> None:
    cell = _cell(model="imported:mine")
    store.add_cell(cell)
    store.write_shard(cell.id, RowRange(0, 2), text_table(RowRange(0, 2), ["a", "b"]), {"imported": True})
    rows = store.rows(cell.id)
    assert rows.nfe is None
    assert rows.texts == ["a", "b"]


def test_equal_content_gives_equal_bytes(tmp_path: Path) -> None:
    files = []
    for name in ("one", "two"):
        store = Store.create(tmp_path / name)
        cell = _cell()
        store.add_cell(cell)
        _write(store, cell, 0, 64)
        files.append(
            {path.relative_to(store.root): path.read_bytes() for path in store.root.rglob("*") if path.is_file()}
        )
    assert files[0] == files[1]
