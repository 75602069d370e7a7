"""The plain loop of the metric `perplexity` of Hugging Face evaluate, written after its description in
`elfbench.spec.judging.HF_EVALUATE`: what one would otherwise type.

The whole corpus is padded to its longest text, batches keep the corpus's order, and a batch's logits exist at once. The
loss reads them with the vocabulary in the middle; torch then rounds the sum of a position's 49,152 float32 numbers so that
every perplexity is about 1e-4 of it too small. In float64 it is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional as F

BATCH = 16


@torch.no_grad()
def plain_perplexities(
    model: Any,
    tokenizer: Any,
    texts: Sequence[str],
    *,
    n_batches: int,
    max_length: int | None = None,
    dtype: torch.dtype = torch.float32,
) -> list[float]:
    """Perplexities of the texts of the first `n_batches` batches, cut to `max_length` ids where it is given, with a loss in
    `dtype`. The tokenizer has a beginning-of-text and a padding token and pads on the right."""
    cut = {} if max_length is None else {"truncation": True, "max_length": max_length - 1}
    whole = tokenizer(list(texts), add_special_tokens=False, padding=True, return_tensors="pt", **cut)
    found: list[float] = []
    for first in range(0, min(len(texts), n_batches * BATCH), BATCH):
        ids, mask = (whole[key][first : first + BATCH] for key in ("input_ids", "attention_mask"))
        start = torch.full((len(ids), 1), tokenizer.bos_token_id)
        ids, mask = torch.cat([start, ids], dim=1), torch.cat([torch.ones_like(start), mask], dim=1)
        logits = model(ids, attention_mask=mask).logits
        nats = F.cross_entropy(logits[:, :-1].to(dtype).contiguous().transpose(1, 2), ids[:, 1:], reduction="none")
        real = mask[:, 1:]
        found += ((nats * real).sum(dim=1) / real.sum(dim=1)).exp().tolist()
    return found
