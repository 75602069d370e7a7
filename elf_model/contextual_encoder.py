"""A small contextual encoder trained from scratch on the recipe's own windows, then frozen: T5's place in tiny models.

A bidirectional transformer, trained to give back every token of a corrupted window; its latents are normalized
channel by channel. The paper's encoder from scratch: learning rate 1e-3 with a cosine, channel-wise normalization
(arXiv 2605.10938, ablations). Needed for training and for clean prefixes, not for sampling. Legend: B rows, L tokens,
C latent width, H hidden width, V vocabulary.
DEVIATION(paper, ablation of encoders): the paper trains it for 5 epochs on OpenWebText and its objective is not
published; ours runs for the recipe's steps, and half of the corrupted tokens are masked, half replaced at random.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from elf_model.attention import RMS_EPS, Block, rope_table
from elf_model.config import ElfConfig
from elf_model.latent_statistics import Moments
from elf_model.latents import check_windows, effective_rank
from elf_model.training.batches import batch_examples
from elf_model.training.noise import RowNoise, example_keys
from elf_model.training.recipe import OptimizerRecipe, TrainRecipe

_DRAW_CORRUPT, _DRAW_TOKEN = 8, 9  # the loss of ELF has 0 to 7
_STATISTICS_WINDOWS = 2048  # the normalization is that of at most so many windows, spread evenly
_ROWS = 256  # windows per forward pass outside training


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextualConfig:
    """Sizes. max_length in tokens; dim is the latent width C."""

    vocab_size: int
    dim: int
    max_length: int
    hidden: int = 64
    depth: int = 2
    heads: int = 4

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"encoder.{name} is {value!r}; allowed: an integer of at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class DenoisingRecipe:
    """How it is trained. lr: peak of Adam's rate, falling to 0 by a cosine. corrupt_share: share of corrupted tokens."""

    steps: int = 1000
    batch_size: int = 32
    lr: float = 1e-3
    corrupt_share: float = 0.3
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch_size < 1:
            raise ValueError(f"encoder.steps is {self.steps}, batch_size {self.batch_size}; allowed: at least 1")
        if not self.lr > 0.0 or not 0.0 < self.corrupt_share < 1.0:
            raise ValueError(
                f"encoder.lr is {self.lr}, corrupt_share {self.corrupt_share}; allowed: lr > 0, 0 < share < 1"
            )


class ContextualEncoder(nn.Module):
    """An `Encoder` with weights. `mean` and `std` [C] are buffers, so that they are stored and moved with them."""

    rotations: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, config: ContextualConfig) -> None:
        super().__init__()
        self.config = config
        sizes = ElfConfig(hidden=config.hidden, heads=config.heads)
        self.embedding = nn.Embedding(config.vocab_size + 1, config.hidden)  # the last row is the mask of its training
        self.blocks = nn.ModuleList(Block(sizes) for _ in range(config.depth))
        self.norm = nn.RMSNorm(config.hidden, eps=RMS_EPS)
        self.to_latent = nn.Linear(config.hidden, config.dim)
        self.register_buffer("mean", torch.zeros(config.dim))
        self.register_buffer("std", torch.ones(config.dim))
        self.register_buffer("rotations", rope_table(0, config.max_length, sizes.head_dim), persistent=False)

    @property
    def dim(self) -> int:
        """Latent width C."""
        return self.config.dim

    def forward(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """ids [B, L], mask [B, L, L] bool or None -> latents [B, L, C], not normalized, with gradient."""
        if ids.shape[1] > self.config.max_length:
            raise ValueError(f"text of {ids.shape[1]} tokens is longer than max_length {self.config.max_length}")
        h = self.embedding(ids)
        for block in self.blocks:
            h = block(h, self.rotations[: ids.shape[1]], None if mask is None else mask[:, None])
        latents: Tensor = self.to_latent(self.norm(h))
        return latents

    @torch.no_grad()
    def encode(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """[B, L] -> normalized latents [B, L, C] float32, under autocast too; mask as in `Encoder`."""
        with torch.autocast(ids.device.type, enabled=False):
            return (self.forward(ids, mask) - self.mean) / self.std


class TrainedEncoder(NamedTuple):
    """A frozen encoder and how its training went."""

    encoder: ContextualEncoder
    first_loss: float
    """Nats per token, mean of the first tenth of the steps."""
    last_loss: float
    """The same of the last tenth."""
    effective_rank: float
    """Participation ratio of the normalized latents' covariance; see `elf_model.latents`."""


def build_contextual(config: ContextualConfig, *, seed: int) -> tuple[ContextualEncoder, nn.Linear]:
    """A fresh encoder and the head [C -> V] that only its training uses; the global generator stays as it was."""
    with torch.random.fork_rng(devices=[]):  # the layers' own initialization, overwritten below
        encoder, head = ContextualEncoder(config), nn.Linear(config.dim, config.vocab_size)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in (*encoder.modules(), head):
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight, generator=generator)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, generator=generator)
    return encoder, head


def corrupted(ids: Tensor, noise: RowNoise, *, share: float, vocab_size: int) -> Tensor:
    """ids [B, L] with each token replaced with probability `share`: by the mask id `vocab_size`, or a random token."""
    u = noise.uniform(_DRAW_CORRUPT, (ids.shape[1],))
    tokens = (noise.uniform(_DRAW_TOKEN, (ids.shape[1],)) * vocab_size).long()
    masked = torch.where(u < share / 2, torch.full_like(ids, vocab_size), tokens)
    return torch.where(u < share, masked, ids)


def train_contextual(windows: np.ndarray, config: ContextualConfig, recipe: DenoisingRecipe) -> TrainedEncoder:
    """Trains on windows [N, L] of token ids, on the CPU: the same encoder to the bit for a resumed run on any device.

    The loss is the cross entropy of all tokens given the corrupted window, so latents keep their own token too.
    """
    check_windows(windows, config.vocab_size)
    encoder, head = build_contextual(config, seed=recipe.seed)
    rates = OptimizerRecipe(name="adamw", lr=recipe.lr, lr_schedule="cosine")
    order = TrainRecipe(steps=recipe.steps, batch_size=recipe.batch_size, seed=recipe.seed)
    parameters = [*encoder.parameters(), *head.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=recipe.lr)
    losses = []
    for step in range(recipe.steps):
        examples = batch_examples(order, step, len(windows))
        ids = torch.from_numpy(windows[examples % len(windows)].astype(np.int64))
        noise = RowNoise(example_keys(recipe.seed, step, examples.tolist()))
        seen = corrupted(ids, noise, share=recipe.corrupt_share, vocab_size=config.vocab_size)
        loss = F.cross_entropy(head(encoder(seen)).flatten(0, 1), ids.flatten())
        losses.append(float(loss.detach()))
        if not math.isfinite(losses[-1]):
            raise ValueError(f"the encoder's loss of step {step + 1} is {losses[-1]}; a smaller encoder.lr may help")
        for group in optimizer.param_groups:
            group["lr"] = rates.rate(step, recipe.steps)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
    encoder.eval().requires_grad_(False)
    rank = _normalize(encoder, windows)
    tenth = max(1, recipe.steps // 10)
    return TrainedEncoder(encoder, float(np.mean(losses[:tenth])), float(np.mean(losses[-tenth:])), rank)


@torch.no_grad()
def _normalize(encoder: ContextualEncoder, windows: np.ndarray) -> float:
    """Sets `mean` and `std` to those of the latents of clean windows; returns the effective rank."""
    chosen = windows[np.linspace(0, len(windows) - 1, min(len(windows), _STATISTICS_WINDOWS)).astype(np.int64)]
    ids = torch.from_numpy(chosen.astype(np.int64))
    latents = torch.cat([encoder(part).flatten(0, 1) for part in ids.split(_ROWS)])
    mean, std = Moments.of(latents).statistics("channel").scale()
    encoder.mean.copy_(torch.as_tensor(mean))
    encoder.std.copy_(torch.as_tensor(std))
    normalized = ((latents - encoder.mean) / encoder.std).double().numpy()
    return effective_rank(normalized, np.full(len(normalized), 1.0 / len(normalized)))
