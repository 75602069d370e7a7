"""Measuring tokenizers: `words`, which needs nothing installed, and tokenizer.json through the package `tokenizers`."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from functools import cached_property, lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from elfbench.core.canonical import digest, file_digest
from elfbench.core.errors import ConfigError, PrerequisiteError
from elfbench.spec.instruments import MeasuringTokenizer

WORDS = "words"
_PATTERN = r"\w+|[^\w\s]"
_WORD = re.compile(_PATTERN)
_SURROGATE = re.compile("[\ud800-\udfff]")


class Cut(NamedTuple):
    """The first tokens of a text.

    ids: int64 [n]; n_tokens: tokens of the whole text; whole: length in characters of the longest prefix that the n
    tokens cover; touched: the same, with a last character that they cover in part.
    """

    ids: np.ndarray
    n_tokens: int
    whole: int
    touched: int


class TokenRow(NamedTuple):
    """A tokenized text: ids int64 [n], the character where each token ends (0 for an added special token), tokens of the whole text."""

    ids: np.ndarray
    ends: list[int]
    n_tokens: int


class WordTokenizer:
    """Words (runs of letters, digits and underscores) and single other marks; white space is not counted.

    An id is the first 63 bits of the sha256 of the word, so it does not depend on other texts.
    """

    name = WORDS

    @cached_property
    def digest(self) -> str:
        """sha256 of the definition."""
        return digest(
            {"tokenizer": WORDS, "pattern": _PATTERN, "flags": "unicode", "id": "sha256 >> 193", "version": 1}
        )

    def encode(self, texts: Sequence[str], *, limit: int | None = None) -> list[np.ndarray]:
        """Per text, int64 ids [n]; only the first `limit` when given."""
        return [
            np.array([_word_id(match.group()) for match in islice(_WORD.finditer(text), limit)], dtype=np.int64)
            for text in texts
        ]

    def truncate(self, texts: Sequence[str], window: int) -> list[str]:
        """Per text, the prefix that ends with its word number `window`; a text with no more words stays as it is."""
        return [self._truncate(text, window) for text in texts]

    def _truncate(self, text: str, window: int) -> str:
        ends = [match.end() for match in islice(_WORD.finditer(text), window + 1)]
        if len(ends) <= window:
            return text
        return text[: ends[window - 1]] if window else ""


class FastTokenizer:
    """A tokenizer.json. Special tokens are never added; ones that a text spells out are read as such.

    Truncation and padding that the file asks for are switched off.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.name = path, name

    @cached_property
    def digest(self) -> str:
        """sha256 of the file."""
        return file_digest(self.path)

    def encode(self, texts: Sequence[str], *, limit: int | None = None) -> list[np.ndarray]:
        """Per text, int64 ids [n]; only the first `limit` when given."""
        return [cut.ids for cut in self.cuts(texts, limit)]

    def truncate(self, texts: Sequence[str], window: int) -> list[str]:
        """Per text, the longest prefix of whole characters that its first `window` tokens cover."""
        return [text[: cut.whole] for text, cut in zip(texts, self.cuts(texts, window), strict=True)]

    def cuts(self, texts: Sequence[str], window: int | None) -> list[Cut]:
        """Per text, its first `window` tokens (all when None) and how far they reach."""
        encodings = self._backend.encode_batch([_well_formed(text) for text in texts], add_special_tokens=False)
        return [_cut(encoding, len(text), window) for text, encoding in zip(texts, encodings, strict=True)]

    def with_specials(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Per text, int64 ids [n] with the special tokens that the file's template adds."""
        encodings = self._backend.encode_batch([_well_formed(text) for text in texts], add_special_tokens=True)
        return [np.array(encoding.ids, dtype=np.int64) for encoding in encodings]

    def rows(self, texts: Sequence[str], *, specials: bool, limit: int | None) -> list[TokenRow]:
        """Per text, its first `limit` ids (all when None) as transformers truncates on the right: added special tokens stay."""
        whole = [_well_formed(text) for text in texts]
        counts = [len(one.ids) for one in self._backend.encode_batch(whole, add_special_tokens=False)]
        cutter = self._backend if limit is None else self._truncating(limit)
        encodings = cutter.encode_batch(whole, add_special_tokens=specials)
        return [
            TokenRow(np.array(one.ids, dtype=np.int64), [end for _, end in one.offsets], count)
            for one, count in zip(encodings, counts, strict=True)
        ]

    def _truncating(self, limit: int) -> Any:
        copy = type(self._backend).from_str(self._backend.to_str())
        copy.enable_truncation(limit)
        return copy

    def token_id(self, token: str) -> int | None:
        """The id of a token's exact spelling."""
        found = self._backend.token_to_id(token)
        return None if found is None else int(found)

    @cached_property
    def _backend(self) -> Any:
        try:
            from tokenizers import Tokenizer
        except ModuleNotFoundError as error:
            raise PrerequisiteError(
                "tokenizing needs the package tokenizers", found="not installed", remedy="pip install 'elfbench[run]'"
            ) from error
        try:
            backend = Tokenizer.from_file(str(self.path))
        except Exception as error:  # the package raises plain Exception
            raise ConfigError(
                "a tokenizer.json that the package tokenizers cannot read", found=f"{self.path}: {error}"
            ) from error
        backend.no_truncation()
        backend.no_padding()
        return backend


def open_tokenizer(name_or_dir: str | Path) -> MeasuringTokenizer:
    """`words`, or a folder that holds a tokenizer.json. Raises ConfigError that names what is missing."""
    if str(name_or_dir) == WORDS:
        return WordTokenizer()
    folder = Path(name_or_dir).expanduser()
    if not folder.is_dir():
        raise ConfigError(
            "no such measuring tokenizer",
            key="measure.tokenizer",
            found=str(name_or_dir),
            allowed="words, judge, or a folder with a tokenizer.json",
        )
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise ConfigError(
            "the folder has no tokenizer.json",
            key="measure.tokenizer",
            found=str(folder),
            allowed="a folder with a tokenizer.json",
            remedy="save_pretrained of a fast tokenizer of transformers writes one",
        )
    return FastTokenizer(path, folder.resolve().name)


@lru_cache(maxsize=1 << 16)
def _word_id(word: str) -> int:
    data = word.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(data).digest()[:8], "big") >> 1


def _well_formed(text: str) -> str:
    """Lone surrogates, which have no UTF-8 form, become U+FFFD; character offsets stay."""
    return _SURROGATE.sub("\ufffd", text)


def _cut(encoding: Any, n_characters: int, window: int | None) -> Cut:
    n_tokens = len(encoding.ids)
    kept = n_tokens if window is None else min(window, n_tokens)
    ids = np.array(encoding.ids[:kept], dtype=np.int64)
    if kept == n_tokens:
        return Cut(ids, n_tokens, n_characters, n_characters)
    touched = max((end for _, end in encoding.offsets[:kept]), default=0)
    # A character that was split has the same offsets in all of its tokens.
    return Cut(ids, n_tokens, min(touched, encoding.offsets[kept][0]), touched)
