"""Samplers of MDLM and ELF with the exact denoiser of the oracle language in place of a network: what the steps alone cost.

A perfect network would predict these posteriors. The distance from the language at N steps is then the sampler's own error (words of one
step are drawn independently; a path is followed in finite steps), and the distance of a trained model from this row is its network's.
Time runs as in the papers: MDLM's t=1 is fully masked, ELF's t=0 is noise. Numpy only.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from elfbench.adapters import oracle as words
from elfbench.adapters.batches import sample_batch
from elfbench.adapters.trained import packaged_weights
from elfbench.core.errors import ConfigError
from elfbench.core.seeds import row_generator
from elfbench.language.oracle import LENGTH, FloatArray, IntArray, distribution_functions, oracle
from elfbench.language.posterior import posterior
from elfbench.loading.tokenizer import Tokenizer
from elfbench.spec.card import ModelCard, WeightsSpec
from elfbench.spec.sampling import SampleBatch, SampleRequest

_DOUBT = np.log(1e-9)
"""Words of one step are drawn independently and can contradict each other; a revealed word is taken for an error with these odds, so
that the posterior of contradictory evidence is that of the fewest errors."""
_LEAST_EVIDENCE = -60.0
"""Nats: near t=1 a path can be certain of words that the grammar excludes together; so its posterior stays that of the fewest errors."""
Sampler = Callable[[SampleRequest], IntArray]
"""request -> ids [B, L]."""


@dataclass(frozen=True, slots=True)
class ExactModel:
    """A loaded sampler."""

    card: ModelCard
    tokenizer: Tokenizer
    run: Sampler

    def sample(self, request: SampleRequest) -> SampleBatch:
        self.card.resolve_options(request.options)
        start = time.perf_counter()
        ids = self.run(request)
        return sample_batch(ids, self.tokenizer, nfe=0, positions=0, seconds=time.perf_counter() - start)


@dataclass(frozen=True, slots=True)
class ExactEntry:
    """A registered sampler."""

    card: ModelCard
    run: Sampler

    def load(self, weights: Path | None = None, device: str = "cpu", dtype: str = "float32") -> ExactModel:
        if weights is not None:
            raise ConfigError("the exact denoiser has no weights", key="--weights", found=weights.name)
        return ExactModel(self.card, words.tokenizer(), self.run)

    def toy(self, seed: int) -> ExactModel:
        """The sampler itself: it has no weights that a toy could replace."""
        return self.load()


def masked_sampler(request: SampleRequest) -> IntArray:
    """Ancestral sampling of masked diffusion (Sahoo et al. 2024, algorithm 1; log-linear schedule, so a mask survives from t to s with
    probability s/t). Draw 2i decides which positions unmask in step i, draw 2i+1 which word."""
    language, steps = oracle(), request.steps or 1
    ids = np.full((len(request.rows), request.length), -1, dtype=np.int64)
    for i in range(steps):
        survive = (steps - i - 1) / (steps - i)
        coins = _uniforms(request, 2 * i)
        unmask = (ids < 0) & (coins >= survive)
        active = np.flatnonzero(unmask.any(axis=1))
        if not len(active):
            continue
        evidence = np.where(ids[active] < 0, 0.0, _DOUBT)[..., None] * np.ones(len(language.words))
        rows, places = np.nonzero(ids[active] >= 0)
        evidence[rows, places, ids[active][rows, places]] = 0.0
        laws = posterior(language, evidence)[unmask[active]]
        draws = _uniforms(request, 2 * i + 1)[active][unmask[active]]
        ids[unmask] = (distribution_functions(laws) <= draws[:, None]).sum(axis=1)
    return ids


def flow_sampler(request: SampleRequest) -> IntArray:
    """Euler steps of ELF's flow (arXiv 2605.10938, algorithm 5) on the committed model's latents, noise scale and random time grid.

    The velocity comes from the exact posterior mean of the latents; the words are the most likely ones of the last posterior. Draw 0 is
    the start, draw 1 the grid.
    """
    language, steps = oracle(), request.steps or 1
    table, recipe = _latents()
    scale, grid_mean, grid_std = (recipe[key] for key in ("noise_scale", "denoiser_p_mean", "denoiser_p_std"))
    shape = (request.length, table.shape[1])
    z = scale * np.stack([row_generator(seed, 0).standard_normal(shape) for seed in request.seeds])
    normal = np.stack([row_generator(seed, 1).standard_normal(steps - 1) for seed in request.seeds])
    inner = np.sort(1.0 / (1.0 + np.exp(-(grid_mean + grid_std * normal))), axis=1)
    times = np.pad(inner, ((0, 0), (1, 1)), constant_values=((0, 0), (0.0, 1.0)))
    laws = np.zeros(())
    for i in range(steps):
        t, t_next = times[:, i, None, None], times[:, i + 1, None, None]
        # |z - t e|^2 without the part that is the same for every word.
        distance = -2.0 * t * (z @ table.T) + t**2 * (table**2).sum(axis=1)
        evidence = (distance.min(axis=-1, keepdims=True) - distance) / (2.0 * (scale * (1.0 - t)) ** 2)
        laws = posterior(language, np.maximum(evidence, _LEAST_EVIDENCE))
        z = z + (t_next - t) / (1.0 - t) * (laws @ table - z)
    ids: IntArray = laws.argmax(axis=-1)
    return ids


@cache
def _latents() -> tuple[FloatArray, Mapping[str, float]]:
    """The committed ELF's latent table [V, C] and the numbers of its recipe."""
    from safetensors import safe_open
    from safetensors.numpy import load_file

    path = packaged_weights("elf_model", "elf-oracle").path
    with safe_open(path, framework="numpy") as file:
        config = json.loads(file.metadata()["elf"])["config"]
    return load_file(path)["latents.table"].astype(np.float64), config


def _uniforms(request: SampleRequest, draw: int) -> FloatArray:
    return np.stack([row_generator(seed, draw).random(request.length) for seed in request.seeds])


def _card(name: str, title: str, summary: str, source: str, digest: str, citation: str) -> ModelCard:
    return ModelCard(
        name=name,
        revision=str(oracle().grammar.version),
        implementation=1,
        title=title,
        summary=summary,
        family="reference",
        tokenizer=words.tokenizer().spec,
        vocab_size=words.VOCAB_SIZE,
        max_length=LENGTH,
        has_steps=True,
        max_steps=1024,
        licence="Apache-2.0",
        citation=citation,
        weights=WeightsSpec(kind="fitted", source=source, digest=digest),
    )


MASKED = ExactEntry(
    _card(
        "mdlm-exact-oracle",
        "MDLM, exact denoiser",
        "Masked diffusion with the exact denoiser: the best that any network can do with its steps.",
        "the grammar",
        oracle().digest,
        "Sahoo et al. 2024, arXiv 2406.07524; the denoiser is exact",
    ),
    masked_sampler,
)
_ELF = packaged_weights("elf_model", "elf-oracle").record
FLOW = ExactEntry(
    _card(
        "elf-exact-oracle",
        "ELF, exact denoiser",
        "ELF's flow with the exact denoiser on the latents of elf-oracle: the best that any network can do with its steps.",
        "the grammar, and the latents of elf-oracle",
        _ELF["sha256"],
        "Embedded Language Flows, arXiv 2605.10938; the denoiser is exact",
    ),
    flow_sampler,
)
