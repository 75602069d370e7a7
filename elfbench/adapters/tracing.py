"""Frames of a sampling path, decoded for people."""

from __future__ import annotations

import numpy as np

from elfbench.loading.tokenizer import Tokenizer
from elfbench.spec.sampling import Trace

UNDECIDED = "\N{MEDIUM SHADE}"


class Frames:
    """Records about `frames` evenly spaced steps of a path of `steps` steps."""

    def __init__(self, frames: int, steps: int, tokenizer: Tokenizer, *, mask_id: int | None = None) -> None:
        self._steps, self._tokenizer, self._mask_id = steps, tokenizer, mask_id
        # The finished text is one frame; the others are spread over the steps before it.
        self._wanted = {int(step) for step in np.linspace(0, steps - 1, frames).round()[:-1]}
        self._progress: list[float] = []
        self._tokens: list[np.ndarray] = []

    def wants(self, step: int) -> bool:
        """Whether step `step` (from 0) is a frame, so that costly decoding can be skipped for the others."""
        return step in self._wanted and step < self._steps - 1

    def record(self, step: int, ids: np.ndarray) -> None:
        """Keeps ids [B, L] of step `step` when it is a frame."""
        if self.wants(step):
            undecided = ids == self._mask_id if self._mask_id is not None else np.zeros(ids.shape, dtype=bool)
            self._progress.append((step + 1) / self._steps)
            self._tokens.append(np.where(undecided, -1, ids))

    def trace(self, final: np.ndarray) -> Trace:
        """The trace that ends in the sample's ids [B, L]."""
        tokens = np.stack([*self._tokens, final]).astype(np.int64)
        texts = tuple(tuple(self._decoded(row) for row in frame) for frame in tokens)
        return Trace(np.array([*self._progress, 1.0]), tokens, texts)

    def _decoded(self, row: np.ndarray) -> str:
        """Runs of decided ids decoded together, one sign per undecided one."""
        pieces: list[str] = []
        start = 0
        for end in [*np.flatnonzero(row < 0).tolist(), len(row)]:
            if end > start:
                pieces.append(self._tokenizer.decode(row[start:end], specials=True))
            if end < len(row):
                pieces.append(UNDECIDED)
            start = end + 1
        return "".join(pieces)
