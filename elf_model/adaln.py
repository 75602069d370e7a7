"""adaLN-Zero (arXiv 2212.09748, section 3.2) in ELF's block: the alternative to in-context tokens of ELF's appendix C.4.

One condition per row, silu(embedded time + embedded guidance scale + mode), shifts, scales and gates every block
and shifts and scales the last layer; all of it is zero at initialization, so a fresh block is the identity.
Legend: B batch, N tokens, L text length, C latent width, H hidden width. The authors' code for this variant is not
public: RMSNorm stays as in their block, and the six parts are in the order of DiT. ELF-B has 148,275,300 parameters
this way (148M in the paper), 104,579,940 with tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from elf_model.attention import RMS_EPS, Attention, SwiGLU
from elf_model.config import ElfConfig


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """x (1 + scale) + shift; x [B, N, H], shift and scale [B, 1, H]."""
    return x * (1.0 + scale) + shift


class Modulation(nn.Module):
    """A linear map of the condition to a number of vectors."""

    def __init__(self, hidden: int, parts: int) -> None:
        super().__init__()
        self.parts = parts
        self.linear = nn.Linear(hidden, parts * hidden)
        self.zero()

    @torch.no_grad()
    def zero(self) -> None:
        """Set the map to 0, as at initialization."""
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, condition: Tensor) -> tuple[Tensor, ...]:
        """[B, H] -> `parts` tensors [B, 1, H]."""
        return self.linear(condition)[:, None].chunk(self.parts, dim=-1)


class AdaLNZeroBlock(nn.Module):
    """x + gate Attention(modulate(norm(x))), then the same with SwiGLU."""

    def __init__(self, config: ElfConfig) -> None:
        super().__init__()
        self.norm1 = nn.RMSNorm(config.hidden, eps=RMS_EPS)
        self.attn = Attention(config)
        self.norm2 = nn.RMSNorm(config.hidden, eps=RMS_EPS)
        self.mlp = SwiGLU(config)
        self.modulation = Modulation(config.hidden, 6)

    def forward(self, x: Tensor, rotations: Tensor, mask: Tensor | None, condition: Tensor) -> Tensor:
        """x [B, N, H], condition [B, H] -> [B, N, H]."""
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(condition)
        x = x + gate1 * self.attn(modulate(self.norm1(x), shift1, scale1), rotations, mask)
        out: Tensor = x + gate2 * self.mlp(modulate(self.norm2(x), shift2, scale2))
        return out


class AdaLNFinalLayer(nn.Module):
    """The prediction head, modulated; zero at initialization like the one without."""

    def __init__(self, config: ElfConfig) -> None:
        super().__init__()
        self.norm_final = nn.RMSNorm(config.hidden, eps=RMS_EPS)
        self.linear = nn.Linear(config.hidden, config.latent_dim)
        self.modulation = Modulation(config.hidden, 2)

    def forward(self, h: Tensor, condition: Tensor) -> Tensor:
        """h [B, L, H], condition [B, H] -> [B, L, C]."""
        shift, scale = self.modulation(condition)
        out: Tensor = self.linear(modulate(self.norm_final(h), shift, scale))
        return out
