"""Muon as the ELF authors patched it (optax.contrib.muon's defaults), and Nesterov-Adam for tensors that are no matrices.

Momentum 0.95 with Nesterov and bias correction, 5 Newton-Schulz iterations in float32, scale sqrt(max(1, fan_out / fan_in)). Matrices of one
shape are orthogonalized in one batched product: on a small core a step costs a fifth of one by one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import torch
from torch import Tensor

_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5
_EPS = 1e-8


class Muon(torch.optim.Optimizer):
    """Muon for every 2-D tensor, Nesterov-Adam (betas .9, .999) for the rest, at one learning rate, without weight decay.

    in_out: names of matrices stored as (in, out); the others are (out, in) like `nn.Linear`.
    """

    def __init__(
        self,
        named_parameters: Iterable[tuple[str, Tensor]],
        lr: float,
        *,
        momentum: float = 0.95,
        in_out: Collection[str] = (),
    ) -> None:
        named = list(named_parameters)
        self._in_out = {id(tensor) for name, tensor in named if name in in_out}
        super().__init__([tensor for _, tensor in named], {"lr": lr, "momentum": momentum, "betas": (0.9, 0.999)})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        """One update of every parameter that has a gradient."""
        for group in self.param_groups:
            updates: dict[torch.Size, list[tuple[Tensor, Tensor]]] = {}
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                state["step"] = state.get("step", 0) + 1
                if parameter.ndim == 2:
                    update = self._nesterov(parameter.grad, state, group["momentum"])
                    updates.setdefault(parameter.shape, []).append((parameter, update))
                else:
                    parameter.sub_(_nadam(parameter.grad, state, *group["betas"]), alpha=group["lr"])
            for same_shape in updates.values():
                stacked = orthogonalize(torch.stack([update for _, update in same_shape]))
                for (parameter, _), update in zip(same_shape, stacked, strict=True):
                    fan_out, fan_in = parameter.shape[::-1] if id(parameter) in self._in_out else parameter.shape
                    parameter.sub_(update, alpha=group["lr"] * max(1.0, fan_out / fan_in) ** 0.5)

    @staticmethod
    def _nesterov(gradient: Tensor, state: dict[str, Any], beta: float) -> Tensor:
        """beta * m / (1 - beta^(t+1)) + (1 - beta) * g / (1 - beta^t), with m the running mean after t gradients."""
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(gradient)
        mean = state["momentum"].lerp_(gradient, 1.0 - beta)
        t = state["step"]
        return mean * (beta / (1.0 - beta ** (t + 1))) + gradient * ((1.0 - beta) / (1.0 - beta**t))


def orthogonalize(matrices: Tensor) -> Tensor:
    """[N, rows, cols] -> matrices of the same row and column spaces with singular values near 1 (about .7 to 1.2)."""
    a, b, c = _NEWTON_SCHULZ
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.transpose(1, 2) if tall else matrices
    x = x / (x.flatten(1).norm(dim=1)[:, None, None] + _EPS)
    for _ in range(_ITERATIONS):
        gram = x @ x.transpose(1, 2)
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.transpose(1, 2) if tall else x


def _nadam(gradient: Tensor, state: dict[str, Any], beta1: float, beta2: float) -> Tensor:
    """Nesterov-Adam's direction: the first moment looks one step ahead, as in `_nesterov`."""
    if "mean" not in state:
        state["mean"], state["square"] = torch.zeros_like(gradient), torch.zeros_like(gradient)
    t = state["step"]
    mean = state["mean"].lerp_(gradient, 1.0 - beta1)
    square = state["square"].mul_(beta2).addcmul_(gradient, gradient, value=1.0 - beta2)
    ahead = mean * (beta1 / (1.0 - beta1 ** (t + 1))) + gradient * ((1.0 - beta1) / (1.0 - beta1**t))
    return ahead / ((square / (1.0 - beta2**t)).sqrt() + _EPS)
