"""Windows for training from a data set: packed windows of text, or rows of a condition and a target.

A data set is a .jsonl file, a folder (of `datasets.save_to_disk`, or of files that `datasets` reads) or the id of one
on the Hugging Face hub. Text is tokenized here; sets that hold token ids ("input_ids", for conditional tasks
"condition_input_ids" too: the layout of the ELF authors' sets) are taken as they are. Nothing is downloaded unless
asked. Legend: B rows, L positions of a window. Not the masks' meaning: see `elf_model.objective`.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np

from elf_model.conditional import lay_out
from elf_model.training.batches import Columns, Windows

_TARGETS, _CONDITIONS = ("input_ids", "text", "output"), ("condition_input_ids", "input")
_AT_ONCE = 1000  # texts per call of the tokenizer


@dataclass(frozen=True, slots=True, kw_only=True)
class DataRecipe:
    """The `data` part of a recipe.

    corpus: file, folder or id. length: L, condition and target together. tokenizer: folder or id. max_input_length:
    longest condition, in tokens; with it rows are conditional. pad_token: what fills a row, and whether it counts
    ("eos" is trained on and teaches length, "pad" is not). target_column, condition_column: of the data set; by default
    input_ids, text or output; and condition_input_ids or input.
    """

    corpus: str
    length: int
    split: str = "train"
    tokenizer: str | None = None
    max_input_length: int | None = None
    pad_token: Literal["pad", "eos"] = "pad"
    target_column: str | None = None
    condition_column: str | None = None

    def __post_init__(self) -> None:
        if self.length < 1:
            raise ValueError(f"data.length is {self.length}; allowed: at least 1")
        if self.max_input_length is not None and not 1 <= self.max_input_length < self.length:
            raise ValueError(f"data.max_input_length is {self.max_input_length}; allowed: 1 .. {self.length - 1}")
        if self.pad_token not in ("pad", "eos"):
            raise ValueError(f"data.pad_token is {self.pad_token!r}; allowed: pad, eos")

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> DataRecipe:
        """From plain data; raises ValueError naming an unknown or missing key."""
        allowed = [field.name for field in fields(cls)]
        for key in content:
            if key not in allowed:
                near = difflib.get_close_matches(str(key), allowed, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise ValueError(f"unknown key data.{key}; allowed: {', '.join(allowed)}{hint}")
        for key in ("corpus", "length"):
            if key not in content:
                raise ValueError(f"data.{key} is missing; add '{key}:' under 'data:'")
        return cls(**content)


class Table(Protocol):
    """Rows by number and column, as `datasets.Dataset` has them."""

    column_names: list[str]

    def __len__(self) -> int: ...

    def __getitem__(self, numbers: Any) -> dict[str, list[Any]]: ...


class JsonLines:
    """A .jsonl file in memory, as a `Table`."""

    def __init__(self, path: Path) -> None:
        with path.open(encoding="utf-8") as stream:
            self._rows = [json.loads(line) for line in stream if line.strip()]
        if not self._rows:
            raise ValueError(f"{path.name} has no lines; a data set has at least one")
        self.column_names = list(self._rows[0])

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, numbers: Any) -> dict[str, list[Any]]:
        rows = self._rows[numbers] if isinstance(numbers, slice) else [self._rows[number] for number in numbers]
        return {name: [row.get(name) for row in rows] for name in self.column_names}


class TextTokenizer(NamedTuple):
    """A transformers tokenizer with the ids that are needed of it."""

    own: Any
    pad_id: int | None
    eos_id: int | None

    @classmethod
    def from_folder(cls, folder: Path) -> TextTokenizer:
        """From local files. Raises ImportError with the line to type when transformers is missing."""
        try:
            from transformers import AutoTokenizer
        except ImportError as error:
            raise ImportError("data.tokenizer needs transformers: pip install 'elfbench[run]'") from error
        own = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        return cls(own, own.pad_token_id, own.eos_token_id)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids without special tokens: the authors' sets have no end-of-text and no prefix."""
        ids: list[list[int]] = self.own(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
        return ids

    def filler(self, pad_token: str) -> int:
        """The id that fills rows."""
        found = self.pad_id if pad_token == "pad" else self.eos_id
        if found is None:
            raise ValueError(f"data.pad_token is {pad_token!r}, but the tokenizer has no such token")
        return found


class TokenRows:
    """Token rows of a table, cut or filled to L when they are asked for; the authors' collation."""

    def __init__(self, table: Table, data: DataRecipe, columns: tuple[str, str | None], tokens: Any) -> None:
        """columns: of target and condition; tokens: a `TextTokenizer`, or None where no text and no filler is needed."""
        self._table, self._data, self._tokens = table, data, tokens
        self._target, self._condition = columns

    def __len__(self) -> int:
        """N."""
        return len(self._table)

    def take(self, numbers: np.ndarray) -> np.ndarray | Columns:
        """[B, L] ids where all rows are that long and have no condition; else columns with masks.

        A row is condition[:max_input_length] ++ target, cut at L and filled on the right. Raises ValueError for a
        row of which nothing would count.
        """
        rows = self._table[[int(number) for number in numbers]]
        targets, length = self._ids(rows[self._target]), self._data.length
        if self._condition is None:
            if all(len(target) >= length for target in targets):
                return np.array([target[:length] for target in targets], dtype=np.int64)
            return _filled(targets, length, self._filler())
        conditions = self._ids(rows[self._condition])
        limit = self._data.max_input_length or length - 1
        made = lay_out(
            conditions, targets, max_length=length, max_input_length=limit, pad_id=self._filler(), truncate=True
        )
        columns = {"ids": made.ids, "attention_mask": made.valid, "prefix_mask": made.condition}
        for number, counted in zip(numbers, (made.valid & ~made.condition).any(dim=1).tolist(), strict=True):
            if not counted and self._data.pad_token == "pad":
                raise ValueError(f"row {number} of {self._data.corpus} has no target token to learn; remove it")
        return {name: column.numpy() for name, column in columns.items()}

    def _ids(self, cells: Sequence[Any]) -> list[Sequence[int]]:
        if len(cells) and isinstance(cells[0], str):
            return list(_needed(self._tokens).encode(cells))
        return list(cells)

    def _filler(self) -> int:
        return _needed(self._tokens).filler(self._data.pad_token)


def open_table(corpus: str, *, split: str = "train", allow_download: bool = False) -> Table:
    """The rows of a data set. Raises ValueError when it is not at hand, saying what to type."""
    if corpus.endswith(".jsonl"):
        if not Path(corpus).is_file():
            raise ValueError(f"data.corpus is {corpus!r}; there is no such file")
        return JsonLines(Path(corpus))
    try:
        import datasets
    except ImportError as error:
        raise ImportError("data.corpus needs datasets: pip install 'elfbench[run]'") from error
    folder = local_folder(corpus, key="data.corpus", kind="dataset", allow_download=allow_download)
    saved = _saved_folder(folder, split)
    found = datasets.load_dataset(str(folder)) if saved is None else datasets.load_from_disk(str(saved))
    if isinstance(found, datasets.DatasetDict):
        if split not in found:
            raise ValueError(f"data.split is {split!r}; {corpus} has {', '.join(found)}")
        found = found[split]
    return found  # type: ignore[no-any-return]


def _saved_folder(folder: Path, split: str) -> Path | None:
    """Where `save_to_disk` wrote: the folder itself, or one below it, as in the authors' uploads."""
    if any((folder / name).is_file() for name in ("dataset_dict.json", "state.json")):
        return folder
    below = sorted(path.parent for path in folder.glob("*/state.json"))
    return next((path for path in below if len(below) == 1 or path.name == split), None)


def local_folder(
    name: str, *, key: str, kind: Literal["model", "dataset"] = "model", allow_download: bool = False
) -> Path:
    """A folder, or that of a hub id in the local cache (fetched first if allowed). Raises ValueError naming `key`."""
    if Path(name).is_dir():
        return Path(name)
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise ImportError(f"{key} needs huggingface_hub: pip install 'elfbench[run]'") from error
    wanted = None if kind == "dataset" else ["*.json", "*.safetensors", "*.model", "*.txt"]
    try:
        return Path(snapshot_download(name, repo_type=kind, allow_patterns=wanted, local_files_only=not allow_download))
    except (OSError, ValueError) as error:  # not cached, not reachable, or no id at all
        how = "could not be fetched" if allow_download else "is not at hand; allow the download with --allow-download"
        raise ValueError(
            f"{key} is {name!r}, which is no folder and {how}, or give a local folder: --set {key}=FOLDER"
        ) from error


def pack(documents: Iterable[Sequence[int]], *, length: int, eos_id: int | None) -> np.ndarray:
    """[N, L] int32: documents one after the other, each followed by eos_id (if any), cut every L tokens; a rest is dropped."""
    full: list[np.ndarray] = []
    rest = np.empty(0, dtype=np.int32)
    for document in documents:
        end = [] if eos_id is None else [eos_id]
        rest = np.concatenate([rest, np.asarray([*document, *end], dtype=np.int32)])
        count = len(rest) // length
        full.append(rest[: count * length].reshape(count, length))
        rest = rest[count * length :]
    return np.concatenate(full) if full else np.empty((0, length), dtype=np.int32)


def load_windows(data: DataRecipe, *, tokens: TextTokenizer | None, allow_download: bool = False) -> Windows:
    """What the loop trains on: an array [N, L] of packed text, or rows that are laid out when asked for.

    tokens: None where the set holds ids and every row has L of them. Raises ValueError naming the key.
    """
    table = open_table(data.corpus, split=data.split, allow_download=allow_download)
    target = _column(table, data.target_column, _TARGETS, "target_column")
    condition = None
    if data.max_input_length is not None:
        condition = _column(table, data.condition_column, _CONDITIONS, "condition_column")
    if condition is None and isinstance(table[[0]][target][0], str):
        encoder = _needed(tokens)
        windows = pack(_documents(table, target, encoder), length=data.length, eos_id=encoder.eos_id)
        if not len(windows):
            raise ValueError(f"{data.corpus} has less than {data.length} tokens; a smaller data.length, or more text")
        return windows
    return TokenRows(table, data, (target, condition), tokens)


def _documents(table: Table, column: str, tokens: TextTokenizer) -> Iterator[Sequence[int]]:
    for start in range(0, len(table), _AT_ONCE):
        yield from tokens.encode(table[start : start + _AT_ONCE][column])


def _column(table: Table, wanted: str | None, usual: Sequence[str], key: str) -> str:
    names = usual if wanted is None else (wanted,)
    for name in names:
        if name in table.column_names:
            return name
    found = ", ".join(table.column_names)
    raise ValueError(f"data.{key}: the set has no column {' or '.join(names)}; it has {found}")


def _filled(rows: Sequence[Sequence[int]], length: int, filler: int) -> Columns:
    ids, real = np.full((len(rows), length), filler, dtype=np.int64), np.zeros((len(rows), length), dtype=bool)
    for place, row in enumerate(rows):
        cut = row[:length]
        ids[place, : len(cut)], real[place, : len(cut)] = cut, True
    return {"ids": ids, "attention_mask": real}


def _needed(tokens: TextTokenizer | None) -> TextTokenizer:
    if tokens is None:
        raise ValueError("data.tokenizer is missing; this set needs one: --set data.tokenizer=FOLDER")
    return tokens
