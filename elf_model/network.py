"""The ELF network (arXiv 2605.10938, section 3), under the state-dict names of the authors' PyTorch code.

One transformer, two heads: x-prediction of the latents, and token logits in decode mode. Time, guidance scale
and mode are tokens before the text. The ablations (other predictions, adaLN-Zero, a separate decoder) are choices
of the config. Legend: B batch, L text length, C latent width, H hidden width, V vocabulary.
DEVIATION(paper, section 3): the logits branch from the trunk through a GELU layer, not from W x_theta; the
authors' code does so.
DEVIATION(paper, section 3): mode tokens are zeros when denoising and learned when decoding, not two learned
sets; as in the code.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from elf_model.adaln import AdaLNFinalLayer, AdaLNZeroBlock, Modulation
from elf_model.attention import RMS_EPS, Block, rope_table
from elf_model.config import ElfConfig
from elf_model.linear import Linear, linear
from elf_model.path import x_from_eps, x_from_v
from elf_model.trunk import Bottleneck, SeparateDecoder, run_blocks

_FREQUENCIES = 256  # width of the sinusoidal features of a scalar
_TOKENS_AT_ONCE = 64  # whose logits are to be reduced; 8 MB at 32,100 tokens of vocabulary


class ElfOutput(NamedTuple):
    """What one forward pass predicts."""

    x_pred: Tensor
    """[B, L, C] prediction of the clean normalized latents; 0 on rows that a separate decoder decodes."""
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


class FinalLayer(nn.Module):
    """The prediction head; zero at initialization, so an untrained network predicts 0."""

    def __init__(self, config: ElfConfig) -> None:
        super().__init__()
        self.norm_final = nn.RMSNorm(config.hidden, eps=RMS_EPS)
        self.linear = Linear(config.hidden, config.latent_dim)

    def forward(self, h: Tensor) -> Tensor:
        """[B, L, H] -> [B, L, C]."""
        out: Tensor = self.linear(self.norm_final(h))
        return out


class ElfNetwork(nn.Module):
    """ELF as a function of noisy latents, time, guidance scale and mode."""

    rotations: Tensor
    checkpoint_blocks: bool
    """Set it to trade time for memory in training: a block is computed again in the backward pass."""

    def __init__(self, config: ElfConfig) -> None:
        super().__init__()
        self.config = config
        self.checkpoint_blocks = False
        c, hidden = config.latent_dim, config.hidden
        adaln = config.conditioning == "adaln_zero"
        self.self_cond_proj = Linear(2 * c, c)
        self.text_proj = Bottleneck(config)
        self.t_embedder = ScalarEmbedder(hidden)
        self.self_cond_cfg_embedder = ScalarEmbedder(hidden) if config.guidance_input else None
        mode_tokens = config.num_model_mode_tokens if config.mode_input else 0
        self.t_emb_tokens = _tokens(0 if adaln else config.num_time_tokens, hidden)
        self.self_cond_cfg_tokens = _tokens(0 if adaln else config.num_self_cond_cfg_tokens, hidden)
        self.mode_tokens = _tokens(0 if adaln else mode_tokens, hidden)
        # One dimension, because Muon orthogonalizes what has two.
        self.mode_embedding = nn.Parameter(torch.zeros(hidden)) if adaln and config.mode_input else None
        block = AdaLNZeroBlock if adaln else Block
        self.blocks = nn.ModuleList(block(config) for _ in range(config.depth))
        self.final_layer = AdaLNFinalLayer(config) if adaln else FinalLayer(config)
        self.decoder = SeparateDecoder(config) if config.decoder == "separate" else None
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
        embedders = [e for e in (self.t_embedder, self.self_cond_cfg_embedder) if e is not None]
        tokens = (self.t_emb_tokens, self.self_cond_cfg_tokens, self.mode_tokens, self.mode_embedding)
        weights = [linear.weight for embedder in embedders for linear in (embedder.mlp_0, embedder.mlp_2)]
        for weight in (*weights, *(token for token in tokens if token is not None)):
            nn.init.normal_(weight, std=0.02, generator=generator)
        nn.init.zeros_(self.final_layer.linear.weight)
        for module in self.modules():
            if isinstance(module, Modulation):
                module.zero()

    def forward(
        self,
        z: Tensor,
        t: Tensor,
        *,
        x_prev: Tensor | None,
        self_cond_cfg: Tensor | None,
        decode_mode: Tensor | None = None,
        logit_rows: Tensor | None = None,
        reduce_logits: Callable[[Tensor], Tensor] | None = None,
        attention_mask: Tensor | None = None,
    ) -> ElfOutput:
        """Predict clean latents of z [B, L, C] at t [B] (0 noise, 1 data), and token logits in decode mode.

        x_prev: [B, L, C] self-conditioning input (zeros for none), or None for networks trained without it.
        self_cond_cfg: [B] guidance scale w; not read, and may be None, where the config has no guidance tokens.
        decode_mode: [B] 1 on decode rows and 0 elsewhere, or None when no row decodes. logit_rows: [R] row
        numbers (or [B] bool) that need logits. reduce_logits: what to make of the logits of some tokens, [n, V] to
        [n, ...], where not all of them are to be kept; then `logits` is [R, L, ...]. attention_mask: [B, L] 1 on
        text that may be attended; training and sampling pass none.
        """
        if z.shape[1] > self.config.max_length:
            raise ValueError(f"text of {z.shape[1]} tokens is longer than max_length {self.config.max_length}")
        if self.config.guidance_input and self_cond_cfg is None:
            raise ValueError("self_cond_cfg is None; allowed: [B] guidance scales, as the config has guidance tokens")
        mask = None if attention_mask is None else attention_mask.bool()
        if decode_mode is None:
            return ElfOutput(self._denoise(z, t, x_prev, self_cond_cfg, None, mask)[0], None)
        if self.decoder is None:
            x_pred, h = self._denoise(z, t, x_prev, self_cond_cfg, decode_mode.to(z.dtype), mask)
            return ElfOutput(x_pred, self._vocabulary_head(h if logit_rows is None else h[logit_rows], reduce_logits))
        rows = (decode_mode == 0).nonzero().squeeze(-1)
        x_pred = torch.zeros_like(z)
        if rows.numel():  # attention on a GPU takes no batch of 0 rows, and a sampler's decode pass has none to denoise
            x_prev, w, some = (None if given is None else given[rows] for given in (x_prev, self_cond_cfg, mask))
            denoised = self._denoise(z[rows], t[rows], x_prev, w, None, some)[0]
            x_pred = denoised.new_zeros(z.shape).index_copy(0, rows, denoised)
        return ElfOutput(x_pred, self._vocabulary_head(self._decode(z, mask, logit_rows), reduce_logits))

    def _decode(self, z: Tensor, mask: Tensor | None, rows: Tensor | None) -> Tensor:
        """Hidden states [R, L, H] of the separate decoder for the given rows, or all; mask [B, L] bool or None."""
        assert self.decoder is not None
        if rows is not None:
            z, mask = z[rows], None if mask is None else mask[rows]
        if not z.shape[0]:
            return z.new_zeros(0, z.shape[1], self.config.hidden)
        return self.decoder(z, None if mask is None else mask[:, None, None, :], checkpointed=self._checkpointed)

    @property
    def _checkpointed(self) -> bool:
        return self.checkpoint_blocks and torch.is_grad_enabled()

    def _denoise(
        self,
        z: Tensor,
        t: Tensor,
        x_prev: Tensor | None,
        w: Tensor | None,
        gate: Tensor | None,
        mask: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """x_pred [B, L, C], and the residual stream of the text after all blocks [B, L, H].

        gate: [B] 1 on decode rows, None for none. mask: [B, L] bool or None.
        """
        x = z if x_prev is None else self.self_cond_proj(torch.cat([z, x_prev], dim=-1))
        gate = z.new_zeros(z.shape[0]) if gate is None else gate
        adaln = self.config.conditioning == "adaln_zero"
        prefix = [] if adaln else self._prefix(t, w, gate)
        condition = (self._condition(t, w, gate),) if adaln else ()
        num_prefix = self.config.num_prefix_tokens
        h = torch.cat([*prefix, self.text_proj(x)], dim=1)
        if mask is not None:
            mask = F.pad(mask, (num_prefix, 0), value=True)[:, None, None, :]
        rotations = self.rotations[: num_prefix + z.shape[1]]
        h = run_blocks(self.blocks, h, rotations, mask, *condition, checkpointed=self._checkpointed)[:, num_prefix:]
        return self._x_pred(self.final_layer(h, *condition), z, t), h

    def _prefix(self, t: Tensor, w: Tensor | None, gate: Tensor) -> list[Tensor]:
        """In-context tokens [B, n, H] of time t [B], guidance scale w [B] and mode."""
        assert self.t_emb_tokens is not None
        prefix = [self.t_emb_tokens + self.t_embedder(t)[:, None]]
        if self.self_cond_cfg_tokens is not None and self.self_cond_cfg_embedder is not None:
            prefix.append(self.self_cond_cfg_tokens + self.self_cond_cfg_embedder(w)[:, None])
        if self.mode_tokens is not None:
            # four zero vectors when denoising: still present, still attended
            prefix.append(self.mode_tokens * gate[:, None, None])
        return prefix

    def _condition(self, t: Tensor, w: Tensor | None, gate: Tensor) -> Tensor:
        """The same three for adaLN-Zero, [B, H]; a decode row adds one learned vector."""
        condition: Tensor = self.t_embedder(t)
        if self.self_cond_cfg_embedder is not None:
            condition = condition + self.self_cond_cfg_embedder(w)
        if self.mode_embedding is not None:
            condition = condition + gate[:, None] * self.mode_embedding
        return F.silu(condition)

    def _x_pred(self, output: Tensor, z: Tensor, t: Tensor) -> Tensor:
        """x_pred [B, L, C] from what the last layer outputs, be it x, v or eps."""
        config = self.config
        if config.prediction == "v":
            return x_from_v(output, z, t, t_eps=config.t_eps)
        if config.prediction == "eps":
            return x_from_eps(output, z, t, noise_scale=config.noise_scale, t_eps=config.t_eps)
        return output

    def _vocabulary_head(self, h: Tensor, reduce: Callable[[Tensor], Tensor] | None) -> Tensor:
        """[R, L, H] -> logits [R, L, V], or what `reduce` makes of them, some dozens of tokens at a time."""
        if reduce is None or not h.numel():
            return self._logits(h)
        reduced = [reduce(self._logits(some)) for some in h.flatten(0, 1).split(_TOKENS_AT_ONCE)]
        return torch.cat(reduced).unflatten(0, h.shape[:2])

    def _logits(self, h: Tensor) -> Tensor:
        """[..., H] -> [..., V]; the raw residual stream, with no norm before it."""
        # DEVIATION(paper, appendix C): gelu "erf" is an option for tiny models; tanh-GELU is five times
        # slower on a small core.
        approximate = "tanh" if self.config.gelu == "tanh" else "none"
        narrow = F.gelu(linear(h, self.proj_kernel.t(), self.proj_bias), approximate=approximate)
        return linear(narrow, self.unembed_kernel.t(), self.unembed_bias)


def _tokens(count: int, hidden: int) -> nn.Parameter | None:
    """Learned tokens [1, count, H], or None for none: the authors' files have no tensor then."""
    return nn.Parameter(torch.zeros(1, count, hidden)) if count else None


def build_network(config: ElfConfig, *, seed: int) -> ElfNetwork:
    """A fresh network on the CPU; depends on `seed` alone and leaves the global generator as it was."""
    with torch.random.fork_rng(
        devices=[]
    ):  # the layers' own initialization, overwritten below, draws from the global generator
        net = ElfNetwork(config)
    net.initialize(generator=torch.Generator().manual_seed(seed))
    return net
