"""Negative log-likelihoods of token rows under a causal language model, without float32 logits of a whole batch.

Hidden states go through the output layer in slices of positions. That this equals the model's own logits (some
architectures scale or cap them), and that a position does not see later ones, is checked once when the model is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from elfbench.core.errors import ConfigError
from elfbench.judges.batching import batches, padded
from elfbench.loading import backend

_BUDGET = {"cpu": 1024, "cuda": 32768}
_SLICE_BYTES = {"cpu": 1 << 26, "cuda": 1 << 29}
_PROBE = 6


class Scorer:
    """A loaded model on a device."""

    def __init__(self, folder: Path, *, budget: int | None = None) -> None:
        """`budget`: tokens per forward, padding included; None chooses by device."""
        self._torch = backend.need("torch")
        self._device = backend.device()
        self._model = backend.load("AutoModelForCausalLM", folder).to(self._device)
        self._budget = budget or _BUDGET[self._device]
        self._sliced = self._probe(folder)

    def sums(self, rows: Sequence[np.ndarray], done: Callable[[int], None]) -> np.ndarray:
        """float64 [N]: nats of each row's tokens after its first, which is only context. Rows have at least two ids."""
        # Token after token, as it always was: another order of summation would change the last bit of stored numbers.
        return np.array([np.cumsum(nats)[-1] for nats in self.each(rows, done)], dtype=np.float64)

    def each(self, rows: Sequence[np.ndarray], done: Callable[[int], None]) -> list[np.ndarray]:
        """Per row of n >= 2 ids, float64 [n - 1]: nats of its tokens after the first."""
        found = [np.empty(0)] * len(rows)
        for group in batches([len(row) for row in rows], self._budget if self._sliced else 1):
            ids, mask = padded([rows[number] for number in group])
            ends = np.cumsum([len(rows[number]) - 1 for number in group])
            for number, nats in zip(group, np.split(self._batch(ids, mask), ends[:-1]), strict=True):
                found[number] = nats
            done(len(group))
        return found

    def _batch(self, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """ids, mask [B, L] -> float64 [P], row by row."""
        torch = self._torch
        with torch.inference_mode():
            inputs = torch.from_numpy(ids).to(self._device)
            real = torch.from_numpy(mask).to(self._device)
            scored = real[:, 1:].bool()
            targets = inputs[:, 1:][scored]
            if self._sliced:
                nats = self._through_head(self._hidden(inputs, real)[:, :-1][scored], targets)
            else:
                nats = _nats(torch, self._logits(inputs, real)[:, :-1][scored], targets)
            return np.asarray(nats.double().cpu().numpy())

    def _through_head(self, hidden: Any, targets: Any) -> Any:
        """hidden [P, D], targets [P] -> nats [P]."""
        head = self._model.get_output_embeddings()
        step = max(1, _SLICE_BYTES[self._device] // (4 * head.weight.shape[0]))
        return self._torch.cat(
            [
                _nats(self._torch, head(hidden[start : start + step]), targets[start : start + step])
                for start in range(0, len(targets), step)
            ]
        )

    def _hidden(self, ids: Any, mask: Any) -> Any:
        return self._model.base_model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state

    def _logits(self, ids: Any, mask: Any) -> Any:
        return self._model(input_ids=ids, attention_mask=mask, use_cache=False).logits

    def _probe(self, folder: Path) -> bool:
        """Whether slices may be used. Raises ConfigError when earlier positions see later ones."""
        torch = self._torch
        vocabulary = self._model.get_input_embeddings().weight.shape[0]
        ids = torch.arange(_PROBE, device=self._device)[None].repeat(2, 1) % vocabulary
        ids[1, -1] = (_PROBE + 7) % vocabulary
        mask = torch.ones_like(ids)
        with torch.inference_mode():
            logits = self._logits(ids, mask)
            scale = 1e-4 * max(1.0, float(logits.abs().max()))
            if not torch.allclose(logits[0, :-1], logits[1, :-1], rtol=0, atol=scale):
                raise ConfigError(
                    "the judge is not a causal language model: its positions see later ones",
                    key="judge",
                    found=str(folder),
                )
            head = self._model.get_output_embeddings()
            if head is None or self._model.base_model is self._model:
                return False
            try:
                own = head(self._hidden(ids, mask))
            except (AttributeError, TypeError, RuntimeError):
                return False
            return own.shape == logits.shape and bool(torch.allclose(own, logits, rtol=0, atol=scale))


def _nats(torch: Any, logits: Any, targets: Any) -> Any:
    """logits [P, V], targets [P] -> -log p [P]."""
    logits = logits.float()
    return torch.logsumexp(logits, dim=-1) - logits.gather(1, targets[:, None])[:, 0]
