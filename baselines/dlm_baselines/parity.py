"""Our baselines run on files of reference vectors: kind -> the largest difference of every output, and its tolerance.

Kinds and tolerances are those of tests/golden/README.md. Sizes, schedule and mask come from the file alone. Not a reader of
safetensors files. An output that is not implemented here is named, not checked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dlm_baselines import d3pm, duo, mdlm, sedd
from dlm_baselines.dit import DitConfig, build_dit
from dlm_baselines.schedule import NoiseLevel, log_linear
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
    """`discrete.losses`: the log-linear schedule, and parameterizations, loss terms and steps of four systems, in float64."""
    if document["schedule"] != "log-linear":
        raise ValueError(f"schedule is {document['schedule']!r}; implemented: 'log-linear'")
    at_t, at_s = (log_linear(tensors[name], eps=document["eps"]) for name in ("in.t", "in.s"))
    schedule = {"alpha_t": at_t.alpha, "alpha_s": at_s.alpha, "dalpha_t": at_t.alpha_prime}
    absorbing = _absorbing_outputs(document, tensors, at_t, at_s)
    ours = {**schedule, **absorbing, **_duo_outputs(tensors, at_t, at_s)}
    return _compare(ours, tensors, tolerance=1e-8, relative=True)


def _absorbing_outputs(document: Document, tensors: Tensors, at_t: NoiseLevel, at_s: NoiseLevel) -> dict[str, Tensor]:
    mask_id, steps = document["mask_index"], document["d3pm_T"]
    logits, x_t, x_data, t = (tensors[f"in.{name}"] for name in ("net_out", "xt_masked", "x0", "t"))
    subs, mean = mdlm.subs_log_probs(logits, x_t, mask_id), d3pm.mean_log_probs(logits)
    log_s = sedd.log_score(logits, x_t, at_t.sigma, mask_id)
    # The authors gather the entropies of masked tokens in a float32 tensor, whatever the dtype of the scores.
    entropy = sedd.score_entropy(log_s, x_t, x_data, at_t.sigma, mask_id).float().double()
    # The authors weigh D3PM's loss with alpha = 1 - t, whatever the schedule of the noise.
    line_t, line_s = (log_linear(time, eps=0.0).alpha for time in (t, t - 1.0 / steps))
    return {
        "mdlm_log_probs": subs,
        "mdlm_nll": mdlm.nelbo_terms(subs, x_data, t),
        "mdlm_posterior": mdlm.posterior(subs, x_t, at_t.alpha, at_s.alpha, mask_id),
        "d3pm_log_probs": mean,
        "d3pm_diffusion_loss_T1000": steps * d3pm.step_kl(mean, x_t, x_data, line_t, line_s, mask_id),
        "sedd_log_score": log_s,
        "sedd_loss": at_t.dsigma * entropy,
        "sedd_analytic_probs": sedd.analytic_probs(log_s, x_t, at_t.sigma - at_s.sigma, mask_id),
    }


def _duo_outputs(tensors: Tensors, at_t: NoiseLevel, at_s: NoiseLevel) -> dict[str, Tensor]:
    x_t, log_probs = tensors["in.xt_uniform"], tensors["in.net_out"].log_softmax(dim=-1)
    return {
        "duo_log_probs": log_probs,
        "duo_nll": duo.nelbo_terms(log_probs, x_t, tensors["in.x0"], at_t),
        "duo_posterior": duo.step_probs(log_probs.exp(), x_t, at_t.alpha, at_s.alpha),
    }


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
