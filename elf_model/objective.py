"""ELF's loss in the form that a training loop calls: (network, ids, noise) -> `Loss`. No math of its own."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from elf_model.config import ElfConfig
from elf_model.encoder import Encoder
from elf_model.loss import draw_training_noise, elf_loss
from elf_model.noise import Noise
from elf_model.training.loop import Loss

Objective = Callable[[nn.Module, Tensor, Noise], Loss]


def elf_objective(encoder: Encoder, config: ElfConfig) -> Objective:
    """The loss of unconditional, fully packed windows: ids [B, L] int64, every token counts.

    Parts: "mse" (squared velocity error per channel) and "cross_entropy" (nats per token). The noise has B
    rows.
    """
    if encoder.dim != config.latent_dim:
        raise ValueError(
            f"the encoder makes latents of width {encoder.dim}; ElfConfig.latent_dim is {config.latent_dim}"
        )

    def objective(net: nn.Module, ids: Tensor, noise: Noise) -> Loss:
        x_data = encoder.encode(ids)
        draws = draw_training_noise(noise, (ids.shape[1], config.latent_dim), config)
        mask = torch.ones_like(ids, dtype=torch.bool)
        terms = elf_loss(net, x_data, ids, mask, draws=draws, config=config)
        parts = {"mse": terms.mse, "cross_entropy": terms.cross_entropy}
        return Loss(terms.total, {name: part.detach() for name, part in parts.items() if part is not None})

    return objective
