"""A latent table that is learned together with the network, instead of a frozen encoder.

With a free table the velocity error has a trivial minimum, all latents equal, so collapse must be ruled out: only the
cross entropy of decoding rows moves the table (it pushes tokens apart), denoising rows see it as a constant, and every
row has root mean square 1 (no escape from the noise by growing). Legend: B rows, L tokens, C latent width, V vocabulary.
DEVIATION(paper, section 3): the paper's encoder is frozen; neither paper nor code says how a learned table is kept from
collapsing, so the rule above is ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from elf_model.config import ElfConfig
from elf_model.loss import PadPolicy
from elf_model.network import ElfNetwork, ElfOutput
from elf_model.noise import Noise
from elf_model.objective import Objective, elf_objective
from elf_model.training.loop import Loss

_DRAW_MODE = 2  # in the list of `elf_model.loss`
_EPS = 1e-12  # a row of zeros stays finite


class JointElf(nn.Module):
    """A network with its table; called like the network. Parameters are named `net.*` and `table`."""

    @property
    def checkpoint_blocks(self) -> bool:
        """The network's: whether blocks are computed again in the backward pass."""
        return self.net.checkpoint_blocks

    @checkpoint_blocks.setter
    def checkpoint_blocks(self, value: bool) -> None:
        self.net.checkpoint_blocks = value

    def __init__(self, net: ElfNetwork, *, seed: int) -> None:
        """The table starts as standard normal numbers that depend on `seed` only."""
        super().__init__()
        self.net = net
        shape = (net.config.vocab_size, net.config.latent_dim)
        self.table = nn.Parameter(torch.randn(shape, generator=torch.Generator().manual_seed(seed)))

    def forward(self, z: Tensor, t: Tensor, **inputs: Any) -> ElfOutput:
        """As `ElfNetwork.forward`."""
        out: ElfOutput = self.net(z, t, **inputs)
        return out


def unit_rows(table: Tensor) -> Tensor:
    """table [V, C] with the mean square of every row 1, with gradient."""
    return table * torch.rsqrt(table.square().mean(dim=-1, keepdim=True) + _EPS)


class _TableRows:
    """The table as the `Encoder` of one step: with gradient on decoding rows, without on the others."""

    def __init__(self, table: Tensor, decoding: Tensor) -> None:
        """table: [V, C]; decoding: [B] bool."""
        self.table, self.decoding = table, decoding

    @property
    def dim(self) -> int:
        """Latent width C."""
        return int(self.table.shape[1])

    def encode(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """[B, L] -> [B, L, C]; context plays no part."""
        x_data = unit_rows(self.table)[ids]
        return torch.where(self.decoding[:, None, None], x_data, x_data.detach())


def joint_objective(config: ElfConfig, *, pad_policy: PadPolicy = "pad") -> Objective:
    """The loss of a `JointElf`: `elf_objective` with the table that the module has at this step."""

    def objective(net: nn.Module, batch: Tensor | Mapping[str, Tensor], noise: Noise) -> Loss:
        assert isinstance(net, JointElf)
        decoding = noise.uniform(_DRAW_MODE, ()) < config.decoder_prob  # the coin that the loss will see
        return elf_objective(_TableRows(net.table, decoding), config, pad_policy=pad_policy)(net, batch, noise)

    return objective


def separated(weights: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
    """The state of a `JointElf` (or its average) as (state of the network, unit rows [V, C])."""
    net = {name.removeprefix("net."): tensor for name, tensor in weights.items() if name.startswith("net.")}
    return net, unit_rows(weights["table"])
