"""The DiT that MDLM, SEDD, D3PM, Duo and the autoregressive baseline share (Lou et al. 2024; Sahoo et al. 2024), state-dict names included.

What it is: pre-norm blocks, fused qkv, rotary positions on q and k, adaLN with one SiLU outside, gates that start at 0.
What it is not: it has no absolute positions, no LayerNorm bias, no attention dropout, no padding mask, no tied embeddings. The causal variant
has no conditioning at all. Legend: B rows, L tokens, D width, H heads, V vocabulary (mask included).
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_FREQUENCIES = 256
_ROTARY_BASE = 10_000.0
_LOGITS_AT_ONCE = 2**23


@dataclass(frozen=True, slots=True)
class DitConfig:
    """vocab_size includes the mask where there is one.

    DEVIATION(MDLM code, config): no dropout (theirs is 0.1 in residual branches); it would draw from the global random state.
    """

    vocab_size: int
    hidden: int = 768
    depth: int = 12
    heads: int = 12
    cond_dim: int = 128
    mlp_ratio: int = 4
    causal: bool = False
    max_length: int = 1024
    gelu: Literal["tanh", "erf"] = "tanh"
    """DEVIATION(MDLM, appendix): `erf` for tiny models, as tanh-GELU is five times slower on a small core."""

    def __post_init__(self) -> None:
        if self.hidden % self.heads or (self.hidden // self.heads) % 2:
            raise ValueError(f"hidden {self.hidden} must be heads {self.heads} times an even number")
        if self.gelu not in ("tanh", "erf"):
            raise ValueError(f"gelu is {self.gelu!r}; allowed: tanh, erf")

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> DitConfig:
        """From plain data; raises ValueError naming an unknown key and the nearest one."""
        allowed = [field.name for field in dataclasses.fields(cls)]
        for key in content:
            if key not in allowed:
                near = difflib.get_close_matches(key, allowed, n=1)
                raise ValueError(
                    f"unknown key {key!r}; allowed: {', '.join(allowed)}"
                    + (f"; did you mean {near[0]!r}?" if near else "")
                )
        return cls(**content)


class KeyValueCache:
    """Keys and values of the positions that a causal network has seen, per block: [B, H, capacity, D/H]."""

    def __init__(self, config: DitConfig, rows: int, capacity: int, device: torch.device) -> None:
        shape = (config.depth, 2, rows, config.heads, capacity, config.hidden // config.heads)
        self.values = torch.zeros(shape, device=device)
        self.length = 0


class Dit(nn.Module):
    """The backbone. `forward` gives logits [B, L, V]; `features` and `logits` are its two halves."""

    def __init__(self, config: DitConfig) -> None:
        super().__init__()
        self.config = config
        self.vocab_embed = TokenEmbedding(config)
        self.sigma_map = None if config.causal else NoiseEmbedding(config.cond_dim)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.output_layer = OutputLayer(config)
        width = config.hidden // config.heads
        frequencies = _ROTARY_BASE ** -(torch.arange(0, width, 2, dtype=torch.float32) / width)
        self.register_buffer("inv_freq", frequencies, persistent=False)

    def forward(self, ids: Tensor, sigma: Tensor | None = None) -> Tensor:
        """Logits [B, L, V] of ids [B, L] (or of probabilities [B, L, V]) at noise level sigma [B] (zeros when None)."""
        return self.logits(self.features(ids, sigma))

    def features(self, ids: Tensor, sigma: Tensor | None = None, cache: KeyValueCache | None = None) -> Tensor:
        """[B, L, D]: what the vocabulary projection reads. With a cache, ids are the positions after those it holds."""
        x = self.vocab_embed(ids)
        condition = self._condition(sigma, x)
        start = cache.length if cache is not None else 0
        if start + x.shape[1] > self.config.max_length:
            raise ValueError(f"{start + x.shape[1]} positions; allowed: at most {self.config.max_length}")
        rotation = self._rotation(start, x.shape[1])
        for number, block in enumerate(self.blocks):
            stored = cache.values[number] if cache is not None else None
            x = block(x, condition, rotation, stored, start)
        if cache is not None:
            cache.length += x.shape[1]
        out: Tensor = self.output_layer.features(x, condition)
        return out

    def logits(self, features: Tensor) -> Tensor:
        """[..., D] -> [..., V], float32 at least.

        DEVIATION(MDLM code, loss precision): under bfloat16 autocast theirs takes the log-softmax of bfloat16 logits.
        """
        out: Tensor = self.output_layer.linear(features)
        return out.float() if out.dtype.itemsize < 4 else out

    def _condition(self, sigma: Tensor | None, x: Tensor) -> Tensor | None:
        if self.sigma_map is None:
            return None
        level = x.new_zeros(x.shape[0]) if sigma is None else sigma
        return F.silu(self.sigma_map(level))

    def _rotation(self, start: int, length: int) -> tuple[Tensor, Tensor]:
        """cos and sin [L, D/H], first and second half equal (half-split rotary)."""
        inverse: Tensor = self.inv_freq  # type: ignore[assignment]
        angles = torch.arange(start, start + length, device=inverse.device, dtype=torch.float32)[:, None] * inverse
        angles = torch.cat([angles, angles], dim=-1)
        return angles.cos(), angles.sin()


class TokenEmbedding(nn.Module):
    """A table [V, D]; probabilities are embedded as their mean."""

    def __init__(self, config: DitConfig) -> None:
        super().__init__()
        bound = 1.0 / math.sqrt(config.hidden)  # kaiming_uniform(a=sqrt 5)
        self.embedding = nn.Parameter(torch.empty(config.vocab_size, config.hidden).uniform_(-bound, bound))

    def forward(self, ids: Tensor) -> Tensor:
        """[B, L] ids or [B, L, V] probabilities -> [B, L, D]."""
        return F.embedding(ids, self.embedding) if ids.ndim == 2 else ids @ self.embedding


class NoiseEmbedding(nn.Module):
    """sigma (not t, not 1000 t) -> [B, cond_dim], sinusoids with the cosines first."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(_FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, sigma: Tensor) -> Tensor:
        """[B] -> [B, width]."""
        half = _FREQUENCIES // 2
        frequencies = torch.exp(
            -math.log(10_000.0) * torch.arange(half, device=sigma.device, dtype=torch.float32) / half
        )
        angles = sigma[:, None].float() * frequencies
        out: Tensor = self.mlp(torch.cat([angles.cos(), angles.sin()], dim=-1))
        return out


class Norm(nn.Module):
    """LayerNorm with a weight and no bias, eps 1e-5."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], self.weight)


class Block(nn.Module):
    """Attention and MLP, each behind its norm, modulated and gated when conditioned."""

    def __init__(self, config: DitConfig) -> None:
        super().__init__()
        width = config.hidden
        self.heads, self.causal = config.heads, config.causal
        self.norm1 = Norm(width)
        self.attn_qkv = nn.Linear(width, 3 * width, bias=False)
        self.attn_out = nn.Linear(width, width, bias=False)
        self.norm2 = Norm(width)
        activation = nn.GELU(approximate="tanh" if config.gelu == "tanh" else "none")
        self.mlp = nn.Sequential(
            nn.Linear(width, config.mlp_ratio * width), activation, nn.Linear(config.mlp_ratio * width, width)
        )
        if not config.causal:
            self.adaLN_modulation = _zeroed(nn.Linear(config.cond_dim, 6 * width))

    def forward(
        self,
        x: Tensor,
        condition: Tensor | None,
        rotation: tuple[Tensor, Tensor],
        stored: Tensor | None = None,
        start: int = 0,
    ) -> Tensor:
        """x [B, L, D]; stored [2, B, H, capacity, D/H] is written at `start` and read up to there."""
        if condition is None:
            x = x + self._attention(self.norm1(x), rotation, stored, start)
            return x + self.mlp(self.norm2(x))
        parts = self.adaLN_modulation(condition)[:, None].chunk(6, dim=-1)
        shift1, scale1, gate1, shift2, scale2, gate2 = parts
        x = x + gate1 * self._attention(_modulate(self.norm1(x), shift1, scale1), rotation, stored, start)
        return x + gate2 * self.mlp(_modulate(self.norm2(x), shift2, scale2))

    def _attention(self, x: Tensor, rotation: tuple[Tensor, Tensor], stored: Tensor | None, start: int) -> Tensor:
        rows, length, width = x.shape
        q, k, v = self.attn_qkv(x).view(rows, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        q, k = _rotate(q, *rotation), _rotate(k, *rotation)
        if stored is not None:
            stored[0, :, :, start : start + length], stored[1, :, :, start : start + length] = k, v
            k, v = stored[0, :, :, : start + length], stored[1, :, :, : start + length]
        # A single new position sees everything that is stored; several at once need the causal mask from the first on.
        masked = self.causal and length > 1
        assert not (masked and start), "a cache is filled at once, then position by position"
        out = F.scaled_dot_product_attention(q, k, v, is_causal=masked)
        result: Tensor = self.attn_out(out.transpose(1, 2).reshape(rows, length, width))
        return result


class OutputLayer(nn.Module):
    """Norm, modulation and the vocabulary projection, all zero at the start: logits begin as exact zeros."""

    def __init__(self, config: DitConfig) -> None:
        super().__init__()
        self.norm_final = Norm(config.hidden)
        self.linear = _zeroed(nn.Linear(config.hidden, config.vocab_size))
        if not config.causal:
            self.adaLN_modulation = _zeroed(nn.Linear(config.cond_dim, 2 * config.hidden))

    def features(self, x: Tensor, condition: Tensor | None) -> Tensor:
        """[B, L, D] -> [B, L, D]."""
        normed: Tensor = self.norm_final(x)
        if condition is None:
            return normed
        shift, scale = self.adaLN_modulation(condition)[:, None].chunk(2, dim=-1)
        return _modulate(normed, shift, scale)


def vocabulary_parts(positions: int, vocab_size: int) -> Iterator[slice]:
    """Slices of `positions` to project onto the vocabulary one after another, 2^23 logits each: memory must not grow with B L V."""
    size = max(1, _LOGITS_AT_ONCE // vocab_size)
    return (slice(first, first + size) for first in range(0, positions, size))


def build_dit(config: DitConfig, *, seed: int) -> Dit:
    """A fresh network; the global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(seed)
        return Dit(config)


def _modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    return x * (1.0 + scale) + shift


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-second, first], dim=-1) * sin


def _zeroed(linear: nn.Linear) -> nn.Linear:
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear
