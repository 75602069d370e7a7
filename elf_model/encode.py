"""`python -m elf_model.encode --statistics FILE`: the mean and deviation of an encoder's latents of a text.

The encoder is a T5 in a local folder, or the one in a model file. The text is a .jsonl file, a folder that
`datasets` saved, or an .npy file of token windows [N, L]. A text gets no end-of-text token and no prefix, as in the
authors' code; a text longer than a window becomes several. Padding is neither attended nor counted. Nothing is
downloaded. Legend: B rows, L tokens, C latent width.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from elf_model.encoder import Encoder, T5Encoder, encoder_mask
from elf_model.latent_statistics import LatentStatistics, Moments, Over, write_statistics
from elf_model.model import load_model
from elf_model.train import check_device


def latent_statistics(
    encoder: Encoder, rows: Iterable[Sequence[int]], *, batch_size: int, over: Over = "all", source: dict[str, Any]
) -> LatentStatistics:
    """Of the latents of rows of token ids, which may differ in length; one batch is in memory at a time."""
    moments: Moments | None = None
    remaining = iter(rows)
    device = _device(encoder)
    while batch := list(itertools.islice(remaining, batch_size)):
        valid = torch.zeros(len(batch), max(map(len, batch)), dtype=torch.bool, device=device)
        ids = torch.zeros(valid.shape, dtype=torch.int64, device=device)
        for row, tokens in enumerate(batch):
            ids[row, : len(tokens)], valid[row, : len(tokens)] = torch.as_tensor(tokens), True
        mask = None if bool(valid.all()) else encoder_mask(valid, torch.zeros_like(valid))
        found = Moments.of(encoder.encode(ids, mask)[valid])
        moments = found if moments is None else moments.merged(found)
    if moments is None:
        raise ValueError("the text has no tokens; statistics need at least one")
    return moments.statistics(over, source)


def read_texts(path: Path, key: str) -> Iterator[str]:
    """The texts of a .jsonl file, or of a folder written by `datasets`' save_to_disk, under `key`."""
    if path.is_dir():
        try:
            from datasets import Dataset, load_from_disk
        except ImportError as error:
            raise ImportError("a folder of texts needs datasets: pip install datasets") from error
        data = load_from_disk(str(path))
        if not isinstance(data, Dataset):
            raise ValueError(f"--text {path} holds several splits ({', '.join(data)}); give the folder of one")
        rows: Iterable[Any] = data
    elif path.is_file():
        rows = _json_lines(path)
    else:
        raise ValueError(f"--text {path} does not exist; allowed: a .jsonl file or a folder that `datasets` saved")
    for row in rows:
        if key not in row:
            raise ValueError(f"--text {path.name}: a row has no key {key!r}; it has {', '.join(row)} (--key names one)")
        yield row[key]


def _json_lines(path: Path) -> Iterator[Any]:
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                row = json.loads(line) if line.strip() else None
            except ValueError as error:
                raise ValueError(f"--text {path.name}, line {number} is not JSON: {error}") from error
            if row is not None and not isinstance(row, dict):
                raise ValueError(f"--text {path.name}, line {number} is no JSON object")
            if row is not None:
                yield row


def text_rows(texts: Iterable[str], folder: Path, length: int) -> Iterator[list[int]]:
    """Token ids of each text in pieces of at most `length`, by the tokenizer in `folder`."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    for text in texts:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        yield from (ids[start : start + length] for start in range(0, len(ids), length))


def window_rows(path: Path, vocab_size: int | None) -> np.ndarray:
    """[N, L] ids of an .npy file. Raises ValueError for anything else, and for ids that the encoder does not know."""
    if not path.is_file():
        raise ValueError(f"--windows {path} does not exist; allowed: an .npy file of token ids [N, L]")
    windows: np.ndarray = np.load(path, allow_pickle=False)
    if windows.ndim != 2 or windows.size == 0 or not np.issubdtype(windows.dtype, np.integer):
        raise ValueError(f"--windows {path.name} holds {windows.dtype} {windows.shape}; allowed: integers [N, L]")
    if windows.min() < 0 or (vocab_size is not None and windows.max() >= vocab_size):
        raise ValueError(f"--windows {path.name} holds ids up to {windows.max()}; allowed: [0, {vocab_size})")
    return windows


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    given = _parser().parse_args(arguments)
    try:
        statistics = _measure(given)
    except (ValueError, ImportError, OSError) as error:
        sys.stderr.write(f"error: elf_model.encode: {error}\n")
        raise SystemExit(2) from error
    write_statistics(given.statistics, statistics)
    shown = f"mean {np.mean(statistics.mean):.4g}, std {np.mean(statistics.std):.4g}"
    sys.stdout.write(f"{given.statistics}: {statistics.tokens} latents of width {statistics.dim}; {shown}\n")


def _measure(given: argparse.Namespace) -> LatentStatistics:
    encoder: Encoder
    check_device(given.device)
    if given.t5 is not None:
        encoder = T5Encoder.from_folder(given.t5, mean=0.0, std=1.0).to(given.device)
        vocab_size, name = encoder.vocab_size, given.t5.name
    else:
        loaded = load_model(given.model)
        if loaded.encoder is None:
            raise ValueError(f"--model {given.model.name} holds no contextual encoder; --t5 takes a folder")
        encoder, vocab_size, name = loaded.encoder.to(given.device), loaded.config.vocab_size, given.model.name
    rows: Iterable[Sequence[int]]
    if given.windows is not None:
        rows = window_rows(given.windows, vocab_size)
    else:
        if given.t5 is None:
            raise ValueError("--text needs the tokenizer of a T5 folder; with --model give --windows")
        rows = text_rows(read_texts(given.text, given.key), given.t5, given.length)
    rows = itertools.islice(rows, given.limit)
    source = {"encoder": name, "text": (given.windows or given.text).name}
    over: Over = "channel" if given.per_channel else "all"
    return latent_statistics(encoder, rows, batch_size=given.batch_size, over=over, source=source)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m elf_model.encode", description="mean and deviation of an encoder's latents of a text"
    )
    parser.add_argument("--statistics", type=Path, required=True, metavar="FILE", help="JSON file to write")
    encoder = parser.add_mutually_exclusive_group(required=True)
    encoder.add_argument(
        "--t5", type=Path, metavar="DIR", help="folder of a T5 encoder, and of its tokenizer for --text"
    )
    encoder.add_argument("--model", type=Path, metavar="FILE", help="model file with a contextual encoder")
    text = parser.add_mutually_exclusive_group(required=True)
    text.add_argument("--text", type=Path, metavar="PATH", help=".jsonl file, or folder saved by `datasets`")
    text.add_argument("--windows", type=Path, metavar="FILE", help=".npy file of token ids [N, L]")
    parser.add_argument("--key", default="text", help="where a row of --text holds its text (default: text)")
    parser.add_argument("--length", type=_positive, default=1024, help="longest piece of a text in tokens (1024)")
    parser.add_argument("--limit", type=_positive, default=None, metavar="N", help="stop after N windows")
    parser.add_argument("--batch-size", type=_positive, default=16, help="windows per forward pass (16)")
    parser.add_argument("--per-channel", action="store_true", help="one mean and deviation per channel, not for all")
    parser.add_argument("--device", default="cpu", help="cpu, cuda (cpu)")
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is below 1")
    return value


def _device(encoder: Encoder) -> torch.device:
    """Where ids go: that of the encoder's weights, if it has any."""
    module = getattr(encoder, "model", encoder)
    first = next(module.parameters(), None) if isinstance(module, torch.nn.Module) else None
    return torch.device("cpu") if first is None else first.device


if __name__ == "__main__":
    main()
