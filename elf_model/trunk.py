"""What ELF's two trunks have in common, and the second of them, the separate decoder of an ablation.

The first trunk is in `elf_model.network`, under the state-dict names of the authors. Legend: B batch, R rows,
N tokens, L text length, C latent width, H hidden width.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from elf_model.attention import Block, rope_table
from elf_model.config import ElfConfig


class Bottleneck(nn.Module):
    """Latent width to hidden width through a linear layer of any width; no activation between."""

    def __init__(self, config: ElfConfig) -> None:
        super().__init__()
        self.proj1 = nn.Linear(config.latent_dim, config.bottleneck_dim, bias=False)
        self.proj2 = nn.Linear(config.bottleneck_dim, config.hidden)

    def forward(self, x: Tensor) -> Tensor:
        """[B, L, C] -> [B, L, H]."""
        out: Tensor = self.proj2(self.proj1(x))
        return out


def run_blocks(blocks: nn.ModuleList, h: Tensor, *inputs: Tensor | None, checkpointed: bool) -> Tensor:
    """h [B, N, H] through all blocks, each called as block(h, *inputs).

    checkpointed: keep nothing of a block but its input, and run it a second time in the backward pass.
    """
    for block in blocks:
        if checkpointed:
            # There is no dropout, so there is no random state to restore.
            h = checkpoint(block, h, *inputs, use_reentrant=False, preserve_rng_state=False)
        else:
            h = block(h, *inputs)
    return h


class SeparateDecoder(nn.Module):
    """Corrupted latents to hidden states, from which the vocabulary head reads tokens (paper, appendix D.3).

    It sees no time, guidance scale, mode or self-conditioning, so there are no tokens before the text.
    DEVIATION(paper, appendix D.3): blocks and depth are the denoiser's, not a mirror of T5; it learns from the
    decoding rows of the denoiser's run instead of a run of its own; no input token of the encoder is masked.
    """

    rotations: Tensor

    def __init__(self, config: ElfConfig) -> None:
        super().__init__()
        self.text_proj = Bottleneck(config)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        table = rope_table(0, config.max_length, config.head_dim)
        self.register_buffer("rotations", table, persistent=False)

    def forward(self, z: Tensor, mask: Tensor | None, *, checkpointed: bool) -> Tensor:
        """z [R, L, C], mask [R, 1, 1, L] bool or None -> [R, L, H]."""
        return run_blocks(self.blocks, self.text_proj(z), self.rotations[: z.shape[1]], mask, checkpointed=checkpointed)
