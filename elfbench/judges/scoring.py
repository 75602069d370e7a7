"""Negative log-likelihoods, ranks and gradients of token rows under a causal language model, without float32 logits of a whole batch.

Hidden states go through the output layer in slices of positions. That this equals the model's own logits (some
architectures scale or cap them), and that a position does not see later ones, is checked once when the model is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from elfbench.core.errors import ConfigError
from elfbench.judges.batching import batches, padded
from elfbench.judges.gradients import Projection, last_block
from elfbench.loading import backend

_BUDGET = {"cpu": 1024, "cuda": 32768}
_SLICE_BYTES = {"cpu": 1 << 26, "cuda": 1 << 29}
_PROBE = 6
PerToken = Callable[[Any, Any, Any], Any]
"""(torch, logits [P, V], targets [P]) -> [P]."""


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
        return self._each(rows, done, _nats)

    def ranks(self, rows: Sequence[np.ndarray], done: Callable[[int], None]) -> list[np.ndarray]:
        """Per row of n >= 2 ids, int64 [n - 1]: 1 + the number of larger logits, for its tokens after the first; 0 beside NaN."""
        return [found.astype(np.int64) for found in self._each(rows, done, _ranks)]

    def gradients(self, rows: Sequence[np.ndarray], done: Callable[[int], None]) -> np.ndarray:
        """float32 [N, width]: the gradient that `GRADIENT` defines. A row at a time, so that no other row can change it."""
        found = np.zeros((len(rows), self._projection.width), dtype=np.float32)
        for number, row in enumerate(rows):
            found[number] = self._projection.project(self._gradient(row))
            done(1)
        return found

    def _each(self, rows: Sequence[np.ndarray], done: Callable[[int], None], of: PerToken) -> list[np.ndarray]:
        found = [np.empty(0)] * len(rows)
        for group in batches([len(row) for row in rows], self._budget if self._sliced else 1):
            ids, mask = padded([rows[number] for number in group])
            ends = np.cumsum([len(rows[number]) - 1 for number in group])
            for number, values in zip(group, np.split(self._batch(ids, mask, of), ends[:-1]), strict=True):
                found[number] = values
            done(len(group))
        return found

    def _batch(self, ids: np.ndarray, mask: np.ndarray, of: PerToken) -> np.ndarray:
        """ids, mask [B, L] -> float64 [P], row by row."""
        torch = self._torch
        with torch.inference_mode():
            inputs = torch.from_numpy(ids).to(self._device)
            real = torch.from_numpy(mask).to(self._device)
            scored = real[:, 1:].bool()
            targets = inputs[:, 1:][scored]
            if self._sliced:
                hidden = self._hidden(inputs, real)[:, :-1][scored]
                values = torch.cat([of(torch, logits, own) for logits, own in self._through_head(hidden, targets)])
            else:
                values = of(torch, self._logits(inputs, real)[:, :-1][scored], targets)
            return np.asarray(values.double().cpu().numpy())

    def _through_head(self, hidden: Any, targets: Any) -> Iterator[tuple[Any, Any]]:
        """hidden [P, D], targets [P] -> (logits [S, V], targets [S]) of slices of positions, in order."""
        head = self._model.get_output_embeddings()
        step = max(1, _SLICE_BYTES[self._device] // (4 * head.weight.shape[0]))
        for start in range(0, len(targets), step):
            yield head(hidden[start : start + step]), targets[start : start + step]

    @cached_property
    def _projection(self) -> Projection:
        chosen = last_block(self._torch, self._model)
        # What lies below the last block then keeps nothing for a backward pass.
        self._model.requires_grad_(False)
        for parameter in chosen.values():
            parameter.requires_grad_(True)
        return Projection(chosen)

    def _gradient(self, row: np.ndarray) -> list[np.ndarray]:
        """Of the mean nats of a row's tokens after its first, by every parameter of the projection."""
        torch, parameters = self._torch, list(self._projection.parameters.values())
        inputs = torch.from_numpy(row)[None].to(self._device)
        real, targets = torch.ones_like(inputs), inputs[0, 1:]
        with torch.enable_grad():
            if self._sliced:
                hidden = self._hidden(inputs, real)[0, :-1]
                # The output layer's share slice by slice, then the layers below it at once: the chain rule, without all logits.
                above = hidden.detach().requires_grad_()
                for logits, own in self._through_head(above, targets):
                    (_nats(torch, logits, own).sum() / len(targets)).backward(inputs=[above])
                found = torch.autograd.grad(hidden, parameters, grad_outputs=above.grad, allow_unused=True)
            else:
                mean = _nats(torch, self._logits(inputs, real)[0, :-1], targets).mean()
                found = torch.autograd.grad(mean, parameters, allow_unused=True)
        # What the logits do not depend on has no gradient.
        pairs = zip(found, parameters, strict=True)
        return [(torch.zeros_like(own) if part is None else part).float().cpu().numpy() for part, own in pairs]

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
            if not torch.isfinite(logits).all():
                raise ConfigError(
                    "the judge gives NaN or infinity",
                    key="judge",
                    found=folder.name,
                    allowed="finite numbers in float32",
                    remedy="sound weights: these are damaged, or far too large",
                )
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


def _ranks(torch: Any, logits: Any, targets: Any) -> Any:
    """logits [P, V], targets [P] -> 1 + the number of larger logits [P]; 0 where a logit is NaN, which compares with nothing."""
    logits = logits.float()
    larger = (logits > logits.gather(1, targets[:, None])).sum(dim=-1)
    return torch.where(torch.isnan(logits).any(dim=-1), 0, 1 + larger)
