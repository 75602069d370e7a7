"""Converts a GGUF file once into a folder of plain float32 weights that loads in seconds, and checks it on every use.

A Q4_1 weight is (float16 scale) * (4-bit integer) + (float16 minimum), which only float32 holds without loss.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from elfbench.core.canonical import canonical_json, file_digest
from elfbench.core.errors import PrerequisiteError
from elfbench.loading import backend

_CHECKSUMS = "SHA256.json"
_FILES = ("model.safetensors", "config.json", "tokenizer.json")
_VERSION = 1
_log = logging.getLogger(__name__)


def converted(gguf: Path, sha256: str, cache: Path) -> Path:
    """The folder for a GGUF file of that sha256, made when it is missing or damaged."""
    return kept(cache / "judges" / f"{gguf.stem}-{sha256[:16]}-v{_VERSION}", lambda folder: _convert(gguf, folder))


def kept(folder: Path, make: Callable[[Path], None]) -> Path:
    """`folder` with correct checksums. `make` fills a temporary folder beside it, renamed when it is complete."""
    if intact(folder):
        return folder
    if folder.exists():
        _log.warning("%s is damaged and is made again", folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise PrerequisiteError(
            "the cache folder cannot be written",
            key="ELFBENCH_CACHE",
            found=f"{folder.parent}: {error.strerror}",
            remedy="export ELFBENCH_CACHE=FOLDER with 600 MB free",
        ) from error
    try:
        make(temporary / "new")
        _seal(temporary / "new")
        _put(temporary, folder)
    except OSError as error:
        raise PrerequisiteError(
            "the cache could not be made",
            key="ELFBENCH_CACHE",
            found=f"{folder.parent}: {error.strerror or error}",
            remedy="export ELFBENCH_CACHE=FOLDER with 600 MB free",
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def intact(folder: Path) -> bool:
    """Whether every file of the folder is there with the sha256 that was noted when it was made."""
    try:
        sums = json.loads((folder / _CHECKSUMS).read_text(encoding="utf-8"))
        return set(sums) == set(_FILES) and all(file_digest(folder / name) == sums[name] for name in _FILES)
    except (OSError, ValueError, TypeError):
        return False


def _convert(gguf: Path, folder: Path) -> None:
    backend.need("gguf")
    transformers = backend.need("transformers")
    from safetensors.torch import save_file
    from tokenizers import pre_tokenizers

    started = time.perf_counter()
    folder.mkdir()
    place = {"gguf_file": gguf.name}
    with backend.quiet():
        tokenizer = transformers.AutoTokenizer.from_pretrained(str(gguf.parent), local_files_only=True, **place)
    model = backend.load("AutoModelForCausalLM", gguf.parent, **place)
    text_tokenizer = tokenizer.backend_tokenizer
    # The file says `tokenizer.ggml.pre = smollm`: single digits, then byte-level words; transformers drops the digits.
    text_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    text_tokenizer.save(str(folder / "tokenizer.json"))
    tied = model.config.tie_word_embeddings
    weights = {
        name: value.contiguous()
        for name, value in model.state_dict().items()
        if not (tied and name == "lm_head.weight")
    }
    save_file(weights, str(folder / "model.safetensors"), metadata={"format": "pt"})
    config = json.loads(model.config.to_json_string(use_diff=False))
    for local in ("_name_or_path", "_model_name_or_path", "quantization_config", "transformers_version"):
        config.pop(local, None)
    config |= {"architectures": [type(model).__name__], "dtype": "float32"}
    (folder / "config.json").write_bytes(canonical_json(config))
    _log.info("converted %s to float32 in %.0f s", gguf.name, time.perf_counter() - started)


def _seal(folder: Path) -> None:
    sums = {name: file_digest(folder / name) for name in _FILES}
    for name in _FILES:
        descriptor = os.open(folder / name, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    (folder / _CHECKSUMS).write_bytes(canonical_json(sums))


def _put(temporary: Path, folder: Path) -> None:
    """Renames temporary/new to `folder`; another process that was faster keeps its own, which is the same."""
    if folder.exists():
        folder.rename(temporary / "old")
    try:
        (temporary / "new").rename(folder)
    except OSError:
        if not intact(folder):
            raise
