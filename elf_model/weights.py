"""Putting weights into a network, strictly: a mismatch is an error that names the keys. Not a file format."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

_SHOWN = 3


def load_strictly(net: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Copy `weights` into `net`; a mismatch names the first missing, unexpected and mis-shaped keys."""
    check_fit(net, weights)
    net.load_state_dict(weights)


def check_fit(net: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """The same check alone, which also a network without memory (device "meta") allows."""
    own = net.state_dict()
    problems = {
        "missing": [key for key in own if key not in weights],
        "unexpected": [key for key in weights if key not in own],
        "mis-shaped": [
            f"{key} (found {tuple(weights[key].shape)}, expected {tuple(tensor.shape)})"
            for key, tensor in own.items()
            if key in weights and weights[key].shape != tensor.shape
        ],
    }
    told = [
        f"{len(keys)} {kind}: {', '.join(keys[:_SHOWN])}{', ...' if len(keys) > _SHOWN else ''}"
        for kind, keys in problems.items()
        if keys
    ]
    if told:
        raise ValueError(f"weights do not fit {type(net).__name__}: {'; '.join(told)}; check the config they belong to")
