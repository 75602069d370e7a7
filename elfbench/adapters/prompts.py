"""From prompts to the token ids that a model is given, and from sampled ids back to a batch: what conditional entries
share.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from elfbench.core.errors import ConfigError
from elfbench.loading.tokenizer import Tokenizer
from elfbench.spec.prompts import condition_text, is_infill
from elfbench.spec.sampling import Prompt, SampleBatch


def given_ids(
    prompts: Sequence[Prompt], tokenizer: Tokenizer, *, length: int, max_length: int, truncate: bool = False
) -> list[list[int]]:
    """Per prompt, the ids of its text: at least one, and at most what `length` new tokens leave of max_length.

    truncate: keeps the first ids of a longer text, as the authors of ELF do. Raises ConfigError.
    """
    most = max_length - length
    if most < 1:
        raise ConfigError("no room for a prompt", key="length", found=length, allowed=f"1 .. {max_length - 1}")
    found = []
    for number, prompt in enumerate(prompts):
        ids = [int(one) for one in tokenizer.encode(condition_text(prompt))]
        if not ids or (len(ids) > most and not truncate):
            raise ConfigError(
                "a prompt without tokens" if not ids else "a prompt that is too long",
                key=f"prompts[{number}]",
                found=f"{len(ids)} tokens",
                allowed=f"1 .. {most}: {max_length} positions, {length} of them for the output",
                remedy="a shorter length, or shorter prompts",
            )
        found.append(ids[:most])
    return found


def templates(
    prompts: Sequence[Prompt], tokenizer: Tokenizer, *, length: int, max_length: int, mask_id: int | None
) -> list[np.ndarray]:
    """Per prompt, the ids of its row, -1 where open: given text and `length` new tokens, or an infilling's texts and gaps.

    Raises ConfigError for a row that is longer than max_length, and for a text that holds the mask.
    """
    rows = []
    for number, prompt in enumerate(prompts):
        if is_infill(prompt):
            parts = [np.full(part, -1) if isinstance(part, int) else tokenizer.encode(part) for part in prompt.segments]
            row = np.concatenate(parts).astype(np.int64)
        else:
            (ids,) = given_ids([prompt], tokenizer, length=length, max_length=max_length)
            row = np.array([*ids, *[-1] * length], dtype=np.int64)
        if len(row) > max_length:
            raise ConfigError(
                "a prompt that is too long",
                key=f"prompts[{number}]",
                found=f"{len(row)} tokens",
                allowed=f"1 .. {max_length}",
                remedy="smaller gaps {N}, or a shorter prompt",
            )
        if mask_id is not None and (row == mask_id).any():
            raise ConfigError(
                "a prompt holds the mask", key=f"prompts[{number}]", found=f"id {mask_id}", allowed="text"
            )
        rows.append(row)
    return rows


def infilled_batch(rows: Sequence[np.ndarray], tokenizer: Tokenizer, *, nfe: np.ndarray, seconds: float) -> SampleBatch:
    """Whole rows [L_i], what was given and what was filled in, as they stand."""
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    tokens = np.zeros((len(rows), int(lengths.max())), dtype=np.int64)
    for number, row in enumerate(rows):
        tokens[number, : len(row)] = row
    return SampleBatch(
        tokens=tokens,
        lengths=lengths,
        texts=tuple(tokenizer.decode(row) for row in rows),
        raw_texts=tuple(tokenizer.decode(row, specials=True) for row in rows),
        nfe=nfe.astype(np.int64),
        positions=(nfe * lengths).astype(np.int64),
        seconds=seconds,
    )


def continuation_batch(
    tokens: np.ndarray, tokenizer: Tokenizer, *, nfe: np.ndarray, positions: np.ndarray, seconds: float
) -> SampleBatch:
    """Outputs [B, L] of prompts.

    An output ends with its first end-of-text, also at position 0: what follows is not valid.
    """
    ended = np.cumsum(tokens == tokenizer.eos_id, axis=1) > 0
    text_lengths = (~ended).sum(axis=1)
    valid = np.minimum(text_lengths + 1, tokens.shape[1])
    return SampleBatch(
        tokens=tokens.astype(np.int64),
        lengths=valid.astype(np.int64),
        texts=tuple(tokenizer.decode(row[:n]) for row, n in zip(tokens, text_lengths, strict=True)),
        raw_texts=tuple(tokenizer.decode(row[:n], specials=True) for row, n in zip(tokens, valid, strict=True)),
        nfe=nfe.astype(np.int64),
        positions=positions.astype(np.int64),
        seconds=seconds,
    )
