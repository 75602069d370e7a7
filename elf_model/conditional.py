"""Conditional generation with ELF (arXiv 2605.10938, sections 3 and 4, as in the authors' code): a given text, then a
target.

A row is condition, target, padding, with nothing between them; the condition stays as clean latents (`Prefix`) while
the target is sampled, and afterwards rows are shifted left by their condition. t=0 is noise, t=1 data. Legend: B
rows, S positions of a whole row, T positions of the target budget, C latent width. Not training: `elf_model.loss`
takes the same prefix mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from elf_model.encoder import Encoder, encoder_mask
from elf_model.network import ElfNetwork
from elf_model.noise import Noise
from elf_model.prefix import Prefix
from elf_model.sampler import OnStep, sample
from elf_model.settings import SamplerSettings


class Rows(NamedTuple):
    """Conditions and targets side by side. All [B, S]."""

    ids: Tensor
    """int64 token ids, padded on the right."""
    valid: Tensor
    """bool, True on real tokens of condition and target."""
    condition: Tensor
    """bool, True on the condition."""

    @property
    def condition_lengths(self) -> Tensor:
        """[B] int64."""
        return self.condition.sum(dim=1)


class TargetSample(NamedTuple):
    """Sampled targets."""

    ids: Tensor
    """[B, T] int64 as sampled, whatever follows an end-of-text included; `mask_after_eos` is the authors' form."""
    nfe: Tensor
    """[B] int64 forward passes that each row took part in: N steps, twice that with guidance by the condition, and
    the decode pass.
    """


def lay_out(
    conditions: Sequence[Sequence[int]],
    targets: Sequence[Sequence[int]] | None = None,
    *,
    max_length: int,
    max_input_length: int,
    pad_id: int,
    truncate: bool = False,
) -> Rows:
    """Rows of max_length = S positions: condition, target, then pad_id. Without targets, as for sampling, the
    condition alone.

    A condition has 1 .. max_input_length tokens; the budget of a target is what it leaves of S, so long targets
    survive behind short conditions. DEVIATION(code, collation): a row that does not fit is an error; the authors cut
    both sides silently, as `truncate` does. Raises ValueError.
    """
    if not 1 <= max_input_length < max_length:
        raise ValueError(f"max_input_length is {max_input_length}; allowed: 1 .. {max_length - 1}, below max_length")
    targets = [()] * len(conditions) if targets is None else targets
    if len(targets) != len(conditions):
        raise ValueError(f"{len(targets)} targets for {len(conditions)} conditions; allowed: one each")
    ids = torch.full((len(conditions), max_length), pad_id, dtype=torch.int64)
    valid, prefix = torch.zeros(ids.shape, dtype=torch.bool), torch.zeros(ids.shape, dtype=torch.bool)
    for row, (condition, target) in enumerate(zip(conditions, targets, strict=True)):
        if len(condition) == 0:
            raise ValueError(f"the condition of row {row} has no tokens; allowed: 1 .. {max_input_length}")
        if not truncate and (len(condition) > max_input_length or len(condition) + len(target) > max_length):
            raise ValueError(
                f"row {row} has a condition of {len(condition)} tokens and a target of {len(target)}; allowed: conditions "
                f"of 1 .. {max_input_length} and {max_length} together; truncate=True cuts them, as the authors do"
            )
        given = list(condition[:max_input_length])
        whole = (given + list(target))[:max_length]
        ids[row, : len(whole)] = torch.tensor(whole, dtype=torch.int64)
        valid[row, : len(whole)] = True
        prefix[row, : len(given)] = True
    return Rows(ids, valid, prefix)


@torch.no_grad()
def clean_prefix(encoder: Encoder, rows: Rows) -> Prefix:
    """The condition as clean latents [B, S, C]: they see the condition alone, so they are those of training whatever
    the target.
    """
    latents = encoder.encode(rows.ids, encoder_mask(rows.valid, rows.condition))
    return Prefix(latents, rows.condition)


def sample_targets(
    net: ElfNetwork,
    encoder: Encoder,
    rows: Rows,
    *,
    length: int,
    settings: SamplerSettings,
    noise: Noise,
    on_step: OnStep | None = None,
) -> TargetSample:
    """Targets of `length` = T tokens for rows of S positions; ids of targets in `rows` are not read.

    T is at most S less the longest condition. settings.input_cfg is the guidance by the condition (2 in the paper, 1
    is off). The latents of every row have S positions, so a row does not depend on the others of its batch.
    """
    lengths = rows.condition_lengths
    if bool((lengths == 0).any()):
        raise ValueError("a row without a condition; allowed: at least one token each, or unconditional sampling")
    longest = rows.ids.shape[1] - int(lengths.max())
    if not 1 <= length <= longest:
        raise ValueError(f"length is {length}; allowed: 1 .. {longest}, what the longest condition leaves of the row")
    given = Rows(rows.ids, rows.condition, rows.condition)
    done = sample(
        net,
        length=rows.ids.shape[1],
        settings=settings,
        noise=noise,
        prefix=clean_prefix(encoder, given),
        on_step=on_step,
    )
    return TargetSample(shift_left(done.ids, lengths.to(done.ids.device), fill=0)[:, :length], done.nfe)


def shift_left(ids: Tensor, lengths: Tensor, *, fill: int) -> Tensor:
    """Each row of ids [B, S] moved left by lengths [B] >= 0; `fill` comes in from the right."""
    positions = torch.arange(ids.shape[1], device=ids.device) + lengths[:, None]
    moved = ids.gather(1, positions.clamp(max=ids.shape[1] - 1))
    return moved.masked_fill(positions >= ids.shape[1], fill)


def mask_after_eos(ids: Tensor, *, eos_id: int, pad_id: int) -> Tensor:
    """ids [B, T] with the first end-of-text of each row, and everything behind it, set to pad_id."""
    ended = (ids == eos_id).cumsum(dim=1) > 0
    return ids.masked_fill(ended, pad_id)
