"""Anybody's samples: JSONL, JSON, txt (one text a line), csv or parquet become a list of texts, nothing dropped and nothing guessed.

The text field is `text`, else `generated`, else the one that --field names.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

from elfbench.core.errors import ConfigError, suggestion

_FIELDS = ("text", "generated")
_REFERENCE_FIELDS = ("reference", "output", "target", *_FIELDS)
_SUFFIXES = (".jsonl", ".json", ".txt", ".csv", ".parquet")


def load_references(path: Path) -> list[str]:
    """What the samples of another file, or of this one, are compared with row by row: `reference`, else `output`, `target`, `text`."""
    return load_texts(path, fields=_REFERENCE_FIELDS)


def load_texts(path: Path, field: str | None = None, *, fields: Sequence[str] = _FIELDS) -> list[str]:
    """Texts in file order, of `field`, else of the first of `fields` that a row has.

    Raises ConfigError for a missing file, an unknown suffix, a bad line, a missing field, or no rows."""
    if not path.is_file():
        raise ConfigError("no such samples file", key="FILE", found=str(path), allowed=_SUFFIXES)
    suffix = path.suffix.lower()
    if suffix not in _SUFFIXES:
        raise ConfigError("an unknown kind of samples file", key="FILE", found=path.name, allowed=_SUFFIXES)
    try:
        texts = _texts(path, suffix, field, fields)
    except UnicodeDecodeError as error:
        raise ConfigError("the samples are not UTF-8", key=path.name, found=str(error)) from error
    if not texts:
        raise ConfigError("a samples file without rows", key="FILE", found=path.name)
    return texts


def _texts(path: Path, suffix: str, field: str | None, fields: Sequence[str]) -> list[str]:
    if suffix == ".txt":
        return path.read_text(encoding="utf-8").splitlines()
    if suffix == ".jsonl":
        lines = path.read_text(encoding="utf-8").split("\n")
        rows = [_parsed(line, f"{path.name}, line {number}") for number, line in enumerate(lines, 1) if line.strip()]
    elif suffix == ".json":
        rows = _listed(_parsed(path.read_text(encoding="utf-8"), path.name), path.name, field)
    elif suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
    else:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            rows = pq.read_table(path).to_pylist()
        except pa.ArrowException as error:
            raise ConfigError("not a parquet file", key=path.name, found=str(error)) from error
    return [_text(row, field, fields, f"{path.name}, row {number}") for number, row in enumerate(rows, 1)]


def _parsed(text: str, where: str) -> object:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ConfigError(
            "not valid JSON", key=where, found=text[:60], allowed="JSON: a text in quotes, or an object"
        ) from error


def _listed(document: object, where: str, field: str | None) -> list[object]:
    """A JSON list of rows or texts, or an object whose one fitting field holds that list."""
    if isinstance(document, list):
        return document
    if isinstance(document, dict):
        for name in (field, "generated_seqs", "samples", *_FIELDS):
            if name and isinstance(document.get(name), list):
                return list(document[name])
    raise ConfigError(
        "a JSON file that holds no list of samples",
        key=where,
        found=type(document).__name__,
        allowed="a list of texts or objects",
        remedy="name the field with --field",
    )


def _text(row: object, field: str | None, fields: Sequence[str], where: str) -> str:
    if isinstance(row, str):
        return row
    names = (field,) if field else fields
    if isinstance(row, dict):
        for name in names:
            if isinstance(row.get(name), str):
                return str(row[name])
        keys = [str(key) for key in row]
        if held := [name for name in names if name in row]:
            raise ConfigError(
                "a row whose text is none",
                key=where,
                found=f"{held[0]}: {json.dumps(row[held[0]], default=str)[:60]}",
                allowed="a text in quotes; an empty one is counted as empty",
                remedy="mend the row, or name another field with --field",
            )
        raise ConfigError(
            "a row without a text field",
            key=where,
            found=keys,
            allowed=names,
            remedy=(suggestion(field, keys) if field else None)
            or (f"--field {keys[0]}" if len(keys) == 1 else "name the field with --field"),
        )
    raise ConfigError(
        "a row that is neither a text nor an object",
        key=where,
        found=json.dumps(row, default=str)[:60],
        allowed="a text in quotes, or an object with a text field",
    )
