"""Encoders: token ids to the normalized latents that ELF generates (arXiv 2605.10938, section 3).

The paper's is a frozen T5; a static table is enough for tiny models. Legend: B rows, L tokens, C latent
width. Nothing here is trained: see `elf_model.contextual_encoder` and `elf_model.joint` for what is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor


class Encoder(Protocol):
    """Token ids to clean normalized latents."""

    @property
    def dim(self) -> int:
        """Latent width C."""
        ...

    def encode(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """Latents [B, L, C] float32 of ids [B, L].

        mask: [B, L, L] bool, True where row i may attend to column j, or None for all.
        """
        ...


Scale = float | Tensor
"""A mean or deviation of latents: one number, or [C]."""


class TableEncoder:
    """One fixed vector per token; context plays no part, so the mask is not read."""

    def __init__(self, table: Tensor, *, mean: Scale = 0.0, std: Scale = 1.0) -> None:
        """table: [V, C]; latents are (table - mean) / std."""
        self.table = (table.float() - mean) / std

    @property
    def dim(self) -> int:
        """Latent width C."""
        return int(self.table.shape[1])

    def encode(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """[B, L] -> [B, L, C]."""
        return self.table[ids]

    def to(self, device: torch.device | str) -> TableEncoder:
        """The same table on `device`."""
        return TableEncoder(self.table.to(device))


class T5Encoder:
    """A frozen T5 encoder's last hidden state, normalized by the scalars of the released runs or by given ones."""

    def __init__(self, model: Any, *, mean: Scale = 0.0, std: Scale = 0.2) -> None:
        """model: a transformers T5EncoderModel; `from_folder` loads one. mean, std: numbers, or [C] per channel."""
        self.model = model.eval().requires_grad_(False)
        self.mean, self.std = mean, std

    @classmethod
    def from_folder(cls, folder: Path, *, mean: Scale = 0.0, std: Scale = 0.2) -> T5Encoder:
        """Load from local files only; nothing is downloaded.

        Raises ImportError with the line to type when transformers is missing, ValueError when the folder is.
        """
        try:
            from transformers import T5EncoderModel
        except ImportError as error:
            raise ImportError("T5Encoder needs transformers: pip install transformers") from error
        if not (Path(folder) / "config.json").is_file():
            allowed = "a folder that save_pretrained wrote (config.json and weights); nothing is downloaded"
            raise ValueError(f"encoder.folder is {str(folder)!r}, which holds no config.json; allowed: {allowed}")
        return cls(T5EncoderModel.from_pretrained(folder, local_files_only=True), mean=mean, std=std)

    @property
    def dim(self) -> int:
        """Latent width C."""
        return int(self.model.config.d_model)

    @property
    def vocab_size(self) -> int:
        """Rows of the embedding matrix: ids must be below."""
        return int(self.model.config.vocab_size)

    def to(self, device: torch.device | str) -> T5Encoder:
        """The same encoder on `device`; the model moves, as modules do."""
        mean, std = (one.to(device) if isinstance(one, Tensor) else one for one in (self.mean, self.std))
        return T5Encoder(self.model.to(device), mean=mean, std=std)

    @torch.no_grad()
    def encode(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """[B, L] -> [B, L, C]; ids carry no end-of-text and no task prefix."""
        additive = None
        if mask is not None:
            dtype = self.model.dtype
            additive = torch.zeros(mask.shape, dtype=dtype, device=ids.device)
            additive = additive.masked_fill(~mask.bool(), torch.finfo(dtype).min)[:, None]  # [B, 1, L, L], every head
        hidden: Tensor = self.model(input_ids=ids, attention_mask=additive).last_hidden_state
        return (hidden.float() - self.mean) / self.std


def encoder_mask(valid: Tensor, prefix: Tensor, *, label_drop: Tensor | None = None) -> Tensor:
    """Who sees whom, [B, L, L] bool: prefix rows see the prefix only, other rows every real token.

    So latents of the prefix do not depend on the target and are the same at test time. valid: [B, L] bool,
    real tokens; prefix: [B, L] bool; label_drop: [B] bool, rows whose targets must not see the prefix.
    """
    is_prefix_row, is_prefix_column = prefix[:, :, None], prefix[:, None, :]
    mask = torch.where(is_prefix_row, is_prefix_column, valid[:, None, :])
    if label_drop is not None:
        mask = mask & ~(label_drop[:, None, None] & ~is_prefix_row & is_prefix_column)
    return mask
