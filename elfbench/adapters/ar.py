"""Autoregressive entries."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from elfbench.adapters import oracle, sotu
from elfbench.adapters.batches import sample_batch
from elfbench.adapters.drawing import draw_ids
from elfbench.adapters.likelihood import RowScores, score_texts
from elfbench.adapters.prompts import continuation_batch, given_ids
from elfbench.adapters.trained import (
    TEMPERATURE,
    TOP_P,
    Packaged,
    TrainingText,
    card_of,
    model_errors,
    packaged_weights,
    randomized,
)
from elfbench.loading.tokenizer import Tokenizer
from elfbench.spec.card import ModelCard
from elfbench.spec.sampling import LikelihoodBatch, LikelihoodRequest, SampleBatch, SampleRequest

if TYPE_CHECKING:
    from torch.nn import Module

    from dlm_baselines.dit import Dit


@dataclass(frozen=True, slots=True)
class ArModel:
    """A loaded autoregressive model; rows start from the end-of-text token."""

    card: ModelCard
    net: Dit
    tokenizer: Tokenizer
    device: str

    @property
    def counted(self) -> Module:
        return self.net.vocab_embed

    @property
    def bound(self) -> Literal["exact"]:
        return "exact"

    def sample(self, request: SampleRequest) -> SampleBatch:
        from dlm_baselines.ar import SamplerSettings, continue_prompts, sample
        from elf_model.training.noise import RowNoise

        start = time.perf_counter()
        options = self.card.all_options(request.options)
        settings = SamplerSettings(temperature=float(options["temperature"]), top_p=float(options["top_p"]))
        noise, start_id = RowNoise(request.seeds, device=self.device), self.tokenizer.eos_id
        if request.prompts is not None:
            prompts = given_ids(request.prompts, self.tokenizer, length=request.length, max_length=self.card.max_length)
            done = continue_prompts(
                self.net, prompts, length=request.length, start_id=start_id, settings=settings, noise=noise
            )
            ids, nfe = done.ids.cpu().numpy(), done.nfe.cpu().numpy()
            seconds = time.perf_counter() - start
            return continuation_batch(ids, self.tokenizer, nfe=nfe, positions=nfe, seconds=seconds)
        done = sample(
            self.net,
            length=request.length,
            start_id=start_id,
            settings=settings,
            noise=noise,
            rows=len(request.rows),
        )
        ids, nfe = done.ids.cpu().numpy(), done.nfe.cpu().numpy()
        # With a key-value cache every position passes through the network once.
        return sample_batch(ids, self.tokenizer, nfe=nfe, positions=request.length, seconds=time.perf_counter() - start)

    def draw(self, probabilities: np.ndarray, uniforms: np.ndarray) -> np.ndarray:
        """Ids [N] int64, by the function that the sampler calls."""
        return draw_ids(probabilities, uniforms, self.device)

    def nll(self, request: LikelihoodRequest) -> LikelihoodBatch:
        """Exact; a text of more tokens than the model's length is refused."""
        return score_texts(request, self.tokenizer, self.card.max_length, self._score)

    def _score(self, ids: np.ndarray, seeds: Sequence[int]) -> RowScores:
        import torch

        from dlm_baselines.ar import nll

        with torch.no_grad():
            terms = nll(self.net, torch.from_numpy(ids).to(self.device), start_id=self.tokenizer.eos_id)
        totals = terms.double().sum(dim=1).cpu().numpy()
        return RowScores(totals, np.zeros(len(totals)))


@dataclass(frozen=True, slots=True)
class ArEntry:
    """A registered autoregressive model with packaged weights."""

    card: ModelCard
    packaged: Packaged
    text: TrainingText

    def load(self, weights: Path | None = None, device: str = "cpu", dtype: str = "float32") -> ArModel:
        with model_errors(self.card.name, weights):
            import torch

            from dlm_baselines.weights_file import load_weights

            net = load_weights(weights or self.packaged.path).net.to(device=device, dtype=getattr(torch, dtype))
            return ArModel(self.card, net, self.text.tokenizer(), device)

    def toy(self, seed: int) -> ArModel:
        from dlm_baselines.dit import DitConfig, build_dit

        tokenizer = sotu.toy_tokenizer()
        net = randomized(
            build_dit(DitConfig(vocab_size=tokenizer.vocab_size, hidden=16, depth=1, heads=2, causal=True), seed=seed),
            seed,
        )
        card = self.card.model_copy(
            update={"tokenizer": tokenizer.spec, "vocab_size": tokenizer.vocab_size, "n_params": None}
        )
        return ArModel(card, net, tokenizer, "cpu")


def _entry(text: TrainingText) -> ArEntry:
    packaged = packaged_weights("dlm_baselines", f"ar-{text.name}")
    card = card_of(
        packaged,
        text,
        implementation=1,
        title="AR",
        summary="Causal transformer with a key-value cache",
        family="autoregressive",
        tasks=("unconditional", "prefix", "likelihood"),
        options={"temperature": TEMPERATURE, "top_p": TOP_P},
        has_steps=False,
        citation="The autoregressive baseline of Sahoo et al. 2024, arXiv 2406.07524",
    )
    return ArEntry(card, packaged, text)


AR_SOTU, AR_ORACLE = _entry(sotu.TEXT), _entry(oracle.TEXT)
