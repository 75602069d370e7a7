"""The autoregressive baseline: the same DiT, causal, without conditioning; exact likelihood; sampling with a key-value cache.

DEVIATION(MDLM code, AR): rows begin with the end-of-text token as a given start, so all L tokens are scored and sampled; theirs score L - 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlm_baselines.categorical import draw, nucleus, tempered
from dlm_baselines.dit import Dit, KeyValueCache
from dlm_baselines.noise import Noise
from dlm_baselines.sampling import Sample
from elf_model.training.loop import Loss


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplerSettings:
    """temperature 0 is greedy; top_p keeps the id at the boundary."""

    temperature: float = 1.0
    top_p: float = 1.0


def nll(net: Dit, ids: Tensor, *, start_id: int) -> Tensor:
    """Exact negative log-likelihood [B, L] in nats of every token of ids [B, L], given the start token and those before."""
    started = F.pad(ids[:, :-1], (1, 0), value=start_id)
    return F.cross_entropy(net(started).transpose(1, 2), ids, reduction="none")


def ar_loss(start_id: int | None) -> Callable[[nn.Module, Tensor, Noise], Loss]:
    """The training loss: mean nll in nats per token. It uses no noise.

    start_id None: windows begin with their start token, which is given and not scored, as in MDLM's code.
    """

    def loss(net: nn.Module, x_data: Tensor, noise: Noise) -> Loss:
        assert isinstance(net, Dit)
        if start_id is not None:
            return Loss(nll(net, x_data, start_id=start_id).mean(), {})
        return Loss(F.cross_entropy(net(x_data[:, :-1]).transpose(1, 2), x_data[:, 1:]), {})

    return loss


@torch.no_grad()
def sample(net: Dit, *, length: int, start_id: int, settings: SamplerSettings, noise: Noise, rows: int) -> Sample:
    """`length` tokens after the start token; draw i is the uniform of position i. One forward pass per token."""
    device = net.vocab_embed.embedding.device
    cache = KeyValueCache(net.config, rows, length, device)
    ids = torch.empty((rows, length), dtype=torch.int64, device=device)
    last = torch.full((rows, 1), start_id, dtype=torch.int64, device=device)
    for i in range(length):
        logits = net.logits(net.features(last, cache=cache)[:, 0])
        probs = nucleus(tempered(logits, settings.temperature), settings.top_p)
        ids[:, i] = draw(probs, noise.uniform(i, ()).to(device))
        last = ids[:, i : i + 1]
    return Sample(ids, torch.full((rows,), length, dtype=torch.int64, device=device))


@torch.no_grad()
def continue_prompts(
    net: Dit,
    prompts: Sequence[Sequence[int]],
    *,
    length: int,
    start_id: int,
    settings: SamplerSettings,
    noise: Noise,
) -> Sample:
    """`length` tokens behind each prompt of at least one token, ids [B, length]; the start token comes before the prompt.

    Prompts may differ in length. The draw of a token is numbered by its position in the row, so a row does not depend on the
    others of its batch. One forward pass per token, those of the prompt included; the nfe of a row counts its own.
    """
    device = net.vocab_embed.embedding.device
    lengths = torch.tensor([len(prompt) for prompt in prompts], device=device)
    if len(prompts) == 0 or int(lengths.min()) < 1:
        raise ValueError("a prompt without tokens; allowed: at least one token each")
    whole = int(lengths.max()) + length
    ids = torch.zeros((len(prompts), whole), dtype=torch.int64, device=device)
    for row, prompt in enumerate(prompts):
        ids[row, : len(prompt)] = torch.tensor(prompt, dtype=torch.int64, device=device)
    cache = KeyValueCache(net.config, len(prompts), whole, device)
    last = torch.full((len(prompts), 1), start_id, dtype=torch.int64, device=device)
    for i in range(whole):
        logits = net.logits(net.features(last, cache=cache)[:, 0])
        probs = nucleus(tempered(logits, settings.temperature), settings.top_p)
        ids[:, i] = torch.where(lengths > i, ids[:, i], draw(probs, noise.uniform(i, ()).to(device)))
        last = ids[:, i : i + 1]
    targets = lengths[:, None] + torch.arange(length, device=device)
    return Sample(ids.gather(1, targets), lengths + length)
