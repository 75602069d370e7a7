"""Our baselines run on files of reference vectors: kind -> the largest difference of every output, and its tolerance.

Kinds and tolerances are those of tests/golden/README.md. Sizes, schedule and mask come from the file alone. Not a reader of
safetensors files. Outputs of systems that are not implemented here are named, not checked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dlm_baselines import mdlm
from dlm_baselines.dit import DitConfig, build_dit
from dlm_baselines.schedule import log_linear
from dlm_baselines.weights_file import load_strictly

Document = Mapping[str, Any]
Tensors = Mapping[str, Tensor]

_RELATIVE_FLOOR = 1e-12  # probabilities below it are compared absolutely, at 1e-8 of it
_PARAMS = "params.backbone."
_FREQUENCIES = "rotary_emb.inv_freq"


class Comparison(NamedTuple):
    """One output of a file."""

    output: str
    difference: float | None
    """Largest difference, absolute or relative as the note says; inf for another shape or NaN; None: not checked."""
    tolerance: float
    note: str = ""


@torch.no_grad()
def compare_dit(path: Path, document: Document, tensors: Tensors) -> list[Comparison]:
    """`dit.forward`: logits from ids and, where the file has them, from soft inputs."""
    params = {key.removeprefix(_PARAMS): value for key, value in tensors.items() if key.startswith(_PARAMS)}
    ids, width = tensors["in.ids"], document["hidden_size"]
    config = DitConfig(
        vocab_size=document["vocab_size"],
        hidden=width,
        depth=document["n_blocks"],
        heads=document["n_heads"],
        cond_dim=document["cond_dim"],
        causal=document["causal"],
        mlp_ratio=params["blocks.0.mlp.0.weight"].shape[0] // width,
        max_length=ids.shape[1],
    )
    net = build_dit(config, seed=0).eval()
    frequencies = params.pop(_FREQUENCIES, None)
    if frequencies is not None and not _difference(net.inv_freq, frequencies) <= 1e-6:  # type: ignore[arg-type]
        raise ValueError(f"params.backbone.{_FREQUENCIES} is not that of rotary positions with base 10000")
    load_strictly(net, params)
    sigma = tensors.get("in.sigma")
    ours = {"logits": net(ids, sigma)}
    if "in.soft_logits" in tensors:
        ours["logits_from_soft"] = net(tensors["in.soft_logits"].softmax(-1), sigma)
    return _compare(ours, tensors, tolerance=1e-4, relative=False)


@torch.no_grad()
def compare_losses(path: Path, document: Document, tensors: Tensors) -> list[Comparison]:
    """`discrete.losses`: the log-linear schedule and MDLM's SUBS, NELBO terms and posterior, in float64."""
    if document["schedule"] != "log-linear":
        raise ValueError(f"schedule is {document['schedule']!r}; implemented: 'log-linear'")
    mask_id, x_t = document["mask_index"], tensors["in.xt_masked"]
    at_t, at_s = (log_linear(tensors[name], eps=document["eps"]) for name in ("in.t", "in.s"))
    log_probs = mdlm.subs_log_probs(tensors["in.net_out"], x_t, mask_id)
    ours = {
        "alpha_t": at_t.alpha,
        "alpha_s": at_s.alpha,
        "dalpha_t": at_t.alpha_prime,
        "mdlm_log_probs": log_probs,
        "mdlm_nll": mdlm.nelbo_terms(log_probs, tensors["in.x0"], tensors["in.t"]),
        "mdlm_posterior": mdlm.posterior(log_probs, x_t, at_t.alpha, at_s.alpha, mask_id),
    }
    return _compare(ours, tensors, tolerance=1e-8, relative=True)


KINDS: Mapping[str, Callable[[Path, Document, Tensors], list[Comparison]]] = {
    "dit.forward": compare_dit,
    "discrete.losses": compare_losses,
}
"""kind -> (path, golden document, tensors) -> comparisons; raises ValueError or KeyError for what the file lacks."""


def _compare(ours: Tensors, tensors: Tensors, *, tolerance: float, relative: bool) -> list[Comparison]:
    rows = []
    for key, expected in tensors.items():
        name = key.removeprefix("out.")
        if name == key:
            continue
        if name not in ours:
            rows.append(Comparison(name, None, tolerance, "not implemented here yet"))
        else:
            difference = _difference(ours[name], expected, relative=relative)
            rows.append(Comparison(name, difference, tolerance, "relative" if relative else ""))
    return rows


def _difference(ours: Tensor, expected: Tensor, *, relative: bool = False) -> float:
    """Largest difference; inf for another shape, or NaN on one side."""
    if ours.shape != expected.shape:
        return math.inf
    difference = (ours.double() - expected.double()).abs()
    if relative:
        difference = difference / expected.double().abs().clamp_min(_RELATIVE_FLOOR)
    largest = float(difference.max()) if difference.numel() else 0.0
    return largest if math.isfinite(largest) else math.inf
