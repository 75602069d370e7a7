"""Tokenizers of our own entries: a byte-level BPE file, with the id of its end-of-text token. No torch, no transformers.

`sotu-bpe2k` has 2,048 tokens, was trained on the train split only (`python -m elfbench.loading.tokenizer`), and is lossless on any text.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np

from elfbench.core.canonical import file_digest, text_digest
from elfbench.core.errors import ConfigError, PrerequisiteError, unknown
from elfbench.spec.card import TokenizerSpec

END_OF_TEXT = "<|endoftext|>"
END_TOKENS = (END_OF_TEXT, "[SEP]", "</s>")
_FOLDER = Path(__file__).resolve().parent / "tokenizers"


class Tokenizer:
    """A `tokenizers` file; ids are int64 arrays. Id 0 is the end of text."""

    eos_id = 0

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def spec(self) -> TokenizerSpec:
        return TokenizerSpec(name=self.path.stem, digest=file_digest(self.path), eos_id=self.eos_id)

    @cached_property
    def _backend(self) -> Any:
        try:
            from tokenizers import Tokenizer as Backend
        except ModuleNotFoundError as error:
            raise PrerequisiteError(
                "tokenizing needs the package tokenizers", found="not installed", remedy="pip install 'elfbench[run]'"
            ) from error
        return Backend.from_file(str(self.path))

    @cached_property
    def vocab_size(self) -> int:
        return int(self._backend.get_vocab_size())

    def encode(self, text: str) -> np.ndarray:
        """[n] int64 ids, no specials added."""
        return np.array(self._backend.encode(text, add_special_tokens=False).ids, dtype=np.int64)

    def encode_many(self, texts: Sequence[str]) -> list[np.ndarray]:
        """`encode` of every text, on all cores unless TOKENIZERS_PARALLELISM forbids it."""
        found = self._backend.encode_batch(list(texts), add_special_tokens=False)
        return [np.array(one.ids, dtype=np.int64) for one in found]

    def decode(self, ids: Sequence[int] | np.ndarray, *, specials: bool = False) -> str:
        """Text of `ids`; specials are written out or left out."""
        return str(self._backend.decode([int(i) for i in ids], skip_special_tokens=not specials))

    def final_and_raw(self, ids: np.ndarray) -> tuple[str, str]:
        """The two text views of a row's valid ids (design: final is cut at the first end-of-text after position 0)."""
        ends = np.flatnonzero(ids[1:] == self.eos_id)
        kept = ids[: ends[0] + 1] if len(ends) else ids
        return self.decode(kept), self.decode(ids, specials=True)


class ForeignTokenizer(Tokenizer):
    """Somebody else's tokenizer.json under a name of its own; `eos_id` is -1, which no text holds, where it has no end of text."""

    def __init__(self, path: Path, name: str, eos_id: int | None) -> None:
        super().__init__(path)
        self._name = name
        self.eos_id = -1 if eos_id is None else eos_id

    @cached_property
    def spec(self) -> TokenizerSpec:
        eos_id = self.eos_id if self.eos_id >= 0 else None
        return TokenizerSpec(name=self._name, digest=file_digest(self.path), eos_id=eos_id)

    def token_id(self, spelling: str) -> int | None:
        """The id of a token's exact spelling."""
        found = self._backend.token_to_id(spelling)
        return None if found is None else int(found)


class ByteTokenizer(Tokenizer):
    """Ids are bytes, byte 0 is the end of text: what toys of conformance runs use."""

    def __init__(self) -> None:
        super().__init__(Path("bytes"))

    @cached_property
    def vocab_size(self) -> int:
        return 256

    @cached_property
    def spec(self) -> TokenizerSpec:
        return TokenizerSpec(name="bytes", digest=text_digest("bytes"), eos_id=self.eos_id)

    def encode(self, text: str) -> np.ndarray:
        return np.frombuffer(text.encode(), dtype=np.uint8).astype(np.int64)

    def decode(self, ids: Sequence[int] | np.ndarray, *, specials: bool = False) -> str:
        text = bytes(int(i) for i in ids).decode("utf-8", errors="replace")
        return text.replace("\0", END_OF_TEXT if specials else "")


@cache
def packaged(name: str) -> Tokenizer:
    """A tokenizer that is shipped with elfbench."""
    path = _FOLDER / f"{name}.json"
    if not path.is_file():
        raise unknown("tokenizer", name, [file.stem for file in _FOLDER.glob("*.json")], key="tokenizer")
    return Tokenizer(path)


def training_tokenizer(name: str) -> Tokenizer:
    """A shipped tokenizer, or a folder's tokenizer.json by the path of either. Raises ConfigError naming data.tokenizer."""
    if (_FOLDER / f"{name}.json").is_file():
        return packaged(name)
    path = Path(name).expanduser()
    file = path if path.suffix == ".json" else path / "tokenizer.json"
    if not file.is_file():
        raise ConfigError(
            "no such tokenizer",
            key="data.tokenizer",
            found=name,
            allowed=[*(one.stem for one in _FOLDER.glob("*.json")), "a folder with a tokenizer.json"],
            remedy=f"put the tokenizer.json into a folder {path.name}, or name your folder in a copy of the recipe",
        )
    plain = ForeignTokenizer(file, path.stem, None)
    ends = [plain.token_id(one) for one in END_TOKENS]
    return ForeignTokenizer(file, path.stem, next((one for one in ends if one is not None), None))


def train_byte_bpe(texts: Sequence[str], vocab_size: int, path: Path) -> None:
    """Trains a byte-level BPE on `texts` and writes it to `path`; deterministic for the same texts."""
    from tokenizers import Tokenizer as Backend
    from tokenizers import decoders, models, pre_tokenizers, trainers

    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    path.parent.mkdir(parents=True, exist_ok=True)
    backend.save(str(path))


if __name__ == "__main__":
    from elfbench.loading.corpus import documents

    train_byte_bpe([document.text for document in documents("sotu", "train")], 2048, _FOLDER / "sotu-bpe2k.json")
