"""ELF's loss in the form that a training loop calls: (network, ids, noise) -> `Loss`. No math of its own.

Windows are ids alone, fully packed; or columns with a clean prefix and padding, of conditional tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from elf_model.config import ElfConfig
from elf_model.encoder import Encoder, encoder_mask
from elf_model.loss import PadPolicy, draw_training_noise, elf_loss, loss_mask
from elf_model.network import ElfOutput
from elf_model.noise import Noise
from elf_model.training.gradients import Loss

Objective = Callable[[nn.Module, Tensor | Mapping[str, Tensor], Noise], Loss]


def elf_objective(encoder: Encoder, config: ElfConfig, *, pad_policy: PadPolicy = "pad") -> Objective:
    """The loss of ids [B, L] int64, where every token counts; or of columns "ids", "prefix_mask", "attention_mask".

    prefix_mask [B, L] bool is True on the condition, attention_mask [B, L] bool on tokens that are not padding; a
    column that is absent means no prefix, no padding. pad_policy: whether padding counts ("eos": it teaches length) or
    not ("pad"). Rows lose their prefix with `config.label_drop_prob`, in the encoder's attention as well.
    Parts: "mse" (squared velocity error per channel) and "cross_entropy" (nats per token). The noise has B rows. The
    total's count is of all counted tokens, prefix and ignored padding left out, so that parts of a batch, weighted by
    it, make the authors' single denominator.
    """
    if encoder.dim != config.latent_dim:
        raise ValueError(
            f"the encoder makes latents of width {encoder.dim}; ElfConfig.latent_dim is {config.latent_dim}"
        )
    if pad_policy not in ("pad", "eos"):
        raise ValueError(f"pad_policy is {pad_policy!r}; allowed: pad, eos")

    def objective(net: nn.Module, batch: Tensor | Mapping[str, Tensor], noise: Noise) -> Loss:
        columns = {"ids": batch} if isinstance(batch, Tensor) else batch
        ids, prefix = columns["ids"], columns.get("prefix_mask")
        draws = draw_training_noise(noise, (ids.shape[1], config.latent_dim), config)
        real = columns.get("attention_mask", torch.ones_like(ids, dtype=torch.bool))
        if len(columns) == 1:
            mask, x_data = real, encoder.encode(ids)
        else:
            conditions = torch.zeros_like(real) if prefix is None else prefix
            mask = loss_mask(real, conditions, pad_policy=pad_policy)
            x_data = encoder.encode(ids, encoder_mask(real, conditions, label_drop=draws.label_drop))
        terms = elf_loss(_Float32Outputs(net), x_data, ids, mask, draws=draws, config=config, prefix_mask=prefix)
        parts = {"mse": terms.mse, "cross_entropy": terms.cross_entropy}
        counts = {
            "total": mask.sum(),
            "mse": mask[~draws.decode_mode].sum(),
            "cross_entropy": mask[draws.decode_mode].sum(),
        }
        return Loss(terms.total, {name: part.detach() for name, part in parts.items() if part is not None}, counts)

    return objective


class _Float32Outputs(nn.Module):
    """The network, with outputs in float32 also under autocast: errors are divided by 1 - t and must not be rounded.

    DEVIATION(code, training in bfloat16): the authors keep input projections, embedders and both heads out of autocast;
    here all matrix products of the network are under it.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, *latents: Tensor, **conditions: Any) -> ElfOutput:
        out = self.net(*latents, **conditions)
        return ElfOutput(out.x_pred.float(), None if out.logits is None else out.logits.float())
