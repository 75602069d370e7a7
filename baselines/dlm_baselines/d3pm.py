"""D3PM (Austin et al. 2021, arXiv 2107.03006): discrete-time diffusion with x0-parameterization; t=0 is data, t=1 is noise.

The network predicts the clean token ("mean": log-softmax over all V ids, the mask among them; nothing is carried over), and one reverse step
is p(x_s | x_t) ~ sum_x q(x_s, x_t | x) x_theta(x) (equation 4): the prediction is put inside Bayes' rule, as in `absorbing.posterior` and
`uniform_state.posterior`. That is the authors' `q_posterior_logits`, and MDLM's and Duo's re-implementations; the mixture of posteriors that
a DDPM analogy suggests is `marginalized_posterior`. For the absorbing kind both agree where no mass is on the mask. For the uniform kind they
differ: with equation 4 the best prediction is the leave-one-out law, with the mixture it is p(x | x_t).
Not here: the auxiliary cross-entropy (lambda = 0 in MDLM's re-implementation too), other transition matrices. `mask_id` None is uniform.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from dlm_baselines import absorbing, uniform_state
from dlm_baselines.categorical import gathered
from dlm_baselines.dit import Dit
from dlm_baselines.noise import Noise
from dlm_baselines.noising import noised
from dlm_baselines.schedule import Schedule, log_linear, stratified_times
from elf_model.training.loop import Loss


def mean_log_probs(logits: Tensor) -> Tensor:
    """Log-probabilities [..., V] (nats) of the clean token, the mask included."""
    return logits.log_softmax(dim=-1)


def step_probs(probs: Tensor, x_t: Tensor, alpha_t: Tensor, alpha_s: Tensor, mask_id: int | None) -> Tensor:
    """p(x_s | x_t) [..., V] of one reverse step from the prediction probs [..., V] (equation 4); alpha broadcasts to x_t [...]."""
    if mask_id is None:
        return uniform_state.posterior(probs, x_t, alpha_t, alpha_s)
    return absorbing.posterior(probs, x_t, alpha_t, alpha_s, mask_id)


def step_kl(
    log_probs: Tensor, x_t: Tensor, x_data: Tensor, alpha_t: Tensor, alpha_s: Tensor, mask_id: int | None
) -> Tensor:
    """KL(q(x_s | x_t, x_data) || p(x_s | x_t)) [...] in nats, float64; the posteriors [..., V] are not formed.

    T times its mean over t in {1/T, ..., 1}, s = t - 1/T, is the NELBO but for the prior term KL(q(x_1 | x) || noise), which has no weights.
    At s=0 (alpha_s = 1) it is -log p(x_data | x_t), the paper's reconstruction term L_0: nothing is to be added.
    DEVIATION(D3PM code, first time step): theirs takes x_theta itself as p(x_0 | x_1); ours stays with equation 4, as MDLM's does.
    """
    if mask_id is None:
        return _uniform_kl(log_probs, x_t, x_data, alpha_t, alpha_s)
    at_data, at_mask = gathered(log_probs, x_data).double(), log_probs[..., mask_id].double()
    return torch.where(x_t == mask_id, _absorbing_kl(at_data, at_mask, alpha_t, alpha_s), 0.0)


def reconstruction_terms(log_probs: Tensor, x_data: Tensor) -> Tensor:
    """-log x_theta(x_data) [...] in nats from the network at x_t = x_data, sigma = 0: a decoder after the last step.

    MDLM's code adds it to the sum above, which bounds a model whose last token is drawn once more from x_theta(. | x_0, t=0).
    """
    return -gathered(log_probs, x_data)


def grid_times(uniforms: Tensor, steps: int) -> Tensor:
    """Times [B] on {1/T, ..., 1} with T = steps, uniform over the grid and stratified over the batch; uniforms [B] in [0, 1).

    DEVIATION(MDLM code, T > 0): theirs rounds times from [1e-3, 1), so at T=1000 t=1/T, which holds the paper's L_0, is never drawn.
    """
    return ((stratified_times(uniforms, smallest=0.0) * steps).floor().clamp(max=steps - 1) + 1.0) / steps


def d3pm_loss(
    mask_id: int | None, *, steps: int = 1000, schedule: Schedule = log_linear, decoder: bool = False
) -> Callable[[nn.Module, Tensor, Noise], Loss]:
    """The training loss: NELBO in nats per token without the prior term. Draw 0 chooses t, draw 1 noises.

    mask_id None is the uniform kind. `decoder` adds `reconstruction_terms`, one more forward pass, as in MDLM's code.
    DEVIATION(MDLM code, D3PM loss): theirs weighs with alpha = 1 - t though it noises with 1 - (1 - 1e-3) t; ours uses one schedule.
    """
    if steps < 1:
        raise ValueError(f"steps is {steps}; allowed: at least 1")

    def loss(net: nn.Module, x_data: Tensor, noise: Noise) -> Loss:
        assert isinstance(net, Dit)
        t = grid_times(noise.uniform(0, ()), steps)[:, None]
        at_t, at_s = schedule(t), schedule((t - 1.0 / steps).clamp_min(0.0))
        coins = noise.uniform(1, (x_data.shape[1],))
        x_t, seen = noised(x_data, at_t.alpha, coins, mask_id=mask_id, vocab_size=net.config.vocab_size)
        features = net.features(x_t, at_t.sigma[:, 0].float())
        log_probs = mean_log_probs(net.logits(features[seen]))
        alpha_t, alpha_s = (level.alpha.expand_as(x_data)[seen] for level in (at_t, at_s))
        kl = step_kl(log_probs, x_t[seen], x_data[seen], alpha_t, alpha_s, mask_id)
        total = steps * kl.sum() / x_data.numel()
        parts = {"diffusion": total.detach()}
        if decoder:
            clean = mean_log_probs(net(x_data, torch.zeros_like(t[:, 0], dtype=torch.float32)))
            reconstruction = reconstruction_terms(clean, x_data).mean()
            total, parts = total + reconstruction, {**parts, "reconstruction": reconstruction.detach()}
        return Loss(total.float(), parts)

    return loss


def _absorbing_kl(at_data: Tensor, at_mask: Tensor, alpha_t: Tensor, alpha_s: Tensor) -> Tensor:
    """Of a masked token: two outcomes, the clean token with probability `unmask`, or the mask."""
    unmask = (alpha_s - alpha_t) / (1.0 - alpha_t)
    mu = at_mask.exp()
    norm_t = torch.log1p(alpha_t * mu / (1.0 - alpha_t))
    # At s=0 the mask is impossible and its term has weight 0; the clamp only keeps 0 * inf away.
    norm_s = torch.log1p(alpha_s * mu / (1.0 - alpha_s).clamp_min(1e-12))
    return unmask * (norm_t - at_data) + (1.0 - unmask) * (norm_t - norm_s)


def _uniform_kl(log_probs: Tensor, x_t: Tensor, x_data: Tensor, alpha_t: Tensor, alpha_s: Tensor) -> Tensor:
    """q has one value off {x_t, x_data}, so one sum over the vocabulary, in the dtype of log_probs, and gathers in float64 are enough."""
    size = log_probs.shape[-1]
    ratio, jump, same = alpha_t / alpha_s, alpha_s - alpha_t, (x_t == x_data).to(torch.float64)
    spread = (1.0 - ratio) * (1.0 - alpha_s) / size
    # At s=0 spread is 0 and only x_data is possible: the bounds keep log 0 away from the weight 0.
    positive = spread.clamp_min(1e-30)
    excess = torch.log1p(log_probs.exp() * (jump / positive)[..., None].to(log_probs.dtype))
    at_t, at_data = (gathered(log_probs, ids).double().exp() for ids in (x_t, x_data))
    log_norm = torch.log(size * alpha_t * at_t + 1.0 - alpha_t)
    log_p_t = torch.log((size * alpha_t + jump) * at_t + ratio - alpha_t + spread)
    log_p_data = torch.log((jump * at_data + spread).clamp_min(torch.finfo(torch.float64).tiny))

    norm_q = size * alpha_t * same + 1.0 - alpha_t
    q_other = spread / norm_q
    q_t = ((size * alpha_t + jump) * same + ratio - alpha_t + spread) / norm_q
    q_data = (1.0 - same) * (jump + spread) / norm_q
    others = size - 2.0 + same
    log_p_others = excess.sum(dim=-1) - gathered(excess, x_t) - (1.0 - same) * gathered(excess, x_data)
    entropy = torch.xlogy(q_t, q_t) + torch.xlogy(q_data, q_data) + others * torch.xlogy(q_other, q_other)
    cross = q_t * log_p_t + q_data * log_p_data + q_other * (log_p_others + others * torch.log(positive))
    return entropy - cross + log_norm
