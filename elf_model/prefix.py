"""A clean prefix of a row: latents that noise and sampling leave as they are (conditional tasks of arXiv 2605.10938).

Legend: B rows, L tokens, C latent width. Not a prompt: text and its encoding come before this.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Prefix(NamedTuple):
    """Clean latents that sampling keeps as they are."""

    latents: Tensor
    """[B, L, C] normalized latents; read only where the mask is set."""
    mask: Tensor
    """[B, L] bool, True on the prefix."""


def restore(z: Tensor, prefix: Prefix) -> Tensor:
    """z [B, L, C] with the prefix positions set to the prefix latents."""
    return torch.where(prefix.mask[..., None], prefix.latents, z)


def clean(z: Tensor, prefix: Prefix | None) -> Tensor:
    """z [B, L, C] with the prefix restored, or z itself where there is none."""
    return z if prefix is None else restore(z, prefix)


def hide(z: Tensor, prefix: Prefix) -> Tensor:
    """z [B, L, C] with zeros on the prefix positions: what a network sees that is not told the prefix."""
    return torch.where(prefix.mask[..., None], torch.zeros_like(z), z)
