"""A local folder of a Hugging Face model: what must lie in it, identity and numbers. No torch, no transformers."""

from __future__ import annotations

import json
import re
from functools import cached_property
from pathlib import Path
from typing import Any

from elfbench.core.canonical import digest, file_digest
from elfbench.core.errors import ConfigError
from elfbench.loading import backend

_CONTEXT_KEYS = ("max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length", "seq_length", "n_ctx")
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_UNBOUNDED = 1 << 20
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


class ModelFolder:
    """Checked when made: raises ConfigError that names the file that is missing."""

    def __init__(self, path: Path, *, key: str = "judge") -> None:
        self.path, self._key = path, key
        if not path.is_dir():
            raise ConfigError("no such model folder", key=key, found=str(path), allowed="a folder of a saved model")
        self._require("config.json", "save_pretrained of the model writes it")
        self._require("tokenizer.json", "save_pretrained of the model's fast tokenizer writes it")
        if (path / "adapter_config.json").exists():
            raise ConfigError(
                "the folder holds an adapter", key=key, found=str(path), remedy="merge it into its model and save that"
            )
        self.weight_files = self._find_weights()

    @cached_property
    def config(self) -> dict[str, Any]:
        """config.json."""
        return self._json("config.json")

    @cached_property
    def digest(self) -> str:
        """sha256 over the sha256 of config.json, tokenizer.json and the weight files."""
        files = ("config.json", "tokenizer.json", *self.weight_files)
        return digest({name: file_digest(self.path / name) for name in files})

    @cached_property
    def context(self) -> int:
        """Longest sequence in tokens; 2**20 where the model has no limit of its own."""
        for document in (self.config, self.config.get("text_config") or {}):
            for name in _CONTEXT_KEYS:
                if isinstance(document.get(name), int) and document[name] > 0:
                    return int(document[name])
        named = self._json("tokenizer_config.json").get("model_max_length")
        return int(named) if isinstance(named, int | float) and 0 < named < _UNBOUNDED else _UNBOUNDED

    @cached_property
    def separator(self) -> int | None:
        """The id between documents: the beginning-of-text id, else the end-of-text id, else None."""
        start = self._special("bos_token")
        return start if start is not None else self.end_of_text

    @cached_property
    def end_of_text(self) -> int | None:
        """The end-of-text id, or None."""
        return self._special("eos_token")

    def tokenizer_special(self, name: str) -> int | None:
        """The id of the special token (`bos_token`, `eos_token`) as the tokenizer has it, else as the model has it."""
        spelled = self._spelled(name)
        return self._special(name) if spelled is None else spelled

    @cached_property
    def padding(self) -> int | None:
        """The id of the tokenizer's own padding token, or None."""
        return self._spelled("pad_token")

    @property
    def tokenizer_file(self) -> Path:
        """tokenizer.json."""
        return self.path / "tokenizer.json"

    def token_id(self, spelling: str) -> int | None:
        """The id of a token's exact spelling in tokenizer.json."""
        document = self._json("tokenizer.json")
        for token in document.get("added_tokens", []):
            if token.get("content") == spelling:
                return int(token["id"])
        vocab = document.get("model", {}).get("vocab", {})
        # Unigram models list [token, score] pairs; the others map token to id.
        pairs = {one[0]: number for number, one in enumerate(vocab)} if isinstance(vocab, list) else vocab
        found = pairs.get(spelling)
        return None if found is None else int(found)

    def _special(self, name: str) -> int | None:
        text_config = self.config.get("text_config") or {}
        for document in (self.config, text_config, self._json("generation_config.json")):
            found = document.get(f"{name}_id")
            found = found[0] if isinstance(found, list) and found else found
            if isinstance(found, int) and found >= 0:
                return found
        return self._spelled(name)

    def _spelled(self, name: str) -> int | None:
        spelling = self._json("tokenizer_config.json").get(name)
        spelling = spelling.get("content") if isinstance(spelling, dict) else spelling
        return self.token_id(spelling) if spelling else None

    def _find_weights(self) -> tuple[str, ...]:
        for single in _WEIGHTS:
            if (self.path / single).is_file():
                return (single,)
            index = f"{single}.index.json"
            if (self.path / index).is_file():
                shards = tuple(sorted(set(self._json(index).get("weight_map", {}).values())))
                for shard in shards:
                    self._require(shard, f"{index} names it: copy the whole model")
                return (index, *shards)
        raise ConfigError(
            "the folder has no weights",
            key=self._key,
            found=f"{self.path} holds {', '.join(sorted(file.name for file in self.path.iterdir())) or 'nothing'}",
            allowed=f"{' or '.join(_WEIGHTS)}, or shards with an index",
        )

    def _require(self, name: str, remedy: str) -> None:
        if not (self.path / name).is_file():
            raise ConfigError(f"the folder has no {name}", key=self._key, found=str(self.path), remedy=remedy)

    def _json(self, name: str) -> dict[str, Any]:
        """A JSON file of the folder, {} where there is none."""
        path = self.path / name
        if not path.is_file():
            return {}
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ConfigError(f"{name} is not JSON", key=self._key, found=f"{path}: {error}") from error
        if not isinstance(document, dict):
            raise ConfigError(f"{name} is not a JSON object", key=self._key, found=str(path))
        return document


def open_model_folder(argument: str, *, key: str) -> tuple[ModelFolder, str]:
    """The folder of `hf:ARGUMENT` and a short name: a directory, or a hub id in the local cache. Nothing is downloaded.

    Raises ConfigError under `key` when there is neither.
    """
    path = Path(argument).expanduser()
    if path.is_dir():
        return ModelFolder(path, key=key), path.resolve().name
    error = ConfigError(
        f"no such {key} folder, and no such model in the local Hugging Face cache",
        key=key,
        found=f"hf:{argument}",
        allowed="hf:FOLDER with config.json, tokenizer.json and weights, or hf:HUB/ID that was downloaded before",
    )
    if not _HUB_ID.fullmatch(argument):
        raise error
    hub = backend.need("huggingface_hub")
    try:
        snapshot = Path(hub.snapshot_download(argument, local_files_only=True))
    except (OSError, ValueError) as cause:
        raise error from cause
    return ModelFolder(snapshot, key=key), argument
