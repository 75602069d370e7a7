"""The baseline: one JSON file that holds what a later run is compared with, and its own history. Read without torch.

Numbers by row are rounded to 1e-6. The file's digest covers everything else in it: a hand-edited baseline is refused.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field, ValidationError

from elfbench.core import provenance
from elfbench.core.canonical import canonical_json, digest
from elfbench.core.errors import ConfigError
from elfbench.gates.evidence import CellEvidence, Evidence
from elfbench.registry import catalog
from elfbench.spec.record import Record
from elfbench.store.row_sums import RowSums

SCHEMA = 1
LARGEST = 1_000_000
"""Bytes: a baseline is committed and read in reviews."""


class BaselineRows(Record):
    """Numbers of one metric by row. `rows` is None where they are rows 0 .. n-1."""

    rows: tuple[int, ...] | None
    numerator: tuple[float, ...]
    denominator: tuple[float, ...]

    def row_sums(self) -> RowSums:
        numbers = np.arange(len(self.numerator)) if self.rows is None else np.array(self.rows, dtype=np.int64)
        return RowSums(numbers, np.array(self.numerator), np.array(self.denominator))


class BaselineCell(Record):
    """One cell."""

    name: str
    identity: Mapping[str, Any]
    n_rows: int = Field(ge=2)
    root_seed: int
    ids: tuple[str, ...]
    made: Mapping[str, Any]
    losses: Mapping[str, BaselineRows]
    values: Mapping[str, float]


class Change(Record):
    """One acceptance: by gate, the value before (None at first) and after."""

    when: str
    who: str
    why: str
    old: Mapping[str, float | None]
    new: Mapping[str, float]


class Baseline(Record):
    """A whole file."""

    schema_version: int
    suite: Mapping[str, Any]
    protocols: Mapping[str, Mapping[str, Any]]
    code: tuple[str, ...]
    versions: Mapping[str, str]
    cells: tuple[BaselineCell, ...]
    history: tuple[Change, ...]

    @property
    def name(self) -> str:
        return str(self.suite["suite"])

    def values(self) -> dict[str, float]:
        """'cell: metric' -> value; of a metric by row, its ratio of sums."""
        return _values({cell.name: _of_baseline(cell) for cell in self.cells})


def read_baseline(path: Path | str, *, key: str = "--against") -> Baseline:
    """The baseline. Raises ConfigError when the file is none, of another schema, or edited by hand. key: what the path was given as."""
    path = Path(path)
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        found = digest(document.get("content")) if isinstance(document, dict) else None
    except OSError as error:
        raise ConfigError(
            "no such baseline",
            key=key,
            found=str(path),
            remedy="elfbench check STORE --against FILE --accept --why TEXT makes one",
        ) from error
    except ValueError as error:
        raise _no_baseline(path, str(error)) from error
    if not isinstance(document, dict) or "digest" not in document or not isinstance(document.get("content"), dict):
        raise _no_baseline(path, "no digest and content")
    if found != document["digest"]:
        raise ConfigError(
            "the baseline was edited by hand: its digest is not that of its content",
            key="digest",
            found=str(document["digest"])[:16],
            allowed=str(found)[:16],
            remedy="restore the committed file, or accept a store: elfbench check STORE --against FILE --accept --why TEXT",
        )
    content = document["content"]
    if content.get("schema_version") != SCHEMA:
        raise ConfigError(
            "a baseline of another schema",
            key="schema_version",
            found=content.get("schema_version"),
            allowed=str(SCHEMA),
        )
    try:
        return Baseline.model_validate_json(json.dumps(content))
    except ValidationError as error:
        raise _no_baseline(path, str(error).splitlines()[0]) from error


def baseline_bytes(baseline: Baseline) -> bytes:
    """The file's content. Raises ConfigError when it would be too large to commit."""
    content = baseline.model_dump(mode="json")
    whole = {"digest": digest(content), "content": content}
    # One cell a line: a review shows which cells moved, and no line per row.
    found = canonical_json(whole).replace(b'{"identity"', b'\n{"identity"').replace(b'"history"', b'\n"history"')
    found = found.replace(b',"protocols"', b'\n,"protocols"')
    found = b'\n"digest":'.join(found.rsplit(b'"digest":', 1))
    if len(found) > LARGEST:
        raise ConfigError(
            "the baseline is too large to commit",
            key="rows",
            found=f"{len(found):,} bytes",
            allowed=f"<= {LARGEST:,} bytes",
            remedy="fewer rows or cells in the suite",
        )
    return found + b"\n"


def accepted(evidence: Evidence, *, who: str, when: str, why: str, before: Baseline | None) -> Baseline:
    """The baseline that `evidence` makes, with one more entry in the history of `before`. Raises ConfigError without a reason."""
    for key, text in (("--why", why), ("--who", who)):
        if not text.strip():
            raise ConfigError("an acceptance says who and why", key=key, found=repr(text), remedy=f'{key} "..."')
    cells = tuple(_cell(cell) for cell in evidence.cells)
    new = _values({cell.name: _of_baseline(cell) for cell in cells})
    old = before.values() if before else {}
    change = Change(when=when, who=who, why=why, old={name: old.get(name) for name in new}, new=new)
    return Baseline(
        schema_version=SCHEMA,
        suite=dict(evidence.suite),
        protocols={name: dict(protocol) for name, protocol in evidence.protocols.items()},
        code=tuple(sorted({code for cell in evidence.cells for code in cell.code})),
        versions=provenance.versions(),
        cells=cells,
        history=(*(before.history if before else ()), change),
    )


def _cell(cell: CellEvidence) -> BaselineCell:
    return BaselineCell(
        name=cell.name,
        identity=dict(cell.identity),
        n_rows=cell.n_rows,
        root_seed=cell.root_seed,
        ids=cell.ids,
        made=dict(cell.made),
        losses={name: _rows(rows) for name, rows in cell.losses.items()},
        values={name: _rounded(value) for name, value in cell.values.items()},
    )


def _rows(rows: RowSums) -> BaselineRows:
    whole = np.array_equal(rows.rows, np.arange(len(rows.rows)))
    return BaselineRows(
        rows=None if whole else tuple(int(row) for row in rows.rows),
        numerator=tuple(_rounded(value) for value in rows.numerator),
        denominator=tuple(_rounded(value) for value in rows.denominator),
    )


def _of_baseline(cell: BaselineCell) -> dict[str, float]:
    losses = {name: _metric_value(name, rows.row_sums()) for name, rows in cell.losses.items()}
    return {**losses, **cell.values}


def _metric_value(name: str, rows: RowSums) -> float:
    # People read a perplexity in the history, not its logarithm.
    return _rounded(math.exp(rows.value) if catalog.metrics().get(name).per_row_scale == "log" else rows.value)


def _values(cells: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    return {f"{cell}: {metric}": value for cell, values in cells.items() for metric, value in values.items()}


def _rounded(value: float) -> float:
    number = round(float(value), 6)
    if not math.isfinite(number):
        raise ConfigError("a baseline holds finite numbers only", key="rows", found=value)
    return number


def _no_baseline(path: Path, why: str) -> ConfigError:
    return ConfigError(
        "not a baseline",
        key=str(path),
        found=why,
        allowed="a file that 'elfbench check --accept' wrote",
        remedy="elfbench check STORE --against FILE --accept --why TEXT",
    )
