"""The transformer block of ELF (arXiv 2605.10938, section 3): attention with qk-norm and text RoPE, SwiGLU.

Legend: B batch, N tokens (prefix and text), H hidden width, h heads, d head width. No adaLN, no dropout, no
layer scale.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from elf_model.config import ElfConfig
from elf_model.linear import Linear

RMS_EPS = 1e-6
ROPE_THETA = 10_000.0


def rope_table(num_prefix: int, length: int, head_dim: int) -> Tensor:
    """Rotations (cos, sin) of each token, [num_prefix + length, head_dim/2, 2] float32.

    Text positions run 0, 1, ...; prefix tokens are not rotated (angle 0, the same as text position 0).
    """
    frequencies = ROPE_THETA ** (-torch.arange(0, head_dim, 2).float() / head_dim)
    positions = torch.cat([torch.zeros(num_prefix), torch.arange(length).float()])
    angles = torch.outer(positions, frequencies)
    return torch.stack([angles.cos(), angles.sin()], dim=-1)


def rotate(x: Tensor, rotations: Tensor) -> Tensor:
    """Rotate interleaved pairs of x [B, N, h, d] by rotations [N, d/2, 2]; returns [B, N, h, d].

    Written as a complex product: a third of the time of the real form on a CPU.
    """
    pairs = torch.view_as_complex(x.float().reshape(*x.shape[:-1], -1, 2))
    turned = pairs * torch.view_as_complex(rotations.float()).unsqueeze(1)
    return torch.view_as_real(turned).flatten(-2).type_as(x)


class Attention(nn.Module):
    """Full bidirectional attention; q and k are normalized per head before they are rotated."""

    def __init__(self, config: ElfConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.qkv = Linear(config.hidden, 3 * config.hidden)
        self.q_norm = nn.RMSNorm(config.head_dim, eps=RMS_EPS)
        self.k_norm = nn.RMSNorm(config.head_dim, eps=RMS_EPS)
        self.proj = Linear(config.hidden, config.hidden)

    def forward(self, x: Tensor, rotations: Tensor, mask: Tensor | None) -> Tensor:
        """x [B, N, H], rotations [N, d/2, 2], mask [B, 1, 1, N] bool (True = may be attended) or None;
        returns [B, N, H].
        """
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).unbind(2)  # each [B, N, h, d]
        q = rotate(self.q_norm(q), rotations).type_as(v)
        k = rotate(self.k_norm(k), rotations).type_as(v)
        out = F.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), attn_mask=mask)
        mixed: Tensor = self.proj(out.transpose(1, 2).flatten(2))
        return mixed


class SwiGLU(nn.Module):
    """silu(a) * b with a, b the halves of one linear map, then back to H."""

    def __init__(self, config: ElfConfig) -> None:
        super().__init__()
        self.w12 = Linear(config.hidden, 2 * config.mlp_dim)
        self.w3 = Linear(config.mlp_dim, config.hidden)

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, H] -> [B, N, H]."""
        gate, value = self.w12(x).chunk(2, dim=-1)
        inner = F.silu(gate)
        out: Tensor = self.w3(inner * value if torch.is_grad_enabled() else inner.mul_(value))
        return out


class Block(nn.Module):
    """x + Attention(norm(x)), then x + SwiGLU(norm(x))."""

    def __init__(self, config: ElfConfig) -> None:
        super().__init__()
        self.norm1 = nn.RMSNorm(config.hidden, eps=RMS_EPS)
        self.attn = Attention(config)
        self.norm2 = nn.RMSNorm(config.hidden, eps=RMS_EPS)
        self.mlp = SwiGLU(config)

    def forward(self, x: Tensor, rotations: Tensor, mask: Tensor | None) -> Tensor:
        """[B, N, H] -> [B, N, H]."""
        x = add(self.attn(self.norm1(x), rotations, mask), x)
        return add(self.mlp(self.norm2(x)), x)


def add(branch: Tensor, x: Tensor) -> Tensor:
    """branch + x; without gradients in the memory of the branch, which nobody else reads."""
    return branch + x if torch.is_grad_enabled() else branch.add_(x)
