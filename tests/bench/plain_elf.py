"""ELF's network and sampling loop written the plain way, in the style of the authors' PyTorch code; what ours is timed against.

Written from the published facts (arXiv 2605.10938 and a description of the code), not copied: norms and rotary
embeddings from elementary operations, prefix tokens and self-conditioning concatenated in every pass, one pass
per branch of guidance, both heads in the decode pass, nothing kept between passes but the last prediction and the
two rotary tables (which the authors keep as well). Euler steps only; no gradients. Legend: B batch, L text length,
N tokens with the prefix, C latent width, H hidden width, h heads, d head width, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F

from elf_model.config import ElfConfig

_EPS = 1e-6


def rms_norm(x: Tensor, weight: Tensor) -> Tensor:
    """x over its root mean square along the last axis, times weight; any shape."""
    scale = torch.rsqrt(x.float().pow(2).mean(dim=-1, keepdim=True) + _EPS)
    return weight * (x * scale.to(x.dtype))


def rotary_tables(num_prefix: int, length: int, head_dim: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines [num_prefix + length, d], each angle twice; the prefix is not rotated."""
    frequencies = 1.0 / 10_000.0 ** (torch.arange(0, head_dim, 2).float() / head_dim)
    angles = (torch.arange(length).float()[:, None] * frequencies).repeat_interleave(2, dim=-1)
    cos = torch.cat([torch.ones(num_prefix, head_dim), angles.cos()])
    sin = torch.cat([torch.zeros(num_prefix, head_dim), angles.sin()])
    return cos, sin


def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x [B, h, N, d] turned by the tables [N, d]: x cos + (its pairs (a, b) as (-b, a)) sin."""
    first, second = x.reshape(*x.shape[:-1], -1, 2).unbind(dim=-1)
    turned = torch.stack((-second, first), dim=-1).reshape(x.shape)
    return x * cos + turned * sin


class PlainElf:
    """The network as a function of its weights, under the names of ELF's state dict; the weights are shared, not copied."""

    def __init__(self, config: ElfConfig, weights: Mapping[str, Tensor], *, length: int) -> None:
        self.config, self.weights = config, weights
        self.cos, self.sin = rotary_tables(config.num_prefix_tokens, length, config.head_dim)

    def __call__(self, z: Tensor, t: Tensor, w: Tensor, *, decode: bool = False) -> tuple[Tensor, Tensor | None]:
        """z [B, L, 2C] (latents and self-conditioning), t [B], w [B]; x_pred [B, L, C] and, to decode, logits [B, L, V]."""
        weights, config = self.weights, self.config
        rows = z.shape[0]
        x = self._linear(self._linear(self._linear(z, "self_cond_proj"), "text_proj.proj1"), "text_proj.proj2")
        gate = torch.full((rows,), float(decode))
        modes = weights["mode_tokens"].repeat(rows, 1, 1) * gate[:, None, None]
        x = torch.cat([modes, x], dim=1)
        times = weights["t_emb_tokens"] + self._embed(t, "t_embedder")[:, None]
        scales = weights["self_cond_cfg_tokens"] + self._embed(w, "self_cond_cfg_embedder")[:, None]
        x = torch.cat([torch.cat([times, scales], dim=1), x], dim=1)
        for number in range(config.depth):
            block = f"blocks.{number}"
            x = x + self._attention(rms_norm(x, weights[f"{block}.norm1.weight"]), f"{block}.attn")
            x = x + self._swiglu(rms_norm(x, weights[f"{block}.norm2.weight"]), f"{block}.mlp")
        x = x[:, config.num_prefix_tokens :]
        logits = None
        if decode:
            narrow = F.gelu(torch.matmul(x, weights["proj_kernel"]) + weights["proj_bias"], approximate="tanh")
            logits = torch.matmul(narrow, weights["unembed_kernel"]) + weights["unembed_bias"]
        x_pred = self._linear(rms_norm(x, weights["final_layer.norm_final.weight"]), "final_layer.linear")
        return x_pred, logits

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return F.linear(x, self.weights[f"{name}.weight"], self.weights.get(f"{name}.bias"))

    def _embed(self, value: Tensor, name: str) -> Tensor:
        """[B] -> [B, H]."""
        frequencies = torch.exp(-math.log(10_000.0) * torch.arange(128).float() / 128)
        angles = value[:, None].float() * frequencies[None]
        features = torch.cat([angles.cos(), angles.sin()], dim=-1)
        return self._linear(F.silu(self._linear(features, f"{name}.mlp_0")), f"{name}.mlp_2")

    def _attention(self, x: Tensor, name: str) -> Tensor:
        """[B, N, H] -> [B, N, H]."""
        rows, tokens, hidden = x.shape
        heads = self._linear(x, f"{name}.qkv").reshape(rows, tokens, 3, self.config.heads, -1)
        q, k, v = heads.permute(2, 0, 3, 1, 4)  # each [B, h, N, d]
        cos, sin = self.cos[:tokens], self.sin[:tokens]
        q = rotated(rms_norm(q, self.weights[f"{name}.q_norm.weight"]), cos, sin)
        k = rotated(rms_norm(k, self.weights[f"{name}.k_norm.weight"]), cos, sin)
        out = F.scaled_dot_product_attention(q, k, v)
        return self._linear(out.permute(0, 2, 1, 3).reshape(rows, tokens, hidden), f"{name}.proj")

    def _swiglu(self, x: Tensor, name: str) -> Tensor:
        """[B, N, H] -> [B, N, H]."""
        gate, value = self._linear(x, f"{name}.w12").chunk(2, dim=-1)
        return self._linear(F.silu(gate) * value, f"{name}.w3")


@torch.no_grad()
def plain_sample(
    net: PlainElf,
    z: Tensor,
    grid: Tensor,
    *,
    self_cond_cfg: float,
    input_cfg: float = 1.0,
    clean: Tensor | None = None,
    mask: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Token ids [B, L] and latents [B, L, C] at t=1 from z [B, L, C] (noise already scaled) along one grid [N+1].

    t=0 is noise, t=1 is data. clean [B, L, C] and mask [B, L, 1] (1 on the prefix) make it conditional; a guidance
    scale input_cfg other than 1 then adds a second pass per step, without the prefix.
    """
    rows, t_eps = z.shape[0], net.config.t_eps
    w = torch.full((rows,), self_cond_cfg)
    keep = torch.zeros(*z.shape[:2], 1) if mask is None else mask.to(z.dtype)
    given = torch.zeros_like(z) if clean is None else clean
    z = z * (1 - keep) + given * keep
    x_prev = given * keep
    for t, t_next in pairwise(grid):
        times = t.repeat(rows)
        divisor = torch.clamp(1 - times, min=t_eps)[:, None, None]
        x, _ = net(torch.cat([z, x_prev], dim=-1), times, w)
        v = (x - z) / divisor
        if input_cfg != 1.0:
            z_free = z * (1 - keep)
            x_free, _ = net(torch.cat([z_free, x_prev * (1 - keep)], dim=-1), times, w)
            v_free = (x_free - z_free) / divisor
            x, v = x_free + input_cfg * (x - x_free), v_free + input_cfg * (v - v_free)
        v = v * (1 - keep)
        x_prev = x * (1 - keep) + given * keep
        z = z + (t_next - t) * v
    ones = grid[-1].repeat(rows)
    _, logits = net(torch.cat([z, torch.zeros_like(z)], dim=-1), ones, w, decode=True)
    assert logits is not None
    return logits.argmax(dim=-1), z
