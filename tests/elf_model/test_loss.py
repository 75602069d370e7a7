"""The training loss against the authors' values and gradients, and against hand sums."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from elf_vectors import KeyedNoise, read_vectors
from torch import Tensor
from torch.nn import functional as F

from elf_model.config import ElfConfig
from elf_model.loss import LossDraws, draw_training_noise, elf_loss, loss_mask, training_times
from elf_model.network import ElfNetwork, build_network
from elf_model.path import noisy_latents, velocity
from elf_model.schedule import logit_normal, self_cond_cfg_scale


def test_loss_and_gradients_match_the_authors() -> None:
    golden = read_vectors("loss")
    doc, x = golden.document, golden.tensors
    renamed = {
        "t_mean": "denoiser_p_mean",
        "t_std": "denoiser_p_std",
        "decoder_mean": "decoder_p_mean",
        "decoder_std": "decoder_p_std",
        "cfg_min": "self_cond_cfg_min",
        "cfg_max": "self_cond_cfg_max",
    }
    fields = {renamed.get(k, k): v for k, v in doc.items() if k not in ("model", "kind", "pad_token")}
    net = golden.network(**fields)
    draws = {key.removeprefix("draw."): tensor for key, tensor in x.items() if key.startswith("draw.")}
    draws["decode_mode"] = draws["decode_mode"].bool()
    draws["decode_corruption_normal"] = draws["decode_corruption_normal"].reshape(x["in.input_ids"].shape)
    prefix_mask = x["in.cond_mask"].bool()
    terms = elf_loss(
        net,
        (x["in.latents"] - doc["latent_mean"]) / doc["latent_std"],
        x["in.input_ids"],
        loss_mask(x["in.attention_mask"].bool(), prefix_mask, pad_policy=doc["pad_token"]),
        draws=LossDraws(**draws, label_drop=x["in.label_drop"]),
        config=net.config,
        prefix_mask=prefix_mask,
    )
    torch.testing.assert_close(terms.total, x["out.loss"], atol=1e-5, rtol=0)
    torch.testing.assert_close(terms.mse, x["out.l2"], atol=1e-5, rtol=0)
    torch.testing.assert_close(terms.cross_entropy, x["out.ce"], atol=1e-5, rtol=0)
    terms.total.backward()
    gradients = {name: p.grad for name, p in net.named_parameters()}
    assert all(gradient is not None for gradient in gradients.values())
    norm = torch.stack([g.norm() for g in gradients.values()]).norm()
    torch.testing.assert_close(norm, x["out.grad_norm"], atol=1e-5, rtol=0)
    for key in (key for key in x if key.startswith("out.grad.")):
        torch.testing.assert_close(gradients[key.removeprefix("out.grad.")], x[key], atol=1e-5, rtol=0)


def _draws(config: ElfConfig, rows: int, **changes: Tensor) -> LossDraws:
    draws = draw_training_noise(KeyedNoise(list(range(rows))), (10, config.latent_dim), config)
    return replace(draws, **changes)


def _data(config: ElfConfig, rows: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(4)
    ids = torch.randint(config.vocab_size, (rows, 10), generator=generator)
    return torch.randn(rows, 10, config.latent_dim, generator=generator), ids


def test_fresh_network_starts_at_the_closed_form(tiny_config: ElfConfig) -> None:
    """x_pred = 0, so E[MSE] = E[(1-t)^-2] mean(x^2) = (1 + 2 e^-1.18 + e^-1.72) mean(x^2)."""
    rows, net = 4000, build_network(tiny_config, seed=0)
    quantiles = torch.special.ndtri((torch.arange(rows, dtype=torch.float64) + 0.5) / rows).float()
    x, ids = torch.ones(rows, 10, 6), torch.zeros(rows, 10, dtype=torch.int64)
    draws = LossDraws(
        t_normal=quantiles,
        noise=torch.ones(rows, 10, 6),
        decode_mode=torch.zeros(rows, dtype=torch.bool),
        decode_corruption_normal=torch.zeros(rows, 10),
        decode_noise=torch.zeros(rows, 10, 6),
        self_cond_uniform=torch.linspace(0, 0.999, rows),
        cfg_uniform=torch.rand(rows, generator=torch.Generator().manual_seed(1)),
        label_drop=torch.zeros(rows, dtype=torch.bool),
    )
    with torch.no_grad():
        terms = elf_loss(net, x, ids, torch.ones(rows, 10, dtype=torch.bool), draws=draws, config=tiny_config)
    assert (
        abs(float(terms.total) - (1 + 2 * math.exp(-1.18) + math.exp(-1.72))) < 2e-3
    )  # 1.79363; the tails cost the rest
    assert terms.cross_entropy is None


def test_uniform_times_are_uniform(tiny_config: ElfConfig) -> None:
    """The normal's quantiles become the levels; E[max(1-t, .05)^-2] = (1/.05 - 1) + 1/.05 = 39."""
    config = replace(tiny_config, time_distribution="uniform")
    levels = (torch.arange(4000, dtype=torch.float64) + 0.5) / 4000
    times = training_times(torch.special.ndtri(levels), config)
    torch.testing.assert_close(times, levels, atol=1e-12, rtol=0)
    draws = _draws(
        config,
        4000,
        t_normal=torch.special.ndtri(levels).float(),
        noise=torch.ones(4000, 10, 6),
        decode_mode=torch.zeros(4000, dtype=torch.bool),
        self_cond_uniform=torch.ones(4000),
    )
    x, ids, every = torch.ones(4000, 10, 6), torch.zeros(4000, 10, dtype=torch.int64), torch.ones(4000, 10).bool()
    with torch.no_grad():
        terms = elf_loss(build_network(config, seed=0), x, ids, every, draws=draws, config=config)
    assert abs(float(terms.total) - 39.0) < 0.1


def test_first_gradient_of_denoising_rows_reaches_the_last_layer_only(tiny_config: ElfConfig) -> None:
    net = build_network(tiny_config, seed=0)
    x, ids = _data(tiny_config, 2)
    draws = _draws(tiny_config, 2, decode_mode=torch.zeros(2, dtype=torch.bool))
    elf_loss(net, x, ids, torch.ones(2, 10, dtype=torch.bool), draws=draws, config=tiny_config).total.backward()
    touched = {name for name, p in net.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
    assert touched == {"final_layer.linear.weight", "final_layer.linear.bias"}


@torch.no_grad()
def test_two_row_batch_is_the_hand_sum(tiny_net: ElfNetwork) -> None:
    """One decoding and one denoising row, unequal masks, self-conditioned with guidance: a single
    denominator.
    """
    config = tiny_net.config
    x, ids = _data(config, 2)
    mask = torch.ones(2, 10, dtype=torch.bool)
    mask[0, 6:] = False
    mode, always = torch.tensor([True, False]), torch.zeros(2)
    draws = _draws(config, 2, decode_mode=mode, self_cond_uniform=always)
    total = elf_loss(tiny_net, x, ids, mask, draws=draws, config=config).total

    w = self_cond_cfg_scale(draws.cfg_uniform, low=0.5, high=5.0).float()
    level = logit_normal(draws.decode_corruption_normal[:1], mean=0.8, std=0.8)
    corrupted = noisy_latents(x[:1], draws.decode_noise[:1], level, noise_scale=5.0)
    one = torch.ones(1)
    logits = tiny_net(corrupted, one, x_prev=torch.zeros(1, 10, 6), self_cond_cfg=w[:1], decode_mode=one).logits
    ce = F.cross_entropy(logits[0, :6], ids[0, :6], reduction="sum")

    t = torch.sigmoid(-1.5 + 0.8 * draws.t_normal[1:])
    z = t * x[1:] + (1 - t) * 2.0 * draws.noise[1:]
    x_a = tiny_net(z, t, x_prev=torch.zeros_like(z), self_cond_cfg=w[1:]).x_pred
    x_b = tiny_net(z, t, x_prev=x_a, self_cond_cfg=w[1:]).x_pred
    target = x[1:] - 2.0 * draws.noise[1:] + (1 - 1 / w[1]) * (x_b - x_a) / (1 - t)
    mse = ((x_b - z) / (1 - t) - target).square().mean(-1).sum()  # the trained pass has the same inputs as pass B
    torch.testing.assert_close(total, (ce + mse) / 16, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_unit_guidance_leaves_the_target(tiny_net: ElfNetwork) -> None:
    """At w=1 the loss is the plain velocity error, bit for bit."""
    config = replace(tiny_net.config, self_cond_cfg_min=1.0, self_cond_cfg_max=1.0)
    x, ids = _data(config, 2)
    draws = _draws(config, 2, decode_mode=torch.zeros(2, dtype=torch.bool), self_cond_uniform=torch.zeros(2))
    terms = elf_loss(tiny_net, x, ids, torch.ones(2, 10, dtype=torch.bool), draws=draws, config=config)
    t = logit_normal(draws.t_normal, mean=-1.5, std=0.8)
    z, one = noisy_latents(x, draws.noise, t, noise_scale=2.0), torch.ones(2)
    x_a = tiny_net(z, t, x_prev=torch.zeros_like(z), self_cond_cfg=one).x_pred
    x_b = tiny_net(z, t, x_prev=x_a, self_cond_cfg=one).x_pred
    v = velocity(x_b, z, t, t_eps=0.05) - velocity(x, z, t, t_eps=0.05)
    torch.testing.assert_close(terms.mse, v.square().mean(), atol=1e-6, rtol=1e-6)


def test_masks_of_both_pad_policies() -> None:
    attention = torch.tensor([[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]], dtype=torch.bool)
    prefix = torch.tensor([[1, 1, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0]], dtype=torch.bool)
    assert loss_mask(attention, prefix, pad_policy="pad").sum(1).tolist() == [2, 5]
    assert loss_mask(attention, prefix, pad_policy="eos").sum(1).tolist() == [4, 5]


def test_batch_without_decoding_rows_still_gives_every_parameter_a_gradient(tiny_net: ElfNetwork) -> None:
    x, ids = _data(tiny_net.config, 2)
    for mode in (False, True):
        draws = _draws(tiny_net.config, 2, decode_mode=torch.full((2,), mode))
        terms = elf_loss(tiny_net, x, ids, torch.ones(2, 10, dtype=torch.bool), draws=draws, config=tiny_net.config)
        tiny_net.zero_grad(set_to_none=True)
        terms.total.backward()
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in tiny_net.parameters())
        assert (terms.cross_entropy is None, terms.mse is None) == (not mode, mode)


def test_loss_without_self_conditioning(tiny_net: ElfNetwork) -> None:
    config = replace(tiny_net.config, self_cond_prob=0.0)
    x, ids = _data(config, 3)
    terms = elf_loss(tiny_net, x, ids, torch.ones(3, 10, dtype=torch.bool), draws=_draws(config, 3), config=config)
    assert torch.isfinite(terms.total)
