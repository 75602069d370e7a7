"""The ELF network (arXiv 2605.10938, section 3), under the state-dict names of the authors' PyTorch code.

One transformer, two heads: x-prediction of the latents, and token logits in decode mode. Time, guidance scale
and mode are tokens before the text, not adaLN. Legend: B batch, L text length, C latent width, H hidden
width, V vocabulary.
DEVIATION(paper, section 3): the logits branch from the trunk through a GELU layer, not from W x_theta; the
authors' code does so.
DEVIATION(paper, section 3): mode tokens are zeros when denoising and learned when decoding, not two learned
sets; as in the code.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from elf_model.attention import RMS_EPS, Block, rope_table
from elf_model.config import ElfConfig

_FREQUENCIES = 256  # width of the sinusoidal features of a scalar


class ElfOutput(NamedTuple):
    """What one forward pass predicts."""

    x_pred: Tensor
    """[B, L, C] prediction of the clean normalized latents."""
    logits: Tensor | None
    """[R, L, V] token logits of the rows asked for (all rows by default); None when not in decode mode."""


def sinusoidal_features(value: Tensor) -> Tensor:
    """[cos, sin] features of value [B], at its raw scale (t in [0, 1] is not multiplied by 1000); returns [B,
    256].
    """
    half = _FREQUENCIES // 2
    frequencies = torch.exp(-math.log(10_000.0) * torch.arange(half, device=value.device).float() / half)
    angles = value.float()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


class ScalarEmbedder(nn.Module):
    """A scalar per row (time t, or guidance scale w) to a vector."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.mlp_0 = nn.Linear(_FREQUENCIES, hidden)
        self.mlp_2 = nn.Linear(hidden, hidden)

    def forward(self, value: Tensor) -> Tensor:
        """[B] -> [B, H]."""
        out: Tensor = self.mlp_2(F.silu(self.mlp_0(sinusoidal_features(value))))
        return out


class Bottleneck(nn.Module):
    """Latent width to hidden width through a narrow linear layer; no activation between."""

    def __init__(self, config: ElfConfig) -> None:
        super().__init__()
        self.proj1 = nn.Linear(config.latent_dim, config.bottleneck_dim, bias=False)
        self.proj2 = nn.Linear(config.bottleneck_dim, config.hidden)

    def forward(self, x: Tensor) -> Tensor:
        """[B, L, C] -> [B, L, H]."""
        out: Tensor = self.proj2(self.proj1(x))
        return out


class FinalLayer(nn.Module):
    """The x-prediction head; zero at initialization, so an untrained network predicts 0."""

    def __init__(self, config: ElfConfig) -> None:
        super().__init__()
        self.norm_final = nn.RMSNorm(config.hidden, eps=RMS_EPS)
        self.linear = nn.Linear(config.hidden, config.latent_dim)

    def forward(self, h: Tensor) -> Tensor:
        """[B, L, H] -> [B, L, C]."""
        out: Tensor = self.linear(self.norm_final(h))
        return out


class ElfNetwork(nn.Module):
    """ELF as a function of noisy latents, time, guidance scale and mode."""

    rotations: Tensor

    def __init__(self, config: ElfConfig) -> None:
        super().__init__()
        self.config = config
        c, hidden = config.latent_dim, config.hidden
        self.self_cond_proj = nn.Linear(2 * c, c)
        self.text_proj = Bottleneck(config)
        self.t_embedder = ScalarEmbedder(hidden)
        self.self_cond_cfg_embedder = ScalarEmbedder(hidden)
        self.t_emb_tokens = nn.Parameter(torch.zeros(1, config.num_time_tokens, hidden))
        self.self_cond_cfg_tokens = nn.Parameter(torch.zeros(1, config.num_self_cond_cfg_tokens, hidden))
        self.mode_tokens = nn.Parameter(torch.zeros(1, config.num_model_mode_tokens, hidden))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.final_layer = FinalLayer(config)
        self.proj_kernel = nn.Parameter(torch.zeros(hidden, c))  # both kernels are (in, out), as the authors store them
        self.proj_bias = nn.Parameter(torch.zeros(c))
        self.unembed_kernel = nn.Parameter(torch.zeros(c, config.vocab_size))
        self.unembed_bias = nn.Parameter(torch.zeros(config.vocab_size))
        table = rope_table(config.num_prefix_tokens, config.max_length, config.head_dim)
        self.register_buffer("rotations", table, persistent=False)

    @torch.no_grad()
    def initialize(self, *, generator: torch.Generator) -> None:
        """The authors': Xavier uniform; N(0, 0.02^2) for embedders and tokens; zero x head and biases."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight, generator=generator)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.RMSNorm):
                nn.init.ones_(module.weight)
        for kernel in (self.proj_kernel, self.unembed_kernel):
            nn.init.xavier_uniform_(kernel, generator=generator)
        for bias in (self.proj_bias, self.unembed_bias):
            nn.init.zeros_(bias)
        embedders = [
            getattr(e, m).weight for e in (self.t_embedder, self.self_cond_cfg_embedder) for m in ("mlp_0", "mlp_2")
        ]
        for weight in (*embedders, self.t_emb_tokens, self.self_cond_cfg_tokens, self.mode_tokens):
            nn.init.normal_(weight, std=0.02, generator=generator)
        nn.init.zeros_(self.final_layer.linear.weight)

    def forward(
        self,
        z: Tensor,
        t: Tensor,
        *,
        x_prev: Tensor | None,
        self_cond_cfg: Tensor,
        decode_mode: Tensor | None = None,
        logit_rows: Tensor | None = None,
        attention_mask: Tensor | None = None,
    ) -> ElfOutput:
        """Predict clean latents of z [B, L, C] at t [B] (0 noise, 1 data), and token logits in decode mode.

        x_prev: [B, L, C] self-conditioning input (zeros for none), or None for networks trained without it.
        self_cond_cfg: [B] guidance scale w. decode_mode: [B] 1 on decode rows and 0 elsewhere, or None when
        no row decodes. logit_rows: [R] row numbers (or [B] bool) that need logits. attention_mask: [B, L] 1
        on text that may be attended; training and sampling pass none.
        """
        if z.shape[1] > self.config.max_length:
            raise ValueError(f"text of {z.shape[1]} tokens is longer than max_length {self.config.max_length}")
        h = self._trunk(z, t, x_prev, self_cond_cfg, decode_mode, attention_mask)
        logits = None
        if decode_mode is not None:
            logits = self._vocabulary_head(h if logit_rows is None else h[logit_rows])
        return ElfOutput(self.final_layer(h), logits)

    def _trunk(
        self,
        z: Tensor,
        t: Tensor,
        x_prev: Tensor | None,
        self_cond_cfg: Tensor,
        decode_mode: Tensor | None,
        attention_mask: Tensor | None,
    ) -> Tensor:
        """The residual stream of the text after all blocks, [B, L, H]."""
        rows, length = z.shape[:2]
        x = z if x_prev is None else self.self_cond_proj(torch.cat([z, x_prev], dim=-1))
        gate = z.new_zeros(rows) if decode_mode is None else decode_mode.to(z.dtype)
        prefix = [
            self.t_emb_tokens + self.t_embedder(t)[:, None],
            self.self_cond_cfg_tokens + self.self_cond_cfg_embedder(self_cond_cfg)[:, None],
            self.mode_tokens * gate[:, None, None],  # four zero vectors when denoising: still present, still attended
        ]
        h = torch.cat([*prefix, self.text_proj(x)], dim=1)
        num_prefix = self.config.num_prefix_tokens
        mask = None
        if attention_mask is not None:
            mask = F.pad(attention_mask.bool(), (num_prefix, 0), value=True)[:, None, None, :]
        rotations = self.rotations[: num_prefix + length]
        for block in self.blocks:
            h = block(h, rotations, mask)
        return h[:, num_prefix:]

    def _vocabulary_head(self, h: Tensor) -> Tensor:
        """[R, L, H] -> [R, L, V]; the raw residual stream, with no norm before it."""
        # DEVIATION(paper, appendix C): gelu "erf" is an option for tiny models; tanh-GELU is five times
        # slower on a small core.
        approximate = "tanh" if self.config.gelu == "tanh" else "none"
        narrow = F.gelu(h @ self.proj_kernel + self.proj_bias, approximate=approximate)
        return narrow @ self.unembed_kernel + self.unembed_bias


def build_network(config: ElfConfig, *, seed: int) -> ElfNetwork:
    """A fresh network on the CPU; depends on `seed` alone and leaves the global generator as it was."""
    with torch.random.fork_rng(
        devices=[]
    ):  # the layers' own initialization, overwritten below, draws from the global generator
        net = ElfNetwork(config)
    net.initialize(generator=torch.Generator().manual_seed(seed))
    return net
